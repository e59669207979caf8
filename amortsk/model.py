"""Generative models: what the fitter asks of them, and two plain functions as one."""

import numpy as np
from autograd.tracer import getval
from sklearn.base import BaseEstimator

from amortsk.features import are_indices


class LatentVariableModel(BaseEstimator):
    r"""A generative model that can be sampled and whose log-joint can be evaluated.

    Derive from this class when a model has structure worth naming: sizes that a grid
    search may vary (constructor arguments, stored unchanged), a prior that can be
    evaluated on its own, an exponential-family likelihood. For a first try two plain
    functions are enough, see :class:`WakeSleepFitter`.

    A model is *stateless*. Everything it computes comes from ``params``, a dict of
    float arrays, and from the arguments, so that one object serves any number of fits.
    Set its attributes in the class body or as properties: `clone` forgets what is set
    on an instance.

    **You implement**

    ``init_params(X, rng)``
        A dict of float arrays to start from; shapes may depend on ``X``.
    ``sample(params, n_samples, rng)``
        A pair ``(z, x)``: `n_samples` draws of latents and observations.
    ``log_joint(params, z, x)``
        :math:`\log p_\theta(z_n, x_n)` for paired rows, of shape (n,); or
        (n, n_terms) when the joint is a sum of local terms, see `term_columns`.
        Written in ``autograd.numpy``; constants and fixed priors belong to it.

    **You may implement**, and then get more

    ``log_prior(params, z)`` of shape (n,)
        log p(z), its constant included. Proposals are mixed with the prior, which
        bounds importance weights; and where no proposal fits, sleep latents weighted by
        the likelihood take their place.
    ``natural_params``, ``log_normalizer`` of (params, z), ``sufficient_statistics(x)``
        :math:`\log p(x|z) = \sum_d \sum_s S_{sd}(x)\,\eta_{sd}(z) - \Psi_d(z) + h(x)`:
        ``sufficient_statistics`` returns a tuple of arrays of shape (n, n_features),
        ``natural_params`` one of arrays that broadcast to it, ``log_normalizer`` one
        such array. With ``log_prior`` it makes ``gradient="likelihood"`` and sleep
        candidates as cheap as a matrix product.
    ``log_prior_params(params)``
        A scalar: maximum a posteriori instead of maximum likelihood. The objective is
        the mean of log p(x_n) plus this over the number of rows.
    ``exact_log_likelihood(params, X)`` of shape (n,)
        ``score`` and ``score_samples`` become exact.

    Attributes
    ----------
    latent_support : None, str or tuple, or a list or dict with one per part of z
        ``"real"``, ``"positive"``, ``("interval", a, b)``, ``("categorical", n)``,
        ``"unit"`` (rows of unit norm: circle, sphere), or ``"any"`` where no proposal
        family fits. None infers it from draws: integers are categorical, rows of unit
        norm in two or more columns are unit, rows that sum to one any, whole numbers of
        a float type are an error, all else is real.
    term_columns : None or integer array of shape (n_terms, width)
        The columns of x that each local term is regressed on, see :func:`windows`.
    fixed_params : tuple of str
        Entries of ``params`` that a fit holds at their initial values.
    covariate_columns : None or integer array
        Columns of X that the model conditions on and does not model. ``sample`` then
        takes them as a fourth argument `covariates`, of shape (n_samples,
        n_covariates), and puts them back into these columns of its x. Everything else
        sees whole rows, and p(x) stands for the density of the other columns given
        these. ``log_prior`` and ``natural_params`` are for models where they do not
        depend on covariates.

    See Also
    --------
    WakeSleepFitter : Fits a model to data.
    check_model : Tests that sampler and log-joint belong together.

    Examples
    --------
    >>> import autograd.numpy as np
    >>> from amortsk import LatentVariableModel, WakeSleepFitter
    >>> class Shifted(LatentVariableModel):
    ...     def init_params(self, X, rng):
    ...         return {"shift": np.zeros(X.shape[1])}
    ...     def sample(self, params, n_samples, rng):
    ...         z = rng.standard_normal((n_samples, 1))
    ...         noise = rng.standard_normal((n_samples, params["shift"].size))
    ...         return z, params["shift"] + z + noise
    ...     def log_joint(self, params, z, x):
    ...         quadratic = z[:, 0] ** 2 + np.sum((x - params["shift"] - z) ** 2, 1)
    ...         return -0.5 * quadratic - 0.5 * (1 + x.shape[1]) * np.log(2 * np.pi)
    >>> X = 3 + np.random.default_rng(0).standard_normal((200, 2)) * 1.4
    >>> fitter = WakeSleepFitter(model=Shifted(), max_iter=300, learning_rate=0.05,
    ...                          random_state=0).fit(X)
    >>> bool(np.all(np.abs(fitter.params_["shift"] - X.mean(0)) < 0.05))
    True
    """

    latent_support = None
    term_columns = None
    fixed_params = ()
    covariate_columns = None

    def __sklearn_clone__(self):
        copy = super().__sklearn_clone__()
        lost = (set(vars(self)) - set(vars(copy))) & set(vars(LatentVariableModel))
        if lost:
            raise ValueError(
                f"{sorted(lost)} of {self!r} would be lost in a copy: set them in the "
                "class, or as properties"
            )
        return copy

    def init_params(self, X, rng):
        """Parameters to start from, a dict of float arrays."""
        raise NotImplementedError(f"{type(self).__name__} must define init_params")

    def sample(self, params, n_samples, rng):
        """Draw `n_samples` pairs (z, x)."""
        raise NotImplementedError(f"{type(self).__name__} must define sample")

    def log_joint(self, params, z, x):
        """Log-joint density of paired rows of z and x."""
        raise NotImplementedError(f"{type(self).__name__} must define log_joint")


