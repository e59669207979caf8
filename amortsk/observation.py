r"""Observations given a decoder's output: elementwise exponential families.

Every family factorises over the observed features d,

.. math::
    \log p(x | o) = \sum_d \Big[ \sum_s S_s(x_d)\, \eta_s(o_d) - \Psi(o_d)
                    + \log h(x_d) \Big],

where the output o, of shape (n, n_features), is whatever a decoder makes of the
latents. Gradients are with respect to parameters and outputs; observations are always
plain arrays.

References
----------
M. J. Wainwright and M. I. Jordan, "Graphical Models, Exponential Families, and
Variational Inference", Foundations and Trends in Machine Learning 1, 2008.
"""

import autograd.numpy as np
from autograd.extend import defvjp, primitive
from scipy.special import expit, gammaln, logit
from sklearn.base import BaseEstimator
from sklearn.utils import check_array

__all__ = ["Bernoulli", "Gaussian", "LogNormal", "Observation", "Poisson"]

LOG_2PI = np.log(2 * np.pi)
# Smallest noise scale, as a fraction of the data's scale: without a floor a decoder
# that interpolates the data has an unbounded likelihood.
MIN_SCALE = 1e-3


def column_scale(X, shared=False):
    """Standard deviation of each column, or of all of them; 1 where it is zero.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    shared : bool, default=False
        Root mean square over columns instead of one value per column.

    Returns
    -------
    scale : ndarray of shape (n_features,) or (1,)
    """
    scale = X.std(axis=0)
    # Rounding gives a constant column a tiny standard deviation instead of zero.
    scale = np.where(scale > 1e-12 * np.abs(X).max(axis=0), scale, 0.0)
    if shared:
        scale = np.sqrt(np.mean(scale**2, keepdims=True))
    return np.where(scale > 0, scale, 1.0)


def scale_params(scale, floor):
    """Parameters whose :func:`noise_scale` is `scale`, never below `floor`."""
    return {"log_scale": np.log(scale - floor), "min_scale": floor}


def noise_scale(params):
    """Standard deviation of the noise, ``min_scale + exp(log_scale)``."""
    return params["min_scale"] + np.exp(params["log_scale"])


@primitive
def softplus(x):
    """log(1 + exp(x)), as ``logaddexp(0, x)`` but at a fifth of its cost."""
    # In place, as fresh memory costs more than the arithmetic.
    result = np.abs(np.asarray(x, dtype=np.float64))
    for function in (np.negative, np.exp, np.log1p):
        function(result, out=result)
    result += np.maximum(x, 0.0)
    return result


defvjp(softplus, lambda ans, x: lambda g: g * np.exp(x - ans))


@primitive
def weighted_squares(output, C, C2, totals):
    """Sum over rows of C2 - 2 C o + a o^2, (n_features,): in two passes over memory."""
    linear = output * totals[:, np.newaxis]
    linear -= C
    linear -= C
    return C2.sum(0) + np.einsum("nd,nd->d", output, linear)


def _weighted_squares_vjp(_, output, C, C2, totals):
    def vjp(g):
        gradient = output * totals[:, np.newaxis]
        gradient -= C
        gradient *= 2 * g
        return gradient

    return vjp


defvjp(weighted_squares, _weighted_squares_vjp, argnums=(0,))


