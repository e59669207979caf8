"""What a fitted model says of data: log-likelihood, posterior expectations, scores."""

import copy
import warnings
from zlib import crc32

import numpy as np
from scipy.spatial.distance import cdist

from amortsk.candidates import Candidates
from amortsk.latents import as_columns, map_parts, parts, repeat, take
from amortsk.model import provides
from amortsk.pairs import (
    flatten,
    log_prior,
    log_weights,
    pull_log_joint,
    steps,
    weighted_pairs,
)
from amortsk.proposals import Categorical, Proposal, normalise
from amortsk.regression import column_scaling, standardised
from amortsk.terms import Block

# Draws that an energy score compares a row with.
ENERGY_DRAWS = 1000
# Nats that a mean log-likelihood may be too low by, as effective sample sizes tell.
MAX_LOSS = 0.02


def scoring_rule(scoring, model, supports):
    """The rule behind ``scoring="auto"``, from the structure of the model alone.

    Raises
    ------
    ValueError
        If the rule is unknown or the model lacks what it needs.
    """
    weighable = "any" not in supports or provides(model, "log_prior")
    rules = {
        "exact": provides(model, "exact_log_likelihood"),
        # Weights of whole paths have an effective sample size near one.
        "importance": weighable and model.term_columns is None,
        # That of whole rows: covariates are not the model's to draw.
        "energy": model.covariate_columns is None,
    }
    possible = [rule for rule, is_possible in rules.items() if is_possible]
    if scoring == "auto":
        return possible[0] if possible else None
    if scoring not in possible:
        raise ValueError(
            f"scoring must be 'auto' or one of {possible} for this model, got "
            f"{scoring!r}"
        )
    return scoring


