"""WakeSleepFitter: sleep, regress, wake, update."""

import copy
import warnings
from functools import partial
from numbers import Integral

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
    clone,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from amortsk.callbacks import STACK_LEVEL, CallbackSupportMixin, with_callbacks
from amortsk.checks import dry_run
from amortsk.design import check_parameters
from amortsk.evaluation import Posterior, energy_score, posterior_block, scoring_rule
from amortsk.features import check_integer, check_positive
from amortsk.gradients import MIN_EFFECTIVE_SAMPLE_SIZE
from amortsk.model import (
    FunctionModel,
    LatentVariableModel,
    covariates_of,
    initial_params,
    name_of,
    provides,
    shapes_of,
)
from amortsk.optimizers import decay
from amortsk.pairs import exact_log_likelihood
from amortsk.proposals import latent_supports
from amortsk.regression import default_trend
from amortsk.regressor import AmortisedGradientRegressor
from amortsk.sleep import draw
from amortsk.terms import check_term_columns
from amortsk.training import DRY_RUN, FINAL, GAP, INIT, SAMPLE, Training, stream

# Drift (see Window) below which a fit has converged, and above which it warns.
CONVERGED, DRIFTING = 5.0, 10.0
# The final sleep set, and the candidates for scoring, in units of the loop's.
FINAL_FACTOR, CANDIDATE_FACTOR = 5, 20
MAX_FINAL_ROWS = 10_000
# Rows, and rows for each parameter, whose scores tell how far a fit is below the
# maximum; the most parameters; nats a row, and of all rows, that matter.
GAP_ROWS, ROWS_PER_PARAMETER, MAX_PARAMETERS = 500, 20, 100
MIN_GAP, MIN_TOTAL_GAP = 0.01, 2.0
# Share of steps without a finite gradient above which a fit warns.
MAX_SKIPPED_SHARE = 0.1

_warn = partial(warnings.warn, stacklevel=STACK_LEVEL)


