"""Random Fourier features against exact kernels; the polynomial trend's span."""

import numpy as np
import pytest
from sklearn.gaussian_process.kernels import Matern
from sklearn.metrics.pairwise import laplacian_kernel, rbf_kernel
from sklearn.preprocessing import PolynomialFeatures

from amortsk import RandomFourierFeatures
from amortsk.features import PolynomialTrend

KERNELS = ["rbf", "laplacian", "matern32", "matern52"]
GROUPS = [None, "columns", [[0, 1], [2]], [np.array([0, 2]), np.array([1, 2])]]
GAMMA = 0.3
each_kernel = pytest.mark.parametrize("kernel", KERNELS)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def exact(kernel, X, gamma=GAMMA):
    if kernel == "rbf":
        return rbf_kernel(X, gamma=gamma)
    if kernel == "laplacian":
        return laplacian_kernel(X, gamma=gamma)
    nu = {"matern32": 1.5, "matern52": 2.5}[kernel]
    return Matern(length_scale=1 / np.sqrt(2 * gamma), nu=nu)(X)


def parts(groups, n_features):
    if groups is None:
        return [np.arange(n_features)]
    return np.arange(n_features)[:, None] if groups == "columns" else groups


def estimates(X, n_components, n_maps, seed=0, **options):
    """Kernel matrices of independent feature maps."""
    options = {"gamma": GAMMA, **options}
    maps = [
        RandomFourierFeatures(n_components, random_state=seed + 1000 * i, **options)
        for i in range(n_maps)
    ]
    features = [each.fit_transform(X) for each in maps]
    return np.array([F @ F.T for F in features])


def error_slope(kernel, groups=None, seed=0):
    """Of the log error of the kernel matrix in the log of the number of components."""
    X = normal(40, 3, seed=seed)
    K = sum(exact(kernel, X[:, part]) for part in parts(groups, 3))
    sizes = [60, 240, 960, 3840]
    errors = [
        np.mean((estimates(X, n, 8, seed, kernel=kernel, groups=groups) - K) ** 2)
        for n in sizes
    ]
    return np.polyfit(np.log(sizes), 0.5 * np.log(errors), 1)[0]


@each_kernel
@pytest.mark.parametrize("groups", GROUPS, ids=["None", "columns", "parts", "overlap"])
def test_error_falls_with_the_root_of_the_number_of_components(kernel, groups):
    # Over 20 seeds -0.64 to -0.40; -0.10 to 0.02 with twice or half the bandwidth.
    assert abs(error_slope(kernel, groups) + 0.5) < 0.2


def variance_ratio(kernel, seed=0):
    """Mean squared error of the kernel matrix over its expectation."""
    X = 0.7 * normal(30, 3, seed=seed)
    # cos(w d)^2 = (1 + cos(w 2d)) / 2, and the kernel at 2d is known as well.
    variance = 0.5 * (1 + exact(kernel, 2 * X)) - exact(kernel, X) ** 2
    errors = estimates(X, 20, 200, seed, kernel=kernel) - exact(kernel, X)
    return np.mean(errors**2) * 10 / np.mean(variance)


@each_kernel
def test_variance_is_that_of_independent_frequencies(kernel):
    # Over 20 seeds 0.91 to 1.09.
    assert abs(variance_ratio(kernel) - 1) < 0.2


@each_kernel
@pytest.mark.parametrize(("groups", "norm"), [(None, 1), ("columns", 3)])
def test_kernel_of_a_row_with_itself_is_exact(kernel, groups, norm):
    options = {"kernel": kernel, "groups": groups}
    K = estimates(10 * normal(20, 3), 62, 2, **options)
    np.testing.assert_allclose(np.diagonal(K, axis1=1, axis2=2), norm, rtol=1e-12)


@pytest.mark.parametrize("kernel", ["rbf", "matern32", "matern52"])
def test_orthogonal_features_are_unbiased(kernel):
    assert unbiased(kernel) < 5


def unbiased(kernel, seed=0):
    """Largest deviation of the mean estimate, in standard errors."""
    # Five pairs: a part of a block of eight.
    X, n_maps = 0.5 * normal(12, 8, seed=seed), 500
    K = estimates(X, 10, n_maps, seed, kernel=kernel, orthogonal=True)
    off = np.triu_indices(12, 1)
    error = K.std(0)[off] / np.sqrt(n_maps)
    return np.max(np.abs(K.mean(0) - exact(kernel, X))[off] / error)


def orthogonal_ratio(seed=0):
    """Mean squared error of orthogonal features over that of independent ones."""
    X = 0.5 * normal(20, 8, seed=seed)
    errors = [
        np.mean((estimates(X, 32, 60, seed, orthogonal=o) - exact("rbf", X)) ** 2)
        for o in (True, False)
    ]
    return errors[0] / errors[1]


def test_orthogonal_features_have_a_lower_variance():
    # Over 20 seeds 0.34 to 0.49.
    assert orthogonal_ratio() < 0.7


def test_orthogonal_frequencies_of_a_block_are_orthogonal():
    features = RandomFourierFeatures(20, orthogonal=True, random_state=0)
    W = features.fit(normal(3, 5)).frequencies_
    for block in (W[:, :5], W[:, 5:]):
        products = block.T @ block
        np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-12)


def test_a_frequency_sees_its_own_group_only():
    features = RandomFourierFeatures(20, groups=[[0, 1], [2], [4]], random_state=0)
    W = features.fit(normal(3, 5)).frequencies_
    # Ten pairs for three groups.
    expected = np.repeat(
        [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0] * 3, [0, 0, 1]], [4, 3, 3], 1
    )
    np.testing.assert_array_equal(W != 0, expected)
    np.testing.assert_allclose(
        features.amplitudes_**-2, np.repeat([4, 3, 3], [4, 3, 3])
    )


