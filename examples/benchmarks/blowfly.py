"""Nicholson's blowflies: delay, capacity, and simulations against the data.

160 rows of 20 values and the next, `gradient="importance"`, 300 updates at 0.03; exact
log-likelihoods by quadrature over the noises, in nats. Delays are in steps of two days.

One delay for the whole series: a fit for each of 1 to 20; their weights are those of a
posterior with an even prior. A delay drawn anew at every step: one fit, its weights are
its delay distribution. A start with the capacity at ten times the data's mean instead
of a third shows where the density dependence goes.

Simulations: 2000 of 160 steps from the first 20 values. Their dominant period, mean,
standard deviation and autocorrelation at lags 1 to 40 make one vector; the data's lies
in the 90% envelope if its extreme rank (the smallest two-sided rank among its entries)
is not among the lowest tenth of the simulations' (M. Myllymaki et al., "Global envelope
tests for spatial processes", JRSS B 79, 2017). Widths of the envelope are compared with
those of Wood's form (Poisson recruits, binomial survivors) at the parameters that the R
package pomp gives for two-day steps.
"""

import warnings

import numpy as np
from _report import parser, report, row
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning

from amortsk import WakeSleepFitter
from amortsk.datasets import load_blowfly
from amortsk.models import BlowflyModel

COUNTS = load_blowfly()
PAST, N_SIMULATIONS, N_LAGS = 20, 2000, 40
HISTORY = np.tile(COUNTS[:PAST], (N_SIMULATIONS, 1))


def fit(seed, delays=None, start=1.0):
    """A fitter, and its exact log-likelihood."""
    model = BlowflyModel(PAST, delays)
    X = model.rows(COUNTS)
    if start != 1.0:
        model = FarStart(PAST, delays, start)
    fitter = WakeSleepFitter(
        model=model,
        gradient="importance",
        max_iter=300,
        learning_rate=0.03,
        random_state=seed,
    ).fit(X)
    return fitter, fitter.score(X) * len(X)


class FarStart(BlowflyModel):
    """Another capacity to start from, `factor` times as large."""

    def __init__(self, max_delay=20, delays=None, factor=30.0):
        super().__init__(max_delay, delays)
        self.factor = factor

    def init_params(self, X, rng):
        params = super().init_params(X, rng)
        params["log_capacity"] += np.log(self.factor)
        # Balanced at the mean, as before.
        params["log_recruitment"] += 3 / self.factor - 3
        return params


# Simulations -------------------------------------------------------------------------


def wood(rng):
    """Simulations of Wood's form, parameters per day, steps of two days."""
    P, death_rate, capacity, sigma_p, sigma_d, step = (
        2.7319,
        0.17377,
        800.31,
        1.442,
        0.76033,
        2,
    )
    path = HISTORY
    for _ in range(len(COUNTS) - PAST):
        e, eps = (
            rng.gamma(step / s**2, s**2 / step, len(path)) for s in (sigma_p, sigma_d)
        )
        parents = path[:, -7]
        recruits = rng.poisson(P * step * parents * np.exp(-parents / capacity) * e)
        survivors = rng.binomial(
            path[:, -1].astype(int), np.exp(-death_rate * step * eps)
        )
        path = np.column_stack([path, recruits + survivors])
    return path[:, PAST:]


