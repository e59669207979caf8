"""Do sampler and log-joint belong together? Tests before anything dear is begun."""

from typing import NamedTuple

import numpy as np
from scipy import linalg
from scipy.special import expit
from sklearn.covariance import ledoit_wolf
from sklearn.utils import check_array, check_random_state

from amortsk.latents import concatenate, repeat, take
from amortsk.model import (
    LatentVariableModel,
    call,
    covariates_of,
    has_natural_params,
    initial_params,
    name_of,
    provides,
    summary,
)
from amortsk.pairs import (
    exact_log_likelihood,
    flatten,
    log_joint,
    log_joint_terms,
    log_prior,
    natural_log_likelihood,
    pull_log_joint,
)
from amortsk.proposals import Proposal, latent_supports
from amortsk.regression import column_scaling
from amortsk.sleep import draw

# Draws, and those of which all pairs are taken.
DRY_RUN_DRAWS, PAIRED_DRAWS = 200, 10
# Draws, and batches of them, for the mean score.
SCORE_DRAWS, SCORE_BATCHES = 20_000, 100
# Draws for a proposal; draws tested, fewer where they have many numbers.
FIT_DRAWS, TEST_DRAWS, TEST_NUMBERS = 1000, 20_000, 4_000_000
# Standard errors from zero at which a test fails.
LIMIT = 5.0


class ModelCheck(NamedTuple):
    """What :func:`check_model` found.

    Attributes
    ----------
    mean_score : float
        Largest mean, over the model's own draws, of an entry of
        grad log p(z, x), in standard errors.
    conditional_importance : float
        Largest mean difference between a draw's own latents and their weighted
        neighbours, in standard errors; NaN with latent support ``"any"``, or where
        neighbours have no weight.
    gradient_error : float
        Largest relative difference between autograd and finite differences.
    log_prior : float
        Difference between two estimates of the overlap of the latents' density with
        another, in standard errors; NaN without a ``log_prior`` or a proposal.
    """

    mean_score: float
    conditional_importance: float
    gradient_error: float
    log_prior: float


