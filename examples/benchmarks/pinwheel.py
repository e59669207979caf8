"""A mixture seen through a network, fitted to a pinwheel: how many components survive.

2500 points on five arms, 10 components to start with; the seed draws data and start.
For the first 30% of the updates there are no penalties: they would empty components
before the network is any use. For the last 30% there are ten times as many sleep
draws, which takes off the bias of their self-normalised weights. A component survives
if its weight is above 0.05. Log-likelihoods are of 5000 held-out points, by quadrature
over the latent plane. The baseline is the Gaussian mixture of 1 to 30 components that
is best on a fifth of the data, fitted again to all of it; the true density is beside.
"""

import time
import warnings

import numpy as np
from _report import line, parser, report, row
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from amortsk import WakeSleepFitter
from amortsk.datasets import make_pinwheel
from amortsk.models import HierarchicalMixtureModel

SURVIVES = 0.05


def wake_sleep(X, seed, max_iter, n_sleep):
    """Fit without penalties for 30%, with them, and for 30% with all sleep draws."""
    model = HierarchicalMixtureModel(10, hidden=40)
    fitter = WakeSleepFitter(
        learning_rate=0.03, gradient="importance", warm_start=True, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for share, strength, n in (
            (0.3, 0.0, n_sleep // 10),
            (0.4, 1.0, n_sleep // 10),
            (0.3, 1.0, n_sleep),
        ):
            model = clone(model).set_params(strength=strength)
            n_iter = round(share * max_iter)
            fitter.set_params(model=model, n_sleep=n, max_iter=n_iter).fit(X)
    return fitter


def log_likelihood(model, params, X, n_grid=150):
    """log p(x) of every row, by the trapezoidal rule in the latent plane."""
    factors = model.factors(params)
    reach = 5 * np.sqrt(np.sum(factors**2, axis=2))
    alive = np.exp(model.log_weights(params)) > 1e-3
    low = (params["means"] - reach)[alive].min(axis=0)
    high = (params["means"] + reach)[alive].max(axis=0)
    axes = np.linspace(low, high, n_grid).T
    y = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    log_mass = logsumexp(model.log_component(params, y), axis=1)
    log_mass = log_mass + np.sum(np.log((high - low) / (n_grid - 1)))
    y, log_mass = y[log_mass > -25], log_mass[log_mass > -25]
    mean = model.decode(params, (None, y))
    scale = params["min_scale"] + np.exp(params["log_scale"])
    log_mass = log_mass - np.sum(np.log(scale)) - np.log(2 * np.pi)
    return np.concatenate(
        [
            logsumexp(
                -0.5 * cdist(x / scale, mean / scale, "sqeuclidean") + log_mass, 1
            )
            for x in np.array_split(X, 50)
        ]
    )


def mixture(X, seed):
    """The best Gaussian mixture of 1 to 30 components."""
    chosen = np.random.default_rng(seed).permutation(len(X))
    fitted, held_out = X[chosen[len(X) // 5 :]], X[chosen[: len(X) // 5]]
    mixtures = [GaussianMixture(n, n_init=5, random_state=seed) for n in range(1, 31)]
    return max(mixtures, key=lambda m: m.fit(fitted).score(held_out)).fit(X)


def true_log_density(X):
    """Log-density of the pinwheel, whose mean before it was centred is near zero.

    Points at distance r along and t across an arm turn with r: for every arm there is
    one term for each r that gives x, over the Jacobian 1 + 0.2 exp(r) t.
    """
    r = np.linspace(-0.5, 2.5, 601)
    density = 0.0
    for arm in range(5):
        angle = 2 * np.pi * arm / 5 + 0.2 * np.exp(r)
        along = np.outer(X[:, 0], np.cos(angle)) - np.outer(X[:, 1], np.sin(angle))
        across = np.outer(X[:, 0], np.sin(angle)) + np.outer(X[:, 1], np.cos(angle))
        gap = along - r
        n, i = np.nonzero(gap[:, 1:] * gap[:, :-1] < 0)
        share = gap[n, i] / (gap[n, i] - gap[n, i + 1])
        root = r[i] + share * (r[1] - r[0])
        t = across[n, i] + share * (across[n, i + 1] - across[n, i])
        term = norm.pdf(root, 1, 0.3) * norm.pdf(t, 0, 0.1)
        term = term / np.abs(1 + 0.2 * np.exp(root) * t)
        density = density + np.bincount(n, term, len(X)) / 5
    return np.log(density + 1e-30)


if __name__ == "__main__":
    options = parser(__doc__, seeds=5)
    options.add_argument("--max-iter", type=int, default=2400)
    options.add_argument("--n-sleep", type=int, default=10_000)
    arguments = options.parse_args()
    survivors, off, ours, train, theirs, exact, noise = [], [], [], [], [], [], []
    with report():
        start = time.process_time()
        for seed in range(arguments.seeds):
            X = make_pinwheel(7500, random_state=seed)[0]
            X, held_out = X[:2500], X[2500:]
            fitter = wake_sleep(X, seed, arguments.max_iter, arguments.n_sleep)
            model, params = fitter.model_, fitter.params_
            weights = np.sort(np.exp(model.log_weights(params)))[::-1]
            survivors.append(np.sum(weights > SURVIVES))
            off.append(np.max(np.abs(weights[:5] - 0.2)))
            noise.append(np.max(params["min_scale"] + np.exp(params["log_scale"])))
            train.append(log_likelihood(model, params, X).mean())
            ours.append(log_likelihood(model, params, held_out).mean())
            best = mixture(X, seed)
            theirs.append(best.score(held_out))
            exact.append(true_log_density(held_out).mean())
            line(
                f"seed {seed}: weights {np.round(weights[:6], 3)}, "
                f"log-likelihood {ours[-1]:.4f}, {best.n_components} components "
                f"{theirs[-1]:.4f}, truth {exact[-1]:.4f}",
                *[""] * 6,
            )
        seconds = (time.process_time() - start) / arguments.seeds
        distance = np.abs(np.subtract(survivors, 5))
        row("distance of surviving components from five", distance, at_most=0, digits=0)
        row("largest distance of the five weights from 0.2", off, at_most=0.03)
        row("noise, the larger of two columns", noise)
        row("log-likelihood of the training points", train)
        beside = f"mixture {np.median(theirs):.4f}, truth {np.median(exact):.4f}"
        row("held-out log-likelihood", ours, baseline=beside)
        row(
            f"held-out log-likelihood less the mixture's, {seconds:.0f} s CPU a seed",
            np.subtract(ours, theirs),
            at_least=0.0,
        )
