"""Ready-made generative models."""

from amortsk.models.bernoulli_factor import BernoulliFactorModel
from amortsk.models.blowfly import BlowflyModel
from amortsk.models.circular import CircularLatentModel
from amortsk.models.decoder import DecoderModel
from amortsk.models.factor_analysis import FactorAnalysisModel
from amortsk.models.gaussian_mixture import GaussianMixtureModel
from amortsk.models.hidden_markov import HiddenMarkovModel
from amortsk.models.hierarchical_mixture import HierarchicalMixtureModel
from amortsk.models.hodgkin_huxley import HodgkinHuxleyModel
from amortsk.models.independent_components import IndependentComponentsModel
from amortsk.models.matrix_factorization import BernoulliMatrixFactorizationModel
from amortsk.models.neural_process import NeuralProcessModel
from amortsk.models.softplus_gaussian import SoftplusGaussianModel
from amortsk.models.state_space import LinearGaussianStateSpaceModel, StateSpaceModel

__all__ = [
    "BernoulliFactorModel",
    "BernoulliMatrixFactorizationModel",
    "BlowflyModel",
    "CircularLatentModel",
    "DecoderModel",
    "FactorAnalysisModel",
    "GaussianMixtureModel",
    "HiddenMarkovModel",
    "HierarchicalMixtureModel",
    "HodgkinHuxleyModel",
    "IndependentComponentsModel",
    "LinearGaussianStateSpaceModel",
    "NeuralProcessModel",
    "SoftplusGaussianModel",
    "StateSpaceModel",
]
