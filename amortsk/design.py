"""The columns of the regression: a trend beside random features or the exact kernel."""

from contextlib import suppress
from numbers import Real

import numpy as np
from scipy.sparse import issparse
from scipy.spatial.distance import pdist
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process.kernels import Matern
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics.pairwise import laplacian_kernel, rbf_kernel

from amortsk.features import (
    KERNELS,
    PolynomialTrend,
    RandomFourierFeatures,
    check_groups,
    check_integer,
)
from amortsk.ridge import (
    DualSmoother,
    PrimalSmoother,
    kernel_square_root,
    leave_one_out,
)

ALPHAS = 10.0 ** np.arange(-6, 4)
# Multiples of the median-heuristic bandwidth; in many columns wide kernels win.
GAMMA_FACTORS = 4.0 ** np.arange(-4, 3)


def has_transformer(regressor):
    """Whether `features` is the user's own transformer."""
    return hasattr(regressor.features, "transform")


def learns(regressor):
    """Whether `features` learn from targets, and go on with every sleep set."""
    features = regressor.features
    # One that is frozen lends its attributes, but is not to be fitted.
    frozen = isinstance(features, FrozenEstimator)
    return not frozen and getattr(features, "warm_start", False)


def check_parameters(regressor):
    """Raise ValueError for a bad or contradictory parameter of a regressor."""
    features, kernel = regressor.features, regressor.kernel
    if has_transformer(regressor):
        defaults = type(regressor)()
        for name in ("n_components", "kernel", "gamma", "groups"):
            value, default = getattr(regressor, name), getattr(defaults, name)
            if value is not default and value != default:
                raise ValueError(
                    f"{name}={value!r} has no effect beside a transformer, "
                    f"features={features!r}: set it there"
                )
    elif features is not None and str(features) not in ("fourier", "nystroem"):
        raise ValueError(
            "features must be 'fourier', 'nystroem', None or a transformer, got "
            f"{features!r}"
        )
    elif kernel not in (KERNELS[:2] if features == "nystroem" else KERNELS):
        raise ValueError(
            f"kernel must be one of {KERNELS}, of {KERNELS[:2]} with Nystroem, got "
            f"{kernel!r}"
        )
    check_integer("n_components", regressor.n_components, 1)
    for name, words in (("gamma", ("loo", "median", "scale")), ("alpha", ("loo",))):
        value = getattr(regressor, name)
        if isinstance(value, str):
            valid = value in words
        else:
            valid = isinstance(value, Real) and 0 < value < np.inf
        if not valid:
            raise ValueError(
                f"{name} must be a positive number or one of {words}, got {value!r}"
            )
    PolynomialTrend(regressor.trend)


class Design:
    """Columns of one regression: trend, then features or kernel values.

    Parameters
    ----------
    regressor : AmortisedGradientRegressor
        Its parameters say which columns.
    gamma : float or None
        Bandwidth.
    X : ndarray of shape (n, n_features)
        Rows the maps are fitted on.
    seed : int
        Draws frequencies or landmarks.
    Y : ndarray of shape (n, n_targets), default=None
        Targets, for features that learn from them.
    """

    def __init__(self, regressor, gamma, X, seed, Y=None):
        self.regressor = regressor
        self.gamma = gamma
        self.trend = PolynomialTrend(regressor.trend).fit(X)
        self.n_trend = len(self.trend.kept)
        if regressor.features is None:
            self.features, self.X = None, X
        else:
            self.features = feature_map(regressor, gamma, X, seed, Y)

    def penalised(self, X):
        """Features, or the exact kernel with the fitted rows."""
        if self.features is None:
            return kernel_matrix(self.regressor, self.gamma, X, self.X)
        F = self.features.transform(X)
        F = F.toarray() if issparse(F) else np.asarray(F)
        if has_transformer(self.regressor) and (
            F.ndim != 2 or len(F) != len(X) or not np.isfinite(F).all()
        ):
            raise ValueError(
                f"features must map {len(X)} rows to finite numbers of shape "
                f"({len(X)}, n_components), got shape {F.shape} from {self.features!r}"
            )
        return F

    def columns(self, X):
        """Trend columns, then penalised ones, of shape (n, q + D)."""
        if not self.n_trend:
            return self.penalised(X)
        return np.hstack([self.trend.transform(X), self.penalised(X)])

    def gram(self, columns):
        """What the smoother needs of a chunk of rows; sums over chunks."""
        return columns if self.features is None else columns.T @ columns

    def cross(self, columns, targets):
        """What coefficients need of a chunk of rows; sums over chunks."""
        return targets if self.features is None else columns.T @ targets

    def smoother(self, gram, alpha, columns=None):
        """The smoother of the rows whose `gram` this is."""
        if self.features is None:
            return DualSmoother(gram, alpha)
        return PrimalSmoother(gram, self.n_trend, alpha, columns)


