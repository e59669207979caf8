"""Independent component analysis with noise."""

import autograd.numpy as np

from amortsk.models._decoder import LinearDecoderModel
from amortsk.observation import Gaussian, noise_scale


class IndependentComponentsModel(LinearDecoderModel):
    r"""Independent components: Laplace sources, mixed linearly, with normal noise.

    .. math::
        z_k \sim \mathrm{Laplace}(0, 1), \qquad x \,|\, z \sim N(A z + \mu, s^2 I)

    There may be as many sources as features, fewer, or more (an overcomplete code).

    Parameters
    ----------
    n_components : int, default=2
        Number of sources.

    See Also
    --------
    FactorAnalysisModel : Normal latents, a noise scale for each feature.
    sklearn.decomposition.FastICA : Without noise, at most as many sources as features.

    Notes
    -----
    The params are ``mixing`` A of shape (n_features, n_components), ``mean`` of shape
    (n_features,), ``log_scale`` and ``min_scale`` of shape (1,), with
    s = ``min_scale`` + exp(``log_scale``) and the first of these fixed. One noise scale
    serves all features: bring them to comparable units.

    References
    ----------
    B. A. Olshausen and D. J. Field, "Sparse coding with an overcomplete basis set: a
    strategy employed by V1?", Vision Research 37, 1997.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.models import IndependentComponentsModel
    >>> model = IndependentComponentsModel(n_components=3)
    >>> X = np.random.default_rng(0).standard_normal((50, 4))
    >>> params = model.init_params(X, np.random.default_rng(0))
    >>> round(float(model.log_joint(params, np.zeros((50, 3)), X).mean()), 3)
    -14.646
    """

    observation = Gaussian(shared=True)
    matrix = "mixing"

    def init_params(self, X, rng):
        """Randomly rotated principal components, the noise what they leave over.

        A small mixing matrix would start at a saddle: where all directions have the
        same variance, noise alone explains it.
        """
        params = super().init_params(X, rng)
        k = self.n_components
        _, spread, axes = np.linalg.svd(X - X.mean(0), full_matrices=False)
        spread, axes = spread[:k] / np.sqrt(len(X)), axes[:k]
        left_over = np.sum((X - X.mean(0)) ** 2) / len(X) - np.sum(spread**2)
        noise = np.sqrt(max(left_over, 0.0) / X.shape[1])
        noise = max(noise, 0.1 * noise_scale(params)[0])
        rotation = np.linalg.qr(rng.standard_normal((k, k)))[0][: len(spread)]
        # A Laplace variable of unit scale has variance two.
        size = np.sqrt(np.maximum(spread**2 - noise**2, 0.1 * noise**2) / 2)
        params["mixing"] = (axes.T * size) @ rotation
        params["log_scale"] = np.log(noise) * np.ones(1)
        return params

    def draw_latents(self, params, n_samples, rng):
        """Draws from the prior, of shape (n_samples, n_components)."""
        return rng.laplace(size=(n_samples, params["mixing"].shape[1]))

    def log_prior(self, params, z):
        """Log-density of the latents, of shape (n,)."""
        return -np.sum(np.abs(z), axis=1) - z.shape[1] * np.log(2.0)
