"""One iteration against hand-written NumPy, and its peak memory as N grows.

Cost: 256 columns, 36 Laplace latents, 2000 sleep draws, batch of 100, 300 Fourier
features, bandwidth and ridge fixed, gradient="likelihood". The hand-written loop does
the same arithmetic: draws, features, Cholesky factor, analytic gradient, Adam. Its
gradient is compared with the package's on the same draws first; then iterations of both
alternate, and medians are compared.

Memory: peak of traced allocations of two iterations (the first chooses the bandwidth)
of factor analysis with 20 columns. It may grow by no more than one chunk of 20 000 rows
of the regression's 321 columns.
"""

import time
import tracemalloc

import numpy as np
from _report import line, parser, report, row, verdict
from scipy import linalg

from amortsk import AmortisedGradientRegressor, WakeSleepFitter
from amortsk.models import FactorAnalysisModel, IndependentComponentsModel

D, K, N, M, F = 256, 36, 2000, 100, 300
GAMMA, ALPHA, RATE = 0.001, 0.01, 0.001
NAMES = ("mixing", "mean", "log_scale")


def make_data(seed):
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((D, K)) / 6
    X = rng.laplace(size=(5000, K)) @ mixing.T
    return X + 0.1 * rng.standard_normal(X.shape)


def make_run(X, seed):
    """The package's training loop before its first iteration."""
    regressor = AmortisedGradientRegressor(
        n_components=F, gamma=GAMMA, alpha=ALPHA, trend=None
    )
    fitter = WakeSleepFitter(
        model=IndependentComponentsModel(K),
        regressor=regressor,
        gradient="likelihood",
        n_sleep=N,
        batch_size=M,
        learning_rate=RATE,
        random_state=seed,
    )
    return fitter._begin(X)


