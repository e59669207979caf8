"""Factor analysis."""

import autograd.numpy as np

from amortsk.models._decoder import LinearDecoderModel
from amortsk.observation import LOG_2PI, Gaussian, noise_scale


class FactorAnalysisModel(LinearDecoderModel):
    r"""Factor analysis: normal latents, a linear decoder, noise of each feature's own.

    .. math::
        z \sim N(0, I), \qquad x \,|\, z \sim N(W z + \mu, \mathrm{diag}(s^2))

    The marginal is normal with covariance W W' + diag(s^2), so the exact likelihood is
    known: a model to test a fit on.

    Parameters
    ----------
    n_components : int, default=2
        Number of factors.

    See Also
    --------
    IndependentComponentsModel : Laplace latents, which fix the rotation of W.
    sklearn.decomposition.FactorAnalysis : The same model, fitted by EM.

    Notes
    -----
    The params are ``loadings`` W of shape (n_features, n_components), ``mean``,
    ``log_scale`` and ``min_scale`` of shape (n_features,), with
    s = ``min_scale`` + exp(``log_scale``) and the first of these fixed.

    References
    ----------
    D. B. Rubin and D. T. Thayer, "EM algorithms for ML factor analysis", Psychometrika
    47, 1982.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.models import FactorAnalysisModel
    >>> model = FactorAnalysisModel(n_components=1)
    >>> X = np.array([[-1.0, 0.0], [1.0, 4.0]])
    >>> params = model.init_params(X, np.random.default_rng(0))
    >>> params["loadings"] = np.array([[1.0], [2.0]])
    >>> round(float(model.exact_log_likelihood(params, X).mean()), 3)
    -3.414
    """

    observation = Gaussian()

    def exact_log_likelihood(self, params, X):
        """Log-likelihood of each row of X, of shape (n,)."""
        # Woodbury: everything of the size of the latents, in units of the noise.
        scale = noise_scale(params)
        residual = (X - params["mean"]) / scale
        loadings = params["loadings"] / scale[:, None]
        precision = np.eye(loadings.shape[1]) + np.dot(loadings.T, loadings)
        projected = np.dot(residual, loadings)
        explained = projected * np.linalg.solve(precision, projected.T).T
        mahalanobis = np.sum(np.square(residual), axis=1) - np.sum(explained, axis=1)
        log_det = 2 * np.sum(np.log(scale)) + np.linalg.slogdet(precision)[1]
        return -0.5 * (mahalanobis + log_det + len(scale) * LOG_2PI)
