r"""Estimators of the mean score, each a way to weight pairs of latents and data.

Every one of them is :math:`\nabla_\theta \sum_{m,n} w_{mn} \log p_\theta(z_n, x_{mn})`
with weights that do not depend on the traced parameters: linear algebra is plain NumPy,
and autograd runs over weighted sums.
"""

import copy
from functools import partial
from typing import NamedTuple

import numpy as np

from amortsk.autodiff import add
from amortsk.candidates import Candidates
from amortsk.design import learns
from amortsk.latents import as_columns, repeat, take
from amortsk.model import has_natural_params, provides
from amortsk.pairs import (
    directional_score,
    log_joint,
    log_joint_terms,
    log_prior,
    natural_log_likelihood,
    pull_log_joint,
    steps,
    weigh,
    weighted_pairs,
    weighted_statistics,
)
from amortsk.proposals import Proposal, normalise
from amortsk.regression import mean_weights
from amortsk.sleep import Draws

# Directions whose scores choose bandwidth and ridge: at least one for every parameter.
N_DIRECTIONS = 8
# Iterations a proposal serves: a stale one is as valid as a fresh one.
PROPOSAL_LIFE = 5
MIN_EFFECTIVE_SAMPLE_SIZE, POOR_SAMPLE_SIZE = 10, 5


class Estimate(NamedTuple):
    """What one wake phase returns.

    Attributes
    ----------
    objective : float
        The regression's mean log-joint, or the importance-weighted bound on log p(x).
    gradient : dict of ndarray
        Estimated mean score.
    sizes : ndarray of shape (n_rows,)
        Effective sample sizes; NaN for regressions.
    """

    objective: float
    gradient: dict
    sizes: np.ndarray = np.array([np.nan])

    @property
    def effective_sample_size(self):
        """Median over rows."""
        return float(np.median(self.sizes))

    @property
    def share_of_poor_rows(self):
        """Share of rows that rest on fewer than five draws."""
        poor = np.where(np.isnan(self.sizes), np.nan, self.sizes < POOR_SAMPLE_SIZE)
        return float(np.mean(poor))

    @property
    def is_usable(self):
        """Whether some pair of latents and data was possible."""
        finite = np.isfinite(self.objective)
        return bool(finite or any(map(np.any, self.gradient.values())))


class Estimator:
    """One way to estimate the mean score of a wake batch from a sleep set.

    Parameters
    ----------
    model : LatentVariableModel
    regression : Regression
        Fitted with the bandwidth and the ridge that it last chose.
    """

    reason = "it was asked for"
    has_control_variate = False

    def __init__(self, model, regression):
        self.model, self.regression = model, regression

    def select(self, params, sleep, wake, rng):
        """Choose bandwidth and ridge by leave-one-out on this estimator's targets."""
        draws = sleep.first
        targets = self.targets(params, draws, wake, rng)
        self.regression.select(draws, targets, rng, self.has_control_variate)

    def free(self, params):
        """Names of the parameters to be learned."""
        return [name for name in params if name not in self.model.fixed_params]

    def targets(self, params, draws, wake, rng):
        """What is regressed: projections of the score on random directions."""
        function = log_joint_terms if self.regression.is_local else log_joint
        function = partial(function, self.model, z=draws.z, x=draws.x)
        names = self.free(params)
        n_directions = max(N_DIRECTIONS, len(names))
        directions = [names[k % len(names)] for k in range(n_directions)]
        scores = [directional_score(function, params, name, rng) for name in directions]
        return np.stack(scores, axis=-1)


