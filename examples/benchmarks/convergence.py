"""How often `converged_` and the ConvergenceWarning are wrong.

Factor analysis, 500 rows of 5 columns, one factor. A fit has converged if its exact
log-likelihood is within 0.01 nats per row of the optimum. A quarter as many fits start
far away and have 30 iterations.
"""

import warnings

import numpy as np
from _report import line, parser, report, verdict
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning

from amortsk import AmortisedGradientRegressor, WakeSleepFitter
from amortsk.models import FactorAnalysisModel


class FarStart(FactorAnalysisModel):
    """Starts five standard deviations from the data."""

    def init_params(self, X, rng):
        params = super().init_params(X, rng)
        params["mean"] = params["mean"] + 5 * X.std(0)
        return params


def outcome(model, gradient, seed, **options):
    """Gap to the optimum, whether converged_ is False, whether the fit warned."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((500, 1)) @ rng.standard_normal((1, 5))
    X += rng.uniform(0.3, 1, 5) * rng.standard_normal(X.shape)
    fitter = WakeSleepFitter(
        model=model,
        gradient=gradient,
        n_sleep=200,
        n_proposals=20,
        batch_size=50,
        regressor=AmortisedGradientRegressor(n_components=60, trend="linear"),
        random_state=seed,
        **options,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitter.fit(X)
    warned = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    best = FactorAnalysis(1, tol=1e-8, max_iter=5000).fit(X).score(X)
    return best - fitter.score(X), not fitter.converged_, warned


def share(name, flags, at_most=None):
    """A row for a share of fits."""
    if not len(flags):
        return
    value = np.mean(flags)
    line(
        name,
        "none" if at_most is None else f"< {at_most:.0%}",
        f"{value:.1%}",
        "" if at_most is None else verdict(value < at_most),
        f"{np.sum(flags)} of {len(flags)}",
    )


if __name__ == "__main__":
    parser = parser(__doc__, seeds=200)
    parser.add_argument("--gradients", nargs="+", default=["auto"])
    arguments = parser.parse_args()
    seeds = range(arguments.seeds)
    with report(("metric", "target", "share", "met", "fits")):
        for gradient in arguments.gradients:
            fits = [
                outcome(
                    FactorAnalysisModel(1),
                    gradient,
                    seed,
                    max_iter=300,
                    learning_rate=0.03,
                )
                for seed in seeds
            ]
            gap, unsure, warned = map(np.array, zip(*fits, strict=True))
            near = gap < 0.01
            name = f'gradient="{gradient}", max_iter=300'
            share(f"{name}: gap above 0.01", ~near)
            share(
                f"{name}: converged_ False at the optimum", unsure[near], at_most=0.01
            )
            share(f"{name}: warned at the optimum", warned[near], at_most=0.01)
            share(f"{name}: warned with a gap above 0.01", warned[~near])
            fits = [
                outcome(FarStart(1), gradient, seed, max_iter=30) for seed in seeds[::4]
            ]
            gap, unsure, warned = map(np.array, zip(*fits, strict=True))
            name = f'gradient="{gradient}", far start, max_iter=30'
            share(f"{name}: gap above 0.01", gap >= 0.01)
            share(f"{name}: converged_ False", unsure)
            share(f"{name}: warned", warned)
