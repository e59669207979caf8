"""A latent on the unit circle."""

import autograd.numpy as np

from amortsk.models.decoder import DecoderModel
from amortsk.observation import LOG_2PI


class CircularLatentModel(DecoderModel):
    r"""An angle, decoded by a neural network.

    .. math::
        z = (\cos a, \sin a), \quad a \sim U(0, 2 \pi), \qquad
        x \,|\, z \sim p(x \,|\, g(z))

    with a multilayer perceptron g of tanh units. For data that vary along a loop:
    orientations, phases, times of day. A normal latent on a line would have to cut
    the loop.

    Parameters
    ----------
    hidden : int or tuple of int, default=(64,)
        Widths of the network's hidden layers.
    observation : str or Observation, default="gaussian"
        Distribution of x given the network's output: ``"gaussian"`` (one noise scale
        for all features), ``"bernoulli"``, ``"poisson"`` or any other.

    See Also
    --------
    DecoderModel : Normal latents.

    Notes
    -----
    The params are ``weights_i`` and ``biases_i`` of every layer i, and those of the
    observation. The prior's density, 1 / (2 pi), is by arc length. Rotating or
    reflecting the circle leaves the likelihood as it is: angles are found up to offset
    and direction.

    References
    ----------
    T. R. Davidson, L. Falorsi, N. De Cao, T. Kipf and J. M. Tomczak, "Hyperspherical
    variational auto-encoders", UAI 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.models import CircularLatentModel
    >>> model = CircularLatentModel(hidden=8)
    >>> X = np.random.default_rng(0).standard_normal((50, 3))
    >>> params = model.init_params(X, np.random.default_rng(0))
    >>> z, x = model.sample(params, 4, np.random.default_rng(0))
    >>> round(float(np.sum(z**2)), 3)
    4.0
    >>> round(float(model.log_prior(params, z)[0]), 3)
    -1.838
    """

    latent_support = "unit"
    n_latent = 2

    def __init__(self, hidden=(64,), observation="gaussian"):
        self.hidden = hidden
        self.observation = observation

    def draw_latents(self, params, n_samples, rng):
        """Points on the circle, of shape (n_samples, 2)."""
        angle = rng.uniform(0, 2 * np.pi, n_samples)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def log_prior(self, params, z):
        """Log-density of the latents by arc length, of shape (n,)."""
        return np.full(len(z), -LOG_2PI)
