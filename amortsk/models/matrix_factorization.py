"""Non-negative matrix factorisation of binary data."""

import autograd.numpy as np
from scipy.special import gammaln

from amortsk.models._decoder import DecodedModel, check_positive_int
from amortsk.observation import Bernoulli

# Shape and rate of the weights' gamma prior.
SHAPE, RATE = 0.9, 0.3
# Floor of the weights: the prior's density has no maximum above zero.
MIN_WEIGHT = 0.01
# Distance from 0 and 1 that activations are squeezed to before their logit is taken.
MARGIN = 1e-4


class BernoulliMatrixFactorizationModel(DecodedModel):
    r"""Non-negative matrix factorisation of binary data.

    .. math::
        z_k \sim \mathrm{Uniform}(0, 1), \qquad
        P(x_d = 1 \,|\, z) = \frac{1}{1 + \exp(-\mathrm{logit}(z) \cdot w_d - b_d)},
        \qquad w_{kd} \ge 0.01,\ w_{kd} \sim \mathrm{Gamma}(0.9, 0.3)

    A component can only add to the log-odds of its pixels as its activation rises, and
    the prior of the weights, of shape 0.9 and rate 0.3, has a pole at zero: most pixels
    are left to few components, which are parts. The weights are fitted to the maximum
    of their posterior.

    Parameters
    ----------
    n_components : int, default=16
        Number of components.

    See Also
    --------
    BernoulliFactorModel : Weights of either sign, normal latents.
    sklearn.decomposition.NMF : Non-negative factors of non-negative data.
    sklearn.neural_network.BernoulliRBM : Binary latents, weights of either sign.

    Notes
    -----
    The params are ``log_weights``, the logs of W - 0.01, of shape (n_components,
    n_features), and ``intercept`` b of shape (n_features,), which starts at the
    log-odds of each column. Activations are squeezed to [0.0001, 0.9999] before the
    logit.

    References
    ----------
    D. D. Lee and H. S. Seung, "Learning the parts of objects by non-negative matrix
    factorization", Nature 401, 1999.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.models import BernoulliMatrixFactorizationModel
    >>> model = BernoulliMatrixFactorizationModel(n_components=1)
    >>> X = np.array([[0.0, 1.0], [1.0, 1.0]])
    >>> params = model.init_params(X, np.random.default_rng(0))
    >>> round(float(model.log_joint(params, np.full((2, 1), 0.5), X).mean()), 3)
    -0.981
    """

    latent_support = ("interval", 0, 1)
    observation = Bernoulli()

    def __init__(self, n_components=16):
        self.n_components = n_components

    def init_params(self, X, rng):
        """Log-odds of the columns, small random weights."""
        check_positive_int("n_components", self.n_components)
        intercept, _ = self.observation.initial_output(X)
        weights = rng.uniform(0.1, 0.2, (self.n_components, len(intercept)))
        return {"log_weights": np.log(weights - MIN_WEIGHT), "intercept": intercept}

    def components(self, params):
        """The weights W, of shape (n_components, n_features)."""
        return MIN_WEIGHT + np.exp(params["log_weights"])

    def decode(self, params, z):
        """Log-odds of a one, of shape (n, n_features)."""
        z = MARGIN + (1 - 2 * MARGIN) * np.clip(z, 0.0, 1.0)
        logit = np.log(z) - np.log1p(-z)
        return np.dot(logit, self.components(params)) + params["intercept"]

    def draw_latents(self, params, n_samples, rng):
        """Draws from the prior, of shape (n_samples, n_components)."""
        return rng.random((n_samples, len(params["log_weights"])))

    def log_prior(self, params, z):
        """Log-density of the latents, of shape (n,)."""
        return np.where(np.all((z >= 0) & (z <= 1), axis=1), 0.0, -np.inf)

    def log_prior_params(self, params):
        """Log-density of the weights."""
        weights = self.components(params)
        constant = SHAPE * np.log(RATE) - gammaln(SHAPE)
        return np.sum((SHAPE - 1) * np.log(weights) - RATE * weights + constant)
