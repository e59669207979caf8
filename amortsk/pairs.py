"""Log-joints of pairs of latents and data, and gradients of weighted sums of them."""

import autograd.numpy as anp
import numpy as np
from sklearn.utils import gen_batches

from amortsk.autodiff import add, pullback
from amortsk.latents import map_parts, parts, repeat, take
from amortsk.model import call, has_natural_params, name_of, provides
from amortsk.proposals import normalise

# Numbers in one array of pairs.
PAIR_NUMBERS = 4_000_000


def log_joint_terms(model, params, z, x):
    """Log-joint of paired rows, (n,) or (n, n_terms), its shape checked.

    Raises
    ------
    ValueError
        If the function raises or returns another shape.
    """
    value = call(model, "log_joint", params, z, x)
    shape = np.shape(value)
    if len(shape) not in (1, 2) or shape[0] != len(x):
        raise ValueError(
            f"{name_of(model, 'log_joint')} must return shape ({len(x)},) or "
            f"({len(x)}, n_terms), got {shape}"
        )
    return value


def log_joint(model, params, z, x):
    """Log-joint of paired rows, of shape (n,): the sum over local terms."""
    value = log_joint_terms(model, params, z, x)
    return value if np.ndim(value) == 1 else anp.sum(value, axis=1)


def pull_log_joint(model, params, z, x, *, terms=False):
    """Log-joint of paired rows, or its terms, and the map from weights to gradients."""
    function = log_joint_terms if terms else log_joint
    return pullback(lambda p: function(model, p, z, x), params, model.fixed_params)


def log_prior(model, params, z):
    """Log-density of latents, of shape (n,), checked.

    Raises
    ------
    ValueError
        If the function raises or returns another shape.
    """
    return _one_per_row(model, "log_prior", params, z)


def exact_log_likelihood(model, params, X):
    """The model's own log-density of data, of shape (n,), checked.

    Raises
    ------
    ValueError
        If the function raises or returns another shape.
    """
    return _one_per_row(model, "exact_log_likelihood", params, X.copy())


def _one_per_row(model, method, params, rows):
    value, n = np.asarray(call(model, method, params, rows)), len(parts(rows)[0])
    if value.shape != (n,):
        raise ValueError(
            f"{name_of(model, method)} must return shape ({n},), got {value.shape}"
        )
    return value