def statistics(series):
    """Dominant period, mean, standard deviation, autocorrelations: (n, 43)."""
    residual = series - series.mean(1, keepdims=True)
    power = np.abs(np.fft.rfft(residual, 1024, axis=1)) ** 2
    # Periods of 5 to 60 steps.
    band = slice(1024 // 60, 1024 // 5)
    period = 1024 / (np.argmax(power[:, band], axis=1) + band.start)
    n = series.shape[1]
    squares = np.sum(residual**2, axis=1)
    lags = [
        np.sum(residual[:, k:] * residual[:, : n - k], axis=1) / squares
        for k in range(1, N_LAGS + 1)
    ]
    return np.column_stack([period, series.mean(1), series.std(1), *lags])


def envelope(simulations):
    """Global rank p-value of the data, lower and upper edges at 90%."""
    observed = statistics(COUNTS[np.newaxis, PAST:])
    simulated = statistics(simulations)
    ranks = rankdata(np.concatenate([observed, simulated]), axis=0)
    extreme = np.minimum(ranks, len(ranks) + 1 - ranks).min(axis=1)
    inside = np.mean(extreme <= extreme[0])
    depth = int(np.quantile(extreme, 0.1))
    ordered = np.sort(simulated, axis=0)
    return inside, ordered[depth - 1], ordered[-depth]


def check(name, simulations, baseline):
    p, low, high = envelope(simulations)
    observed = statistics(COUNTS[np.newaxis, PAST:])[0]
    row(f"{name}: rank p-value of the data", [p], at_least=0.1, digits=3)
    width, reference = high - low, baseline[2] - baseline[1]
    row(
        f"{name}: mean width of the envelope of autocorrelations over that of Wood's",
        [np.mean(width[3:]) / np.mean(reference[3:])],
        at_most=2,
        digits=2,
        baseline=f"widths {np.mean(width[3:]):.2f}, {np.mean(reference[3:]):.2f}",
    )
    for i, what in enumerate(("period", "mean", "standard deviation")):
        row(
            f"{name}: {what}, width of its envelope over that of Wood's",
            [width[i] / reference[i]],
            at_most=2,
            digits=2,
            baseline=f"data {observed[i]:.4g}, envelope {low[i]:.4g} to {high[i]:.4g}, "
            f"Wood's {baseline[1][i]:.4g} to {baseline[2][i]:.4g}",
        )


def parameters(fitter):
    P, capacity, death_rate, s_p, s_d, s_r = fitter.model_._rates_and_noises(
        fitter.params_
    )
    return (
        f"P {P:.2f}, capacity {capacity:.0f}, death rate {death_rate:.3f} a step, noises "
        f"{s_p:.2f}, {s_d:.2f}, {s_r:.2f}"
    )


def main(n_seeds):
    rng = np.random.default_rng(0)
    simulations = wood(rng)
    p, *_ = baseline = envelope(simulations)
    row(
        "Wood's form: rank p-value of the data",
        [p],
        digits=3,
        baseline="P 5.46, capacity 800, death rate 0.348 a step, noises 1.02, 0.54",
    )
    single = [fit(0, (delay,)) for delay in range(1, PAST + 1)]
    levels = np.array([level for _, level in single])
    weights = np.exp(levels - levels.max())
    weights /= weights.sum()
    best = np.argmax(levels)
    pair = max(weights[i] + weights[i + 1] for i in range(PAST - 1))
    row(
        "one delay: weight of the best two neighbouring ones",
        [pair],
        at_least=0.9,
        digits=3,
        baseline="log-likelihoods "
        + ", ".join(f"{d}: {levels[d - 1]:.1f}" for d in (6, 7, 8, 9, 17, 18, 19)),
    )
    fitter, level = single[best]
    row(
        f"one delay of {best + 1}: log-likelihood; {parameters(fitter)}",
        [level],
        digits=1,
    )
    check(
        f"one delay of {best + 1}",
        fitter.model_.simulate(fitter.params_, HISTORY, len(COUNTS) - PAST, rng),
        baseline,
    )
    free = [fit(seed) for seed in range(n_seeds)]
    shares = np.array([np.exp(f.model_._log_share(f.params_)) for f, _ in free])
    row(
        "a delay a step: weight of the best two neighbouring ones",
        (shares[:, 1:] + shares[:, :-1]).max(1),
        digits=3,
        baseline="mean weights "
        + ", ".join(f"{d}: {shares[:, d - 1].mean():.2f}" for d in range(5, 12)),
    )
    fitter, _ = free[0]
    row(
        f"a delay a step: log-likelihood; {parameters(fitter)}",
        [l for _, l in free],
        digits=1,
    )
    check(
        "a delay a step",
        fitter.model_.simulate(fitter.params_, HISTORY, len(COUNTS) - PAST, rng),
        baseline,
    )
    far = [fit(seed, start=30.0) for seed in range(n_seeds)]
    shares = np.array([np.exp(f.model_._log_share(f.params_)) for f, _ in far])
    row(
        f"started at 30 times the capacity: log-likelihood; {parameters(far[0][0])}",
        [l for _, l in far],
        digits=1,
        baseline="delays "
        + ", ".join(f"{d + 1}: {w:.2f}" for d, w in enumerate(shares[0]) if w > 0.05),
    )


if __name__ == "__main__":
    arguments = parser(__doc__, seeds=3).parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    with report():
        main(arguments.seeds)
