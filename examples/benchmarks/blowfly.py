"""Nicholson's blowflies: delay, capacity, and simulations against the data.

160 rows of 20 values and the next, `gradient="importance"`, 400 proposals, 1000 updates
at 0.03; exact log-likelihoods by quadrature over the noises, in nats. Delays are in
steps of two days.

Three models of the delay, from 1 to 20 steps. One lag: a fit for each. Two neighbouring
lags, one of which is drawn at every step: a fit for each two, their shares among its
parameters. Of these two models the lags are found by the likelihoods of all fits, shown
as weights. Any lag, drawn at every step: one fit with twenty shares. A start with the
capacity at ten times the data's mean instead of a third shows where the density
dependence goes.

Simulations: 10 000 of 160 steps from the first 20 values. Their dominant period, mean,
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
PAST, N_SIMULATIONS, N_LAGS = 20, 10_000, 40
N_STEPS = len(COUNTS) - PAST
DATA = COUNTS[np.newaxis, PAST:]
HISTORY = np.tile(COUNTS[:PAST], (N_SIMULATIONS, 1))


def fit(seed, delays=None, factor=1.0):
    """A fitter, and its exact log-likelihood."""
    model = StartingElsewhere(PAST, delays, factor)
    X = model.rows(COUNTS)
    fitter = WakeSleepFitter(
        model=model,
        gradient="importance",
        n_proposals=400,
        learning_rate=0.03,
        random_state=seed,
    ).fit(X)
    return fitter, fitter.score(X) * len(X)


class StartingElsewhere(BlowflyModel):
    """Another capacity to start from, `factor` times as large."""

    def __init__(self, max_delay=20, delays=None, factor=1.0):
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
    P, death_rate, capacity, step = 2.7319, 0.17377, 800.31, 2
    path = HISTORY
    for _ in range(N_STEPS):
        e, eps = (
            rng.gamma(step / s**2, s**2 / step, len(path)) for s in (1.442, 0.76033)
        )
        # Seven steps before the last value.
        parents = path[:, -8]
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
    observed = statistics(DATA)
    simulated = statistics(simulations)
    ranks = rankdata(np.concatenate([observed, simulated]), axis=0)
    extreme = np.minimum(ranks, len(ranks) + 1 - ranks).min(axis=1)
    inside = np.mean(extreme <= extreme[0])
    depth = int(np.quantile(extreme, 0.1))
    ordered = np.sort(simulated, axis=0)
    return inside, ordered[depth - 1], ordered[-depth]


def check(name, fits, baseline, rng):
    """Rows of what simulations of the fits say of the data."""
    _, low, high = baseline
    fitter, _ = fits[0]
    row(
        f"{name}: log-likelihood; {parameters(fitter)}",
        [level for _, level in fits],
        digits=1,
    )
    found = [
        envelope(f.model_.simulate(f.params_, HISTORY, N_STEPS, rng)) for f, _ in fits
    ]
    row(
        f"{name}: rank p-value of the data",
        [p for p, _, _ in found],
        at_least=0.1,
        digits=3,
    )
    widths = np.array([(b - a) / (high - low) for _, a, b in found])
    row(
        f"{name}: width of the envelope over that of Wood's form, autocorrelations",
        widths[:, 3:].mean(axis=1),
        at_most=2,
        digits=2,
        baseline=f"Wood's {np.mean(high[3:] - low[3:]):.2f}",
    )
    observed = statistics(DATA)[0]
    for i, what in enumerate(("period", "mean", "standard deviation")):
        row(
            f"{name}: the same, {what}",
            widths[:, i],
            at_most=2,
            digits=2,
            baseline=f"data {observed[i]:.4g}, envelope {found[0][1][i]:.4g} to "
            f"{found[0][2][i]:.4g}, Wood's {low[i]:.4g} to {high[i]:.4g}",
        )


def parameters(fitter):
    P, capacity, death_rate, *noises = fitter.model_.values(fitter.params_)
    noises = ", ".join(f"{noise:.2f}" for noise in noises)
    return (
        f"P {P:.2f}, capacity {capacity:.0f}, death rate {death_rate:.3f} a step, "
        f"noises {noises}"
    )


def likelihoods(fits):
    """Log-likelihoods of the best fits, in words, and all as weights."""
    levels = np.array([level for _, level in fits])
    weights = np.exp(levels - levels.max())
    near = np.flatnonzero(levels > levels.max() - 30)
    words = ", ".join(f"{k + 1}: {levels[k]:.1f}" for k in near)
    return f"log-likelihoods {words}", weights / weights.sum()


def shares(fitter):
    """Weights of the delays, and how to print those that matter."""
    share = np.exp(fitter.model_.log_share(fitter.params_))
    return share, ", ".join(
        f"{d + 1}: {weight:.2f}" for d, weight in enumerate(share) if weight > 0.02
    )


def main(seeds):
    rng = np.random.default_rng(0)
    p, *_ = baseline = envelope(wood(rng))
    row(
        "Wood's form: rank p-value of the data",
        [p],
        digits=3,
        baseline="P 5.46, capacity 800, death rate 0.348 a step, noises 1.02, 0.54",
    )
    single = [fit(0, (d,)) for d in range(1, PAST + 1)]
    levels, weights = likelihoods(single)
    best = np.argmax(weights[:-1] + weights[1:])
    row(
        f"one lag: weight of {best + 1} and {best + 2}",
        [weights[best] + weights[best + 1]],
        at_least=0.9,
        digits=3,
        baseline=levels,
    )
    for k in (best, best + 1):
        check(f"one lag, {k + 1}", [single[k]], baseline, rng)
    pairs = [fit(0, (d, d + 1)) for d in range(1, PAST)]
    levels, weights = likelihoods(pairs)
    best = np.argmax(weights)
    row(
        f"two lags: weight of {best + 1} and {best + 2} among all pairs",
        [weights[best]],
        at_least=0.9,
        digits=3,
        baseline=levels,
    )
    two = [pairs[best]] + [fit(seed, (best + 1, best + 2)) for seed in seeds[1:]]
    row("two lags: share of the longer", [shares(f)[0][1] for f, _ in two], digits=2)
    check("two lags", two, baseline, rng)
    free = [fit(seed) for seed in seeds]
    check("any lag", free, baseline, rng)
    found = [shares(fitter)[0] for fitter, _ in free]
    row(
        "any lag: weight of the best two neighbouring ones",
        [np.max(share[1:] + share[:-1]) for share in found],
        digits=2,
        baseline=shares(free[0][0])[1],
    )
    far = [fit(seed, factor=30.0) for seed in seeds]
    row(
        "any lag, far start: log-likelihood; " + parameters(far[0][0]),
        [level for _, level in far],
        digits=1,
        baseline="delays " + shares(far[0][0])[1],
    )


if __name__ == "__main__":
    arguments = parser(__doc__, seeds=3).parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    with report():
        main(range(arguments.seeds))
