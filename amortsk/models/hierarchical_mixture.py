"""A mixture in latent space, seen through a network."""

from numbers import Real

import autograd.numpy as np
from autograd.scipy.special import logsumexp
from sklearn.linear_model import Ridge

from amortsk.models._decoder import (
    DecodedModel,
    check_positive_int,
    hidden_sizes,
    init_network,
    network,
)
from amortsk.models.gaussian_mixture import strictly_lower
from amortsk.observation import LOG_2PI, Gaussian

# The sparsity prior of the weights is improper: without a floor it has no mode.
MIN_WEIGHT = 1e-6
# Standard deviation of y at the start.
SPREAD = np.sqrt(1.25)


class HierarchicalMixtureModel(DecodedModel):
    r"""A component, a normal vector that depends on it, a network, normal noise.

    .. math::
        c \sim \mathrm{Cat}(\pi), \qquad y \,|\, c \sim N(\mu_c, L_c L_c^\top), \qquad
        x \,|\, y \sim N(g(y), \mathrm{diag}(s^2))

    The latents are the pair (c, y). With `strength` the parameters have a prior that
    empties components that data do not need, keeps the others compact, and the network
    smooth; a fit is then a posteriori,

    .. math::
        \log p(\theta) = \lambda \Big[ -10 \sum_c \log \pi_c
            - \sum_c \big( \tfrac1{18} \|\mu_c\|^2 + 2.5 \log |S_c|
            + 0.01\, \mathrm{tr}\, S_c^{-1} \big) - \tfrac14 \|W\|^2 \Big],

    with :math:`S_c = L_c L_c^\top` and W all of the network's weights.

    Parameters
    ----------
    n_components : int, default=10
        Number of components to start with.
    latent_dim : int, default=2
        Length of y.
    hidden : int or tuple of int, default=20
        Widths of the network's hidden layers of tanh units.
    strength : float, default=1.0
        :math:`\lambda`; 0 is maximum likelihood.

    See Also
    --------
    GaussianMixtureModel : The mixture without the network.

    Notes
    -----
    The params are ``logits`` (K,), ``means`` (K, latent_dim), ``log_diagonal``
    (K, latent_dim) and ``lower`` (K, latent_dim (latent_dim - 1) / 2) of the Cholesky
    factors, the network's ``weights_i`` and ``biases_i``, ``log_scale`` and
    ``min_scale`` of the noise. Weights are floored at 1e-6.

    References
    ----------
    Johnson, Duvenaud, Wiltschko, Datta and Adams, *Composing graphical models with
    neural networks for structured representations and fast inference*, NIPS 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.models import HierarchicalMixtureModel
    >>> model = HierarchicalMixtureModel(n_components=3)
    >>> X = np.random.default_rng(0).standard_normal((50, 2))
    >>> params = model.init_params(X, np.random.default_rng(0))
    >>> z = np.zeros(50, dtype=int), np.zeros((50, 2))
    >>> round(float(model.log_joint(params, z, X).mean()), 2)
    -29.16
    """

    observation = Gaussian()

    def __init__(self, n_components=10, latent_dim=2, hidden=20, strength=1.0):
        self.n_components = n_components
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.strength = strength

    @property
    def latent_support(self):
        """A component, and a vector whose posterior no proposal family resembles."""
        return [("categorical", self.n_components), "any"]

    @property
    def fixed_params(self):
        """One component has no weight to fit."""
        logits = ("logits",) if self.n_components == 1 else ()
        return (*logits, *self.observation.fixed_params)

    def init_params(self, X, rng):
        """Components of unit spread, a network near the data's principal plane.

        The data's first principal axes are laid along those of y, so that no part of
        the data is without a component.
        """
        check_positive_int("n_components", self.n_components)
        check_positive_int("latent_dim", self.latent_dim)
        if not isinstance(self.strength, Real) or not 0 <= self.strength < np.inf:
            raise ValueError(
                f"strength must be a number of at least 0, got {self.strength!r}"
            )
        noise = self.observation.init_params(X)
        X = np.asarray(X, dtype=float)
        K, L = self.n_components, self.latent_dim
        sizes = (L, *hidden_sizes(self.hidden), X.shape[1])
        params = init_network(sizes, rng)
        # Units that bend sharply, all over the components. Of a pinwheel, gentle ones
        # through the origin were 0.04 nats a row worse after more updates.
        params["weights_0"] = 2.0 * params["weights_0"]
        centres = SPREAD * rng.standard_normal((L, sizes[1]))
        params["biases_0"] = -np.sum(params["weights_0"] * centres, axis=0)
        offset, _ = self.observation.initial_output(X)
        # The last layer is a ridge regression of points of the plane on its units.
        y = SPREAD * rng.standard_normal((1000, L))
        _, deviations, axes = np.linalg.svd(X - offset, full_matrices=False)
        axes = deviations[:L, np.newaxis] * axes[:L] / np.sqrt(len(X))
        plane = offset + np.dot(y[:, : len(axes)], axes) / SPREAD
        last = len(sizes) - 2
        inner = {name: params[name] for name in list(params)[: 2 * last]}
        units = np.tanh(network(inner, y)) if last else y
        ridge = Ridge(alpha=0.003 * len(y)).fit(units, plane)
        params[f"weights_{last}"] = ridge.coef_.T
        params[f"biases_{last}"] = ridge.intercept_
        noise["log_scale"] = noise["log_scale"] - np.log(5)
        return {
            "logits": np.zeros(K),
            "means": rng.standard_normal((K, L)),
            "log_diagonal": np.full((K, L), np.log(0.5)),
            "lower": np.zeros((K, L * (L - 1) // 2)),
            **params,
            **noise,
        }

    def decode(self, params, z):
        """Output of the network at y, of shape (n, n_features)."""
        return network(params, z[1])

    def draw_latents(self, params, n_samples, rng):
        """Draws of components (n_samples,) and vectors (n_samples, latent_dim)."""
        weights = np.exp(self.log_weights(params))
        c = rng.choice(len(weights), size=n_samples, p=weights / weights.sum())
        factors = self.factors(params)
        noise = rng.standard_normal((n_samples, self.latent_dim))
        y = params["means"][c] + np.einsum("nij,nj->ni", factors[c], noise)
        return c, y

    def log_prior(self, params, z):
        """Log-density of the latents, of shape (n,)."""
        c, y = z
        K, L = self.n_components, self.latent_dim
        # Products with indicators: their gradients are faster than those of indexing.
        indicators = np.asarray(c[:, np.newaxis] == np.arange(K), dtype=float)
        inverse = np.linalg.inv(self.factors(params)).reshape(K, L * L)
        residual = y - np.dot(indicators, params["means"])
        rows = np.dot(indicators, inverse).reshape(len(y), L, L)
        white = np.sum(rows * residual[:, np.newaxis], axis=2)
        log_det = np.sum(params["log_diagonal"], axis=1)
        log_prob = np.dot(indicators, self.log_weights(params) - log_det) - 0.5 * (
            np.sum(white**2, axis=1) + L * LOG_2PI
        )
        return np.where(np.any(indicators > 0, axis=1), log_prob, -np.inf)

    def log_component(self, params, y):
        """log p(c, y) for every component c, of shape (n, K)."""
        every = [np.full(len(y), c) for c in range(self.n_components)]
        return np.stack([self.log_prior(params, (c, y)) for c in every], axis=1)

    def log_weights(self, params):
        """Log of the floored component weights, of shape (K,)."""
        weights = np.exp(params["logits"] - logsumexp(params["logits"]))
        floored = weights + MIN_WEIGHT
        return np.log(floored / np.sum(floored))

    def factors(self, params):
        """Lower Cholesky factors of the components, of shape (K, L, L)."""
        L = self.latent_dim
        diagonal = np.exp(params["log_diagonal"])[:, :, np.newaxis] * np.eye(L)
        return diagonal + strictly_lower(params["lower"], L)

    def log_prior_params(self, params):
        """Log-prior of the parameters."""
        inverse = np.linalg.inv(self.factors(params))
        compact = (
            np.sum(params["means"] ** 2) / 18
            + 5.0 * np.sum(params["log_diagonal"])
            + 0.01 * np.sum(inverse**2)
        )
        weights = [params[name] for name in params if name.startswith("weights_")]
        network_size = sum(np.sum(w**2) for w in weights)
        sparsity = -10.0 * np.sum(self.log_weights(params))
        return self.strength * (sparsity - compact - 0.25 * network_size)