def steps(n_rows, n_candidates, n_features):
    """Slices of rows whose pairs with all candidates fit in memory."""
    step = max(1, PAIR_NUMBERS // (n_candidates * n_features))
    return gen_batches(n_rows, step)


def flatten(z):
    """Latents with arrays (m, K, ...) as m K rows."""
    return map_parts(lambda part: part.reshape(-1, *part.shape[2:]), z)


def log_weights(model, params, z, x, log_q):
    """Log-weights of candidates z, with arrays (m, K, ...), of rows x; NaN is -inf.

    Raises
    ------
    FloatingPointError
        If a weight is infinite.
    """
    n_candidates = parts(z)[0].shape[1]
    x = np.repeat(x, n_candidates, axis=0)
    with np.errstate(all="ignore"):
        value = log_joint(model, params, flatten(z), x)
        log_w = np.reshape(value, (-1, n_candidates)) - log_q
    if np.isposinf(log_w).any():
        raise FloatingPointError(
            f"importance weights are infinite: {name_of(model, 'log_joint')} is plus "
            "infinity for some of X, or a log_prior minus infinity at its own draws"
        )
    return np.where(np.isnan(log_w), -np.inf, log_w)


def weigh(model, params, z, x, log_q, scale):
    """Self-normalised importance weights of candidates, and their gradient.

    Parameters
    ----------
    z : latents with arrays of shape (m, K, ...)
        Candidates of each row.
    x : ndarray of shape (m, n_features)
    log_q : ndarray of shape (m, K)
        Log-density that the candidates were drawn from.
    scale : float
        The gradient is divided by this.

    Returns
    -------
    bound : ndarray of shape (m,)
        Log of the mean weight.
    gradient : dict of ndarray
    sizes : ndarray of shape (m,)
        Effective sample sizes.

    Raises
    ------
    FloatingPointError
        If the weights of a row are not finite, or all zero.
    """
    n_candidates = log_q.shape[1]
    z, x = flatten(z), np.repeat(x, n_candidates, axis=0)
    value, gradient = pull_log_joint(model, params, z, x)
    weights, bound, sizes = normalise(value.reshape(log_q.shape) - log_q)
    flat = weights.ravel() / scale
    if not np.isfinite(value).all():
        # Outside the support the density is zero and its gradient undefined.
        kept = np.flatnonzero(np.isfinite(value))
        z, x, flat = take(z, kept), x[kept], flat[kept]
        _, gradient = pull_log_joint(model, params, z, x)
    return bound, gradient(flat), sizes


def weighted_pairs(model, params, z, x, weights):
    """Weighted sum of log p(z_n, x_m) over all pairs, and its gradient.

    Parameters
    ----------
    z : latents of n rows
    x : ndarray of shape (m, n_features)
    weights : ndarray of shape (n, m)

    Returns
    -------
    objective : float
    gradient : dict of ndarray
    """
    if has_natural_params(model):
        statistics = [weights @ s for s in model.sufficient_statistics(x)]
        return weighted_statistics(model, params, z, statistics, weights.sum(1))
    n = len(weights)
    objective, gradients = 0.0, []
    for rows in steps(len(x), n, x.shape[1]):
        block = x[rows]
        z_tiled = repeat(z, len(block))
        x_tiled = np.tile(block, (n, 1))
        value, gradient = pull_log_joint(model, params, z_tiled, x_tiled)
        flat = weights[:, rows].ravel()
        objective += flat @ value
        gradients.append(gradient(flat))
    return objective, add(gradients)


def weighted_statistics(model, params, z, statistics, totals):
    """The same from natural parameters: (n + m) d work instead of n m d.

    Parameters
    ----------
    z : latents of n rows
    statistics : list of ndarray of shape (n, n_features)
        Weighted sums over x of each sufficient statistic.
    totals : ndarray of shape (n,)
        Sums of weights.

    Returns
    -------
    objective : float
        Without the base measure.
    gradient : dict of ndarray
    """

    def objective(p):
        value = anp.dot(totals, call(model, "log_prior", p, z))
        if provides(model, "weighted_log_likelihood"):
            return value + model.weighted_log_likelihood(p, z, statistics, totals)
        for C, eta in zip(statistics, call(model, "natural_params", p, z), strict=True):
            value = value + anp.sum(C * eta)
        every = np.broadcast_to(totals[:, np.newaxis], statistics[0].shape)
        return value - anp.sum(every * call(model, "log_normalizer", p, z))

    value, gradient = pullback(objective, params, model.fixed_params)
    return float(value), gradient(1.0)


def natural_log_likelihood(model, params, z, x):
    """log p(x_m | z_n) less the base measure, of shape (m, n)."""
    ones = np.ones(x.shape[1])
    value = -np.sum(call(model, "log_normalizer", params, z) * ones, -1)
    etas = call(model, "natural_params", params, z)
    for S, eta in zip(model.sufficient_statistics(x), etas, strict=True):
        value = value + S @ (np.atleast_2d(eta) * ones).T
    return value


def directional_score(function, params, name, rng):
    """Derivative of ``function(params)`` along a random direction of one entry.

    By central differences: one number per row and no tape. Rows where it is not finite
    are zero.
    """
    value = params[name]
    size = max(value.size, 1)
    direction = rng.standard_normal(value.shape) / np.sqrt(size)
    step = 1e-4 * (1 + np.sqrt(np.sum(value**2) / size))
    ahead = function({**params, name: value + step * direction})
    behind = function({**params, name: value - step * direction})
    with np.errstate(invalid="ignore"):
        score = (np.asarray(ahead) - np.asarray(behind)) / (2 * step)
    return np.where(np.isfinite(score), score, 0.0)