def fourier(x, frequencies, offset):
    projection = x @ frequencies
    projection -= offset
    features = np.empty((len(x), F))
    np.cos(projection, out=features[:, : F // 2])
    np.sin(projection, out=features[:, F // 2 :])
    features *= np.sqrt(2 / F)
    return features


def hand_gradient(params, z, x, wake, frequencies, center, scale, bounds):
    """Gradient of the weighted log-likelihood, written out."""
    # Sleep draws are standardised by way of the frequencies; data in so many words, and
    # brought back into the range of the draws.
    scaled = frequencies / scale[:, None]
    sleep_features = fourier(x, scaled, center @ scaled)
    wake_features = fourier(np.clip((wake - center) / scale, *bounds), frequencies, 0.0)
    gram = sleep_features.T @ sleep_features
    gram.flat[:: F + 1] += ALPHA
    factor = linalg.cho_factor(gram, overwrite_a=True, check_finite=False)
    query = linalg.cho_solve(factor, wake_features.T, check_finite=False)
    weights = sleep_features @ query
    weights /= len(wake)
    totals = weights.sum(1)
    sigma = params["min_scale"] + np.exp(params["log_scale"])
    mean = z @ params["mixing"].T
    mean += params["mean"]
    first, second = weights @ wake, weights @ wake**2
    residual = first - totals[:, None] * mean
    squares = second.sum() - np.sum((first + residual) * mean)
    residual /= sigma**2
    slope = squares / sigma**3 - D * totals.sum() / sigma
    return {
        "mixing": residual.T @ z,
        "mean": residual.sum(0),
        "log_scale": slope * np.exp(params["log_scale"]),
    }


class HandLoop:
    """The same iteration without the package."""

    def __init__(self, params, X, scaling, seed):
        self.params, self.X, self.scaling = params, X, scaling
        self.rng = np.random.default_rng(seed)
        self.first, self.second = (dict.fromkeys(NAMES, 0.0) for _ in range(2))
        self.t = 0

    def iterate(self):
        rng, params = self.rng, self.params
        sigma = params["min_scale"] + np.exp(params["log_scale"])
        z = rng.laplace(size=(N, K))
        x = z @ params["mixing"].T + params["mean"]
        x += sigma * rng.standard_normal((N, D))
        wake = self.X[rng.permutation(len(self.X))[:M]]
        frequencies = np.sqrt(2 * GAMMA) * rng.standard_normal((D, F // 2))
        gradient = hand_gradient(params, z, x, wake, frequencies, *self.scaling)
        self.t += 1
        self.params = dict(params)
        for name, g in gradient.items():
            first = self.first[name] = 0.9 * self.first[name] + 0.1 * g
            second = self.second[name] = 0.999 * self.second[name] + 0.001 * g**2
            size = np.sqrt(second / (1 - 0.999**self.t)) + 1e-8
            step = RATE / (1 - 0.9**self.t) * first / size
            self.params[name] = params[name] + step


def gradient_difference(run, X):
    """Largest relative difference of the two gradients on the same draws."""
    sleep, wake, estimator = run.sleep(), X[:M], run.estimator
    estimator.select(run.params, sleep, wake, np.random.default_rng(0))
    ours = estimator.estimate(run.params, sleep, wake, np.random.default_rng(1))
    (fitted,) = estimator.regression.fit(sleep, np.random.default_rng(1))
    draws = sleep.first
    frequencies = fitted.design.features.frequencies_
    hand = hand_gradient(
        run.params,
        draws.z,
        draws.x,
        wake,
        frequencies,
        *fitted.scaling,
        fitted.range,
    )
    return max(
        np.abs(hand[name] - ours.gradient[name]).max() / np.abs(hand[name]).max()
        for name in NAMES
    )


def step(run, X):
    """One iteration of a fit."""
    run.iterate(run.batch(X), len(X), 1.0)


def timed(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return 1e3 * (time.perf_counter() - start)


def time_ratio(seed, n_iter=150):
    """Medians in ms of the package's iterations and of the hand-written ones."""
    X = make_data(seed)
    run = make_run(X, seed)
    step(run, X)
    regression = run.estimator.regression
    scaling = (*regression.scalings[0], regression.ranges[0])
    loop = HandLoop(run.params, X, scaling, seed)
    ours, hand = [], []
    for _ in range(n_iter):
        ours.append(timed(step, run, X))
        hand.append(timed(loop.iterate))
    return np.median(ours), np.median(hand)


def peak_memory(gradient, n_sleep):
    """Peak in MB of traced allocations, over what was allocated before."""
    X = np.random.default_rng(0).standard_normal((1000, 20))
    fitter = WakeSleepFitter(
        model=FactorAnalysisModel(5), gradient=gradient, n_sleep=n_sleep, random_state=0
    )
    run = fitter._begin(X)
    tracemalloc.start()
    for _ in range(2):
        step(run, X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def cost(seeds):
    X = make_data(0)
    differences = [gradient_difference(make_run(X, s), X) for s in seeds]
    row(
        "relative difference of the gradients, same draws",
        differences,
        at_most=1e-8,
        digits=14,
    )
    ours, hand = np.transpose([time_ratio(seed) for seed in seeds])
    row(
        f"iteration, ratio of medians (ours {np.median(ours):.1f} ms)",
        ours / hand,
        at_most=1.25,
        digits=2,
        baseline=f"by hand {np.median(hand):.1f} ms",
    )


def memory():
    sizes, chunk = (20_000, 100_000, 1_000_000), 20_000 * 321 * 8 / 1e6
    line("peak memory, MB", *(f"N={n}" for n in sizes), "growth", "target", "met")
    line(*["---"] * 7)
    for gradient in ("joint", "likelihood", "importance"):
        peaks = [peak_memory(gradient, n) for n in sizes]
        growth = max(peaks) - peaks[0]
        line(
            gradient,
            *(f"{peak:.0f}" for peak in peaks),
            f"{growth:.0f}",
            f"<= {chunk:.0f}",
            verdict(growth <= chunk),
        )


if __name__ == "__main__":
    arguments = parser(__doc__, seeds=5).parse_args()
    with report():
        cost(range(arguments.seeds))
        print()
        memory()
