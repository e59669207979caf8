"""Ready-made generative models."""

from amortsk.models.bernoulli_factor import BernoulliFactorModel
from amortsk.models.factor_analysis import FactorAnalysisModel
from amortsk.models.gaussian_mixture import GaussianMixtureModel
from amortsk.models.independent_components import IndependentComponentsModel

__all__ = [
    "BernoulliFactorModel",
    "FactorAnalysisModel",
    "GaussianMixtureModel",
    "IndependentComponentsModel",
]
