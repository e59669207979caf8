"""The state of the wake-sleep loop between iterations."""

from functools import partial

import numpy as np
from sklearn import config_context
from sklearn.base import clone

from amortsk.autodiff import pullback
from amortsk.gradients import Estimate, Joint, make_estimator
from amortsk.model import call, name_of, provides, summary
from amortsk.optimizers import Adam, StepGuard, Window, drift
from amortsk.regression import Regression, default_trend
from amortsk.sleep import CHUNK_ROWS, Sleep
from amortsk.terms import check_term_columns, widen

# One stream of random numbers for every consumer.
INIT, DRY_RUN, BATCHES, SLEEP, REGRESSION, FINAL, SAMPLE, WIDER, GAP = range(9)
# Bandwidth and ridge are chosen anew after this many iterations, and then ever less
# often: the model moves less and less.
FIRST_GAP, GAP_GROWTH, LAST_GAP = 10, 1.5, 100
MAX_SKIPPED = 10
# Parts of the data that a final gradient is compared over.
MIN_PARTS, MAX_PARTS = 4, 20
HISTORY = (
    "objective",
    "gradient_norm",
    "effective_sample_size",
    "share_of_poor_rows",
    "gamma",
    "alpha",
    "n_redrawn",
    "n_skipped",
)


def stream(entropy, *key):
    """The child of a SeedSequence for one consumer."""
    return np.random.SeedSequence(entropy, spawn_key=key)


