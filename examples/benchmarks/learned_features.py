"""Features that a neural network learns from one sleep set to the next."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.neural_network import MLPRegressor

# Rare pixels are far away in units of their standard deviations.
BOUND = 3.0


class LearnedFeatures(TransformerMixin, BaseEstimator):
    """The last hidden layer of a network that predicts the targets.

    Every call of `fit` is one more pass of Adam over the rows given, so that the
    network sees ever new draws of a model that changes slowly: an encoder, but one that
    knows nothing of the data, as all regressions of the method.

    Parameters
    ----------
    hidden : tuple of int, default=(200,)
        Widths of the tanh layers.
    warm_start : bool, default=True
        Go on from the last call of `fit`.
    """

    def __init__(self, hidden=(200,), warm_start=True):
        self.hidden = hidden
        self.warm_start = warm_start

    def fit(self, X, y):
        """One pass over the rows of X and the targets y."""
        if not (self.warm_start and hasattr(self, "network_")):
            self.network_ = MLPRegressor(
                hidden_layer_sizes=self.hidden,
                activation="tanh",
                alpha=0,
                random_state=0,
            )
        self.network_.partial_fit(self._bounded(X), y.astype(np.float32))
        return self

    def transform(self, X):
        """The last hidden layer, one row for each of X."""
        h = self._bounded(X)
        layers = zip(self.network_.coefs_, self.network_.intercepts_, strict=True)
        for weights, biases in list(layers)[:-1]:
            h = np.tanh(h @ weights + biases)
        return h.astype(np.float64)

    def _bounded(self, X):
        return np.clip(X, -BOUND, BOUND).astype(np.float32)