def check_model(fitter_or_model, X=None, random_state=None):
    r"""Test a model: shapes, gradient, and that sampler and log-joint belong together.

    Two facts hold for every model whose log-joint is the log-density of its sampler.
    The score has mean zero over the model's own draws, :math:`E[\nabla_\theta \log
    p_\theta(z, x)] = 0`; this finds a wrong noise scale or sign, but not a fixed prior
    that was left out. And importance weights over the true z of a draw and a neighbour
    z', as likely to be z's as z to be its, leave expectations unchanged:
    :math:`E[w\,(T(z') - T(z))] = 0` with :math:`w = p(z',x)/(p(z,x)+p(z',x))`. This
    finds a missing prior too, unless it is constant; neighbours differ in one
    coordinate, or a whole direction, so it does for paths of any length. Neither sees
    an additive constant that was left out, though `score` needs it. Of a ``log_prior``
    p, constant included, two averages have to agree for any density q of the latents,
    :math:`E_p[q / (p + q)] = E_q[p / (p + q)]`. Each is a ValueError beyond five
    standard errors. They are tested near the start: zeros and ones among its
    parameters, which hide signs and powers, are moved by a tenth.

    Parameters
    ----------
    fitter_or_model : WakeSleepFitter or LatentVariableModel
        A fitter (with functions or a model) or a model.
    X : array-like of shape (n_samples, n_features), default=None
        Data to start parameters from; needed where ``init_params`` uses them, or where
        the model has covariates.
    random_state : int, RandomState instance or None, default=None
        Draws parameters' start, latents and data.

    Returns
    -------
    check : ModelCheck
        ``mean_score``, ``conditional_importance`` and ``log_prior`` in standard errors,
        and ``gradient_error``.

    Raises
    ------
    ValueError
        At the first failure, naming the function, what came back and what was expected.

    See Also
    --------
    WakeSleepFitter : Runs the cheap part, without the statistical tests, in `fit`.

    References
    ----------
    Barker, *Monte Carlo calculations of the radial distribution functions for a
    proton-electron plasma*, Australian Journal of Physics 18, 1965,
    doi:10.1071/PH650119.
    Gandy and Scott, *Unit testing for MCMC and other Monte Carlo methods*, 2020 (arXiv
    2001.06465).

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk import check_model
    >>> from amortsk.models import FactorAnalysisModel
    >>> X = np.random.default_rng(0).standard_normal((100, 3))
    >>> check = check_model(FactorAnalysisModel(1), X, random_state=0)
    >>> check.conditional_importance < 5
    True
    """
    if isinstance(fitter_or_model, LatentVariableModel):
        model = fitter_or_model
    elif hasattr(fitter_or_model, "_make_model"):
        model = fitter_or_model._make_model()
    else:
        raise ValueError(
            "check_model takes a WakeSleepFitter or a LatentVariableModel, got "
            f"{fitter_or_model!r}"
        )
    if X is not None:
        X = check_array(X, dtype=np.float64, copy=True)
    entropy = int(check_random_state(random_state).randint(2**31 - 1))
    seeds = np.random.SeedSequence(entropy).spawn(7)
    pool = covariates_of(model, X)
    params = initial_params(model, X, np.random.default_rng(seeds[0]))
    n_features = None if X is None else X.shape[1]
    with np.errstate(all="ignore"):
        draws = dry_run(model, params, n_features, seeds[1], pool)
        error = _finite_differences(model, params, draws, seeds[2])
        params = _nearby(model, params, draws, seeds[6])
        score, name = _mean_score(model, params, seeds[3], pool)
        # As in a fit, the fitter's own goes before the model's.
        support = fitter_or_model.latent_support
        support = model.latent_support if support is None else support
        importance, moment = _conditional_importance(
            model, params, seeds[4], pool, support
        )
        prior = _log_prior(model, params, seeds[5], pool, support)
    sampler, density = name_of(model, "sample"), name_of(model, "log_joint")
    if score > LIMIT:
        raise ValueError(
            f"{density} is not the log-density of what {sampler} draws: over its own "
            f"draws, near the start, the mean score of parameter {name!r} is "
            f"{score:.1f} standard errors from zero. Look for another scale, sign or "
            "parametrisation, or a support of z that depends on parameters"
        )
    if importance > LIMIT:
        raise ValueError(
            f"{density} is not the log-density of what {sampler} draws: given x, it "
            f"weights latents so that {moment} is off by {importance:.1f} standard "
            "errors. Look for a prior term of z that was left out or differs from the "
            "sampler's; or, where z is bounded, declare latent_support"
        )
    if prior > LIMIT:
        raise ValueError(
            f"{name_of(model, 'log_prior')} is not the log-density of the latents that "
            f"{sampler} draws: it is off by {prior:.1f} standard errors. Look for a "
            "missing constant, a density that is not logged, or other parameters"
        )
    return ModelCheck(score, importance, error, prior)


def _nearby(model, params, draws, seed):
    """Parameters whose zeros and ones, where signs and powers hide, are moved a tenth.

    Not those without effect, which may have to be what they are.
    """
    rng, nearby = np.random.default_rng(seed), dict(params)
    value, gradient = pull_log_joint(model, params, draws.z, draws.x)
    cotangent = rng.standard_normal(len(value)) * np.isfinite(value)
    for name, g in gradient(cotangent).items():
        size = np.abs(params[name])
        moved = np.isin(size, (0, 1)) & (g != 0)
        size = np.where(size > 0, size, size[size > 0].mean() if size.any() else 1.0)
        step = 0.1 * size * rng.standard_normal(size.shape)
        nearby[name] = params[name] + np.where(moved, step, 0.0)
    return nearby