class WakeSleepFitter(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    DensityMixin,
    BaseEstimator,
):
    r"""Maximum likelihood for any latent-variable model that can be sampled.

    The gradient of the log-likelihood is a conditional expectation (Fisher's identity),

    .. math::
        \nabla_\theta \log p_\theta(x)
        = E_{p_\theta(z|x)}[\nabla_\theta \log p_\theta(z, x)],

    and a conditional expectation is a regression, for which the model itself draws the
    training pairs. An iteration draws (z, x) from the model (*sleep*), *regresses* on x
    by kernel ridge regression, evaluates the regression at a batch of data (*wake*),
    and takes a step along the gradient. With importance weights of proposals the first
    two serve five iterations. z may be discrete, on a circle, a path of a dynamical
    system, or a tuple of all of these.

    Give either two functions and a start, or a `model`.

    Parameters
    ----------
    log_joint : callable
        ``log_joint(params, z, x)``: log p(z, x) of paired rows, shape (n,), constants
        and fixed priors included; written in ``autograd.numpy``. Of shape (n, n_terms)
        it is a sum of local terms, see `term_columns`.
    sampler : callable
        ``sampler(params, n_samples, rng)``: draws (z, x), with `rng` a
        :class:`numpy.random.Generator`. z is an array, or a tuple or dict of arrays,
        with leading axis n_samples, integers where discrete (booleans become zero and
        one); x has shape (n_samples, n_features).
    init_params : dict of float arrays or callable
        Where to start; a callable ``init_params(X, rng)`` returns the dict.
    model : LatentVariableModel, default=None
        A model instead of functions. It is copied, never changed.
    log_prior : callable, default=None
        ``log_prior(params, z)``: log p(z), shape (n,), constants included. Bounds
        importance weights: give it if you can write it.
    latent_support : optional
        Where latents live, as in :class:`LatentVariableModel`; overrides the model's.
    term_columns : integer array of shape (n_terms, width), default=None
        Columns of x that each local term of the log-joint is regressed on, -1 beyond
        the ends, see :func:`windows`; or a list of such rows, of any widths.
    regressor : AmortisedGradientRegressor, default=None
        The regression; None is ``AmortisedGradientRegressor(trend="linear",
        groups="nested")``, with a constant trend where `n_sleep` is too small for it.
        (One of your own has a constant trend and no groups unless you set them.) It
        sees columns in units of the sleep draws' standard deviations.
    gradient : {"auto", "joint", "likelihood", "importance", "direct"}, default="auto"
        Estimator of the gradient, see the user guide. ``"auto"`` is ``"joint"`` for
        local terms; else ``"importance"`` while the median effective sample size of the
        batch is 10 or more (with up to eight times `n_proposals`, or with sleep latents
        as candidates); else ``"likelihood"``, or ``"joint"`` where some latents exclude
        some data. Only ``"joint"`` and ``"direct"`` serve local terms; the others
        regress on whole rows.
    n_sleep : int, default=1000
        Draws from the model in every sleep phase: every iteration, or every fifth with
        importance weights of proposals. With local terms each counts as often as there
        are terms: ten thousand in all are usually enough.
    n_proposals : int, default=50
        Importance-weighted draws for each row of data.
    batch_size : int, default=100
        Rows of data in every iteration.
    max_iter : int, default=1000
        Number of iterations. The learning rate decays over the second half, and
        `params_` is the average over the last quarter (beyond twenty iterations,
        rounded down to a multiple of twenty).
    learning_rate : float, default=0.01
        Of Adam.
    tol : float, default=None
        Stop in the second half when the drift of the gradient (see `converged_`) is
        below this.
    scoring : {"auto", "exact", "importance", "energy"}, default="auto"
        What `score_samples` returns. ``"auto"`` takes the first that the model's
        structure allows: ``"exact"`` with ``exact_log_likelihood``; ``"importance"``
        with proposals or a ``log_prior``, and without local terms; else ``"energy"``.
    warm_start : bool, default=False
        Whether a second `fit` goes on from parameters, optimiser and random numbers of
        the first.
    n_jobs : int, default=None
        Processes that share sleep draws beyond 20 000 rows of the regression; results
        are the same for any number (up to rounding where BLAS has several threads).
    random_state : int, RandomState instance or None, default=None
        An int makes fits repeatable to the last bit. (A Generator is what samplers
        get.)
    verbose : int, default=0
        1 prints up to twenty lines of progress, 2 one for every iteration.

    Attributes
    ----------
    params_ : dict of ndarray of float64
        Fitted parameters; scalars are numpy.float64.
    model_ : LatentVariableModel
        The model fitted.
    regressor_ : AmortisedGradientRegressor
        The regression of the latents' moments at `params_`, on a fresh sleep set of 5
        `n_sleep` draws, at most 10 000 rows; of `n_sleep` if these are more, or with
        the exact kernel. It expects columns standardised by that set: use `transform`,
        not ``regressor_.predict(X)``.
    history_ : dict of 1-d ndarray
        ``objective``, ``gradient_norm``, ``effective_sample_size`` (median over rows,
        NaN without weights), ``share_of_poor_rows`` (with an effective sample size
        below five), ``gamma``, ``alpha``, ``n_redrawn`` (non-finite draws replaced),
        ``n_skipped`` (1 where a step was skipped for want of a finite gradient): one
        number an iteration. After `fit` with local terms also ``wider_windows_drift``:
        the drift (see `converged_`) of the gradient at `params_` when windows have
        twice the half-width; NaN where `term_columns` are not runs of neighbours, rows
        are fewer than four, or `n_sleep` too small for wider windows.
    n_iter_ : int
        Iterations of the last call.
    converged_ : bool
        Whether the mean gradient over the last quarter of iterations, and at least
        twenty, is within five standard errors of zero; False where a call has fewer
        than twenty. A `ConvergenceWarning` is given above ten, or where the rows'
        scores tell that the log-likelihood could be clearly higher. It is the
        *estimated* gradient that vanishes: `score` should also be above that of the
        start.
    gradient_ : str
        The estimator last in use.
    gradient_reason_ : str
        Why.
    n_features_in_ : int
        Number of columns seen by `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Defined only when the columns of X have names that are all strings.

    See Also
    --------
    LatentVariableModel : A model with more structure than two functions.
    check_model : Tests a model before it is fitted.
    AmortisedGradientRegressor : The regression.

    References
    ----------
    Wenliang, Moskovitz, Kanagawa and Sahani, *Amortised learning by wake-sleep*, ICML
    2020 (arXiv 2002.09737).

    Examples
    --------
    Counts of two kinds, in proportions and rates to be found:

    >>> import autograd.numpy as np
    >>> from autograd.scipy.special import gammaln
    >>> from amortsk import WakeSleepFitter
    >>> def sampler(params, n_samples, rng):
    ...     z = rng.integers(2, size=n_samples)
    ...     return z, rng.poisson(np.exp(params["log_rate"][z]))[:, None]
    >>> def log_joint(params, z, x):
    ...     log_rate = params["log_rate"][z]
    ...     x = x[:, 0]
    ...     return np.log(0.5) + x * log_rate - np.exp(log_rate) - gammaln(x + 1)
    >>> rng = np.random.default_rng(0)
    >>> X = rng.poisson(np.where(rng.random(500) < 0.5, 2, 9))[:, None]
    >>> fitter = WakeSleepFitter(
    ...     log_joint, sampler, {"log_rate": np.array([0.0, 3.0])},
    ...     max_iter=200, learning_rate=0.05, random_state=0).fit(X)
    >>> fitter.gradient_
    'importance'
    >>> bool(abs(np.exp(fitter.params_["log_rate"]) - [2, 9]).max() < 0.5)
    True
    """

    def __init__(
        self,
        log_joint=None,
        sampler=None,
        init_params=None,
        *,
        model=None,
        log_prior=None,
        latent_support=None,
        term_columns=None,
        regressor=None,
        gradient="auto",
        n_sleep=1000,
        n_proposals=50,
        batch_size=100,
        max_iter=1000,
        learning_rate=0.01,
        tol=None,
        scoring="auto",
        warm_start=False,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.log_joint = log_joint
        self.sampler = sampler
        self.init_params = init_params
        self.model = model
        self.log_prior = log_prior
        self.latent_support = latent_support
        self.term_columns = term_columns
        self.regressor = regressor
        self.gradient = gradient
        self.n_sleep = n_sleep
        self.n_proposals = n_proposals
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.learning_rate = learning_rate
        self.tol = tol
        self.scoring = scoring
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(self, X, y=None):
        """Fit the model's parameters to data by maximum likelihood.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data; float64 inside.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        X, columns = self._validate_new(X)
        run = self._begin(X)
        run.max_skipped = min(run.max_skipped, self.max_iter)
        context = self._init_callback_context(max_subtasks=self.max_iter)
        context.call_on_fit_task_begin(estimator=self, X=X)
        for iteration in range(self.max_iter):
            task = context.subcontext(task_name=f"iteration {iteration}")
            task.call_on_fit_task_begin(estimator=self, X=X)
            run.iterate(run.batch(X), len(X), decay(iteration, self.max_iter))
            self._report(run)
            stop = task.call_on_fit_task_end(
                estimator=self,
                X=X,
                reconstruction_attributes=lambda: self._fitted(run, X, columns),
            )
            # Earlier the window, which is averaged, holds the way from the start.
            settled = self.tol is not None and 2 * iteration >= self.max_iter
            if stop or (settled and run.window.drift() < self.tol):
                break
        context.call_on_fit_task_end(estimator=self, X=X)
        run.params = {**run.params, **run.window.mean_params()}
        self._set_fitted(run, X, columns)
        self._check_convergence(X)
        self._warn_of_skips()
        self._warn_of_gap(X)
        return self

    @with_callbacks
    def partial_fit(self, X, y=None):
        """Take one pass over X, a step for each batch, at a constant learning rate.

        Covariates, where a model has them, are drawn from these rows alone, and a prior
        of the parameters counts as if there were no others. `learning_rate`,
        `batch_size` and `n_jobs` may change from one call to the next; all else about
        the steps is as it was in the first.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            More data.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted estimator; `params_` is the last iterate.
        """
        if hasattr(self, "_run"):
            X, columns = self._validate(X), {}
            self._check_parameters()
            run = copy.deepcopy(self._run)
            run.adopt(self)
            run.pool = covariates_of(run.model, X)
        else:
            X, columns = self._validate_new(X)
            run = self._begin(X)
        batches = run.one_pass(X)
        run.begin_history(window=len(batches))
        for batch in batches:
            run.iterate(batch, len(X), 1.0)
            self._report(run)
        self._set_fitted(run, X, columns)
        self._warn_of_skips()
        return self

    def _begin(self, X):
        """A new run; with warm_start from where the last one ended."""
        self._check_parameters()
        last = getattr(self, "_run", None) if self.warm_start else None
        model = self._make_model()
        regressor = self._make_regressor(X, model)
        if last is None:
            rng = check_random_state(self.random_state)
            entropy = rng.randint(2**31 - 1, size=4).tolist()
        else:
            entropy = last.entropy
        rng = np.random.default_rng(stream(entropy, INIT))
        params = initial_params(model, X.copy(), rng)
        if last is not None:
            fresh, fitted = shapes_of(params), shapes_of(last.params)
            if fresh != fitted:
                raise ValueError(
                    "warm_start goes on from parameters of the last fit, of shapes "
                    f"{fitted}, which are not those of this model, {fresh}"
                )
            params = last.params
        pool = covariates_of(model, X)
        draws = dry_run(model, params, X.shape[1], stream(entropy, DRY_RUN), pool)
        support = self.latent_support
        support = model.latent_support if support is None else support
        supports = latent_supports(support, draws.z)
        scoring_rule(self.scoring, model, supports)
        run = Training(
            model, params, supports, self, regressor, entropy, X.shape[1], pool
        )
        if last is not None:
            run.n_iter = run.next_choice = last.n_iter
            run.optimizer = copy.deepcopy(last.optimizer)
            run.adopt(self)
        return run

    def _make_model(self):
        """The model: a copy of the one given, or the functions as one."""
        functions = (self.log_joint, self.sampler, self.init_params)
        if self.model is None:
            if any(part is None for part in functions):
                raise ValueError(
                    "WakeSleepFitter needs log_joint, sampler and init_params, or a "
                    "model= such as amortsk.models.FactorAnalysisModel(2)"
                )
            optional = (self.log_prior, self.latent_support, self.term_columns)
            return FunctionModel(*functions, *optional)
        if any(part is not None for part in (*functions, self.log_prior)):
            raise ValueError(
                "give either model= or the functions log_joint, sampler, init_params "
                "and log_prior, not both"
            )
        if not isinstance(self.model, LatentVariableModel):
            raise ValueError(
                f"model must be a LatentVariableModel instance, got {self.model!r}"
            )
        model = clone(self.model)
        if self.term_columns is not None:
            try:
                model.term_columns = self.term_columns
            except AttributeError as error:
                raise ValueError(
                    f"{type(model).__name__} computes its own term_columns: leave "
                    "those of the fitter at None"
                ) from error
        return model

    def _make_regressor(self, X, model):
        if self.regressor is None:
            width, n_rows = X.shape[1], self.n_sleep
            if model.term_columns is not None:
                term_columns = check_term_columns(model.term_columns, X.shape[1])
                width = 2 * max(len(columns) for columns in term_columns)
                n_rows = n_rows * len(term_columns)
            trend = default_trend(width, n_rows)
            return AmortisedGradientRegressor(trend=trend, groups="nested")
        if not isinstance(self.regressor, AmortisedGradientRegressor):
            raise ValueError(
                "regressor must be an AmortisedGradientRegressor, got "
                f"{self.regressor!r}"
            )
        check_parameters(self.regressor)
        return clone(self.regressor)

    def _check_parameters(self):
        least_of = {"n_sleep": 2, "n_proposals": 2, "batch_size": 1, "max_iter": 1}
        for name, least in least_of.items():
            check_integer(name, getattr(self, name), least)
        check_integer("verbose", self.verbose, 0)
        n_jobs = self.n_jobs
        if n_jobs is not None and (not isinstance(n_jobs, Integral) or n_jobs == 0):
            raise ValueError(
                f"n_jobs must be None or a non-zero integer, got {n_jobs!r}"
            )
        if not isinstance(self.warm_start, (bool, np.bool_)):
            raise ValueError(
                f"warm_start must be True or False, got {self.warm_start!r}"
            )
        check_positive("learning_rate", self.learning_rate)
        if self.tol is not None:
            check_positive("tol", self.tol)
        for name in ("log_joint", "sampler", "log_prior"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise ValueError(f"{name} must be a function, got {value!r}")

    def _report(self, run):
        """Up to twenty lines of progress or, with verbose=2, one every iteration."""
        n = len(run.history["objective"])
        every = 1 if self.verbose > 1 else -(-self.max_iter // 20)
        if not self.verbose or n % every:
            return
        objective = np.mean(run.history["objective"][-every:])
        size = run.history["effective_sample_size"][-1]
        print(
            f"iteration {n:6d}  objective {objective:12.4f}  gradient norm "
            f"{run.history['gradient_norm'][-1]:10.3g}  effective sample size "
            f"{size:6.1f}  {run.estimator.name}"
        )

    def _set_fitted(self, run, X, columns):
        """Set all that is fitted at once: a failing fit leaves the last one whole."""
        fitted = self._fitted(run, X, columns)
        if columns:
            vars(self).pop("feature_names_in_", None)
        vars(self).update(fitted)
        sampler, n_redrawn = name_of(run.model, "sample"), self.history_["n_redrawn"]
        if n_redrawn.any():
            _warn(
                f"{sampler} returned {n_redrawn.sum():.0f} non-finite draws: "
                "they were drawn again, which conditions the model on finite draws. "
                "Counts are in history_['n_redrawn']"
            )

    def _fitted(self, run, X, columns):
        """The fitted attributes: the regression refitted at the run's parameters."""
        rng = run.rng(FINAL, run.n_iter)
        n_final = self.n_sleep
        if run.regression.regressor.features is not None:
            most = MAX_FINAL_ROWS // run.regression.n_terms
            n_final = max(n_final, min(FINAL_FACTOR * n_final, most))
        draws = run.sleep(n_final, key=(FINAL, run.n_iter, 1)).first
        block = posterior_block(run.regression, draws.z)
        regression = run.whole if block.columns is None else run.regression
        regressor = clone(regression.regressors[0])
        if regressor.random_state is None:
            regressor.set_params(random_state=int(rng.integers(2**31 - 1)))
        if self.regressor is None and block.columns is None:
            # Latents of a whole series have no window: whole rows may be too wide.
            regressor.set_params(trend=default_trend(*draws.x.shape[::-1]))
        fitted = run.model, run.params, run.supports
        n_candidates = CANDIDATE_FACTOR * self.n_proposals
        posterior = Posterior(*fitted, block, regressor, draws, n_candidates, rng)
        size = posterior.effective_sample_size(X[rng.permutation(len(X))[:100]])
        posterior.by_importance = size >= MIN_EFFECTIVE_SAMPLE_SIZE
        history = {name: np.array(values) for name, values in run.history.items()}
        return {
            **columns,
            "params_": run.params,
            "model_": run.model,
            "regressor_": regressor,
            "history_": history,
            "n_iter_": len(history["objective"]),
            "converged_": bool(run.window.drift() < CONVERGED),
            "gradient_": run.estimator.name,
            "gradient_reason_": run.estimator.reason,
            "_run": run,
            "_posterior": posterior,
            "_scoring": scoring_rule(self.scoring, run.model, run.supports),
            "_n_features_out": posterior.latents(draws.z)[0].size,
            "_n_sampled": 0,
        }

    def _check_convergence(self, X):
        """Warn where the fit clearly drifts, or its windows are too narrow."""
        run = self._run
        if run.regression.is_local:
            wider = run.wider_windows_drift(X)
            self.history_["wider_windows_drift"] = np.array([wider])
            if wider > DRIFTING:
                _warn(
                    "with term_columns of twice the half-width the gradient at params_ "
                    f"is {wider:.1f} standard errors from zero: the answer depends on "
                    "the width. Take wider windows, or doubt the model"
                )
        taken = self.history_["objective"][self.history_["n_skipped"] == 0]
        infinite = np.sum(~np.isfinite(taken)) / max(len(taken), 1)
        if self.gradient_ == "likelihood" and infinite > MAX_SKIPPED_SHARE:
            _warn(
                "gradient='likelihood' gives weight to pairs of latents and data that "
                f"exclude each other, in {infinite:.0%} of the steps: "
                "'importance' or 'joint' does not"
            )
        if run.window.drift() > DRIFTING:
            _warn(
                f"the gradient still pointed one way ({run.window.drift():.1f} "
                f"standard errors from zero) after max_iter={self.max_iter} steps: "
                "take more, go on with warm_start, raise the learning_rate, or bring "
                "X to unit scale",
                ConvergenceWarning,
            )

    def _warn_of_gap(self, X):
        """Warn where the rows' scores tell that the log-likelihood could be higher.

        By a score test (Godfrey and Wickens, *Review of Economic Studies* 48, 1981).
        """
        posterior, model = self._posterior, self.model_
        free = set(self.params_) - set(model.fixed_params)
        n_params = sum(self.params_[name].size for name in free)
        # A drift is NaN after fewer than twenty iterations.
        if (
            not self._run.window.drift() <= DRIFTING
            or not posterior.by_importance
            or provides(model, "log_prior_params")
            or n_params > min(MAX_PARAMETERS, len(X) // ROWS_PER_PARAMETER)
        ):
            return
        n_rows = min(len(X), max(GAP_ROWS, ROWS_PER_PARAMETER * n_params))
        gap = posterior.gap(X[self._run.rng(GAP).permutation(len(X))[:n_rows]])
        # Scores of all rows sum to zero at the maximum, those of some only nearly; of
        # parameters that the data do not determine nothing is left but errors.
        left_out = 1 - n_rows / len(X)
        chance = n_params + left_out * DRIFTING * np.sqrt(2 * n_params)
        if gap > max(MIN_GAP, MIN_TOTAL_GAP / len(X), chance / (2 * n_rows)):
            advice = "gradient='importance', or a larger n_sleep"
            if self.gradient_ == "importance":
                advice = "more iterations, a larger learning_rate or more candidates "
                advice += "(n_proposals; n_sleep if these are the sleep latents)"
            _warn(
                f"by the scores of {n_rows} rows at params_ the log-likelihood could "
                f"be higher elsewhere, by {gap:.2g} nats a row: take {advice}",
                ConvergenceWarning,
            )

    def _warn_of_skips(self):
        skipped = self.history_["n_skipped"].mean()
        if skipped > MAX_SKIPPED_SHARE:
            _warn(
                f"{skipped:.0%} of the steps were skipped, as their log-joint or its "
                "gradient was not finite: some rows may be impossible under the model"
            )

    def score_samples(self, X):
        """Log-likelihood of every row, or its best-known stand-in.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Higher is better. ``"exact"``: log p(x). ``"importance"``: an estimate of
            log p(x) that is below it in expectation, by about half of 1/ESS - 1/K.
            ``"energy"``: the negative energy score, which is not a log-density. The
            same for a row whatever the others are: a row seeds its own draws, so that
            errors average out over different rows. Of a model with covariates: the
            log-density of the other columns given these, and never ``"energy"``.
        """
        return self._scores(X)

    def _scores(self, X):
        X = self._validate(X)
        if self._scoring is None:
            raise ValueError(
                f"{type(self.model_).__name__} cannot be scored: with covariates it "
                "needs exact_log_likelihood, or latents that proposals fit and no "
                "local terms"
            )
        if self._scoring == "exact":
            return exact_log_likelihood(self.model_, self.params_, X)
        if self._scoring == "energy":
            return energy_score(X, self._posterior.draws.x)
        return self._posterior.log_likelihood(X)

    def score(self, X, y=None):
        """Mean over rows of `score_samples`, in nats per row for log-likelihoods.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.
        y : None
            Ignored.

        Returns
        -------
        score : float
            Higher is better.
        """
        return float(np.mean(self._scores(X)))

    def sample(
        self, n_samples=1, random_state=None, *, return_latent=False, covariates=None
    ):
        """Draw from the fitted model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState instance or None, default=None
            None goes on with the fit's own stream: two calls differ, and a refit
            repeats both.
        return_latent : bool, default=False
            Also return the latents.
        covariates : array-like of shape (n_samples, n_covariates), default=None
            What a model with `covariate_columns` conditions each draw on; one row
            serves all draws.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Draws.
        z : latents
            Only with `return_latent`: array, or tuple or dict of arrays.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be a positive integer, got {n_samples!r}")
        covariates = self._check_covariates(covariates, n_samples)
        if random_state is None:
            seed = stream(self._run.entropy, SAMPLE, self._n_sampled)
            self._n_sampled += 1
        else:
            seed = check_random_state(random_state).randint(2**31 - 1)
        draws = draw(self.model_, self.params_, n_samples, seed, covariates=covariates)
        return (draws.x, draws.z) if return_latent else draws.x

    def _check_covariates(self, covariates, n_samples):
        """Covariates of every draw, None for a model without them."""
        columns = self.model_.covariate_columns
        if (columns is None) != (covariates is None):
            raise ValueError(
                "covariates must be given for a model with covariate_columns and for "
                f"no other; here covariate_columns is {columns!r}"
            )
        if columns is None:
            return None
        covariates = check_array(covariates, dtype=np.float64)
        shape = (n_samples, len(columns))
        if covariates.shape not in (shape, (1, len(columns))):
            raise ValueError(
                f"covariates must have shape {shape} or {(1, len(columns))}, got "
                f"{covariates.shape}"
            )
        return np.broadcast_to(covariates, shape)

    def posterior_expectation(self, X, func):
        """Posterior expectation E[func(z) | x] of every row.

        By importance weights where their effective sample size allows (as it was on the
        data at the end of the fit), else by the regression itself; with local terms
        always by the regression, window by window.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.
        func : callable
            Maps latents of n rows, as the sampler returns them, to an array of shape
            (n, ...); with local terms to (n, n_terms, ...).

        Returns
        -------
        expectation : ndarray of shape (n_samples, ...)
            Expectations.
        """
        X = self._validate(X)
        return self._posterior.expectation(X, func)

    def transform(self, X):
        """Posterior means of all latents, side by side.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_latents)
            Means, in the order of the tuple or dict; for integer latents probabilities
            of each value (with support ``"any"`` their means).
        """
        X = self._validate(X)
        return self._posterior.means(X)

    def score_gradient(self, X):
        """Gradient of log p(x) with respect to the parameters, row by row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.

        Returns
        -------
        gradient : dict of ndarray
            Like `params_` less the model's fixed ones, arrays of shape
            ``(n_samples, *shape)``.
        """
        X = self._validate(X)
        return self._posterior.score_gradient(X, self.gradient_)

    def _validate(self, X):
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, reset=False)

    def _validate_new(self, X):
        """X, and what is to be remembered of its columns once the fit has succeeded."""
        probe = copy.copy(self)
        X = validate_data(probe, X, dtype=np.float64)
        names = ("n_features_in_", "feature_names_in_")
        return X, {name: getattr(probe, name) for name in names if hasattr(probe, name)}