class Observation(BaseEstimator):
    """Base class of observations that factorise over features.

    A subclass defines ``log_normalizer``, ``sample`` and ``initial_output``, and
    whichever of ``natural_params`` (by default the output), ``sufficient_statistics``
    (x), ``in_support``, ``log_base_measure`` and ``init_params`` are not trivial.

    Attributes
    ----------
    fixed_params : tuple of str
        Entries of ``params`` that a fit holds at their initial values.
    support : str
        The values that an observation may take, in words.
    """

    fixed_params = ()
    support = "real numbers"

    def init_params(self, X):
        """Parameters to start from.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        params : dict of ndarray, dtype=float64

        Raises
        ------
        ValueError
            If an entry of X is outside the support.
        """
        self.check_data(X)
        return {}

    def initial_output(self, X):
        """A constant output that suits the data, and the size of changes to it.

        Returns
        -------
        location, scale : ndarray of shape (n_features,), dtype=float64
        """
        raise NotImplementedError

    def natural_params(self, params, output):
        """Natural parameters, a tuple of arrays that broadcast to (n, n_features)."""
        return (output,)

    def log_normalizer(self, params, output):
        """Log-normaliser of each feature, of shape (n, n_features)."""
        raise NotImplementedError

    def sufficient_statistics(self, x):
        """Sufficient statistics, a tuple of arrays of shape (n, n_features)."""
        return (x,)

    def log_base_measure(self, x):
        """Log base measure of each feature, -inf outside the support."""
        return np.where(self.in_support(x), 0.0, -np.inf)

    def in_support(self, x):
        """Whether each entry of x is a possible observation."""
        return np.isfinite(x)

    def log_prob(self, params, output, x):
        """Log-density of rows of x given the output.

        Parameters
        ----------
        params : dict of ndarray
        output, x : ndarray of shape (n, n_features)

        Returns
        -------
        log_prob : ndarray of shape (n,), dtype=float64
            -inf for a row that leaves the support.
        """
        natural = self.natural_params(params, output)
        statistics = self.sufficient_statistics(x)
        log_prob = np.sum(self.log_base_measure(x), axis=1)
        for statistic, eta in zip(statistics, natural, strict=True):
            log_prob = log_prob + np.einsum("...d,...d->...", statistic, eta)
        return log_prob - np.sum(self.log_normalizer(params, output), axis=1)

    def weighted_log_prob(self, params, output, statistics, totals):
        """Sum over rows of C eta - a Psi, log-likelihoods weighted over data.

        Parameters
        ----------
        params : dict of ndarray
        output : ndarray of shape (n, n_features)
        statistics : tuple of ndarray of shape (n, n_features)
            C, weighted sums over data of each sufficient statistic.
        totals : ndarray of shape (n,)
            a, the sums of the weights.

        Returns
        -------
        weighted : float
        """
        natural = self.natural_params(params, output)
        weighted = -np.sum(np.dot(totals, self.log_normalizer(params, output)))
        for C, eta in zip(statistics, natural, strict=True):
            weighted = weighted + np.sum(C * eta)
        return weighted

    def to_real(self, x):
        """Observations on the scale of the output, where that is their mean."""
        return x

    def sample(self, params, output, rng):
        """Draw one observation for each row of `output`."""
        raise NotImplementedError

    def check_data(self, X):
        """X as a finite float64 array, or a ValueError if it leaves the support."""
        X = check_array(X, dtype=np.float64)
        wrong = X[~self.in_support(X)]
        if wrong.size:
            raise ValueError(
                f"{type(self).__name__} observations must be {self.support}, got "
                f"{wrong[0]:g} and {wrong.size - 1} other such entries"
            )
        return X


class Gaussian(Observation):
    r"""Real observations with normal noise; the output is the mean.

    .. math:: x_d \sim N(o_d, s_d^2), \qquad s_d = s_{min,d} + \exp(l_d)

    Parameters
    ----------
    shared : bool, default=False
        One noise scale for all features instead of one for each.

    Notes
    -----
    The params are ``log_scale`` and ``min_scale``, of shape (n_features,) or, if
    shared, (1,). The scale starts at the data's standard deviation; its floor, a
    thousandth of it, is held fixed.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.observation import Gaussian
    >>> params = Gaussian().init_params([[-1.0, 0.0], [1.0, 4.0]])
    >>> output = np.array([[0.0, 2.0]])
    >>> log_prob = Gaussian().log_prob(params, output, np.array([[1.0, 2.0]]))
    >>> round(float(log_prob[0]), 3)
    -3.031
    """

    fixed_params = ("min_scale",)

    def __init__(self, shared=False):
        self.shared = shared

    def init_params(self, X):
        scale = column_scale(self.to_real(self.check_data(X)), self.shared)
        return scale_params(scale, MIN_SCALE * scale)

    def initial_output(self, X):
        X = self.to_real(self.check_data(X))
        return X.mean(axis=0), column_scale(X)

    def natural_params(self, params, output):
        # Products of the small array come first: divisions by it cost more to
        # differentiate.
        precision = noise_scale(params) ** -2.0
        return output * precision, -0.5 * precision

    def log_normalizer(self, params, output):
        scale = noise_scale(params)
        return np.square(output) * (0.5 * scale**-2.0) + np.log(scale)

    def sufficient_statistics(self, x):
        x = self.to_real(x)
        return x, np.square(x)

    def log_base_measure(self, x):
        return super().log_base_measure(x) - 0.5 * LOG_2PI

    def log_prob(self, params, output, x):
        # From residuals: the sum of S eta and Psi loses digits when the noise is small.
        scale = noise_scale(params)
        precision = scale**-2.0 * np.ones(x.shape[1])
        log_det = x.shape[1] * (np.mean(np.log(scale)) + 0.5 * LOG_2PI)
        return -0.5 * np.dot(np.square(output - x), precision) - log_det

    def weighted_log_prob(self, params, output, statistics, totals):
        scale = noise_scale(params)
        n_features = output.shape[1]
        precision = scale**-2.0 * np.ones(n_features)
        log_det = np.sum(totals) * n_features * np.mean(np.log(scale))
        squares = weighted_squares(output, *statistics, totals)
        return -0.5 * np.dot(squares, precision) - log_det

    def sample(self, params, output, rng):
        return output + noise_scale(params) * rng.standard_normal(output.shape)


