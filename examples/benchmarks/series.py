"""Series by local terms, against exact likelihoods, per time step.

Chain: 5 states, stay 0.84, emission means 0, 1.5, ..., 6, noise 0.4, rows of X are
series; hmmlearn is `GaussianHMM(5, "diag")`, the same family, from its own start.
Linear-Gaussian: two states that turn and decay, three outputs; the optimum is that of
the likelihood of statsmodels' Kalman filter, summed over series, found by L-BFGS from
the true parameters. Sinusoids: a noisy limit cycle of period 12, seen by 20 units with
Gaussian tuning curves and noise 0.05; three series of 30 steps; free-running samples
are 200 series of 101 steps, their period that of the largest peak of the spectrum.
"""

import time
import warnings

import numpy as np
from _report import parser, report, row
from hmmlearn.hmm import GaussianHMM
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from statsmodels.tsa.statespace.kalman_filter import KalmanFilter

from amortsk import AmortisedGradientRegressor, WakeSleepFitter
from amortsk.datasets import make_limit_cycle
from amortsk.models import (
    HiddenMarkovModel,
    LinearGaussianStateSpaceModel,
    StateSpaceModel,
)
from amortsk.observation import noise_scale


def timed_fit(X, model, seed, **options):
    start = time.process_time()
    fitter = WakeSleepFitter(model=model, random_state=seed, **options).fit(X)
    return fitter, time.process_time() - start


# Hidden Markov chain -----------------------------------------------------------------

CHAIN = {
    "initial_logits": np.zeros(5),
    "transition_logits": np.log(0.04 + 0.8 * np.eye(5)),
    "means": 1.5 * np.arange(5)[:, np.newaxis],
    "log_scale": np.full((5, 1), np.log(0.4)),
    "min_scale": np.zeros(1),
}


def hmmlearn_level(X, seed):
    hmm = GaussianHMM(5, "diag", n_iter=500, tol=1e-3, random_state=seed)
    column, lengths = X.reshape(-1, 1), [X.shape[1]] * len(X)
    return hmm.fit(column, lengths).score(column, lengths) / X.size


def chain(seeds):
    additive = AmortisedGradientRegressor(trend="linear", groups="columns")
    isotropic = AmortisedGradientRegressor(trend="linear")
    whole = {"gradient": "importance", "regressor": additive, "max_iter": 1000}
    forty = {"n_sleep": 250, "max_iter": 400}
    settings = (
        (600, 10, None, 0.01, whole),
        (600, 10, 2, None, {"n_sleep": 1000, "max_iter": 400}),
        (150, 40, 2, 0.005, forty),
        (150, 40, 4, None, forty),
        (150, 40, 4, None, {**forty, "regressor": isotropic}),
        (15, 400, 2, 0.01, {"n_sleep": 25, "max_iter": 400}),
    )
    for n, n_steps, half_width, target, options in settings:
        model = HiddenMarkovModel(5, n_steps, half_width=half_width)
        gaps, theirs, times = [], [], []
        for seed in seeds:
            X = model.sample(CHAIN, n, np.random.default_rng(seed))[1]
            fitter, spent = timed_fit(X, model, seed, learning_rate=0.03, **options)
            truth = model.exact_log_likelihood(CHAIN, X).mean() / n_steps
            theirs.append(hmmlearn_level(X, seed) - truth)
            best = truth + max(0.0, theirs[-1])
            gaps.append(best - fitter.score(X) / n_steps)
            times.append(spent)
        how = "whole rows, importance"
        if half_width is not None:
            kernel = "one kernel" if "regressor" in options else "nested groups"
            how = f"windows of {2 * half_width + 1} steps, {kernel}"
        row(
            f"chain, {n} series of {n_steps} steps, {how}: gap to the better of truth "
            f"and hmmlearn, {np.median(times):.0f} s of processor time",
            gaps,
            at_most=target,
            baseline=f"hmmlearn less truth: {np.median(theirs):.4f}, best "
            f"{np.max(theirs):.4f}",
        )


# Linear-Gaussian states --------------------------------------------------------------

TURN = 0.95 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
LINEAR = {
    "initial_mean": np.zeros(2),
    "initial_log_scale": np.zeros(2),
    "process_log_scale": np.log([0.3, 0.5]),
    "transition_matrix": TURN,
    "emission_matrix": np.array([[1.0, 0.0], [0.5, 1.0], [0.0, -1.0]]),
    "emission_offset": np.array([0.0, 1.0, 2.0]),
    "log_scale": np.log([0.3, 0.5, 0.4]),
    "min_scale": np.zeros(3),
}


