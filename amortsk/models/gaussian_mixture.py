"""Mixture of normal distributions."""

import autograd.numpy as np
from autograd.extend import defvjp, primitive
from autograd.scipy.special import logsumexp
from scipy.linalg import solve_triangular
from sklearn.cluster import kmeans_plusplus
from sklearn.utils import check_array

from amortsk.model import LatentVariableModel
from amortsk.models._decoder import check_positive_int
from amortsk.observation import (
    MIN_SCALE,
    Gaussian,
    column_scale,
    noise_scale,
    scale_params,
)


@primitive
def strictly_lower(entries, n):
    """Strictly lower triangular matrices (..., n, n) from their entries, by rows."""
    matrices = np.zeros((*entries.shape[:-1], n, n))
    matrices[(..., *np.tril_indices(n, -1))] = entries
    return matrices


defvjp(strictly_lower, lambda _, e, n: lambda g: g[(..., *np.tril_indices(n, -1))])


class GaussianMixtureModel(LatentVariableModel):
    r"""Mixture of normal distributions with full covariances; z is the component.

    .. math::
        P(z = k) \propto \exp(a_k), \qquad
        x \,|\, z = k \sim N(\mu_k, \Sigma_k)

    A covariance is written as regressions of each feature on the ones before it,

    .. math::
        x_i - \mu_{ki} = \sum_{j < i} B_{kij} (x_j - \mu_{kj}) + s_{ki} \epsilon_i,
        \qquad \epsilon_i \sim N(0, 1),

    so that any value of the parameters is valid, a density costs one matrix product,
    and a floor under s bounds the likelihood.

    Parameters
    ----------
    n_components : int, default=2
        Number of components.

    See Also
    --------
    sklearn.mixture.GaussianMixture : The same model, fitted by EM.

    Notes
    -----
    The params are ``logits`` a of shape (n_components,), absent with one component;
    ``means`` and ``log_scale`` of shape (n_components, n_features); ``min_scale`` of
    shape (n_features,), fixed; and ``coefficients`` of shape
    (n_components, n_features * (n_features - 1) / 2), B below the diagonal by rows,
    absent with one feature. ``covariances`` gives what they amount to. Means start at
    k-means++ centres, covariances at that of the data.

    References
    ----------
    M. Pourahmadi, "Joint mean-covariance models with applications to longitudinal
    data: unconstrained parameterisation", Biometrika 86, 1999.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.models import GaussianMixtureModel
    >>> model = GaussianMixtureModel(n_components=2)
    >>> X = np.array([[-1.0, 0.0], [-1.5, 0.5], [1.0, 2.0], [1.5, 2.0]])
    >>> params = model.init_params(X, np.random.default_rng(0))
    >>> round(float(model.exact_log_likelihood(params, X).mean()), 1)
    -2.3
    """

    fixed_params = ("min_scale",)
    _noise = Gaussian()

    def __init__(self, n_components=2):
        self.n_components = n_components

    @property
    def latent_support(self):
        """Integers from 0 to n_components - 1."""
        return ("categorical", self.n_components)

    def init_params(self, X, rng):
        """k-means++ centres and the covariance of the data, slightly shrunk."""
        check_positive_int("n_components", self.n_components)
        X = check_array(X, dtype=np.float64)
        n_components, n_features = self.n_components, X.shape[1]
        location, scale = X.mean(axis=0), column_scale(X)
        centred = (X - location) / scale

        rows = centred
        if len(rows) < n_components:
            rows = rows[rng.integers(len(rows), size=n_components)]
        centres, _ = kmeans_plusplus(
            rows, n_components, random_state=int(rng.integers(2**31))
        )
        # Components that start equal, as with repeated rows, would stay equal.
        centres = centres + 0.01 * rng.standard_normal(centres.shape)

        correlation = np.dot(centred.T, centred) / len(centred)
        # Constant columns have no correlation with anything, and unit variance.
        np.fill_diagonal(correlation, 1.0)
        factor = np.linalg.cholesky(0.9 * correlation + 0.1 * np.eye(n_features))
        conditional = np.diag(factor)
        inverse = solve_triangular(factor, np.eye(n_features), lower=True)
        coefficients = -conditional[:, None] * inverse * scale[:, None] / scale

        params = {
            "logits": np.zeros(n_components),
            "means": location + centres * scale,
            **scale_params(conditional * scale, MIN_SCALE * scale),
            "coefficients": coefficients[np.tril_indices(n_features, -1)],
        }
        for name in ("log_scale", "coefficients"):
            params[name] = np.tile(params[name], (n_components, 1))
        # What cannot have an effect is left out.
        if n_components == 1:
            del params["logits"]
        if n_features == 1:
            del params["coefficients"]
        return params

    def covariances(self, params):
        """Covariance of each component, (n_components, n_features, n_features)."""
        factors = [self._factor(params, k) for k in range(len(params["means"]))]
        return np.array([np.dot(factor, factor.T) for factor in factors])

    def sample(self, params, n_samples, rng):
        """Draw `n_samples` pairs of z, (n,) integers, and x, (n, n_features)."""
        weights = np.exp(self._log_weights(params))
        z = rng.choice(len(weights), size=n_samples, p=weights / weights.sum())
        x = rng.standard_normal((n_samples, params["means"].shape[1]))
        for k, mean in enumerate(params["means"]):
            x[z == k] = mean + np.dot(x[z == k], self._factor(params, k).T)
        return z, x

    def log_prior(self, params, z):
        """Log-probability of the components z, of shape (n,)."""
        log_weights = self._log_weights(params)
        valid = (z >= 0) & (z < len(log_weights))
        return np.where(valid, log_weights[np.where(valid, z, 0)], -np.inf)

    def log_joint(self, params, z, x):
        """Log-density of paired rows of z and x, of shape (n,)."""
        # Each row visits its own component only. What is no component joins the first
        # or last: its prior is zero.
        components = range(len(params["means"]))
        own = np.clip(z, 0, components[-1])
        densities = [self._log_density(params, k, x[own == k]) for k in components]
        position = np.argsort(np.argsort(own, kind="stable"))
        return self.log_prior(params, z) + np.concatenate(densities)[position]

    def exact_log_likelihood(self, params, X):
        """Log-likelihood of each row of X, of shape (n,)."""
        components = range(len(params["means"]))
        densities = [self._log_density(params, k, X) for k in components]
        joint = np.stack(densities, axis=1) + self._log_weights(params)
        return logsumexp(joint, axis=1)

    def _log_weights(self, params):
        logits = params.get("logits", np.zeros(1))
        return logits - logsumexp(logits)

    def _regression(self, params, k):
        """The matrix B_k, whose rows predict each feature from those before it."""
        n_features = params["means"].shape[1]
        if n_features == 1:
            return np.zeros((1, 1))
        return strictly_lower(params["coefficients"][k], n_features)

    def _component_noise(self, params, k):
        return {"log_scale": params["log_scale"][k], "min_scale": params["min_scale"]}

    def _log_density(self, params, k, x):
        mean = params["means"][k]
        predicted = mean + np.dot(x - mean, self._regression(params, k).T)
        return self._noise.log_prob(self._component_noise(params, k), predicted, x)

    def _factor(self, params, k):
        """Cholesky factor of the covariance of component k."""
        scale = noise_scale(self._component_noise(params, k))
        system = np.eye(len(scale)) - self._regression(params, k)
        return solve_triangular(system, np.diag(scale), lower=True, unit_diagonal=True)
