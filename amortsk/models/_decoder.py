"""What models with a decoder have in common."""

from numbers import Integral

import autograd.numpy as np

from amortsk.model import LatentVariableModel
from amortsk.observation import LOG_2PI, Bernoulli, Gaussian, Observation, Poisson

OBSERVATIONS = {
    "gaussian": Gaussian(shared=True),
    "bernoulli": Bernoulli(),
    "poisson": Poisson(),
}


def check_positive_int(name, value):
    """Raise a ValueError unless the argument is a positive integer."""
    valid = isinstance(value, Integral) and not isinstance(value, bool)
    if not valid or value < 1:
        raise ValueError(f"{name} must be a positive int, got {value!r}")


class ObservedModel(LatentVariableModel):
    """A model with an `observation`, or the name of one."""

    observation = None

    @property
    def _observation(self):
        """The observation, by its name if that was given.

        Raises
        ------
        ValueError
            If the name is unknown.
        """
        if isinstance(self.observation, Observation):
            return self.observation
        if self.observation not in tuple(OBSERVATIONS):
            raise ValueError(
                f"observation must be one of {sorted(OBSERVATIONS)} or an Observation, "
                f"got {self.observation!r}"
            )
        return OBSERVATIONS[self.observation]

    @property
    def fixed_params(self):
        """The observation's floors."""
        return self._observation.fixed_params


class DecodedModel(ObservedModel):
    """Latents from a prior, a decoder's output, observations given that output.

    A subclass defines ``init_params``, ``decode(params, z)``, ``draw_latents(params,
    n_samples, rng)`` and, unless the prior is standard normal, ``latent_support`` and
    ``log_prior(params, z)``.
    """

    latent_support = "real"

    def sample(self, params, n_samples, rng):
        """Draw `n_samples` pairs of latents and rows of shape (n_features,)."""
        z = self.draw_latents(params, n_samples, rng)
        return z, self._observation.sample(params, self.decode(params, z), rng)

    def log_joint(self, params, z, x):
        """Log-density of paired rows of z and x, of shape (n,)."""
        log_prob = self._observation.log_prob(params, self.decode(params, z), x)
        return self.log_prior(params, z) + log_prob

    def log_prior(self, params, z):
        """Log-density of the latents, of shape (n,)."""
        return -0.5 * (np.sum(np.square(z), axis=1) + z.shape[1] * LOG_2PI)

    def natural_params(self, params, z):
        """Natural parameters of x given z."""
        return self._observation.natural_params(params, self.decode(params, z))

    def log_normalizer(self, params, z):
        """Log-normaliser of each feature given z."""
        return self._observation.log_normalizer(params, self.decode(params, z))

    def weighted_log_likelihood(self, params, z, statistics, totals):
        """Sum over rows of C eta - a Psi, decoding once."""
        output = self.decode(params, z)
        return self._observation.weighted_log_prob(params, output, statistics, totals)

    def sufficient_statistics(self, x):
        """Sufficient statistics of each feature."""
        return self._observation.sufficient_statistics(x)


class LinearDecoderModel(DecodedModel):
    r"""Independent latents, decoded linearly: o = W z + b.

    A subclass chooses the observation and, unless it is standard normal, the prior:
    ``log_prior`` and ``draw_latents``.

    Parameters
    ----------
    n_components : int, default=2
        Number of latents.

    Attributes
    ----------
    matrix, offset : str
        Names of W, of shape (n_features, n_components), and b, of shape (n_features,).
    """

    matrix = "loadings"
    offset = "mean"

    def __init__(self, n_components=2):
        self.n_components = n_components

    def init_params(self, X, rng):
        """Offset and noise from the data, a small random matrix."""
        check_positive_int("n_components", self.n_components)
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

    def draw_latents(self, params, n_samples, rng):
        """Draws from the prior, of shape (n_samples, n_components)."""
        return rng.standard_normal((n_samples, params[self.matrix].shape[1]))


def init_network(sizes, rng, prefix=""):
    """Weights of a multilayer perceptron, normal with variance one over fan-in.

    Parameters
    ----------
    sizes : sequence of int
        Width of every layer, input and output included.
    rng : numpy.random.Generator
    prefix : str, default=""
        Begins the names of all params.

    Returns
    -------
    params : dict of ndarray
        ``weights_0`` of shape (sizes[0], sizes[1]), ``biases_0``, and so on.
    """
    params = {}
    for i, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        weights = rng.standard_normal((n_in, n_out)) / np.sqrt(n_in)
        params[f"{prefix}weights_{i}"] = weights
        params[f"{prefix}biases_{i}"] = np.zeros(n_out)
    return params


def network(params, z, prefix=""):
    """Output of a multilayer perceptron with tanh units, linear in the last layer."""
    n_layers = sum(name.startswith(f"{prefix}weights_") for name in params)
    for i in range(n_layers):
        z = np.dot(z, params[f"{prefix}weights_{i}"]) + params[f"{prefix}biases_{i}"]
        if i < n_layers - 1:
            z = np.tanh(z)
    return z


def hidden_sizes(hidden, name="hidden"):
    """Widths of hidden layers as a tuple: an int is one layer.

    Raises
    ------
    ValueError
        If they are not positive integers.
    """
    sizes = tuple(hidden) if np.iterable(hidden) else (hidden,)
    integers = all(isinstance(s, Integral) and not isinstance(s, bool) for s in sizes)
    if not integers or any(size < 1 for size in sizes):
        raise ValueError(
            f"{name} must be a positive int or a tuple of them, got {hidden!r}"
        )
    return sizes
