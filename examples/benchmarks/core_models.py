"""Fits of five model families against exact likelihoods and dedicated estimators.

Data and fit of a row share their seed. Gaps are in nats per row (chain: per time step),
positive where the baseline is better.
"""

import time

import autograd.numpy as np
import numpy as onp
from _report import parser, report, row
from autograd.scipy.special import logsumexp
from hmmlearn.hmm import GaussianHMM
from scipy.special import expit
from scipy.stats import multivariate_normal
from sklearn.cluster import kmeans_plusplus
from sklearn.decomposition import FactorAnalysis, FastICA
from sklearn.mixture import GaussianMixture

from amortsk import AmortisedGradientRegressor, WakeSleepFitter, windows
from amortsk.models import (
    BernoulliFactorModel,
    FactorAnalysisModel,
    IndependentComponentsModel,
)

LOG_2PI = onp.log(2 * onp.pi)


def timed_fit(fitter, X):
    """Fit, and say how long it took."""
    start = time.perf_counter()
    fitter.fit(X)
    return fitter, time.perf_counter() - start


def absolute_error(fitter, X, exact):
    """Mean absolute error of score_samples."""
    return onp.mean(onp.abs(fitter.score_samples(X) - exact))


def seconds(times):
    return f"{onp.median(times):.0f} s a fit"


# Factor analysis ---------------------------------------------------------------------


def factor_data(d, k, seed):
    rng = onp.random.default_rng(seed)
    X = rng.standard_normal((5000, k)) @ rng.standard_normal((d, k)).T
    X += rng.standard_normal((5000, d)) * rng.uniform(0.3, 1, d)
    return (X - X.mean(0)) / X.std(0)


def factor_log_likelihood(params, X):
    """Exactly, and not by the package."""
    W = params["loadings"]
    scale = params["min_scale"] + onp.exp(params["log_scale"])
    covariance = W @ W.T + onp.diag(scale**2)
    return multivariate_normal(params["mean"], covariance).logpdf(X)


def factor_analysis(seeds, d, k, gradient, target):
    gaps, errors, loose, times = [], [], [], []
    for seed in seeds:
        X = factor_data(d, k, seed)
        fitter, spent = timed_fit(
            WakeSleepFitter(
                model=FactorAnalysisModel(k),
                gradient=gradient,
                scoring="importance",
                random_state=seed,
            ),
            X,
        )
        exact = factor_log_likelihood(fitter.params_, X)
        best = FactorAnalysis(k, tol=1e-6, max_iter=5000).fit(X).score(X)
        gaps.append(best - exact.mean())
        loose.append(best - FactorAnalysis(k).fit(X).score(X))
        errors.append(absolute_error(fitter, X[:1000], exact[:1000]))
        times.append(spent)
    name = f'factor analysis d={d}, k={k}, gradient="{gradient}"'
    row(
        f"{name}: gap to FactorAnalysis(tol=1e-6, max_iter=5000), {seconds(times)}",
        gaps,
        at_most=target,
        baseline=f"default tol: {onp.median(loose):.4f}",
    )
    if d == 20 and gradient == "auto":
        row(f"{name}: mean absolute error of score_samples", errors, at_most=0.05)


def factor_analysis_auto(seeds):
    factor_analysis(seeds, 20, 5, "auto", 0.02)
    factor_analysis(seeds, 50, 8, "auto", 0.05)


def factor_analysis_likelihood(seeds):
    factor_analysis(seeds[:3], 20, 5, "likelihood", 0.05)


# Gaussian mixture, two plain functions -----------------------------------------------

K = 5


def mixture_sampler(params, n, rng):
    weights = onp.exp(params["logits"] - logsumexp(params["logits"]))
    z = rng.choice(K, size=n, p=weights / weights.sum())
    eps = rng.standard_normal((n, 2))
    eps[:, 1] += params["slope"][z] * eps[:, 0]
    return z, params["means"][z] + onp.exp(params["log_scale"])[z] * eps