def _finite_differences(model, params, draws, seed):
    """Relative error of the gradient along a random direction of each entry."""
    rng = np.random.default_rng(seed)

    def function(p):
        return log_joint(model, p, draws.z, draws.x)

    value, gradient = pull_log_joint(model, params, draws.z, draws.x)
    finite = np.isfinite(value)
    worst = 0.0
    for name, g in gradient(finite / finite.sum()).items():
        direction = rng.standard_normal(g.shape) / np.sqrt(max(g.size, 1))
        exact = np.sum(g * direction)
        step = 1e-5 * (1 + np.abs(params[name]).max(initial=0.0))
        ahead = function({**params, name: params[name] + step * direction})
        behind = function({**params, name: params[name] - step * direction})
        numeric = np.mean((ahead - behind)[finite]) / (2 * step)
        # Rounding of the log-joint's value limits what differences can tell.
        noise = 1e-15 * np.abs(value[finite]).max() / step
        size = max(abs(exact), abs(numeric), np.linalg.norm(g) * 1e-2, 1e3 * noise)
        error = abs(numeric - exact) / size if size else 0.0
        worst = max(worst, error)
        if error > 1e-2:
            raise ValueError(
                f"the gradient of {name_of(model, 'log_joint')} in {name!r} "
                f"is {exact:.6g} along a direction where finite differences give "
                f"{numeric:.6g}: look for a function that autograd cannot see"
            )
    return float(worst)


def _mean_score(model, params, seed, pool):
    """Largest mean of an entry of the score, in standard errors, and its name."""
    size = SCORE_DRAWS // SCORE_BATCHES
    means = []
    for child in seed.spawn(SCORE_BATCHES):
        draws = draw(model, params, size, child, pool)
        _, gradient = pull_log_joint(model, params, draws.z, draws.x)
        means.append(gradient(np.full(size, 1 / size)))
    found = []
    for name in means[0]:
        g = np.array([mean[name] for mean in means]).reshape(SCORE_BATCHES, -1)
        t = np.nan_to_num(_standard_errors(g), nan=0.0)
        found.append((float(t.max(initial=0.0)), name))
    return max(found)


