"""What models with a linear decoder have in common."""

from numbers import Integral

import autograd.numpy as np

from amortsk.model import LatentVariableModel
from amortsk.observation import LOG_2PI


def check_n_components(n_components):
    """Raise a ValueError unless `n_components` is a positive integer."""
    valid = isinstance(n_components, Integral) and not isinstance(n_components, bool)
    if not valid or n_components < 1:
        raise ValueError(f"n_components must be a positive int, got {n_components!r}")


class LinearDecoderModel(LatentVariableModel):
    r"""Independent latents, decoded linearly: o = W z + b.

    A subclass chooses the observation and, unless it is standard normal, the prior:
    ``log_prior`` and ``draw_latents``.

    Parameters
    ----------
    n_components : int, default=2
        Number of latents.

    Attributes
    ----------
    observation : Observation
        What x is, given the decoder's output.
    matrix, offset : str
        Names of W, of shape (n_features, n_components), and b, of shape (n_features,).
    """

    latent_support = "real"
    observation = None
    matrix = "loadings"
    offset = "mean"

    def __init__(self, n_components=2):
        self.n_components = n_components

    def init_params(self, X, rng):
        """Offset and noise from the data, a small random matrix."""
        check_n_components(self.n_components)
        noise = self.observation.init_params(X)
        offset, scale = self.observation.initial_output(X)
        # The latents start with a tenth of each column's variance. With all of it, they
        # have to be unlearnt first: factor analysis is then twenty times as far from
        # its optimum after 100 exact updates.
        size = 0.3 * scale[:, None] / np.sqrt(self.n_components)
        matrix = size * rng.standard_normal((len(scale), self.n_components))
        return {self.matrix: matrix, self.offset: offset, **noise}

    def decode(self, params, z):
        """Output of the decoder, of shape (n, n_features)."""
        return np.dot(z, params[self.matrix].T) + params[self.offset]

    def draw_latents(self, shape, rng):
        """Draws from the prior."""
        return rng.standard_normal(shape)

    def sample(self, params, n_samples, rng):
        """Draw `n_samples` pairs of z, (n, n_components), and x, (n, n_features)."""
        z = self.draw_latents((n_samples, params[self.matrix].shape[1]), rng)
        return z, self.observation.sample(params, self.decode(params, z), rng)

    def log_prior(self, params, z):
        """Log-density of the latents, of shape (n,)."""
        return -0.5 * (np.sum(np.square(z), axis=1) + z.shape[1] * LOG_2PI)

    def log_joint(self, params, z, x):
        """Log-density of paired rows of z and x, of shape (n,)."""
        output = self.decode(params, z)
        return self.log_prior(params, z) + self.observation.log_prob(params, output, x)

    def natural_params(self, params, z):
        """Natural parameters of x given z."""
        return self.observation.natural_params(params, self.decode(params, z))

    def log_normalizer(self, params, z):
        """Log-normaliser of each feature given z."""
        return self.observation.log_normalizer(params, self.decode(params, z))

    def weighted_log_likelihood(self, params, z, statistics, totals):
        """Sum over rows of C eta - a Psi, decoding once."""
        output = self.decode(params, z)
        return self.observation.weighted_log_prob(params, output, statistics, totals)

    def sufficient_statistics(self, x):
        """Sufficient statistics of each feature."""
        return self.observation.sufficient_statistics(x)
