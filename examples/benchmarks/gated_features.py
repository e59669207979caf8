"""Features of windows whose noise is small beside the signal."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA


class GatedFeatures(TransformerMixin, BaseEstimator):
    r"""Linear and quadratic functions of a window, the linear ones gated by its shape.

    With w the whitened leading principal components, c the first few of them, which
    say where in a spike the window is, and r the mean square of all other components,

    .. math::
        \cos(\omega_j^\top c + b_j) \, (1, w, r), \qquad w_i w_k, \qquad r

    Random cosines alone see only c: nothing of what is small or of short duration.

    Parameters
    ----------
    n_components : int, default=14
        Length of w.
    n_shape : int, default=3
        Length of c.
    n_gates : int, default=16
        Number of cosines.
    """

    def __init__(self, n_components=14, n_shape=3, n_gates=16):
        self.n_components = n_components
        self.n_shape = n_shape
        self.n_gates = n_gates

    def fit(self, X, y=None):
        """Find the components."""
        rng = np.random.default_rng(0)
        self.pca_ = PCA(whiten=True).fit(X)
        self.frequencies_ = rng.standard_normal((self.n_shape, self.n_gates))
        self.phases_ = rng.uniform(0, 2 * np.pi, self.n_gates)
        return self

    def transform(self, X):
        """All features, one row for each window."""
        w = np.clip(self.pca_.transform(X), -6, 6)
        w, rest = w[:, : self.n_components], w[:, self.n_components :]
        r = np.mean(rest**2, axis=1, keepdims=True)
        gates = np.cos(w[:, : self.n_shape] @ self.frequencies_ + self.phases_)
        linear = np.concatenate([np.ones_like(r), w, r], axis=1)
        gated = gates[:, :, np.newaxis] * linear[:, np.newaxis]
        i, k = np.triu_indices(self.n_components)
        return np.concatenate([gated.reshape(len(X), -1), w[:, i] * w[:, k], r], axis=1)