class Joint(Estimator):
    r"""Regress the log-joint: :math:`\nabla \sum_n a_n \log p_\theta(z_n, x_n)`.

    Weights belong to terms of draws where the log-joint is a sum of local terms. The
    score has mean zero over the model's own draws, so their mean is a control variate.
    About its best multiple, for each parameter, is the share of the score's variance
    that x does not explain. Not where draws were redrawn: there the mean is another.
    """

    name = "joint"
    has_control_variate = True

    def select(self, params, sleep, wake, rng):
        """Choose bandwidth and ridge; keep what they leave unexplained."""
        super().select(params, sleep, wake, rng)
        names = self.free(params)
        shares = self.regression.unexplained
        self.unexplained = {
            name: shares[k :: len(names)].mean() for k, name in enumerate(names)
        }

    def estimate(self, params, sleep, wake, rng):
        """Estimate the mean score at the rows of `wake`."""
        fitted = self.regression.fit(sleep, rng)
        mean = np.full(len(wake), 1 / len(wake))
        queries = [f.queries(wake, mean) for f in fitted]
        scale = 0.0 if sleep.n_redrawn else 1 / sleep.n_samples
        multiples = {name: scale * u for name, u in self.unexplained.items()}

        def of_chunk(draws):
            weights = mean_weights(fitted, queries, draws)
            return self.of_chunk(params, draws, weights, multiples)

        return _total(sleep.map(of_chunk))

    def of_chunk(self, params, draws, weights, multiples):
        """Objective and gradient contributed by one chunk of draws."""
        value, gradient = pull_log_joint(
            self.model, params, draws.z, draws.x, terms=True
        )
        value = as_columns(value)
        # On whole rows one weight serves all terms of a draw.
        weights = np.broadcast_to(weights, value.shape)
        weighted, score = gradient(weights), gradient(np.ones(value.shape))
        return np.sum(weights * value), {
            name: weighted[name] - multiples[name] * score[name] for name in weighted
        }


class Direct(Joint):
    """Regress the gradient itself, parameter by parameter.

    Equal to `Joint` and far dearer: one reverse pass for every draw.
    """

    name = "direct"

    def of_chunk(self, params, draws, weights, multiples):
        """Objective and gradient contributed by one chunk of draws."""
        rows = [slice(n, n + 1) for n in range(len(draws.x))]
        of_row = super().of_chunk
        results = [
            of_row(params, Draws(take(draws.z, n), draws.x[n]), weights[n], multiples)
            for n in rows
        ]
        return _total(results)[:2]


class Likelihood(Estimator):
    r"""Regress the log-joint with the data in it: the method's route in many columns.

    .. math::
        \nabla \frac1M \sum_{mn} A_{mn} \log p_\theta(z_n, x^*_m)
        = \nabla \sum_n C_n \cdot \eta(z_n) - a_n \Psi(z_n) + a_n \log p(z_n),

    the latter for an exponential family, :math:`C = A^\top S(X^*) / M`. Local terms are
    summed: rows are whole.
    """

    name = "likelihood"

    def targets(self, params, draws, wake, rng):
        """Projections of the score, every draw of z paired with a few rows of data."""
        names = self.free(params)

        def score(row):
            x = np.broadcast_to(row, draws.x.shape)
            name = names[rng.integers(len(names))]
            function = partial(log_joint, self.model, z=draws.z, x=x)
            return directional_score(function, params, name, rng)

        rows = wake[rng.integers(len(wake), size=N_DIRECTIONS)]
        return np.stack([score(row) for row in rows], axis=-1)

    def estimate(self, params, sleep, wake, rng):
        """Estimate the mean score at the rows of `wake`."""
        (fitted,) = self.regression.fit(sleep, rng)
        sum_of_chunk = self.statistics if has_natural_params(self.model) else self.pairs
        return _total(sleep.map(sum_of_chunk(params, fitted, wake)))

    def pairs(self, params, fitted, wake):
        """A function of a chunk of draws: their pairs with every row of data."""
        queries = fitted.queries(wake)

        def of_chunk(draws):
            weights = fitted.weights(draws, queries) / len(wake)
            return weighted_pairs(self.model, params, draws.z, wake, weights)

        return of_chunk

    def statistics(self, params, fitted, wake):
        """The same from statistics of the data, by the cheaper order of products."""
        S = self.model.sufficient_statistics(wake)
        factors = np.hstack([np.ones((len(wake), 1)), *S]) / len(wake)
        edges = np.cumsum([1, *(s.shape[1] for s in S[:-1])])
        rows_are_few = len(wake) < factors.shape[1]
        queries = fitted.queries(wake, None if rows_are_few else factors)

        def of_chunk(draws):
            weights = fitted.weights(draws, queries)
            if rows_are_few:
                weights = weights @ factors
            totals, *C = np.split(weights, edges, axis=1)
            return weighted_statistics(self.model, params, draws.z, C, totals[:, 0])

        return of_chunk