class Bernoulli(Observation):
    r"""Binary observations; the output is the log-odds of a one.

    .. math:: \log p(x_d | o_d) = x_d o_d - \log(1 + \exp o_d)

    Notes
    -----
    There are no params.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.observation import Bernoulli
    >>> log_odds, x = np.array([[0.0, 800.0]]), np.array([[1.0, 1.0]])
    >>> round(float(Bernoulli().log_prob({}, log_odds, x)[0]), 3)
    -0.693
    """

    support = "0 or 1"

    def initial_output(self, X):
        X = self.check_data(X)
        # As if one further one and one further zero had been seen.
        frequency = (X.sum(axis=0) + 1) / (len(X) + 2)
        return logit(frequency), np.ones(X.shape[1])

    def log_normalizer(self, params, output):
        return softplus(output)

    def in_support(self, x):
        return (x == 0) | (x == 1)

    def sample(self, params, output, rng):
        return (rng.random(output.shape) < expit(output)).astype(np.float64)


class Poisson(Observation):
    r"""Counts; the output is the log of the rate.

    .. math:: \log p(x_d | o_d) = x_d o_d - \exp o_d - \log x_d!

    Notes
    -----
    There are no params.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.observation import Poisson
    >>> log_rate, x = np.log([[2.0, 1.0]]), np.array([[2.0, 0.0]])
    >>> round(float(Poisson().log_prob({}, log_rate, x)[0]), 3)
    -2.307
    """

    support = "integers from 0"

    def initial_output(self, X):
        X = self.check_data(X)
        # Half a count keeps the log of a column of zeros finite.
        return np.log(X.mean(axis=0) + 0.5 / len(X)), np.ones(X.shape[1])

    def log_normalizer(self, params, output):
        return np.exp(output)

    def log_base_measure(self, x):
        counts = np.where(self.in_support(x), x, 0.0)
        largest = counts.max(initial=0)
        if largest < counts.size:
            # Counts repeat, and gammaln is slow: a table is ten times as fast.
            log_factorial = gammaln(np.arange(1.0, largest + 2))[counts.astype(int)]
        else:
            log_factorial = gammaln(counts + 1)
        return super().log_base_measure(x) - log_factorial

    def in_support(self, x):
        return np.isfinite(x) & (x >= 0) & (x == np.floor(x))

    def sample(self, params, output, rng):
        with np.errstate(over="ignore"):
            rate = np.exp(output)
        # NumPy refuses rates beyond int64. An infinite draw is one that a fitter can
        # see and redraw.
        possible = rate < 1e18
        draws = rng.poisson(np.where(possible, rate, 0.0))
        return np.where(possible, draws, np.inf)


class LogNormal(Gaussian):
    r"""Positive observations whose log has normal noise; the output is its mean.

    .. math:: \log x_d \sim N(o_d, s_d^2), \qquad s_d = s_{min,d} + \exp(l_d)

    Parameters
    ----------
    shared : bool, default=False
        One noise scale for all features instead of one for each.

    Notes
    -----
    The params are those of :class:`Gaussian`, for log x.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.observation import LogNormal
    >>> params = LogNormal().init_params(np.exp([[-1.0], [1.0]]))
    >>> log_prob = LogNormal().log_prob(params, np.zeros((1, 1)), np.array([[1.0]]))
    >>> round(float(log_prob[0]), 3)
    -0.919
    """

    support = "positive"

    def log_base_measure(self, x):
        return super().log_base_measure(x) - self.to_real(x)

    def in_support(self, x):
        return np.isfinite(x) & (x > 0)

    def log_prob(self, params, output, x):
        log_x = self.to_real(x)
        jacobian = np.where(self.in_support(x), log_x, np.inf)
        return super().log_prob(params, output, log_x) - np.sum(jacobian, axis=1)

    def sample(self, params, output, rng):
        return np.exp(super().sample(params, output, rng))

    def to_real(self, x):
        # Outside the support any finite value will do: the base measure is zero.
        return np.log(np.where(self.in_support(x), x, 1.0))