def _conditional_importance(model, params, seed, pool, support):
    """Largest difference between true and reweighted latents, in standard errors."""
    fit, test, proposal, rng = _to_fit_and_test(model, params, seed, pool, support)
    if proposal is None:
        return np.nan, None
    k = proposal.slices[-1].stop
    n = int(np.clip(TEST_NUMBERS // k, FIT_DRAWS, TEST_DRAWS))
    own, x = take(test.z, slice(n)), test.x[:n]
    value = log_joint(model, params, own, x)
    # What is tested must not depend on the draws that it is tested on.
    T = proposal.targets(fit.z)
    center, scale = column_scaling(T)
    covariance, _ = ledoit_wolf((T - center) / scale)
    precision = linalg.inv(covariance + 1e-9 * np.eye(k))

    def moments(z):
        standard = (proposal.targets(z) - center) / scale
        length = np.sum(standard @ precision * standard, axis=1, keepdims=True)
        return np.hstack([standard, standard**2, length])

    change = variance = 0.0
    # Given its neighbours, a coordinate may vary much less than on its own.
    scale_given_others = T.std(0) / np.sqrt(np.diag(precision))
    for z, log_ratio in proposal.neighbours(own, scale_given_others, rng):
        share = expit(log_joint(model, params, z, x) - value + log_ratio)
        share = np.nan_to_num(share)[:, np.newaxis]
        difference = np.hstack([moments(z) - moments(own), 2 * share - 1])
        change = change + share * difference
        # Given a pair, which of the two is the draw is left to chance. The variance of
        # what was drawn misses steps back that are rare and large.
        variance = variance + np.mean(share * (1 - share) * difference**2, axis=0)
    if not np.any(change):
        return np.nan, None
    variance = np.maximum(variance, change.var(0))
    t = np.abs(change.mean(0)) / np.sqrt(np.maximum(variance, 1e-300) / n)
    worst = int(t.argmax())
    means = [f"the mean of coordinate {i} of z" for i in range(k)]
    squares = [f"the mean square of coordinate {i} of z" for i in range(k)]
    names = [*means, *squares, "the mean square of z", "the density"]
    return float(t[worst]), names[worst]


def _log_prior(model, params, seed, pool, support):
    """Difference of two estimates of one overlap, in standard errors.

    Of p with a density q that has the latents' moments. Both are means of numbers
    between zero and one, which large ratios cannot upset.
    """
    fit, test, proposal, rng = _to_fit_and_test(model, params, seed, pool, support)
    if proposal is None or not provides(model, "log_prior"):
        return np.nan
    targets = proposal.targets(fit.z)
    mean = targets.mean(0, keepdims=True)
    proposal.fit_residuals((targets - mean).T @ (targets - mean), FIT_DRAWS, 0.0)
    own = take(test.z, np.newaxis)
    other = proposal.draw(mean, proposal.noise(rng, 1, TEST_DRAWS))
    shares = []
    for sign, z in ((-1, own), (1, other)):
        log_p = log_prior(model, params, flatten(z))
        log_p = np.where(np.isnan(log_p), -np.inf, log_p)
        shares.append(expit(sign * (log_p - proposal.log_density(mean, z)[0])))
    gap = shares[0] - shares[1]
    # All alike, they are still known to one draw at best.
    error = max(gap.std() / np.sqrt(TEST_DRAWS), 1 / TEST_DRAWS)
    return float(abs(gap.mean()) / error)


def _to_fit_and_test(model, params, seed, pool, support):
    """Two sets of draws, a proposal that knows the integers of both, a generator.

    The proposal is None where no family fits the latents.
    """
    fit_seed, test_seed, rng_seed = seed.spawn(3)
    fit = draw(model, params, FIT_DRAWS, fit_seed, pool)
    test = draw(model, params, TEST_DRAWS, test_seed, pool)
    supports, proposal = latent_supports(support, fit.z), None
    if "any" not in supports:
        proposal = Proposal(supports, concatenate([fit.z, test.z]), with_prior=False)
    return fit, test, proposal, np.random.default_rng(rng_seed)


def _standard_errors(values):
    """Sizes of column means over their standard errors, rounding apart."""
    mean, rounding = np.abs(values.mean(0)), 1e-9 * (1 + np.abs(values).mean(0))
    spread = values.std(0, ddof=1) / np.sqrt(len(values))
    return np.where(mean <= rounding, 0.0, mean / np.maximum(spread, 1e-3 * rounding))


# Overflow in a user's function shows in its value, which is checked.
@np.errstate(all="ignore")
def dry_run(model, params, n_features, seed, pool=None):
    """Draw, evaluate and differentiate once, cheaply.

    Parameters
    ----------
    model : LatentVariableModel
    params : dict of ndarray
    n_features : int or None
        Columns that draws of x must have, None for any.
    seed : numpy.random.SeedSequence
    pool : ndarray of shape (n_samples, n_covariates) or None
        Covariates to draw from.

    Returns
    -------
    draws : Draws

    Raises
    ------
    ValueError
        Naming the function, what came back and what was expected.
    """
    sampler, density = name_of(model, "sample"), name_of(model, "log_joint")
    unknown = set(model.fixed_params) - set(params)
    if unknown or len(model.fixed_params) == len(params):
        raise ValueError(
            f"fixed_params must leave a parameter free and name entries of "
            f"{sorted(params)}, got {model.fixed_params!r}"
        )
    draws = draw(model, params, DRY_RUN_DRAWS, seed, pool)
    if provides(model, "log_prior"):
        log_prior(model, params, draws.z)
    if provides(model, "exact_log_likelihood"):
        exact_log_likelihood(model, params, draws.x)
    if n_features is not None and draws.x.shape[1] != n_features:
        raise ValueError(
            f"{sampler} must return x with {n_features} columns, as the data have, got "
            f"shape {draws.x.shape}"
        )
    value, gradient = pull_log_joint(model, params, draws.z, draws.x, terms=True)
    value = np.asarray(value)
    if value.dtype.kind != "f":
        raise ValueError(
            f"{density} must return real numbers, got {value.dtype}; if it uses numpy, "
            "import autograd.numpy as np instead"
        )
    n = len(draws.x)
    if value.shape == (n, n):
        # As many terms as rows, or a column that met a row?
        half = take(draws.z, slice(n // 2))
        value_of_half = log_joint_terms(model, params, half, draws.x[: n // 2])
        if value_of_half.shape[1] != n:
            raise ValueError(
                f"{density} must return shape ({n},), got {value.shape}: somewhere "
                "arrays of shape (n,) and (n, 1) are combined"
            )
    shape = None if model.term_columns is None else (n, len(model.term_columns))
    if shape not in (None, value.shape):
        raise ValueError(
            f"{density} must return shape {shape}, a column for each row of "
            f"term_columns, got {value.shape}"
        )
    n_bad = int(np.sum(~np.isfinite(value.reshape(len(value), -1)).all(1)))
    if n_bad > 0.1 * len(value):
        raise ValueError(
            f"{density} is not finite at {n_bad} of {len(value)} of the model's own "
            f"draws, at parameters {summary(params)}"
        )
    _check_gradient(model, params, draws, value, gradient, density)
    if has_natural_params(model):
        _check_natural_params(model, params, draws, density)
    return draws


def _check_natural_params(model, params, draws, density):
    """All pairs of some latents and some data, by both ways."""
    z, x = take(draws.z, slice(PAIRED_DRAWS)), draws.x[:PAIRED_DRAWS]
    n, error = len(x), None
    value = log_joint(model, params, repeat(z, n), np.tile(x, (n, 1))).reshape(n, n)
    try:
        natural = natural_log_likelihood(model, params, z, x).T
    except ValueError as raised:
        natural, error = np.nan, raised
    difference = value - log_prior(model, params, z)[:, np.newaxis] - natural
    possible = np.isfinite(value).all(0)
    spread = np.ptp(difference[:, possible], axis=0)
    # Far from zero natural parameters lose digits.
    rounding = 1e-12 * np.abs(call(model, "log_normalizer", params, z)).max()
    size = np.abs(value[:, possible]).max(initial=1.0)
    if not np.all(spread <= 1e-6 * size + rounding):
        reason = f" ({error})" if error else ""
        raise ValueError(
            "natural_params and sufficient_statistics, tuples of arrays "
            "(n, n_features), and log_normalizer, such an array, must give "
            f"{density} less log_prior up to a term in x alone, but over latents that "
            f"differs by {spread.max():.3g}{reason}"
        ) from error


def _check_gradient(model, params, draws, value, gradient, density):
    rng = np.random.default_rng(0)
    cotangent = np.where(np.isfinite(value), rng.standard_normal(value.shape), 0.0)
    try:
        gradients = gradient(cotangent)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"the gradient of {density} raised {type(error).__name__}: {error}; in "
            "np.where of autograd.numpy a branch that depends on parameters must have "
            "the shape of the condition"
        ) from error
    for name, g in gradients.items():
        if np.shape(g) != params[name].shape:
            raise ValueError(
                f"the gradient of {density} with respect to {name!r} has shape "
                f"{np.shape(g)}, expected {params[name].shape}"
            )
    unused = [
        name for name, g in gradients.items() if params[name].size and not np.any(g)
    ]
    if unused:
        # A start may be a saddle; a parameter without effect is so everywhere.
        nearby = {
            name: v + 1e-3 * (1 + np.abs(v)) * rng.standard_normal(v.shape)
            for name, v in params.items()
        }
        with np.errstate(all="ignore"):
            value, gradient = pull_log_joint(
                model, nearby, draws.z, draws.x, terms=True
            )
            cotangent = np.where(np.isfinite(value), cotangent, 0.0)
            moved = gradient(cotangent)
        unused = [name for name in unused if not np.any(moved[name])]
    if unused:
        raise ValueError(
            f"{density} does not depend on the parameters {unused}: remove them, list "
            "them in a model's fixed_params, or look for a function that autograd "
            "cannot see (import autograd.numpy as np; no float() or in-place writes)"
        )