def mixture_log_joint(params, z, x):
    eps = (x - params["means"][z]) * np.exp(-params["log_scale"])[z]
    second = eps[:, 1] - params["slope"][z] * eps[:, 0]
    log_det = np.sum(params["log_scale"][z], axis=1)
    log_prior = (params["logits"] - logsumexp(params["logits"]))[z]
    return log_prior - 0.5 * (eps[:, 0] ** 2 + second**2) - log_det - LOG_2PI


def mixture_init(X, rng):
    means, _ = kmeans_plusplus(X, K, random_state=int(rng.integers(2**31 - 1)))
    return {
        "logits": onp.zeros(K),
        "means": means,
        "log_scale": onp.tile(onp.log(X.std(0) / 2), (K, 1)),
        "slope": onp.zeros(K),
    }


def mixture_log_likelihood(params, X):
    """Exactly: the sum over components."""
    joints = [mixture_log_joint(params, onp.full(len(X), k), X) for k in range(K)]
    return logsumexp(onp.array(joints), axis=0)


def gaussian_mixture(seeds):
    gaps, errors, single, times = [], [], [], []
    for seed in seeds:
        rng = onp.random.default_rng(seed)
        centres = 4 * rng.standard_normal((K, 2))
        X = centres[rng.integers(K, size=2000)]
        X = X + rng.standard_normal((2000, 2)) * [0.6, 1.0]
        fitter, spent = timed_fit(
            WakeSleepFitter(
                mixture_log_joint, mixture_sampler, mixture_init, random_state=seed
            ),
            X,
        )
        exact = mixture_log_likelihood(fitter.params_, X)
        best = GaussianMixture(K, n_init=5, random_state=seed).fit(X).score(X)
        once = GaussianMixture(K, init_params="k-means++", random_state=seed).fit(X)
        gaps.append(best - exact.mean())
        single.append(best - once.score(X))
        errors.append(absolute_error(fitter, X[:1000], exact[:1000]))
        times.append(spent)
    name = "Gaussian mixture 2-d, 5 components, two functions"
    row(
        f"{name}: gap to GaussianMixture(n_init=5), {seconds(times)}",
        gaps,
        at_most=0.03,
        baseline="EM from one k-means++ start: "
        f"{onp.median(single):.4f}, worst {onp.max(single):.4f}",
    )
    row(f"{name}: mean absolute error of score_samples", errors, at_most=0.05)


# Discrete chain, two plain functions -------------------------------------------------

S = 5


def log_softmax(logits):
    return logits - logsumexp(logits, axis=-1, keepdims=True)


def chain_truth():
    return {
        "means": 1.5 * onp.arange(S),
        "log_noise": onp.log([0.4]),
        "transitions": onp.log(0.04 + 0.8 * onp.eye(S)),
        "start": onp.zeros(S),
    }


def chain_sampler(params, n, length, rng):
    start = onp.exp(log_softmax(params["start"]))
    edges = onp.cumsum(onp.exp(log_softmax(params["transitions"])), axis=1)[:, :-1]
    z = onp.empty((n, length), dtype=int)
    z[:, 0] = rng.choice(S, size=n, p=start / start.sum())
    for t in range(1, length):
        z[:, t] = onp.sum(rng.random((n, 1)) > edges[z[:, t - 1]], axis=1)
    noise = onp.exp(params["log_noise"]) * rng.standard_normal((n, length))
    return z, params["means"][z] + noise


def chain_terms(params, z, x):
    """Log-joint of each time step: (n, length)."""
    eps = (x - params["means"][z]) * np.exp(-params["log_noise"])
    emission = -0.5 * eps**2 - params["log_noise"] - 0.5 * LOG_2PI
    first = log_softmax(params["start"])[z[:, :1]]
    later = log_softmax(params["transitions"])[z[:, :-1], z[:, 1:]]
    return emission + np.concatenate([first, later], axis=1)