class Importance(Estimator):
    r"""Weight draws from moment-matched proposals by :math:`p_\theta(z,x)/q(z|x)`.

    The gradient of an importance-weighted bound on the log-likelihood. One regression
    serves several iterations: a stale proposal is still a valid one.

    Parameters
    ----------
    model, regression
        As of any estimator.
    n_proposals : int
        Draws for each row.
    supports : list
        Support of every part of the latents.
    """

    name = "importance"
    candidates_are = "proposals"

    def __init__(self, model, regression, n_proposals, supports):
        super().__init__(model, regression)
        self.n_proposals, self.supports = n_proposals, supports
        self.budgets = [factor * n_proposals for factor in (1, 2, 4, 8)]
        self.with_prior = provides(model, "log_prior")

    def select(self, params, sleep, wake, rng):
        """Choose bandwidth and ridge; the next estimate refits the proposal."""
        super().select(params, sleep, wake, rng)
        self.age = 0

    def targets(self, params, draws, wake, rng):
        """The moments of the latents."""
        return Proposal(self.supports, draws.z, self.with_prior).targets(draws.z)

    def refit(self, params, sleep, rng):
        """Regress the moments on a sleep set."""
        z = sleep.first.z
        proposal = Proposal(self.supports, z, self.with_prior)
        (fitted,) = self.regression.fit(sleep, rng, proposal.targets)

        def cross(draws):
            return fitted.design.cross(fitted.columns(draws), proposal.targets(draws.z))

        coef = fitted.smoother.coef(sum(sleep.map(cross)))

        def scatter(draws):
            residual = proposal.targets(draws.z) - fitted.columns(draws) @ coef
            return residual.T @ residual

        freedom = fitted.smoother.degrees_of_freedom(rng)
        proposal.fit_residuals(sum(sleep.map(scatter)), sleep.n_samples, freedom)
        self.fitted, self.coef = fitted, coef
        self.candidates = Candidates(self.model, proposal, params, z)

    def estimate(self, params, sleep, wake, rng):
        """Estimate the mean score at the rows of `wake`."""
        if self.age % PROPOSAL_LIFE == 0:
            self.refit(params, sleep, rng)
        self.age += 1
        moments = self.fitted.columns_at(wake) @ self.coef
        results = []
        width = max(wake.shape[1], moments.shape[1])
        for rows in steps(len(wake), self.n_proposals, width):
            x = wake[rows]
            z, log_q = self.candidates.draw(
                params, x, moments[rows], self.n_proposals, [rng]
            )
            results.append(weigh(self.model, params, z, x, log_q, len(wake)))
        return _weighed(results)


class SleepImportance(Estimator):
    """Weight the sleep latents themselves by the likelihood, without a regression.

    Consistent for any latent; good where data say little about a latent, or where no
    family of proposals resembles the posterior.
    """

    name = "importance"
    candidates_are = "sleep latents"
    # No draws of its own.
    n_proposals, budgets = 0, (0,)

    def select(self, params, sleep, wake, rng):
        """Nothing is regressed."""

    def estimate(self, params, sleep, wake, rng):
        """Estimate the mean score at the rows of `wake`."""
        z = sleep.first.z
        log_p = log_prior(self.model, sleep.params, z)
        n = len(log_p)
        if has_natural_params(self.model):
            log_w = natural_log_likelihood(self.model, params, z, wake)
            weights, bound, sizes = normalise(log_w)
            _, gradient = weighted_pairs(
                self.model, params, z, wake, weights.T / len(wake)
            )
            # The base measure is constant over candidates: one pair a row tells it.
            first = np.zeros(len(wake), dtype=int)
            base = log_joint(self.model, params, take(z, first), wake) - log_p[0]
            bound = bound + base - log_w[:, 0]
            return Estimate(float(np.mean(bound)), gradient, sizes)
        candidates = take(z, np.newaxis)
        results = []
        for rows in steps(len(wake), n, wake.shape[1]):
            x = wake[rows]
            tiled = repeat(candidates, len(x))
            log_q = np.tile(log_p, (len(x), 1))
            results.append(weigh(self.model, params, tiled, x, log_q, len(wake)))
        return _weighed(results)


