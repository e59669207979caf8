"""How often check_model rejects right models, and how surely it finds planted mistakes.

Right models: four families, a hundred seeds each. Planted mistakes, on factor analysis:
a prior left out, a wrong sign, a sampler with noise 1.2 times as large, a log_prior
without its constant.
"""

import re

import numpy as np
from _report import line, parser, report, verdict

from amortsk import check_model
from amortsk.models import (
    BernoulliFactorModel,
    FactorAnalysisModel,
    GaussianMixtureModel,
    IndependentComponentsModel,
)


class NoPrior(FactorAnalysisModel):
    """The prior of z is left out."""

    natural_params = None

    def log_joint(self, params, z, x):
        return super().log_joint(params, z, x) - self.log_prior(params, z)


class WrongSign(FactorAnalysisModel):
    """Data are evaluated with the other sign."""

    natural_params = None

    def log_joint(self, params, z, x):
        return super().log_joint(params, z, -x)


class OtherNoise(FactorAnalysisModel):
    """The sampler's noise is larger."""

    natural_params = None

    def sample(self, params, n_samples, rng):
        larger = {**params, "log_scale": params["log_scale"] + np.log(1.2)}
        return super().sample(larger, n_samples, rng)


class NoConstant(FactorAnalysisModel):
    """The constant of log_prior, and so of the log-joint, is left out."""

    natural_params = None

    def log_prior(self, params, z):
        return -0.5 * np.sum(z**2, axis=1)


def standard_errors(model, X, seed):
    """Largest statistic of a check, whether it raises or not."""
    try:
        check = check_model(model, X, random_state=seed)
    except ValueError as error:
        return float(re.search(r"([\d.]+) standard errors", str(error)).group(1))
    found = (check.mean_score, check.conditional_importance, check.log_prior)
    return np.nanmax(found)


if __name__ == "__main__":
    seeds = range(parser(__doc__, seeds=100).parse_args().seeds)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 6)) @ rng.standard_normal((6, 6))
    binary = (X > 0).astype(float)
    right = [
        (FactorAnalysisModel(2), X),
        (GaussianMixtureModel(3), X),
        (IndependentComponentsModel(3), X),
        (BernoulliFactorModel(2), binary),
    ]
    with report(("model", "rejected", "target", "least and most s.e.", "met", "seeds")):
        for model, data in right:
            t = np.array([standard_errors(model, data, seed) for seed in seeds])
            name, share = type(model).__name__, np.mean(t > 5)
            spread = f"{t.min():.1f}, {t.max():.1f}"
            line(
                name,
                f"{share:.0%}",
                "<= 1%",
                spread,
                verdict(share <= 0.01),
                str(len(t)),
            )
        for Wrong in (NoPrior, WrongSign, OtherNoise, NoConstant):
            t = np.array([standard_errors(Wrong(2), X, seed) for seed in seeds[:20]])
            share, spread = np.mean(t > 5), f"{t.min():.1f}, {t.max():.1f}"
            met = verdict(share == 1)
            line(Wrong.__name__, f"{share:.0%}", "100%", spread, met, str(len(t)))