def chain_log_joint(params, z, x):
    return np.sum(chain_terms(params, z, x), axis=1)


def chain_init(X, rng):
    return {
        "means": onp.quantile(X, (onp.arange(S) + 0.5) / S),
        "log_noise": onp.log([0.8]),
        "transitions": onp.log(0.1 + 0.5 * onp.eye(S)),
        "start": onp.zeros(S),
    }


def chain_log_likelihood(params, X):
    """Exactly, per time step: the forward algorithm."""
    eps = (X[:, :, None] - params["means"]) * onp.exp(-params["log_noise"])
    emission = -0.5 * eps**2 - params["log_noise"] - 0.5 * LOG_2PI
    transitions = log_softmax(params["transitions"])
    forward = log_softmax(params["start"]) + emission[:, 0]
    for t in range(1, X.shape[1]):
        forward = logsumexp(forward[:, :, None] + transitions, axis=1) + emission[:, t]
    return onp.mean(logsumexp(forward, axis=1)) / X.shape[1]


def hmmlearn_log_likelihood(X, seed, params=None):
    """hmmlearn's EM, per time step, from its own start or from `params`."""
    options = {} if params is None else {"init_params": ""}
    hmm = GaussianHMM(
        S, "tied", n_iter=500, tol=1e-3, random_state=seed, implementation="scaling"
    ).set_params(**options)
    if params is not None:
        hmm.startprob_ = onp.exp(log_softmax(params["start"]))
        hmm.transmat_ = onp.exp(log_softmax(params["transitions"]))
        hmm.means_ = params["means"][:, None]
        hmm.covars_ = onp.exp(2 * params["log_noise"])[:, None]
    column, lengths = X.reshape(-1, 1), [X.shape[1]] * len(X)
    return hmm.fit(column, lengths).score(column, lengths) / X.size


def chain(seeds, n, length, method, log_joint, target, **options):
    ours, own, same, times = [], [], [], []
    for seed in seeds[:3]:
        truth = chain_truth()
        X = chain_sampler(truth, n, length, onp.random.default_rng(seed))[1]
        fitter, spent = timed_fit(
            WakeSleepFitter(
                log_joint,
                lambda params, n, rng: chain_sampler(params, n, length, rng),
                chain_init,
                learning_rate=0.03,
                random_state=seed,
                **options,
            ),
            X,
        )
        true = chain_log_likelihood(truth, X)
        ours.append(chain_log_likelihood(fitter.params_, X) - true)
        own.append(hmmlearn_log_likelihood(X, seed) - true)
        same.append(hmmlearn_log_likelihood(X, seed, chain_init(X, None)) - true)
        times.append(spent)
    row(
        f"chain, {n} series of length {length}, {method}: log-likelihood per step less "
        f"that of the true parameters, {seconds(times)}",
        ours,
        at_least=target,
        baseline=f"hmmlearn, own start: {onp.median(own):.4f} "
        f"(worst {onp.min(own):.4f}); our start: {onp.median(same):.4f}",
    )


def chain_importance(seeds):
    regressor = AmortisedGradientRegressor(trend="linear", groups="columns")
    chain(
        seeds,
        600,
        10,
        'gradient="importance", groups="columns"',
        chain_log_joint,
        -0.01,
        gradient="importance",
        regressor=regressor,
    )


def chain_local_terms(seeds):
    # As many rows in the regression, and as many steps, at either length.
    for n, length, n_sleep, target in ((600, 10, 1000, -0.01), (150, 40, 250, -0.005)):
        chain(
            seeds,
            n,
            length,
            f"local terms (n_sleep={n_sleep}, max_iter=400)",
            chain_terms,
            target,
            term_columns=windows(length, 2),
            n_sleep=n_sleep,
            max_iter=400,
        )


