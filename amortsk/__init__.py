"""Fit any latent-variable model that can be sampled, by amortised wake-sleep."""

from amortsk.checks import check_model
from amortsk.features import RandomFourierFeatures
from amortsk.fitter import WakeSleepFitter
from amortsk.model import LatentVariableModel
from amortsk.regressor import AmortisedGradientRegressor
from amortsk.terms import windows

__all__ = [
    "AmortisedGradientRegressor",
    "LatentVariableModel",
    "RandomFourierFeatures",
    "WakeSleepFitter",
    "check_model",
    "windows",
]

__version__ = "0.1.0"
