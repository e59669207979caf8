"""Feature maps: random Fourier features of a kernel, and a polynomial trend."""

from numbers import Integral, Real

import numpy as np
from scipy import linalg
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

# Precisions that are kept; all else becomes the first.
FLOATS = [np.float64, np.float32]
KERNELS = ("rbf", "laplacian", "matern32", "matern52")


class RandomFourierFeatures(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    r"""Random Fourier features of a shift-invariant kernel.

    Cosine and sine of the same random projections, so that inner products of features
    estimate the kernel without bias and, for an even number of them, :math:`k(x, x)` is
    exact:

    .. math::
        k(x, y) \approx \frac1P \sum_{p=1}^{P} \cos \omega_p^\top (x - y)
        = \phi(x)^\top \phi(y).

    With `groups` the kernel is the sum of one kernel per group of columns, which sees
    structure in many columns where an isotropic kernel sees nothing.

    Parameters
    ----------
    n_components : int, default=300
        Number of output columns; a cosine and a sine share a frequency (an odd number
        leaves out the last sine). With `groups` the total, shared out evenly.
    kernel : {"rbf", "laplacian", "matern32", "matern52"}, default="rbf"
        ``rbf`` is :math:`e^{-\gamma\|x-y\|^2}`, ``laplacian``
        :math:`e^{-\gamma\|x-y\|_1}`, as in :mod:`sklearn.metrics.pairwise`; the Matern
        kernels of order 3/2 and 5/2 have length scale :math:`1/\sqrt{2\gamma}`.
    gamma : float, default=1.0
        Bandwidth, see `kernel`; positive.
    groups : None, "columns" or list of integer arrays, default=None
        Columns of each additive part; ``"columns"`` makes every column its own part.
    orthogonal : bool, default=False
        Draw the frequencies of a block of n_features orthogonal to each other (with
        their radii kept independent), which lowers the variance. Not for
        ``"laplacian"``, which is not rotation invariant.
    random_state : int, RandomState instance or None, default=None
        Draws the frequencies.

    Attributes
    ----------
    frequencies_ : ndarray of shape (n_features, n_pairs), float
        One column per frequency, zero outside its group.
    amplitudes_ : ndarray of shape (n_pairs,), float
        Weight of each pair; its square summed over a group is one.
    n_features_in_ : int
        Number of columns seen by `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Defined only when the columns of X have names that are all strings.

    See Also
    --------
    AmortisedGradientRegressor : Kernel ridge regression on these features.
    sklearn.kernel_approximation.RBFSampler : One random phase instead of pairs.

    References
    ----------
    Rahimi and Recht, *Random features for large-scale kernel machines*, NIPS 2007.
    Yu et al., *Orthogonal random features*, NIPS 2016 (arXiv 1610.09072).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.metrics.pairwise import rbf_kernel
    >>> from amortsk import RandomFourierFeatures
    >>> X = np.random.default_rng(0).standard_normal((50, 3))
    >>> features = RandomFourierFeatures(4000, gamma=0.2, random_state=0)
    >>> F = features.fit_transform(X)
    >>> round(float(np.sqrt(np.mean((F @ F.T - rbf_kernel(X, gamma=0.2)) ** 2))), 2)
    0.01
    """

    def __init__(
        self,
        n_components=300,
        *,
        kernel="rbf",
        gamma=1.0,
        groups=None,
        orthogonal=False,
        random_state=None,
    ):
        self.n_components = n_components
        self.kernel = kernel
        self.gamma = gamma
        self.groups = groups
        self.orthogonal = orthogonal
        self.random_state = random_state

    def fit(self, X, y=None):
        """Draw the frequencies.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Only its number of columns and its dtype are used.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted map.
        """
        X = validate_data(self, X, dtype=FLOATS)
        groups = check_groups(self.groups, X.shape[1])
        self._check_parameters(len(groups))
        rng = check_random_state(self.random_state)
        n_pairs = (self.n_components + 1) // 2
        blocks = np.array_split(np.arange(n_pairs), len(groups))
        sizes = [len(block) for block in blocks]
        self.frequencies_ = np.zeros((X.shape[1], n_pairs), dtype=X.dtype)
        for group, block in zip(groups, blocks, strict=True):
            drawn = self._draw(len(group), len(block), rng)
            self.frequencies_[np.ix_(group, block)] = drawn
        self.amplitudes_ = np.repeat(1 / np.sqrt(sizes), sizes).astype(X.dtype)
        self._n_features_out = self.n_components
        return self

    def transform(self, X):
        """Map rows to features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to map.

        Returns
        -------
        F : ndarray of shape (n_samples, n_components)
            Cosines, then sines; float32 for float32 input, else float64.
        """
        check_is_fitted(self, "frequencies_")
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        projection = X @ self.frequencies_.astype(X.dtype, copy=False)
        n_pairs = projection.shape[1]
        F = np.empty((len(X), 2 * n_pairs), dtype=X.dtype)
        np.cos(projection, out=F[:, :n_pairs])
        np.sin(projection, out=F[:, n_pairs:])
        F *= np.tile(self.amplitudes_.astype(X.dtype, copy=False), 2)
        return F[:, : self._n_features_out]

    def _draw(self, n_features, n_frequencies, rng):
        """Frequencies from the kernel's spectral density, one a column."""
        if self.kernel == "laplacian":
            return self.gamma * rng.standard_cauchy((n_features, n_frequencies))
        normal = rng.standard_normal((n_features, n_frequencies))
        if self.orthogonal:
            radii = np.linalg.norm(normal, axis=0)
            n_blocks = -(-n_frequencies // n_features)
            blocks = rng.standard_normal((n_blocks, n_features, n_features))
            normal = np.hstack(np.linalg.qr(blocks)[0])[:, :n_frequencies] * radii
        if self.kernel != "rbf":
            # The spectral density of a Matern kernel is a multivariate Student t.
            df = {"matern32": 3, "matern52": 5}[self.kernel]
            normal *= np.sqrt(df / rng.chisquare(df, size=n_frequencies))
        return np.sqrt(2 * self.gamma) * normal

    def _check_parameters(self, n_groups):
        n = self.n_components
        if not isinstance(n, Integral) or n < 1 or (n + 1) // 2 < n_groups:
            raise ValueError(
                f"n_components must be an integer >= {max(1, 2 * n_groups - 1)}, for "
                f"{n_groups} groups of columns, got {n!r}"
            )
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {KERNELS}, got {self.kernel!r}")
        check_positive("gamma", self.gamma)
        if self.orthogonal and self.kernel == "laplacian":
            raise ValueError(
                "orthogonal=True needs a rotation-invariant kernel, got 'laplacian'"
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def check_groups(groups, n_features):
    """Column indices of every additive part.

    Raises
    ------
    ValueError
        If `groups` is not None, ``"columns"`` or a list of valid index arrays.
    """
    if groups is None:
        return [np.arange(n_features)]
    if isinstance(groups, str) and groups == "columns":
        return list(np.arange(n_features)[:, np.newaxis])
    listed = np.iterable(groups) and not isinstance(groups, str)
    checked = [np.atleast_1d(np.asarray(group)) for group in groups] if listed else []
    valid = [are_indices(g, n_features) and len(set(g)) == len(g) for g in checked]
    if not valid or not all(valid):
        raise ValueError(
            "groups must be None, 'columns' or a list of arrays of column indices in "
            f"0..{n_features - 1}, each once in a group, got {groups!r}"
        )
    return checked


def check_integer(name, value, least):
    """Raise a ValueError unless the argument is an integer from `least` on."""
    if not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")


def check_positive(name, value):
    """Raise a ValueError unless the argument is a positive, finite number."""
    if not isinstance(value, Real) or not 0 < value < np.inf:
        raise ValueError(f"{name} must be a positive number, got {value!r}")


def are_indices(array, end, lowest=0):
    """Whether an array is a list of integers from `lowest` to `end` - 1.

    Where -1 stands for no column, some have to be others.
    """
    return (
        array.ndim == 1
        and array.dtype.kind in "iu"
        and np.any(array >= 0)
        and array.min() >= lowest
        and array.max() < end
    )


class PolynomialTrend:
    """Columns of a low-order polynomial, the unpenalised part of the regression.

    The span is that of the raw columns and their products; centring, scaling and the
    removal of dependent columns (a constant column of X, say) serve conditioning only.

    Parameters
    ----------
    degree : {None, "constant", "linear", "quadratic"}
    """

    DEGREES = (None, "constant", "linear", "quadratic")

    def __init__(self, degree):
        if degree not in self.DEGREES:
            raise ValueError(f"trend must be one of {self.DEGREES}, got {degree!r}")
        self.degree = degree

    def fit(self, X):
        """Choose independent columns on X.

        Raises
        ------
        ValueError
            If there are more columns than a quarter of the rows.
        """
        self.center = X.mean(0)
        scale = X.std(0)
        # Rounding leaves a constant column with a spread of its own.
        rounding = 1e4 * np.finfo(X.dtype).eps
        constant = scale <= rounding * np.abs(self.center)
        self.scale = np.where(constant | (scale == 0), np.inf, scale)
        columns = self._columns(X)
        if columns.shape[1] > max(1, len(X) / 4):
            raise ValueError(
                f"trend={self.degree!r} has {columns.shape[1]} columns, more than a "
                f"quarter of the rows (n_samples={len(X)}); take a lower-order trend "
                "or more rows"
            )
        self.kept = np.arange(columns.shape[1])
        if columns.shape[1] > 1:
            R, pivots = linalg.qr(columns, mode="r", pivoting=True)
            diagonal = np.abs(np.diag(R))
            self.kept = np.sort(pivots[diagonal > rounding * diagonal[0]])
        return self

    def transform(self, X):
        """Columns at X, of shape (n_samples, n_kept)."""
        columns = self._columns(X)
        return columns if len(self.kept) == columns.shape[1] else columns[:, self.kept]

    def _columns(self, X):
        if self.degree is None:
            return np.empty((len(X), 0), dtype=X.dtype)
        ones = np.ones((len(X), 1), dtype=X.dtype)
        if self.degree == "constant":
            return ones
        Z = (X - self.center) / self.scale
        if self.degree == "linear":
            return np.hstack([ones, Z])
        i, j = np.triu_indices(Z.shape[1])
        return np.hstack([ones, Z, Z[:, i] * Z[:, j]])
