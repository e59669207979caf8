"""A scalar observation of two or more latents through a curved mean."""

import autograd.numpy as np
from autograd.scipy.special import logsumexp
from autograd.tracer import getval

from amortsk.models._decoder import DecodedModel, check_positive_int
from amortsk.observation import LOG_2PI, Gaussian, noise_scale, softplus

# Range of the quadrature, in standard deviations; most nodes.
RANGE, MAX_NODES = 12.0, 20_001


class SoftplusGaussianModel(DecodedModel):
    r"""Normal latents, one observed number, a mean that bends.

    .. math::
        z \sim N(0, I), \qquad
        x \,|\, z \sim N(\log(1 + \exp(b \cdot z)) - |b|^2, s^2)

    The posterior of z is narrow along b and as wide as the prior across it. The
    likelihood is an integral over :math:`v = b \cdot z / |b| \sim N(0, 1)`, so the
    exact gradient is known: a model to test estimates of it on.

    Parameters
    ----------
    n_components : int, default=2
        Number of latents.

    See Also
    --------
    FactorAnalysisModel : A linear mean, with an exact likelihood too.

    Notes
    -----
    The params are ``coefficients`` b of shape (n_components,), of which data determine
    the length only, ``log_scale`` and ``min_scale`` of shape (1,), with
    s = ``min_scale`` + exp(``log_scale``) and the first of these fixed. The quadrature
    takes steps of half the width of the integrand, as long as s is above
    :math:`|b| / 400`.

    References
    ----------
    Wenliang, Moskovitz, Kanagawa and Sahani, *Amortised learning by wake-sleep*, ICML
    2020 (arXiv 2002.09737), first experiment.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.models import SoftplusGaussianModel
    >>> params = {"coefficients": np.array([0.5, 1.0]), "log_scale": np.zeros(1),
    ...           "min_scale": np.zeros(1)}
    >>> model = SoftplusGaussianModel()
    >>> round(float(model.exact_log_likelihood(params, np.zeros((1, 1)))[0]), 3)
    -1.151
    """

    observation = Gaussian()

    def __init__(self, n_components=2):
        self.n_components = n_components

    def init_params(self, X, rng):
        """Coefficients of length about one, the noise of the data's scale."""
        check_positive_int("n_components", self.n_components)
        noise = self.observation.init_params(X)
        if np.shape(X)[1] != 1:
            raise ValueError(f"X must have one column, got {np.shape(X)[1]}")
        # Without coefficients the likelihood is stationary.
        b = rng.standard_normal(self.n_components) / np.sqrt(self.n_components)
        return {"coefficients": b, **noise}

    def decode(self, params, z):
        """Mean of x, of shape (n, 1)."""
        b = params["coefficients"]
        return (softplus(np.dot(z, b)) - np.dot(b, b))[:, None]

    def draw_latents(self, params, n_samples, rng):
        """Draws from the prior, of shape (n_samples, n_components)."""
        return rng.standard_normal((n_samples, len(params["coefficients"])))

    def exact_log_likelihood(self, params, X):
        """Log-likelihood of each row of X, of shape (n,)."""
        b, scale = params["coefficients"], noise_scale(params)
        # The square root has no derivative at zero.
        length = np.sqrt(np.dot(b, b) + 1e-300)
        slope = getval(length) * np.sqrt(1 + getval(scale)[0] ** -2.0)
        n_nodes = min(MAX_NODES, int(4 * RANGE * np.hypot(1, slope)) + 2)
        v, step = np.linspace(-RANGE, RANGE, n_nodes, retstep=True)
        # The trapezoidal rule, whose error falls exponentially for analytic functions.
        residual = (X - (softplus(length * v) - length**2)) / scale
        exponent = -0.5 * (np.square(residual) + v**2)
        return logsumexp(exponent, axis=1) + np.log(step / scale) - LOG_2PI