class Posterior:
    """Candidates for the latents of any row, and their weights.

    A row seeds its own candidates: what is said of it does not depend on the others,
    and errors average out over different rows.

    Parameters
    ----------
    model : LatentVariableModel
    params : dict of ndarray
    supports : list
        Support of every part of the latents.
    block : Block
        Whole rows, or windows of local terms.
    regressor : AmortisedGradientRegressor
        Not yet fitted; it is fitted to the latents' moments, on standardised rows.
    draws : Draws
        The sleep set to fit it on.
    n_candidates : int
    rng : numpy.random.Generator
    """

    def __init__(
        self, model, params, supports, block, regressor, draws, n_candidates, rng
    ):
        self.model, self.params = model, params
        self.block, self.regressor, self.draws = block, regressor, draws
        self.n_candidates = n_candidates
        self.with_prior = provides(model, "log_prior")
        # The range of integers that are not declared is that of the draws.
        self.families = [
            Categorical(0, s, as_columns(part)) if s[0] == "categorical" else None
            for s, part in zip(supports, parts(draws.z), strict=True)
        ]
        self.proposal = None
        self.scaling = column_scaling(block.rows(draws.x))
        rows = self.rows(draws.x)
        if block.columns is not None or "any" in supports:
            regressor.fit(rows, self.latents(draws.z).reshape(len(rows), -1))
            return
        proposal = self.proposal = Proposal(supports, draws.z, self.with_prior)
        targets = proposal.targets(draws.z)
        residual = targets - regressor.fit(rows, targets).predict(rows)
        freedom = regressor._smoother.degrees_of_freedom(rng)
        proposal.fit_residuals(residual.T @ residual, len(rows), freedom)
        self.candidates = Candidates(model, proposal, params, draws.z)
        self.seed = int(rng.integers(2**31 - 1))

    def latents(self, z):
        """Latents as numbers, (n, n_terms, k); integers as indicators of values."""
        pairs = zip(map(as_columns, parts(z)), self.families, strict=True)
        numbers = [family.targets([part]) if family else part for part, family in pairs]
        by_term = [part.reshape(len(part), self.block.n_terms, -1) for part in numbers]
        return np.concatenate(by_term, axis=2, dtype=np.float64)

    def means(self, X):
        """Posterior means of the latents, (n, k); of integers, probabilities."""
        Z, start = self.expectation(X, self.latents), 0
        for part, family in zip(parts(self.draws.z), self.families, strict=True):
            n_values = family.n_categories if family else 1
            stop = start + part[0].size * n_values // self.block.n_terms
            if family:
                # What a regression predicts need not be between zero and one.
                p = Z[..., start:stop].reshape(len(X), -1, n_values)
                p = np.clip(p, 1e-300, 1)
                p = p / p.sum(2, keepdims=True)
                Z[..., start:stop] = p.reshape(*Z.shape[:-1], -1)
            start = stop
        return Z.reshape(len(X), -1)

    def rows(self, X):
        """Rows of the regression at X."""
        return standardised(self.block, self.scaling, X)

    def weighted(self, X):
        """Chunks of (rows, candidates (m, K, ...), log-weights (m, K))."""
        n_candidates, width = len(self.draws.x), X.shape[1]
        if self.proposal:
            n_candidates = self.n_candidates
            width = max(width, self.proposal.slices[-1].stop)
        for rows in steps(len(X), n_candidates, width):
            z, log_q = self._candidates(X[rows])
            yield rows, z, log_weights(self.model, self.params, z, X[rows], log_q)

    def _candidates(self, x):
        """Latents (m, K, ...) for rows of X, and their log-density."""
        model, params, z = self.model, self.params, self.draws.z
        if self.proposal is None:
            every = repeat(take(z, np.newaxis), len(x))
            return every, log_prior(model, params, z)
        moments = self.regressor.predict(self.rows(x))
        # Zero may have either sign.
        seeds = [[self.seed, crc32(row.tobytes())] for row in x + 0.0]
        rngs = [np.random.default_rng(seed) for seed in seeds]
        return self.candidates.draw(params, x, moments, self.n_candidates, rngs)

    def effective_sample_size(self, X):
        """Median over rows; NaN where there are no candidates."""
        no_candidates = self.proposal is None and not self.with_prior
        if no_candidates or self.model.term_columns is not None:
            return np.nan
        try:
            return float(np.median(self.bounds(X)[1]))
        except FloatingPointError:
            return 0.0

    def bounds(self, X):
        """Logs of mean weights and their ESS; -inf and 0 for impossible rows."""
        bounds, sizes = np.full(len(X), -np.inf), np.zeros(len(X))
        for rows, _, log_w in self.weighted(X):
            possible = ~np.isneginf(log_w).all(1)
            _, bound, size = normalise(log_w[possible])
            bounds[rows][possible], sizes[rows][possible] = bound, size
        return bounds, sizes

    def log_likelihood(self, X):
        """Importance-weighted estimate of log p(x), (n,)."""
        bounds, sizes = self.bounds(X)
        if not sizes.all():
            warnings.warn(
                f"{_impossible(X[sizes == 0])}. They score minus infinity", stacklevel=4
            )
            sizes = sizes[sizes > 0]
        loss = np.mean(0.5 / sizes) if len(sizes) else 0.0
        if loss > MAX_LOSS:
            warnings.warn(
                f"the log-likelihood is a loose lower bound, by {loss:.2f} nats a row "
                f"or more: the effective sample size is {np.median(sizes):.1f} in the "
                f"median, {sizes.min():.1f} at least. Or else the log-joint is finite "
                "where the latents never are, and latent_support is missing",
                stacklevel=4,
            )
        return bounds

    def gap(self, X):
        r"""About how far the log-likelihood of X is below its maximum, in nats a row.

        Half the share of a column of ones that the rows' scores explain: what a step
        of Newton gains, with the scores' second moments for the information, so one
        half at most. Zero where weights are not finite. A mean over rows needs fewer
        candidates of each.
        """
        few = copy.copy(self)
        few.n_candidates = -(-self.n_candidates // 4)
        try:
            with np.errstate(all="ignore"):
                scores = few._scores_by_importance(X, skip_impossible=True)
        except FloatingPointError:
            return 0.0
        rows = [np.concatenate([np.ravel(g) for g in s.values()]) for s in scores]
        G = np.array([row for row in rows if np.isfinite(row).all()])
        if not len(G):
            return 0.0
        coef = np.linalg.lstsq(G, np.ones(len(G)), rcond=None)[0]
        return 0.5 * np.mean(G @ coef)

    def expectation(self, X, func):
        """E[func(z) | x] for every row of X, (n, ...)."""
        if self.by_importance:
            results = []
            for rows, z, log_w in self.weighted(X):
                weights = self._weights(log_w, X[rows])
                values = self._values(func, flatten(z), weights.size)
                values = values.reshape(*weights.shape, *values.shape[1:])
                results.append(np.einsum("mk,mk...->m...", weights, values))
            return np.concatenate(results)
        n, n_terms = len(self.draws.x), self.block.n_terms
        values = self._values(func, map_parts(np.copy, self.draws.z), n)
        if self.block.columns is not None and values.shape[1:2] != (n_terms,):
            raise ValueError(
                "with local terms, func must return one value per term, shape "
                f"(n, {n_terms}, ...), got {values.shape}"
            )
        targets = values.reshape(n * n_terms, -1)
        predicted = self.regressor._predict_targets(self.rows(X), targets)
        return predicted.reshape(len(X), *values.shape[1:])

    @staticmethod
    def _weights(log_w, x):
        """Normalised weights, where every row has a possible candidate."""
        impossible = np.isneginf(log_w).all(1)
        if impossible.any():
            raise ValueError(_impossible(x[impossible]))
        return normalise(log_w)[0]

    @staticmethod
    def _values(func, z, n):
        values = np.asarray(func(z), dtype=np.float64)
        if values.shape[:1] != (n,):
            raise ValueError(
                f"func must return an array of shape (n, ...) for n latents, here "
                f"({n}, ...), got {values.shape}"
            )
        return values

    def score_gradient(self, X, name):
        """E[grad log p(z, x) | x], a dict of arrays (n, *shape)."""
        if self.by_importance:
            gradients = self._scores_by_importance(X)
        else:
            gradients = [
                self._regressed_score(X[i : i + 1], name) for i in range(len(X))
            ]
        return {key: np.array([g[key] for g in gradients]) for key in gradients[0]}

    def _scores_by_importance(self, X, skip_impossible=False):
        """Scores of rows, each a dict of arrays."""
        scores = []
        for rows, z, log_w in self.weighted(X):
            x = X[rows]
            if skip_impossible:
                possible = ~np.isneginf(log_w).all(1)
                x, z, log_w = x[possible], take(z, possible), log_w[possible]
            for i, w in enumerate(self._weights(log_w, x)):
                kept = np.flatnonzero(w)
                own, row = take(take(z, i), kept), np.repeat(x[i : i + 1], len(kept), 0)
                _, gradient = pull_log_joint(self.model, self.params, own, row)
                scores.append(gradient(w[kept]))
        return scores

    def _regressed_score(self, x, name):
        rows, z = self.rows(x), self.draws.z
        weights = self.regressor.smoother_weights(rows, np.ones(len(rows)))
        if name == "likelihood" and self.block.columns is None:
            pairs = weighted_pairs(self.model, self.params, z, x, weights[:, None])
            return pairs[1]
        terms = self.block.columns is not None
        pull = pull_log_joint(self.model, self.params, z, self.draws.x, terms=terms)[1]
        return pull(weights)


def _impossible(x):
    return (
        f"rows of X are impossible under the model, {len(x)} of them, the first "
        f"{x[0]}: their log-joint is not finite at any latents tried. If they are "
        "possible, raise n_sleep or n_proposals"
    )


def energy_score(X, draws):
    r"""Negative energy score of every row, higher is better.

    :math:`\frac12 E\|X - X'\| - E\|x - X\|`, strictly proper, from draws alone.

    References
    ----------
    Gneiting and Raftery, *Strictly proper scoring rules, prediction, and estimation*,
    JASA 102, 2007, doi:10.1198/016214506000001437.
    """
    draws = draws[:ENERGY_DRAWS]
    n = len(draws)
    spread = cdist(draws, draws).sum() / (n * max(n - 1, 1))
    return 0.5 * spread - cdist(X, draws).mean(1)


def posterior_block(regression, z):
    """The windows that latents, one entry a term, are regressed on, or whole rows."""
    block = regression.blocks[0]
    local = len(regression.blocks) == 1 and all(
        part.shape[1:2] == (block.n_terms,) for part in parts(z)
    )
    return block if local else Block()
