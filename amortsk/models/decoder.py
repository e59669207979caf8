"""Standard normal latents, decoded by a neural network."""

from amortsk.models._decoder import (
    DecodedModel,
    check_positive_int,
    hidden_sizes,
    init_network,
    network,
)


class DecoderModel(DecodedModel):
    r"""Standard normal latents, decoded by a neural network.

    .. math::
        z \sim N(0, I), \qquad x \,|\, z \sim p(x \,|\, g(z))

    with a multilayer perceptron g of tanh units: the model of a variational
    autoencoder, without its encoder.

    Parameters
    ----------
    n_latent : int, default=2
        Number of latents.
    hidden : int or tuple of int, default=(64,)
        Widths of the network's hidden layers.
    observation : str or Observation, default="gaussian"
        Distribution of x given the network's output: ``"gaussian"`` (one noise scale
        for all features), ``"bernoulli"``, ``"poisson"`` or any other.

    See Also
    --------
    FactorAnalysisModel : Without the network.
    CircularLatentModel : A latent on the circle.

    Notes
    -----
    The params are ``weights_i`` and ``biases_i`` of every layer i, and those of the
    observation.

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-encoding variational Bayes", ICLR 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.models import DecoderModel
    >>> model = DecoderModel(n_latent=2, hidden=8, observation="bernoulli")
    >>> X = np.random.default_rng(0).integers(2, size=(50, 3))
    >>> params = model.init_params(X, np.random.default_rng(0))
    >>> z, x = model.sample(params, 4, np.random.default_rng(0))
    >>> round(float(model.log_joint(params, np.zeros((4, 2)), x)[0]), 2)
    -3.94
    """

    def __init__(self, n_latent=2, hidden=(64,), observation="gaussian"):
        self.n_latent = n_latent
        self.hidden = hidden
        self.observation = observation

    def init_params(self, X, rng):
        """Random weights, biases at the data's mean, noise of the data's scale."""
        check_positive_int("n_latent", self.n_latent)
        sizes = hidden_sizes(self.hidden)
        noise = self._observation.init_params(X)
        location, scale = self._observation.initial_output(X)
        params = init_network((self.n_latent, *sizes, len(location)), rng)
        last = len(sizes)
        params[f"weights_{last}"] = 0.3 * scale * params[f"weights_{last}"]
        params[f"biases_{last}"] = location
        return {**params, **noise}

    def decode(self, params, z):
        """Output of the network, of shape (n, n_features)."""
        return network(params, z)

    def draw_latents(self, params, n_samples, rng):
        """Draws from the prior, of shape (n_samples, n_latent)."""
        return rng.standard_normal((n_samples, self.n_latent))
