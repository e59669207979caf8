"""Ready-made generative models."""

from amortsk.models.bernoulli_factor import BernoulliFactorModel
from amortsk.models.circular import CircularLatentModel
from amortsk.models.decoder import DecoderModel
from amortsk.models.factor_analysis import FactorAnalysisModel
from amortsk.models.gaussian_mixture import GaussianMixtureModel
from amortsk.models.hierarchical_mixture import HierarchicalMixtureModel
from amortsk.models.independent_components import IndependentComponentsModel
from amortsk.models.matrix_factorization import BernoulliMatrixFactorizationModel
from amortsk.models.softplus_gaussian import SoftplusGaussianModel

__all__ = [
    "BernoulliFactorModel",
    "BernoulliMatrixFactorizationModel",
    "CircularLatentModel",
    "DecoderModel",
    "FactorAnalysisModel",
    "GaussianMixtureModel",
    "HierarchicalMixtureModel",
    "IndependentComponentsModel",
    "SoftplusGaussianModel",
]
