"""The regression inside the loop: from a sleep set to weights of its draws."""

import copy

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import gen_batches

from amortsk.design import Design, choose, learns
from amortsk.features import PolynomialTrend
from amortsk.observation import column_scale
from amortsk.terms import make_blocks

# Rows used to choose bandwidth and ridge.
SELECTION_ROWS = 2000
# Queries are brought back to where all but this many sleep draws lie on either side,
# of all columns together: beyond them signed weights only extrapolate, and grow.
OUTERMOST = 3
# Queries whose columns are formed at once.
QUERY_ROWS = 20_000


def default_trend(width, n_rows):
    """A linear trend extrapolates, if there are rows enough to estimate it."""
    return "linear" if width + 1 <= n_rows / 4 else "constant"


class Regression:
    """Column scales, bandwidth and ridge of each block of terms, and fits with them.

    Parameters
    ----------
    regressor : AmortisedGradientRegressor
        Says which features, kernel and trend.
    term_columns : None or integer arrays
        Windows of local terms; None regresses on whole rows.
    n_features : int
        Columns of X.

    Attributes
    ----------
    unexplained : ndarray of shape (n_targets,)
        Share of each target's variance, over all terms, by leave-one-out; zero where
        that was not computed.
    """

    def __init__(self, regressor, term_columns, n_features):
        self.regressor = regressor
        self.blocks = make_blocks(term_columns, n_features)
        self.choices = [(None, None)] * len(self.blocks)
        self.n_terms = sum(block.n_terms for block in self.blocks)
        self.regressors = [self._for_block(block, n_features) for block in self.blocks]
        self.learner = clone(regressor.features) if learns(regressor) else None

    def _for_block(self, block, n_features):
        groups = self.regressor.groups
        if not isinstance(groups, str) or groups != "nested":
            return self.regressor
        nested = block.groups(n_features, self.n_terms)
        return clone(self.regressor).set_params(groups=nested)

    @property
    def is_local(self):
        """Whether rows are windows of local terms."""
        return self.blocks[0].columns is not None

    def select(self, draws, targets, rng, always=False):
        """Standardise by the draws' scale; choose bandwidth and ridge for targets.

        Parameters
        ----------
        draws : Draws
        targets : ndarray of shape (n, n_terms, n_targets)
        rng : numpy.random.Generator
        always : bool, default=False
            Whether `unexplained` is asked for even if there is nothing to choose.
        """
        targets = targets.reshape(len(draws.x), self.n_terms, -1)
        chosen = zip(self.blocks, self.regressors, self.choices, strict=True)
        self.scalings, self.ranges, self.choices = [], [], []
        total = unexplained = 0.0
        for block, regressor, (gamma, _) in chosen:
            rows = block.rows(draws.x)
            self.scalings.append(column_scaling(rows))
            Y = targets[:, block.terms].reshape(len(rows), -1)
            if len(rows) > SELECTION_ROWS:
                kept = rng.choice(len(rows), SELECTION_ROWS, replace=False)
                rows, Y = rows[kept], Y[kept]
            center, scale = self.scalings[-1]
            rows = (rows - center) / scale
            margin = min(0.1, OUTERMOST / rows.size)
            self.ranges.append(np.quantile(rows, [margin, 1 - margin], axis=0))
            seed = int(rng.integers(2**31 - 1))
            gamma, alpha, errors = choose(
                regressor, rows, Y, seed, gamma, self.is_local, always
            )
            self.choices.append((gamma, alpha))
            variance = block.n_terms * Y.var(0)
            total = total + variance
            unexplained = unexplained + variance * np.clip(np.nan_to_num(errors), 0, 1)
        self.unexplained = np.nan_to_num(unexplained / np.where(total > 0, total, 1.0))

    def can_have_trend(self, x):
        """Whether rows of x are enough for the trend of every block."""
        try:
            for block in self.blocks:
                rows = block.rows(x)[:SELECTION_ROWS]
                PolynomialTrend(self.regressor.trend).fit(rows)
        except ValueError:
            return False
        return True

    def fit(self, sleep, rng, targets=None):
        """Fit every block on a sleep set.

        Parameters
        ----------
        sleep : Sleep
        rng : numpy.random.Generator
        targets : callable, default=None
            From latents to what features learn to predict, if they learn.

        Returns
        -------
        fitted : list of FittedBlock
        """
        fitted = []
        standards = zip(self.scalings, self.ranges, strict=True)
        chosen = zip(self.blocks, self.regressors, standards, self.choices, strict=True)
        for block, regressor, (scaling, within), (gamma, _) in chosen:
            rows = standardised(block, scaling, sleep.first.x)
            seed = int(rng.integers(2**31 - 1))
            if self.learner is not None:
                # A copy: what was fitted before keeps the features that it had.
                learned = self.learner.fit(rows, targets(sleep.first.z))
                learned = copy.deepcopy(learned)
                regressor.set_params(features=FrozenEstimator(learned))
            design = Design(regressor, gamma, rows, seed)
            fitted.append(FittedBlock(block, scaling, within, design))

        def grams(draws):
            return [f.design.gram(f.columns(draws)) for f in fitted]

        totals = [0.0] * len(fitted)
        for chunk in sleep.map(grams):
            totals = [total + gram for total, gram in zip(totals, chunk, strict=True)]
        for block, gram, (_, alpha) in zip(fitted, totals, self.choices, strict=True):
            block.smoother = block.design.smoother(gram, alpha)
        return fitted


class FittedBlock:
    """One block's regression, fitted on a sleep set."""

    def __init__(self, block, scaling, within, design):
        self.block, self.design = block, design
        self.scaling, self.range = scaling, within

    def columns(self, draws):
        """Columns of the regression at draws, kept on them for the next pass."""
        if draws.columns.get(self.block, (None,))[0] is not self.design:
            draws.columns[self.block] = self.design, self.columns_at(draws.x)
        return draws.columns[self.block][1]

    def columns_at(self, x):
        """Columns of the regression at rows of x."""
        return self.design.columns(standardised(self.block, self.scaling, x))

    def query_columns(self, x):
        """Columns at rows of x brought back into the range of the sleep draws."""
        rows = standardised(self.block, self.scaling, x)
        return self.design.columns(np.clip(rows, *self.range))

    def queries(self, x, factors=None):
        """Query for every row of x, or for sums over rows times each of the factors.

        All terms of a row share its factors.
        """
        if factors is None:
            return self.smoother.query(self.query_columns(x))
        total, n_terms = 0.0, self.block.n_terms
        for rows in gen_batches(len(x), max(1, QUERY_ROWS // n_terms)):
            repeated = np.repeat(factors[rows], n_terms, axis=0)
            total = total + repeated.T @ self.query_columns(x[rows])
        return self.smoother.query(total)

    def weights(self, draws, query):
        """Weights of draws, of shape (n * n_terms,) or, for queries, (., m)."""
        return self.smoother.weights(self.columns(draws), query)


def column_scaling(rows):
    """Centre and scale of every column; constant columns have scale one."""
    return rows.mean(0), column_scale(rows)


def standardised(block, scaling, x):
    """Rows of the regression at x, in units of the sleep draws' scale."""
    center, scale = scaling
    rows = block.rows(x) - center
    rows /= scale
    return rows


def mean_weights(fitted, queries, draws):
    """Weight of every term of every draw in the mean prediction, (n, n_terms)."""
    weights = np.empty((len(draws.x), sum(f.block.n_terms for f in fitted)))
    for f, query in zip(fitted, queries, strict=True):
        weights[:, f.block.terms] = f.weights(draws, query).reshape(len(weights), -1)
    return weights