class FunctionModel(LatentVariableModel):
    """Two plain functions, a start and what else is known, as a model.

    Parameters
    ----------
    log_joint, sample, init, log_prior, latent_support, term_columns
        As in :class:`WakeSleepFitter`, which calls the second and third `sampler` and
        `init_params`.
    """

    def __init__(
        self,
        log_joint,
        sample,
        init,
        log_prior=None,
        latent_support=None,
        term_columns=None,
    ):
        # Attributes shadow the methods: the user's functions are the methods.
        self.log_joint, self.sample, self.init = log_joint, sample, init
        self.log_prior = log_prior
        self.latent_support, self.term_columns = latent_support, term_columns

    def init_params(self, X, rng):
        return self.init(X, rng) if callable(self.init) else self.init


def provides(model, *names):
    """Whether a model has all of the optional methods named."""
    return all(callable(getattr(model, name, None)) for name in names)


def has_natural_params(model):
    """Whether log p(x|z) can be computed by matrix products."""
    return provides(
        model, "log_prior", "natural_params", "log_normalizer", "sufficient_statistics"
    )


def initial_params(model, X, rng):
    """Where the model starts, as float64 copies.

    Raises
    ------
    ValueError
        If ``init_params`` raises, or gives no non-empty dict of finite float arrays.
    """
    source = name_of(model, "init_params")
    try:
        params = model.init_params(X, rng)
    except Exception as error:
        what = "without data (pass X)" if X is None else f"for X of shape {X.shape}"
        raise ValueError(
            f"{source} raised {type(error).__name__} {what}: {error}"
        ) from error
    if not isinstance(params, dict) or not params:
        raise ValueError(
            f"{source} must give a non-empty dict of float arrays, got "
            f"{type(params).__name__}: {params!r:.80}"
        )
    checked = {}
    for name, value in params.items():
        array = np.asarray(value)
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise ValueError(
                f"{source} must give finite real arrays, but {name!r} has dtype "
                f"{array.dtype} and the value {value!r:.80}"
            )
        checked[name] = array.astype(np.float64)
    return checked


def covariates_of(model, X):
    """Columns of X that the model conditions on, None for a model without them.

    Raises
    ------
    ValueError
        If there are no data, or `covariate_columns` are not some of their columns.
    """
    columns = model.covariate_columns
    if columns is None:
        return None
    if X is None:
        raise ValueError(
            f"{type(model).__name__} has covariate_columns: pass X to draw them from"
        )
    columns, d = np.asarray(columns), X.shape[1]
    if not (are_indices(columns, d) and len(set(columns)) == len(columns) < d):
        raise ValueError(
            f"covariate_columns must be some but not all of the columns 0 to {d - 1} "
            f"of X, each once, got {model.covariate_columns!r}"
        )
    return X[:, columns]


def call(model, method, params, *arguments):
    """Call a method of a model; what it raises says which function and parameters.

    Raises
    ------
    ValueError
        From the original exception.
    """
    try:
        return getattr(model, method)(_lent(params), *arguments)
    except Exception as error:
        advice = ""
        untraced = isinstance(error, (TypeError, NotImplementedError))
        if method != "sample" and (untraced or "with a sequence" in str(error)):
            advice = (
                ". If it works on plain arrays, it may use a function that autograd "
                "cannot see: import autograd.numpy as np and autograd.scipy"
            )
        raise ValueError(
            f"{name_of(model, method)} raised {type(error).__name__}: {error}, at "
            f"parameters {summary(params)}{advice}"
        ) from error


def _lent(params):
    """Copies: a function may do with them what it likes."""
    return {
        name: value.copy() if isinstance(value, np.ndarray) else value
        for name, value in params.items()
    }


def shapes_of(params):
    """Shape of every parameter."""
    return {name: np.shape(value) for name, value in params.items()}


def summary(params):
    """Shape and range of every parameter, for messages."""
    arrays = {name: np.asarray(getval(value)) for name, value in params.items()}
    return {
        name: f"{v.shape}, {v.min():.3g} to {v.max():.3g}"
        for name, v in arrays.items()
        if v.size
    }


def name_of(model, method):
    """What the user calls a function of the model."""
    if isinstance(model, FunctionModel):
        return {"sample": "sampler"}.get(method, method)
    return f"{type(model).__name__}.{method}"
