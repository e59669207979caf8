"""Stochastic volatility by local terms: windows that say little of the states.

h_1 ~ N(0, s^2 / (1 - phi^2)), h_t ~ N(phi h_{t-1}, s^2), x_t ~ N(0, exp(mu + h_t)),
with mu = -1, phi = 0.9, s = 0.4 (Taylor, *Modelling financial time series*, 1986). The
exact likelihood is that of a hidden chain on a grid of 80 points (Kitagawa, JASA 82,
1987), its maximum found by BFGS. Fits are two plain functions, with windows of five
steps and 10 000 of them in a sleep set. The noise of a gradient is its root mean
variance over 20 estimates at the maximum, with all data as the batch. Beside it:
without the control variate, and with bandwidths of the least leave-one-out error.
"""

from unittest import mock

import autograd.numpy as np
import numpy as onp
from _report import parser, report, row
from autograd import value_and_grad
from autograd.scipy.stats import norm
from scipy.optimize import minimize

from amortsk import WakeSleepFitter, windows
from amortsk.design import choose

TRUTH = {"mu": -1.0, "atanh_phi": onp.arctanh(0.9), "log_s": onp.log(0.4)}
START = {"mu": 0.0, "atanh_phi": 0.5, "log_s": -0.5}
SETTINGS = {"max_iter": 300, "learning_rate": 0.03}
N_ROWS = 400
GRID = onp.linspace(-4.5, 4.5, 80)


def natural(params):
    return np.tanh(params["atanh_phi"]), np.exp(params["log_s"])


def sampler_of(n_steps):
    def sampler(params, n, rng):
        phi, s = natural(params)
        noise = s * rng.standard_normal((n, n_steps))
        h = onp.empty_like(noise)
        h[:, 0] = noise[:, 0] / onp.sqrt(1 - phi**2)
        for t in range(1, n_steps):
            h[:, t] = phi * h[:, t - 1] + noise[:, t]
        return h, onp.exp((params["mu"] + h) / 2) * rng.standard_normal(h.shape)

    return sampler


def log_joint(params, h, x):
    phi, s = natural(params)
    first = norm.logpdf(h[:, :1], 0.0, s / np.sqrt(1 - phi**2))
    rest = norm.logpdf(h[:, 1:], phi * h[:, :-1], s)
    emitted = norm.logpdf(x, 0.0, np.exp((params["mu"] + h) / 2))
    return np.concatenate([first, rest], axis=1) + emitted


def log_likelihood(params, X):
    """Mean over rows, by the forward algorithm on the grid."""
    phi, s = natural(params)
    h = GRID * s / np.sqrt(1 - phi**2)
    moves = norm.pdf(h, phi * h[:, np.newaxis], s)
    moves = moves / np.sum(moves, axis=1, keepdims=True)
    weights = norm.pdf(GRID) / onp.sum(norm.pdf(GRID))
    total = 0.0
    for t in range(X.shape[1]):
        emitted = norm.pdf(X[:, t : t + 1], 0.0, np.exp((params["mu"] + h) / 2))
        weights = weights * emitted
        evidence = np.sum(weights, axis=1, keepdims=True)
        total = total + np.mean(np.log(evidence))
        weights = np.dot(weights / evidence, moves)
    return total


def maximum(X):
    """Parameters of the highest likelihood, and its value."""

    def loss(values):
        return -log_likelihood(dict(zip(TRUTH, values, strict=True)), X)

    start = onp.array(list(TRUTH.values()))
    found = minimize(value_and_grad(loss), start, jac=True)
    return dict(zip(TRUTH, found.x, strict=True)), -found.fun


def fitter_of(X, seed, start, **options):
    n_steps = X.shape[1]
    return WakeSleepFitter(
        log_joint,
        sampler_of(n_steps),
        start,
        term_columns=windows(n_steps, 2),
        n_sleep=10_000 // n_steps,
        random_state=seed,
        **options,
    )


def least_error(regressor, X, Y, seed, near, break_ties, always):
    """Bandwidth and ridge, were ties not broken."""
    return choose(regressor, X, Y, seed, near, always=always)


def error_unknown(regressor, X, Y, *options):
    """Bandwidth and ridge, were the errors not known that the control variate uses."""
    gamma, alpha, errors = choose(regressor, X, Y, *options)
    return gamma, alpha, onp.full_like(errors, onp.nan)


def noise(X, params):
    """Of the estimated mean gradient."""
    run = fitter_of(X, 0, params, max_iter=1, learning_rate=1e-9).fit(X)._run
    gradients = []
    for _ in range(20):
        run.n_iter = run.next_choice = run.n_iter + 1
        gradients.append(list(run.estimate(run.sleep(), X).gradient.values()))
    return onp.sqrt(onp.var(gradients, axis=0).mean())


def volatility(n_steps, n_seeds):
    gaps, wide, with_variate, without = [], [], [], []
    for seed in range(n_seeds):
        rng = onp.random.default_rng(seed)
        X = sampler_of(n_steps)(TRUTH, N_ROWS, rng)[1]
        best, value = maximum(X)

        def gap(params, value=value, X=X):
            return (value - log_likelihood(params, X)) / n_steps

        gaps.append(gap(fitter_of(X, seed, START, **SETTINGS).fit(X).params_))
        with mock.patch("amortsk.regression.choose", least_error):
            wide.append(gap(fitter_of(X, seed, START, **SETTINGS).fit(X).params_))
        with_variate.append(noise(X, best))
        with mock.patch("amortsk.regression.choose", error_unknown):
            without.append(noise(X, best))
    name = f"{N_ROWS} rows of {n_steps} steps"
    row(
        f"{name}: gap to the maximum, nats a step",
        gaps,
        at_most=0.005,
        baseline=f"start: {gap(START):.4f}; bandwidths of the least error: "
        + ", ".join(f"{g:.4f}" for g in wide),
    )
    row(
        f"{name}: noise of a gradient",
        with_variate,
        baseline=f"without control variate: {onp.median(without):.4f}",
    )


if __name__ == "__main__":
    n_seeds = parser(__doc__, seeds=3).parse_args().seeds
    with report():
        for n_steps in (10, 40):
            volatility(n_steps, n_seeds)