def statsmodels_level(model, params, X):
    """Log-likelihood per step by statsmodels' Kalman filter."""
    scale, first = (
        1e-3 + np.exp(params[name])
        for name in ("process_log_scale", "initial_log_scale")
    )
    total = 0.0
    for series in model.steps(X):
        kalman = KalmanFilter(k_endog=3, k_states=2)
        kalman.bind(series.copy())
        kalman["design"] = params["emission_matrix"]
        kalman["obs_intercept"] = params["emission_offset"][:, np.newaxis]
        kalman["obs_cov"] = np.diag(noise_scale(params) ** 2)
        kalman["transition"] = params["transition_matrix"]
        kalman["selection"] = np.eye(2)
        kalman["state_cov"] = np.diag(scale**2)
        kalman.initialize_known(params["initial_mean"], np.diag(first**2))
        total += kalman.loglike()
    return total / X.shape[0] / model.n_steps


def optimum(model, X):
    """The largest log-likelihood per step that L-BFGS finds from the truth."""
    names = [name for name in LINEAR if name != "min_scale"]
    sizes = np.cumsum([LINEAR[name].size for name in names])[:-1]

    def unpack(vector):
        parts = np.split(vector, sizes)
        arrays = {
            name: part.reshape(LINEAR[name].shape)
            for name, part in zip(names, parts, strict=True)
        }
        return {**arrays, "min_scale": LINEAR["min_scale"]}

    result = minimize(
        lambda vector: -statsmodels_level(model, unpack(vector), X),
        np.concatenate([LINEAR[name].ravel() for name in names]),
        method="L-BFGS-B",
        options={"maxiter": 40},
    )
    return -result.fun


def linear(seeds):
    for n, n_steps in ((60, 30), (20, 100)):
        model = LinearGaussianStateSpaceModel(n_steps, n_outputs=3)
        gaps, errors, times = [], [], []
        for seed in seeds:
            X = model.sample(LINEAR, n, np.random.default_rng(seed))[1]
            fitter, spent = timed_fit(
                X,
                model,
                seed,
                n_sleep=6000 // n_steps,
                max_iter=400,
                learning_rate=0.03,
            )
            level = statsmodels_level(model, fitter.params_, X)
            errors.append(abs(level - fitter.score(X) / n_steps))
            gaps.append(optimum(model, X) - level)
            times.append(spent)
        row(
            f"linear-Gaussian, {n} series of {n_steps} steps: gap to the optimum of "
            f"statsmodels' likelihood, {np.median(times):.0f} s of processor time",
            gaps,
            at_most=0.02,
        )
        row(
            f"linear-Gaussian, {n_steps} steps: exact_log_likelihood per step less "
            "statsmodels'",
            errors,
            at_most=1e-6,
            digits=9,
        )


# Limit cycle -------------------------------------------------------------------------


def period(paths):
    """Of the largest peak of the spectrum, of paths (n, n_steps)."""
    power = np.abs(np.fft.rfft(paths - paths.mean(1, keepdims=True), 4096, axis=1))
    return 4096 / power.argmax(axis=1)


def cycle(seeds):
    noises, periods, times = [], [], []
    for seed in seeds:
        X, _ = make_limit_cycle(3, 30, random_state=seed)
        fitter, spent = timed_fit(
            X,
            StateSpaceModel(30, n_outputs=20, half_width=1),
            seed,
            n_sleep=100,
            max_iter=3000,
            learning_rate=0.01,
        )
        free = StateSpaceModel(101, n_outputs=20)
        x = free.sample(fitter.params_, 200, np.random.default_rng(0))[1]
        units = np.linspace(-1.5, 1.5, 20)
        seen = np.clip(x.reshape(200, 101, 20), 0, None)
        periods.append(np.median(period(seen @ units / seen.sum(2))))
        noises.append(noise_scale(fitter.params_)[0])
        times.append(spent)
    _, states = make_limit_cycle(200, 101, random_state=0)
    truth = np.median(period(states[:, :, 0]))
    row(
        f"limit cycle: relative error of the noise, {np.median(times):.0f} s of "
        "processor time",
        np.abs(np.array(noises) / 0.05 - 1),
        at_most=0.1,
        baseline="noises " + ", ".join(f"{noise:.3f}" for noise in noises),
    )
    row(
        "limit cycle: relative error of the median period of free-running samples",
        np.abs(np.array(periods) / truth - 1),
        at_most=0.05,
        baseline=f"{truth:.2f} in the data; "
        + ", ".join(f"{value:.2f}" for value in periods),
    )


BENCHMARKS = (linear, chain, cycle)

if __name__ == "__main__":
    parser = parser(__doc__, seeds=3)
    names = [benchmark.__name__ for benchmark in BENCHMARKS]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    with report():
        for benchmark in BENCHMARKS:
            if benchmark.__name__ in arguments.only:
                benchmark(range(arguments.seeds))