class Auto:
    """Pick an estimator whenever bandwidths are chosen.

    Local terms: `Joint`. Otherwise importance weights, from proposals or else from
    sleep latents, if the median effective sample size of the wake batch is 10 or more
    with up to eight times the draws asked for. Otherwise `Likelihood`, or `Joint` where
    that would weigh impossible pairs.
    """

    def __init__(self, joint, likelihood, importance):
        self.joint, self.likelihood = joint, likelihood
        self.importance = importance

    def select(self, params, sleep, wake, rng):
        """Choose the estimator, and its bandwidth and ridge."""
        self.current, self.reason = self._pick(params, sleep, wake, rng)

    def _pick(self, *arguments):
        """An estimator, its bandwidth and ridge chosen, and why; as `select`."""
        if self.joint.regression.is_local:
            self.joint.select(*arguments)
            return self.joint, "the log-joint is a sum of local terms"
        for estimator in self.importance:
            estimator.select(*arguments)
            size, name = self._grow(estimator, *arguments), estimator.candidates_are
            if size >= MIN_EFFECTIVE_SAMPLE_SIZE:
                return estimator, f"the effective sample size of {name} is {size:.0f}"
        reason = (
            "importance weights have an effective sample size below "
            f"{MIN_EFFECTIVE_SAMPLE_SIZE}"
        )
        self.likelihood.select(*arguments)
        if not self._likelihood_weighs_the_impossible(*arguments):
            return self.likelihood, reason
        self.joint.select(*arguments)
        return self.joint, f"{reason}, and some latents exclude some data"

    def _likelihood_weighs_the_impossible(self, *arguments):
        """Whether sleep latents exclude some of the data, and not all of it.

        The regression gives such pairs weight all the same.
        """
        if has_natural_params(self.likelihood.model):
            return False
        estimate = self.likelihood.estimate(*arguments)
        return not np.isfinite(estimate.objective) and estimate.is_usable

    def _grow(self, estimator, *arguments):
        """Effective sample size, with more proposals while it is too small."""
        for budget in estimator.budgets:
            estimator.n_proposals = max(estimator.n_proposals, budget)
            try:
                size = estimator.estimate(*arguments).effective_sample_size
            except FloatingPointError:
                size = 0.0
            if size >= MIN_EFFECTIVE_SAMPLE_SIZE:
                return size
        estimator.n_proposals = estimator.budgets[0]
        return size

    def estimate(self, params, sleep, wake, rng):
        """Estimate the mean score with the estimator picked last."""
        return self.current.estimate(params, sleep, wake, rng)

    @property
    def name(self):
        """Name of the estimator picked last."""
        return self.current.name

    @property
    def regression(self):
        """Its regression."""
        return self.current.regression


def make_estimator(gradient, model, regression, whole, n_proposals, supports):
    """The estimator that `gradient=` names.

    Local terms are for `Joint` and `Direct`, by `regression`; the others regress on
    `whole` rows.

    Raises
    ------
    ValueError
        If the name is unknown, or the model or the features are not what the estimator
        needs.
    """
    predicts_latents = gradient == "importance" and "any" not in supports
    if learns(regression.regressor) and not predicts_latents:
        raise ValueError(
            "features with warm_start=True learn to predict the latents, which needs "
            "gradient='importance' and no latent_support 'any', got "
            f"gradient={gradient!r} and supports {supports}"
        )
    importance = []
    if "any" not in supports:
        importance.append(Importance(model, whole, n_proposals, supports))
    if provides(model, "log_prior"):
        importance.append(SleepImportance(model, whole))
    if gradient == "auto":
        # Each searches bandwidths near the last one it chose itself.
        own = Likelihood(model, copy.copy(whole))
        return Auto(Joint(model, regression), own, importance)
    if gradient == "importance" and not importance:
        raise ValueError(
            "gradient='importance' needs log_prior where latent_support is 'any'"
        )
    local = Direct(model, regression), Joint(model, regression)
    for estimator in (*local, Likelihood(model, whole), *importance):
        if estimator.name == gradient:
            return estimator
    raise ValueError(
        "gradient must be 'auto', 'direct', 'joint', 'likelihood' or 'importance', "
        f"got {gradient!r}"
    )


def _total(results):
    objectives, gradients = zip(*results, strict=True)
    return Estimate(float(sum(objectives)), add(gradients))


def _weighed(results):
    bounds, gradients, sizes = zip(*results, strict=True)
    bound = np.mean(np.concatenate(bounds))
    return Estimate(float(bound), add(gradients), np.concatenate(sizes))