class Training:
    """Parameters, optimiser, regression and random streams of one run.

    Parameters
    ----------
    model : LatentVariableModel
    params : dict of ndarray
        Where to start.
    supports : list
        Support of every part of the latents.
    options : WakeSleepFitter
        Its parameters are read, nothing is set.
    regressor : AmortisedGradientRegressor
    entropy : list of int
        Of the SeedSequence that all streams descend from.
    n_features : int
    pool : ndarray of shape (n_samples, n_covariates) or None
        Covariates of the data, for sleep to draw from.
    """

    def __init__(
        self,
        model,
        params,
        supports,
        options,
        regressor,
        entropy,
        n_features,
        pool=None,
    ):
        self.model, self.params, self.supports = model, params, supports
        self.entropy, self.pool = entropy, pool
        self.n_sleep, self.max_skipped = options.n_sleep, MAX_SKIPPED
        self.optimizer, self.guard = Adam(options.learning_rate), StepGuard()
        self.adopt(options)
        self.regression = Regression(regressor, model.term_columns, n_features)
        whole = clone(regressor)
        if options.regressor is None:
            whole.set_params(trend=default_trend(n_features, self.n_sleep))
        self.whole = Regression(whole, None, n_features)
        regressions = self.regression, self.whole
        self.estimator = make_estimator(
            options.gradient, model, *regressions, options.n_proposals, supports
        )
        self.n_iter = 0
        self.next_choice, self.gap = 0, FIRST_GAP
        self.n_skipped_in_a_row = 0
        self.begin_history(window=options.max_iter // 4)

    def adopt(self, options):
        """Take over what may change from one call to the next."""
        self.batch_size, self.n_jobs = options.batch_size, options.n_jobs
        self.optimizer.learning_rate = options.learning_rate

    def begin_history(self, window):
        """Forget the history and the window of the last iterations."""
        self.history = {name: [] for name in HISTORY}
        self.window = Window(window)

    def rng(self, *key):
        """A generator on the child of the run's SeedSequence for one consumer."""
        return np.random.default_rng(stream(self.entropy, *key))

    def sleep(self, n_samples=None, key=None):
        """A sleep set at the current parameters; its draws are made when asked for."""
        n_samples = n_samples or self.n_sleep
        chunk_rows = max(1, CHUNK_ROWS // self.regression.n_terms)
        if self.regression.regressor.features is None:
            chunk_rows = n_samples  # the exact kernel needs all rows at once
        return Sleep(
            self.model,
            self.params,
            n_samples,
            stream(self.entropy, *(key or (SLEEP, self.n_iter))),
            chunk_rows=chunk_rows,
            n_jobs=self.n_jobs,
            pool=self.pool,
        )

    def batch(self, X):
        """The next rows of a random order of X, an order for every epoch."""
        n = min(self.batch_size, len(X))
        epoch, i = divmod(self.n_iter, len(X) // n)
        return X[self.rng(BATCHES, epoch).permutation(len(X))[i * n : (i + 1) * n]]

    def estimate(self, sleep, wake):
        """Regress on the sleep set, evaluate at the wake batch.

        Raises
        ------
        FloatingPointError
            If weights are not finite.
        """
        rng = self.rng(REGRESSION, self.n_iter)
        # Overflow in a user's function shows in its value, which is checked.
        with np.errstate(all="ignore"), config_context(assume_finite=True):
            if self.n_iter >= self.next_choice:
                self.estimator.select(self.params, sleep, wake, rng)
                self.next_choice = self.n_iter + int(self.gap)
                self.gap = min(LAST_GAP, GAP_GROWTH * self.gap)
            return self.estimator.estimate(self.params, sleep, wake, rng)

    def one_pass(self, X):
        """Every row of X once, in batches of random order."""
        order = self.rng(BATCHES, self.n_iter).permutation(len(X))
        return np.array_split(X[order], -(-len(X) // self.batch_size))

    def iterate(self, wake, n_rows, factor):
        """Sleep, regress, wake, update, with a batch of data of `n_rows` rows."""
        sleep = self.sleep()
        try:
            estimate = self.estimate(sleep, wake)
            if not estimate.is_usable:
                raise FloatingPointError("the log-joint is not finite")
            objective, gradient = self._with_prior(estimate, n_rows)
            gradient, norm = self.guard(gradient)
        except FloatingPointError as error:
            self._skip(error, sleep)
            return
        self.n_skipped_in_a_row = 0
        self.params = self.optimizer.step(self.params, gradient, factor)
        free = {name: self.params[name] for name in gradient}
        self.window.update(free, self.optimizer.precondition(gradient))
        self._record(sleep, objective, norm, estimate, 0)

    def wider_windows_drift(self, X):
        """Drift, over parts of the data, of the gradient with windows twice as wide.

        NaN where no windows were used, term_columns are not windows, the rows are fewer
        than four, or wider windows too wide for the trend.
        """
        if self.estimator.regression is not self.regression:
            return np.nan
        widened = widen(check_term_columns(self.model.term_columns, X.shape[1]))
        if widened is None or len(X) < MIN_PARTS:
            return np.nan
        regression = Regression(self.regression.regressor, widened, X.shape[1])
        joint = Joint(self.model, regression)
        order = self.rng(WIDER).permutation(len(X))
        gradients = []
        with np.errstate(all="ignore"), config_context(assume_finite=True):
            for i, part in enumerate(np.array_split(order, min(MAX_PARTS, len(X)))):
                sleep, rng = self.sleep(key=(WIDER, i, 0)), self.rng(WIDER, i, 1)
                if not gradients:
                    if not regression.can_have_trend(sleep.first.x):
                        return np.nan
                    joint.select(self.params, sleep, X[part], rng)
                gradient = joint.estimate(self.params, sleep, X[part], rng).gradient
                gradients.append(self.optimizer.precondition(gradient))
        return drift(gradients)

    def _with_prior(self, estimate, n_rows):
        """Maximum a posteriori, where the model has a prior of its parameters."""
        if not provides(self.model, "log_prior_params"):
            return estimate.objective, estimate.gradient
        log_prior = partial(call, self.model, "log_prior_params")
        value, pull = pullback(log_prior, self.params, self.model.fixed_params)
        if np.shape(value) or not np.isfinite(np.asarray(value, dtype=float)):
            raise ValueError(
                f"{name_of(self.model, 'log_prior_params')} must return a finite "
                f"number, got {value!r:.80} at parameters {summary(self.params)}"
            )
        prior = pull(1 / n_rows)
        gradient = {name: g + prior[name] for name, g in estimate.gradient.items()}
        return estimate.objective + float(value) / n_rows, gradient

    def _skip(self, error, sleep):
        self.n_skipped_in_a_row += 1
        # What was chosen for other parameters may be what fails.
        self.next_choice, self.gap = self.n_iter + 1, FIRST_GAP
        self._record(sleep, np.nan, np.nan, Estimate(np.nan, {}), 1)
        if self.n_skipped_in_a_row >= self.max_skipped:
            raise ValueError(
                f"{self.n_skipped_in_a_row} steps in a row had no finite gradient "
                f"({error}): {name_of(self.model, 'log_joint')} or its gradient is "
                f"not finite at parameters {summary(self.params)}. Is every row of X "
                "possible under the model? A start nearer to the data, log_prior or "
                "another learning_rate may help"
            ) from error

    def _record(self, sleep, objective, norm, estimate, skipped):
        # None where sleep latents are the candidates: nothing is regressed.
        gamma, alpha = self.estimator.regression.choices[0]
        size, poor = estimate.effective_sample_size, estimate.share_of_poor_rows
        values = (objective, norm, size, poor, gamma, alpha, sleep.n_redrawn, skipped)
        for name, value in zip(HISTORY, values, strict=True):
            self.history[name].append(np.nan if value is None else value)
        self.n_iter += 1