# Independent components --------------------------------------------------------------


def amari(P):
    """Amari distance of a matrix from a scaled permutation: 0 to 1."""
    P = onp.abs(P)
    rows = (P / P.max(1, keepdims=True)).sum(1) - 1
    columns = (P / P.max(0, keepdims=True)).sum(0) - 1
    return (rows.sum() + columns.sum()) / (2 * len(P) * (len(P) - 1))


def independent_components(seeds):
    ours, fast, times = [], [], []
    for seed in seeds:
        rng = onp.random.default_rng(seed)
        mixing = onp.linalg.qr(rng.standard_normal((10, 10)))[0]
        X = rng.laplace(size=(20_000, 10)) @ mixing.T
        X += 0.1 * rng.standard_normal(X.shape)
        fitter, spent = timed_fit(
            WakeSleepFitter(model=IndependentComponentsModel(10), random_state=seed), X
        )
        ica = FastICA(whiten="unit-variance", max_iter=1000, random_state=seed).fit(X)
        ours.append(amari(onp.linalg.pinv(fitter.params_["mixing"]) @ mixing))
        fast.append(amari(ica.components_ @ mixing))
        times.append(spent)
    row(
        f"ICA, 10 Laplace sources, noise 0.1: Amari distance, {seconds(times)}",
        ours,
        at_most=0.02,
        baseline=f"FastICA: {onp.median(fast):.4f}",
    )


# Binary factors ----------------------------------------------------------------------


def bernoulli_log_likelihood(params, X):
    """Exactly: the trapezium rule over both latents, on a grid of 141 x 141."""
    grid = onp.linspace(-7, 7, 141)
    z = onp.stack(onp.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    log_odds = z @ params["loadings"].T + params["intercept"]
    log_weights = -0.5 * onp.sum(z**2, 1) - LOG_2PI + 2 * onp.log(grid[1] - grid[0])
    log_weights -= onp.logaddexp(0, log_odds).sum(1)
    return onp.concatenate(
        [
            logsumexp(rows @ log_odds.T + log_weights, axis=1)
            for rows in X.reshape(-1, 100, X.shape[1])
        ]
    )


def bernoulli_factors(seeds):
    errors, gains, times = [], [], []
    for seed in seeds:
        rng = onp.random.default_rng(seed)
        truth = {
            "loadings": 1.5 * rng.standard_normal((20, 2)),
            "intercept": 0.5 * rng.standard_normal(20),
        }
        log_odds = rng.standard_normal((2000, 2)) @ truth["loadings"].T
        X = (rng.random((2000, 20)) < expit(log_odds + truth["intercept"])).astype(
            float
        )
        fitter, spent = timed_fit(
            WakeSleepFitter(model=BernoulliFactorModel(2), random_state=seed), X
        )
        exact = bernoulli_log_likelihood(fitter.params_, X)
        errors.append(absolute_error(fitter, X[:1000], exact[:1000]))
        gains.append(onp.mean(exact - bernoulli_log_likelihood(truth, X)))
        times.append(spent)
    row(
        "binary factors, 20 columns, 2 latents: mean absolute error of score_samples, "
        f"{seconds(times)}",
        errors,
        at_most=0.1,
        baseline="log-likelihood less that of the true parameters: "
        f"{onp.median(gains):.4f} (worst {onp.min(gains):.4f})",
    )


BENCHMARKS = (
    factor_analysis_auto,
    gaussian_mixture,
    independent_components,
    bernoulli_factors,
    factor_analysis_likelihood,
    chain_local_terms,
    chain_importance,
)

if __name__ == "__main__":
    parser = parser(__doc__, seeds=5)
    names = [benchmark.__name__ for benchmark in BENCHMARKS]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    arguments = parser.parse_args()
    with report():
        for benchmark in BENCHMARKS:
            if benchmark.__name__ in arguments.only:
                benchmark(range(arguments.seeds))