def choose(regressor, X, Y, seed, near=None, break_ties=False, always=False):
    """Bandwidth and ridge, by leave-one-out where asked for.

    Parameters
    ----------
    regressor : AmortisedGradientRegressor
        Its `gamma` and `alpha` say what is to be chosen.
    X : ndarray of shape (n, n_features)
        Rows.
    Y : ndarray of shape (n, n_targets)
        Targets; constant ones do not count.
    seed : int
        Draws frequencies or landmarks, the same for every bandwidth.
    near : float, default=None
        Search only bandwidths near this one.
    break_ties : bool, default=False
        Take the narrowest kernel whose error is within a hundredth and two standard
        errors of the least: of bandwidths that explain as much, the wide ones with
        little ridge extrapolate like polynomials.
    always : bool, default=False
        Whether errors are computed where there is nothing to choose.

    Returns
    -------
    gamma : float or None
    alpha : float
    errors : ndarray of shape (n_targets,)
        Relative leave-one-out errors; NaN for constant targets, and where they were not
        computed.
    """
    gammas = _gammas(regressor, X, near)
    alphas = ALPHAS if regressor.alpha == "loo" else np.array([float(regressor.alpha)])
    unknown = np.full(Y.shape[1], np.nan)
    if len(gammas) * len(alphas) == 1 and not always:
        return gammas[0], float(alphas[0]), unknown
    results = []
    for gamma in gammas:
        design = Design(regressor, gamma, X, seed, Y)
        F = design.penalised(X)
        if regressor.features is None:
            F = kernel_square_root(F)
        results.append(leave_one_out(F, design.trend.transform(X), Y, alphas))
    by_row, by_target = map(np.array, zip(*results, strict=True))
    means = by_row.mean(axis=1)
    means = np.where(np.isfinite(means), means, np.inf)
    if np.isinf(means).all():
        return gammas[len(gammas) // 2], float(alphas[-1]), unknown
    g, a = np.unravel_index(means.argmin(), means.shape)
    if break_ties:
        excess = by_row - by_row[g][:, a : a + 1]
        within = 2 * excess.std(1) / np.sqrt(len(X))
        tied = excess.mean(1) <= np.minimum(within, 0.01 * means[g, a])
        g = np.flatnonzero(tied.any(1)).max()
        a = np.where(tied[g], means[g], np.inf).argmin()
    return gammas[g], float(alphas[a]), by_target[g][:, a]


def _gammas(regressor, X, near):
    if has_transformer(regressor):
        return [None]
    if isinstance(regressor.gamma, Real):
        return [float(regressor.gamma)]
    if regressor.gamma == "scale":
        return [1 / (X.shape[1] * (float(X.var()) or 1.0))]
    if near is not None:
        return [0.5 * near, near, 2 * near]
    rows = X[np.linspace(0, len(X) - 1, min(len(X), 500)).astype(int)]
    groups = check_groups(regressor.groups, X.shape[1])
    distances = [pdist(rows[:, group], "sqeuclidean") for group in groups]
    median = np.mean([np.median(d) if d.size else 0.0 for d in distances])
    center = 0.5 / (float(median) or 1.0)
    return [center] if regressor.gamma == "median" else list(center * GAMMA_FACTORS)


def feature_map(regressor, gamma, X, seed, Y):
    """The fitted feature map of a regressor with features."""
    n, groups = regressor.n_components, regressor.groups
    common = {"kernel": regressor.kernel, "gamma": gamma, "random_state": seed}
    if has_transformer(regressor):
        features = clone(regressor.features)
    elif regressor.features == "fourier":
        features = RandomFourierFeatures(n, groups=groups, **common)
    else:
        columns = check_groups(groups, X.shape[1])
        if n < len(columns):
            raise ValueError(
                f"n_components must be at least one for each of {len(columns)} groups, "
                f"got {n!r}"
            )
        features = Nystroem(n_components=min(len(X), n // len(columns)), **common)
        if groups is not None:
            features = ColumnTransformer(
                [(f"group{i}", features, list(g)) for i, g in enumerate(columns)]
            )
    # A global transform_output="pandas" must not reach inside. Not every transformer,
    # nor every part of one, has the method; pipelines raise a ValueError then.
    with suppress(AttributeError, ValueError):
        features.set_output(transform="default")
    if isinstance(features, FrozenEstimator):
        return features
    return features.fit(X, Y) if learns(regressor) else features.fit(X)


def kernel_matrix(regressor, gamma, X, Y):
    """The exact kernel between rows, summed over groups of columns."""
    kernels = {
        "rbf": lambda X, Y: rbf_kernel(X, Y, gamma=gamma),
        "laplacian": lambda X, Y: laplacian_kernel(X, Y, gamma=gamma),
        "matern32": Matern(1 / np.sqrt(2 * gamma), nu=1.5),
        "matern52": Matern(1 / np.sqrt(2 * gamma), nu=2.5),
    }
    kernel = kernels[regressor.kernel]
    groups = check_groups(regressor.groups, X.shape[1])
    return sum(kernel(X[:, group], Y[:, group]) for group in groups)