def test_columns_are_groups_of_one():
    X = normal(5, 3)
    options = {"n_components": 30, "random_state": 0}
    by_name = RandomFourierFeatures(groups="columns", **options).fit_transform(X)
    by_index = RandomFourierFeatures(groups=[[0], [1], [2]], **options).fit_transform(X)
    np.testing.assert_array_equal(by_name, by_index)


@pytest.mark.parametrize("n_components", [1, 7, 21])
def test_an_odd_number_leaves_out_the_last_sine(n_components):
    X = normal(5, 3)
    odd = RandomFourierFeatures(n_components, random_state=0).fit_transform(X)
    even = RandomFourierFeatures(n_components + 1, random_state=0).fit_transform(X)
    np.testing.assert_array_equal(odd, even[:, :n_components])


def test_float32_is_preserved():
    X = normal(20, 3)
    for kernel in KERNELS:
        features = RandomFourierFeatures(50, kernel=kernel, gamma=0.1, random_state=0)
        double = features.fit_transform(X)
        single = features.fit_transform(X.astype(np.float32))
        assert double.dtype == np.float64
        assert single.dtype == features.frequencies_.dtype == np.float32
        # Cauchy frequencies reach hundreds.
        np.testing.assert_allclose(single, double, atol=1e-3)


def test_same_seed_same_bits():
    X = normal(5, 3)
    first, second, other = (
        RandomFourierFeatures(20, random_state=seed).fit_transform(X)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_output_may_be_a_data_frame():
    features = RandomFourierFeatures(4, random_state=0).set_output(transform="pandas")
    frame = features.fit_transform(normal(5, 3))
    assert list(frame) == [f"randomfourierfeatures{i}" for i in range(4)]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        *[({"n_components": n}, "n_components") for n in (0, -1, 2.5, "3", None)],
        ({"n_components": 4, "groups": "columns"}, "n_components"),
        *[({"kernel": kernel}, "kernel") for kernel in ("poly", "matern12", None)],
        *[({"gamma": g}, "gamma") for g in (0, -1.0, np.nan, np.inf, "scale", None)],
        ({"kernel": "laplacian", "orthogonal": True}, "orthogonal"),
        *[
            ({"groups": g}, "groups")
            for g in ("rows", [], [[]], [[3]], [[-1]], [[0.5]])
        ],
        *[
            ({"groups": g}, "groups")
            for g in (3, [["a"]], [[[0]]], [[True, False, True]], [[0, 1, 0]])
        ],
    ],
    ids=str,
)
def test_a_bad_parameter_is_named(options, name):
    with pytest.raises(ValueError, match=name):
        RandomFourierFeatures(**options).fit(normal(5, 3))


def polynomial(X, degree):
    degrees = {"constant": 0, "linear": 1, "quadratic": 2}
    return PolynomialFeatures(degrees[degree]).fit_transform(X)


def dependent_columns(n=200, dtype=np.float64):
    """Two free columns, a copy, a sum, a constant one, a binary one."""
    a, b = normal(2, n)
    # 0.1 is no binary fraction: its mean is off by rounding.
    columns = [a, b, a, a + b, np.full(n, 0.1), a > 0]
    return np.column_stack(columns).astype(dtype)


@pytest.mark.parametrize("degree", ["constant", "linear", "quadratic"])
@pytest.mark.parametrize("X", [100 + normal(200, 3), dependent_columns()], ids="ad")
def test_trend_spans_the_polynomials(degree, X):
    raw = polynomial(X, degree)
    P = PolynomialTrend(degree).fit(X).transform(X)
    rank = np.linalg.matrix_rank(polynomial(X - X.mean(0), degree))
    assert P.shape == (200, rank)
    assert np.linalg.cond(P) < 1e3
    Q = np.linalg.qr(P)[0]
    np.testing.assert_allclose(Q @ (Q.T @ raw), raw, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("degree", ["linear", "quadratic"])
def test_trend_drops_dependent_columns_of_float32(degree):
    # 1, a, b, s and a^2, ab, b^2, as, bs; but s^2 = s.
    X = dependent_columns(dtype=np.float32)
    P = PolynomialTrend(degree).fit(X).transform(X)
    assert P.dtype == np.float32
    assert P.shape[1] == {"linear": 4, "quadratic": 9}[degree]


def test_trend_is_the_same_polynomial_at_other_rows():
    X, other = normal(50, 2), 5 * normal(30, 2, seed=1)
    trend = PolynomialTrend("quadratic").fit(X)
    coef = np.linalg.lstsq(trend.transform(X), X[:, 0] * X[:, 1], rcond=None)[0]
    np.testing.assert_allclose(trend.transform(other) @ coef, other[:, 0] * other[:, 1])


def test_no_trend_has_no_columns():
    X = normal(5, 3)
    assert PolynomialTrend(None).fit(X).transform(X).shape == (5, 0)


@pytest.mark.parametrize(("degree", "least"), [("linear", 16), ("quadratic", 40)])
def test_trend_refuses_more_columns_than_a_quarter_of_the_rows(degree, least):
    X = normal(least, 3)
    PolynomialTrend(degree).fit(X)
    with pytest.raises(ValueError, match=rf"'{degree}' .*\(n_samples={least - 1}\)"):
        PolynomialTrend(degree).fit(X[1:])


def test_a_constant_trend_needs_one_row():
    assert PolynomialTrend("constant").fit(np.ones((1, 2))).kept.tolist() == [0]


def test_a_bad_trend_is_named():
    with pytest.raises(ValueError, match="trend must be .* got 'cubic'"):
        PolynomialTrend("cubic")
