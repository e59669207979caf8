"""The regressor against scikit-learn, explicit least squares and brute force."""

import pickle
import tracemalloc

import autograd.numpy as anp
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.spatial.distance import pdist
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.cross_decomposition import PLSRegression
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process.kernels import Matern
from sklearn.kernel_approximation import RBFSampler
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import laplacian_kernel, rbf_kernel
from sklearn.model_selection import GridSearchCV, LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    PolynomialFeatures,
    StandardScaler,
)

from amortsk import AmortisedGradientRegressor
from amortsk.design import ALPHAS, GAMMA_FACTORS, choose
from amortsk.ridge import PrimalSmoother, leave_one_out

GAMMA, ALPHA = 0.2, 0.1
KINDS = ["fourier", "nystroem", None]
TRENDS = [None, "constant", "linear", "quadratic"]
each_kind = pytest.mark.parametrize("features", KINDS)
each_trend = pytest.mark.parametrize("trend", TRENDS)


def data(n=120, n_queries=17, n_targets=None, seed=0, dtype=np.float64):
    """Rows, smooth targets with noise, query rows."""
    rng = np.random.default_rng(seed)
    X, queries = rng.standard_normal((n, 3)), rng.standard_normal((n_queries, 3))
    signal = [np.sin(X[:, 0]) + X[:, 1], np.cos(X[:, 2]) - 3, X[:, 0] * X[:, 1]]
    Y = np.transpose(signal) + 0.1 * rng.standard_normal((n, 3))
    y = Y[:, 0] if n_targets is None else Y[:, :n_targets]
    return X.astype(dtype), y.astype(dtype), queries.astype(dtype)


def regressor(features="fourier", **options):
    options = {"gamma": GAMMA, "alpha": ALPHA, "random_state": 0, **options}
    if isinstance(features, str):
        options = {"n_components": 40, **options}
    return AmortisedGradientRegressor(features, **options)


def exact_kernel(kernel, X, Y, gamma=GAMMA):
    if kernel == "rbf":
        return rbf_kernel(X, Y, gamma=gamma)
    if kernel == "laplacian":
        return laplacian_kernel(X, Y, gamma=gamma)
    nu = {"matern32": 1.5, "matern52": 2.5}[kernel]
    return Matern(length_scale=1 / np.sqrt(2 * gamma), nu=nu)(X, Y)


def trend_columns(trend, X):
    degrees = {"constant": 0, "linear": 1, "quadratic": 2}
    if trend is None:
        return np.empty((len(X), 0))
    return PolynomialFeatures(degrees[trend]).fit_transform(X)


def penalised_fit(F, P, y, alpha):
    """Coefficients of [P F], those of P free, from an augmented system."""
    q, D = P.shape[1], F.shape[1]
    rows = np.vstack([np.hstack([P, F]), np.sqrt(alpha) * np.eye(D, q + D, q)])
    zeros = np.zeros((D, *y.shape[1:]))
    return np.linalg.lstsq(rows, np.concatenate([y, zeros]), rcond=None)[0]


@pytest.mark.parametrize("n_targets", [None, 1, 3])
@pytest.mark.parametrize("features", ["fourier", "nystroem"])
@pytest.mark.parametrize("kernel", ["rbf", "laplacian"])
def test_on_features_it_is_kernel_ridge(features, kernel, n_targets):
    X, y, queries = data(n_targets=n_targets)
    fitted = regressor(features, kernel=kernel, trend=None).fit(X, y)
    transform = fitted.features_.transform
    reference = KernelRidge(alpha=ALPHA, kernel="linear").fit(transform(X), y)
    expected = reference.predict(transform(queries))
    np.testing.assert_allclose(fitted.predict(queries), expected, rtol=0, atol=1e-8)
    assert isinstance(fitted.kernel_ridge_, KernelRidge)
    # A dual of the size of the features, not of the rows.
    assert len(fitted.kernel_ridge_.dual_coef_) == 40


@pytest.mark.parametrize("n_targets", [None, 1, 3])
@pytest.mark.parametrize("kernel", ["rbf", "laplacian", "matern32", "matern52"])
def test_without_features_it_is_kernel_ridge(kernel, n_targets):
    X, y, queries = data(n_targets=n_targets)
    fitted = regressor(None, kernel=kernel, trend=None).fit(X, y)
    reference = KernelRidge(alpha=ALPHA, kernel="precomputed")
    reference.fit(exact_kernel(kernel, X, X), y)
    expected = reference.predict(exact_kernel(kernel, queries, X))
    np.testing.assert_allclose(fitted.predict(queries), expected, rtol=0, atol=1e-8)
    assert fitted.features_ is None


@pytest.mark.parametrize("n_targets", [None, 3])
@pytest.mark.parametrize("features", ["fourier", "nystroem"])
@pytest.mark.parametrize("n", [120, 45])
@each_trend
def test_trend_is_unpenalised_least_squares(features, trend, n, n_targets):
    # 45 rows are fewer than the columns of the quadratic trend and 40 features.
    X, y, queries = data(n=n, n_targets=n_targets)
    fitted = regressor(features, trend=trend).fit(X, y)
    transform = fitted.features_.transform
    coef = penalised_fit(transform(X), trend_columns(trend, X), y, ALPHA)
    expected = np.hstack([trend_columns(trend, queries), transform(queries)]) @ coef
    np.testing.assert_allclose(fitted.predict(queries), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("n_targets", [None, 3])
@each_trend
def test_trend_beside_the_exact_kernel_solves_its_normal_equations(trend, n_targets):
    X, y, queries = data(n_targets=n_targets)
    fitted = regressor(None, trend=trend).fit(X, y)
    P, q = trend_columns(trend, X), trend_columns(trend, X).shape[1]
    K = exact_kernel("rbf", X, X) + ALPHA * np.eye(len(X))
    system = np.block([[K, P], [P.T, np.zeros((q, q))]])
    coef = np.linalg.solve(system, np.concatenate([y, np.zeros((q, *y.shape[1:]))]))
    columns = [exact_kernel("rbf", queries, X), trend_columns(trend, queries)]
    expected = np.hstack(columns) @ coef
    np.testing.assert_allclose(fitted.predict(queries), expected, rtol=0, atol=1e-8)


@each_kind
@each_trend
def test_predictions_are_weights_of_targets(features, trend):
    X, y, queries = data(n_targets=2)
    fitted = regressor(features, trend=trend).fit(X, y)
    A = fitted.smoother_matrix(queries)
    assert A.shape == (17, 120)
    np.testing.assert_allclose(A @ y, fitted.predict(queries), rtol=0, atol=1e-10)
    if trend:
        np.testing.assert_allclose(A.sum(1), 1)
    w = np.random.default_rng(1).standard_normal(17)
    weights = fitted.smoother_weights(queries, w)
    np.testing.assert_allclose(weights, w @ A, rtol=0, atol=1e-12)
    mean = fitted.smoother_weights(queries)
    np.testing.assert_allclose(mean, A.mean(0), rtol=0, atol=1e-12)


def test_degrees_of_freedom_are_the_trace_of_the_smoother_matrix():
    X, y, _ = data(n=60)
    for features in KINDS:
        fitted = regressor(features, trend="linear").fit(X, y)
        rng, smoother = np.random.default_rng(0), fitted._smoother
        estimates = [smoother.degrees_of_freedom(rng) for _ in range(100)]
        deviation = np.mean(estimates) - np.trace(fitted.smoother_matrix(X))
        assert abs(deviation) < 5 * np.std(estimates) / 10


def brute_force_error(F, P, Y, alpha):
    """Relative leave-one-out error of every row, by fits without it."""
    squared = []
    for n in range(len(Y)):
        kept = np.arange(len(Y)) != n
        coef = penalised_fit(F[kept], P[kept], Y[kept], alpha)
        squared.append((Y[n] - np.hstack([P[n], F[n]]) @ coef) ** 2)
    return squared / Y.var(0)


@pytest.mark.parametrize("D", [6, 20, 50])
@pytest.mark.parametrize("trend", [None, "constant", "linear"])
def test_leave_one_out_formula(D, trend):
    X, Y, _ = data(n=20, n_targets=3)
    F = np.random.default_rng(1).standard_normal((20, D))
    alphas, P = np.array([1e-2, 1.0, 100.0]), trend_columns(trend, X)
    expected = np.array([brute_force_error(F, P, Y, alpha) for alpha in alphas])
    by_row, by_target = leave_one_out(F, P, Y, alphas)
    np.testing.assert_allclose(by_row, expected.mean(2).T, rtol=1e-8)
    np.testing.assert_allclose(by_target, expected.mean(1).T, rtol=1e-8)


@pytest.mark.parametrize("tied", [True, False])
def test_ties_go_to_the_narrowest_kernel(tied):
    """Where a kernel adds nothing to the trend, and where it does.

    Over 40 seeds the mean is 3.6 and 0.02 steps of the grid.
    """
    regressor, steps = AmortisedGradientRegressor(trend="linear"), []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((300, 2))
        y = X[:, 0] if tied else np.sin(2 * X[:, 0])
        Y = (y + (1.0 if tied else 0.01) * rng.standard_normal(300))[:, None]
        gamma, _, error = choose(regressor, X, Y, seed)
        narrow, _, larger = choose(regressor, X, Y, seed, break_ties=True)
        assert error <= larger <= 1.01 * error
        steps.append(np.log(narrow / gamma) / np.log(4))
    assert min(steps) >= 0
    assert (np.mean(steps) > 1.2) == tied


def test_constant_targets_do_not_count():
    X, Y, _ = data(n=20, n_targets=3)
    P, alphas = np.ones((20, 1)), np.array([0.1])
    # 0.1 is no binary fraction: its variance is not zero.
    constant = np.column_stack([np.full(20, 0.1), Y, np.full(20, -1e9)])
    by_row, by_target = leave_one_out(X, P, Y, alphas)
    found = leave_one_out(X, P, constant, alphas)
    np.testing.assert_allclose(found[0], by_row)
    expected = np.vstack([[[np.nan]], by_target, [[np.nan]]])
    np.testing.assert_allclose(found[1], expected)
    for errors in leave_one_out(X, P, constant[:, :1], alphas):
        assert np.isnan(errors).all()


def test_a_row_that_the_trend_fits_exactly_has_no_error():
    rng = np.random.default_rng(0)
    F, Y = rng.standard_normal((20, 3)), rng.standard_normal((20, 1))
    alphas = np.array([0.1, 1.0])
    found, _ = leave_one_out(F, np.eye(20)[:, :1], Y, alphas)
    rest, _ = leave_one_out(F[1:], np.empty((19, 0)), Y[1:], alphas)
    np.testing.assert_allclose(found[0], 0, atol=1e-12)
    np.testing.assert_allclose(found[1:], rest * Y[1:].var() / Y.var())


@pytest.mark.parametrize("features", ["fourier", None])
@pytest.mark.parametrize("trend", [None, "linear"])
def test_loo_error_is_that_of_fits_without_one_row(features, trend):
    X, Y, _ = data(n=40, n_targets=2)
    fitted = regressor(features, trend=trend, alpha="loo").fit(X, Y)
    fixed = clone(fitted).set_params(alpha=fitted.alpha_)
    residuals = Y - cross_val_predict(fixed, X, Y, cv=LeaveOneOut())
    expected = np.mean(np.mean(residuals**2, axis=0) / Y.var(0))
    np.testing.assert_allclose(fitted.loo_error_, expected, rtol=1e-6)


def test_the_ridge_minimises_the_leave_one_out_error():
    X, y, _ = data(n=20)
    fitted = regressor(n_components=10, alpha="loo").fit(X, y)
    errors = [
        np.mean((y - cross_val_predict(fixed, X, y, cv=LeaveOneOut())) ** 2)
        for fixed in (regressor(n_components=10, alpha=alpha) for alpha in ALPHAS)
    ]
    assert fitted.alpha_ == ALPHAS[np.argmin(errors)]
    assert 0 < np.argmin(errors) < len(ALPHAS) - 1


@each_kind
def test_the_bandwidth_minimises_the_leave_one_out_error(features):
    X, y, _ = data()
    gammas = GAMMA_FACTORS * 0.5 / np.median(pdist(X, "sqeuclidean"))
    errors = [
        regressor(features, gamma=gamma, alpha="loo").fit(X, y).loo_error_
        for gamma in gammas
    ]
    chosen = regressor(features, gamma="loo", alpha="loo").fit(X, y)
    np.testing.assert_allclose(chosen.gamma_, gammas[np.argmin(errors)])
    np.testing.assert_allclose(chosen.loo_error_, min(errors))
    assert np.ptp(errors) > 0.01


def test_named_bandwidths():
    X, y, _ = data()
    median = 0.5 / np.median(pdist(X, "sqeuclidean"))
    np.testing.assert_allclose(regressor(gamma="median").fit(X, y).gamma_, median)
    scale = 1 / (3 * X.var())
    np.testing.assert_allclose(regressor(gamma="scale").fit(X, y).gamma_, scale)
    fixed = regressor().fit(X, y)
    assert (fixed.gamma_, fixed.alpha_) == (GAMMA, ALPHA)
    assert np.isnan(fixed.loo_error_)


def targets(params, X):
    return params["a"][0] * anp.sin(params["b"] * X[:, 0]) + params["a"][1] * X[:, 1]


@each_kind
@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_of_the_prediction(features, weighted):
    X, _, queries = data()
    params = {"a": np.array([1.5, -0.5]), "b": np.array(0.7)}
    w = (
        np.random.default_rng(1).standard_normal(17)
        if weighted
        else np.full(17, 1 / 17)
    )
    model = regressor(features, trend="linear")

    def prediction(a0, a1, b):
        y = targets({"a": np.array([a0, a1]), "b": b}, X)
        return w @ clone(model).fit(X, y).predict(queries)

    point = np.array([1.5, -0.5, 0.7])
    numeric = [
        (prediction(*point + step) - prediction(*point - step)) / 2e-5
        for step in 1e-5 * np.eye(3)
    ]
    fitted = model.fit(X, targets(params, X))
    gradient = fitted.gradient(
        lambda p: targets(p, X), params, queries, w if weighted else None
    )
    np.testing.assert_allclose([*gradient["a"], gradient["b"]], numeric, atol=1e-8)
    sine, slope = np.sin(0.7 * X[:, 0]), 1.5 * X[:, 0] * np.cos(0.7 * X[:, 0])
    jacobian = np.column_stack([sine, X[:, 1], slope])
    expected = fitted.smoother_weights(queries, w) @ jacobian
    np.testing.assert_allclose([*gradient["a"], gradient["b"]], expected, atol=1e-12)


def test_shapes_of_gradient_arguments_are_checked():
    X, y, queries = data()
    fitted = regressor().fit(X, y)
    params = {"a": np.ones(2), "b": np.ones(())}
    with pytest.raises(ValueError, match=r"func must return .* shape \(119,\)"):
        fitted.gradient(lambda p: targets(p, X[1:]), params, queries)
    with pytest.raises(ValueError, match=r"func must return an array .* got list"):
        fitted.gradient(lambda p: [p["b"] * v for v in y], params, queries)
    with pytest.raises(ValueError, match="NaN"):
        fitted.smoother_weights(queries, np.full(17, np.nan))
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(17,\)"):
        fitted.smoother_weights(queries, np.ones(16))
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(17,\)"):
        fitted.gradient(lambda p: targets(p, X), params, queries, np.ones((17, 1)))


def test_nothing_of_the_square_of_the_rows_is_allocated():
    X, y, _ = data(n=20_000)
    tracemalloc.start()
    fitted = regressor(n_components=50, gamma="median", alpha="loo").fit(X, y)
    fitted.predict(X)
    fitted.smoother_weights(X)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The features take 8 MB, a matrix of 20 000 by 20 000 numbers 3200.
    assert 8e6 < peak < 200e6


def degenerate(name, dtype=np.float64):
    X, y, _ = data(n=60, dtype=dtype)
    if name == "duplicated rows":
        X = np.repeat(X[:6], 10, axis=0)
    elif name == "duplicated columns":
        X = X[:, [0, 0, 1, 1]]
    elif name == "constant columns":
        X[:, 1] = 0.1
    elif name == "equal rows":
        X[:] = 0.1
    elif name == "constant targets":
        y[:] = 0.1
    elif name == "noiseless":
        y = X[:, 0] - 2 * X[:, 1]
    elif name == "large offset":
        X += 1e4
    return X, y


DEGENERATE = [
    "duplicated rows",
    "duplicated columns",
    "constant columns",
    "equal rows",
    "constant targets",
    "noiseless",
    "large offset",
]


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("trend", [None, "quadratic"])
@each_kind
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_degenerate_data_have_finite_predictions(name, features, trend, dtype):
    X, y = degenerate(name, dtype)
    # More features than rows.
    options = {"n_components": 100} if features else {}
    fitted = regressor(features, gamma="loo", alpha="loo", trend=trend, **options)
    fitted.fit(X, y)
    other = X[:3] + X.std(0)
    for predicted in (fitted.predict(X), fitted.predict(other)):
        assert np.isfinite(predicted).all()
        assert np.abs(predicted).max() < 20 * np.abs(y).max()
    # A ridge below the rounding of the kernel matrix would break the identity.
    tolerance = {np.float64: 1e-6, np.float32: 1e-3}[dtype] * np.abs(y).max()
    A = fitted.smoother_matrix(X)
    np.testing.assert_allclose(A @ y, fitted.predict(X), rtol=0, atol=tolerance)


@each_kind
@pytest.mark.parametrize("trend", ["constant", "linear"])
def test_a_constant_target_is_predicted_exactly(features, trend):
    X, y = degenerate("constant targets")
    fitted = regressor(features, gamma="loo", alpha="loo", trend=trend).fit(X, y)
    np.testing.assert_allclose(fitted.predict(X + 1), 0.1, rtol=1e-8)
    assert np.isnan(fitted.loo_error_)


def test_dependent_columns_and_no_ridge_to_speak_of():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 1))
    columns = np.hstack([np.ones((30, 1)), x, x])
    gram, y = columns.T @ columns, 3 + 2 * x
    for rows in (columns, None):
        smoother = PrimalSmoother(gram, 1, 1e-14, rows)
        np.testing.assert_allclose(columns @ smoother.coef(columns.T @ y), y, 1e-6)


def test_nearly_dependent_columns_are_solved_from_the_rows():
    rng = np.random.default_rng(0)
    F = rng.standard_normal((60, 4))
    F[:, 1] = F[:, 0] + 1e-7 * F[:, 1]
    y, alpha = F.sum(1) + rng.standard_normal(60), 1e-13
    smoother = PrimalSmoother(F.T @ F, 0, alpha, F)
    expected = F @ penalised_fit(F, np.empty((60, 0)), y, alpha)
    A = smoother.weights(F, smoother.query(F))
    np.testing.assert_allclose(A.T @ y, expected, atol=1e-5)


def test_dependent_columns_without_their_rows_have_the_smallest_coefficients():
    F = np.tile(np.random.default_rng(0).standard_normal((60, 4)), 2)
    y = F @ np.arange(8.0)
    coef = PrimalSmoother(F.T @ F, 0, 1e-15).coef(F.T @ y)
    np.testing.assert_allclose(coef, np.linalg.pinv(F) @ y, rtol=1e-6)


def test_a_transformer_as_features():
    X, y, queries = data()
    pipeline = make_pipeline(
        StandardScaler(), RBFSampler(n_components=40, random_state=0)
    )
    fitted = AmortisedGradientRegressor(pipeline, alpha=ALPHA).fit(X, y)
    F = clone(pipeline).fit(X).transform
    coef = penalised_fit(F(X), np.ones((120, 1)), y, ALPHA)
    expected = np.hstack([np.ones((17, 1)), F(queries)]) @ coef
    np.testing.assert_allclose(fitted.predict(queries), expected, rtol=0, atol=1e-8)
    assert fitted.gamma_ is None
    assert not hasattr(pipeline[0], "mean_")
    chosen = AmortisedGradientRegressor(pipeline).fit(X, y)
    _, (errors,) = leave_one_out(F(X), np.ones((120, 1)), y[:, None], ALPHAS)
    assert chosen.alpha_ == ALPHAS[np.argmin(errors)]
    np.testing.assert_allclose(chosen.loo_error_, min(errors))


class Supervised(PLSRegression):
    """A transformer that needs targets."""

    def __init__(self, n_components=2, warm_start=True):
        super().__init__(n_components)
        self.warm_start = warm_start


def test_a_transformer_may_learn_from_the_targets():
    X, y, queries = data(n_targets=2)
    fitted = AmortisedGradientRegressor(Supervised(), alpha=ALPHA).fit(X, y)
    F = PLSRegression().fit(X, y).transform
    coef = penalised_fit(F(X), np.ones((120, 1)), y, ALPHA)
    expected = np.hstack([np.ones((17, 1)), F(queries)]) @ coef
    np.testing.assert_allclose(fitted.predict(queries), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "options",
    [
        {"gamma": 1.0},
        {"n_components": 10},
        {"kernel": "laplacian"},
        {"groups": "columns"},
    ],
    ids=str,
)
def test_a_transformer_has_its_own_parameters(options):
    X, y, _ = data()
    (name,) = options
    with pytest.raises(ValueError, match=f"{name}=.* no effect beside a transformer"):
        AmortisedGradientRegressor(RBFSampler(), **options).fit(X, y)


GROUPS = ["columns", [[0, 1], [2]], [[0], [0, 2]], [[1]]]


@pytest.mark.parametrize("groups", GROUPS, ids=str)
@pytest.mark.parametrize("trend", [None, "linear"])
def test_exact_groups_are_a_sum_of_kernels(groups, trend):
    X, y, queries = data()
    fitted = regressor(None, groups=groups, trend=trend).fit(X, y)
    columns = [[0], [1], [2]] if groups == "columns" else groups
    K, k = (
        sum(rbf_kernel(Z[:, group], X[:, group], gamma=GAMMA) for group in columns)
        for Z in (X, queries)
    )
    P, p = trend_columns(trend, X), trend_columns(trend, queries)
    M = np.linalg.inv(K + ALPHA * np.eye(120))
    beta = np.linalg.solve(P.T @ M @ P, P.T @ M @ y) if trend else np.empty(0)
    expected = p @ beta + k @ M @ (y - P @ beta)
    np.testing.assert_allclose(fitted.predict(queries), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("groups", [None, *GROUPS], ids=str)
def test_nystroem_with_all_rows_as_landmarks_is_exact(groups):
    X, y, queries = data(n=50)
    options = {"groups": groups, "gamma": 2.0, "kernel": "laplacian"}
    exact = regressor(None, **options).fit(X, y)
    nystroem = regressor("nystroem", n_components=150, **options).fit(X, y)
    np.testing.assert_allclose(
        nystroem.predict(queries), exact.predict(queries), rtol=1e-6
    )


@pytest.mark.parametrize("features", ["fourier", "nystroem"])
@pytest.mark.parametrize("groups", GROUPS, ids=str)
def test_only_columns_of_a_group_matter(features, groups):
    X, y, queries = data()
    fitted = regressor(features, groups=groups).fit(X, y)
    used = {0, 1, 2} if groups == "columns" else set().union(*groups)
    for column in range(3):
        moved = queries.copy()
        moved[:, column] += 1
        changed = np.abs(fitted.predict(moved) - fitted.predict(queries)).max() > 1e-8
        assert changed == (column in used)


@pytest.mark.parametrize("groups", [None, "columns"])
@pytest.mark.parametrize("output", ["pandas", "polars"])
@pytest.mark.parametrize("features", [*KINDS, StandardScaler()], ids=str)
def test_a_global_output_container_does_not_reach_inside(features, groups, output):
    X, y, queries = data()
    options = {"groups": groups, "gamma": GAMMA}
    if isinstance(features, StandardScaler):
        options = {}
    model = AmortisedGradientRegressor(features, alpha=ALPHA, random_state=0, **options)
    expected = clone(model).fit(X, y).predict(queries)
    with config_context(transform_output=output):
        fitted = model.fit(X, y)
        np.testing.assert_array_equal(fitted.predict(queries), expected)
        assert isinstance(fitted.smoother_matrix(queries), np.ndarray)


@pytest.mark.parametrize(
    "frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"]
)
@each_kind
def test_data_frames(frame, features):
    X, y, queries = data()
    expected = regressor(features).fit(X, y).predict(queries)
    X, queries = (frame(dict(zip("abc", Z.T, strict=True))) for Z in (X, queries))
    fitted = regressor(features).fit(X, y)
    np.testing.assert_allclose(fitted.predict(queries), expected, rtol=1e-12)


def test_names_of_columns_are_checked():
    X, y, queries = data()
    fitted = regressor().fit(pd.DataFrame(X, columns=["a", "b", "c"]), y)
    assert fitted.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(pd.DataFrame(queries, columns=["b", "a", "c"]))


@pytest.mark.parametrize("kernel", ["rbf", "laplacian", "matern32"])
@pytest.mark.parametrize("features", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("y_dtype", [np.float32, np.float64])
def test_dtype_is_that_of_the_rows(features, kernel, dtype, y_dtype):
    if features == "nystroem" and kernel == "matern32":
        kernel = "rbf"
    X, y, queries = data(dtype=dtype)
    model = regressor(features, kernel=kernel, trend="linear")
    double = (
        clone(model)
        .fit(X.astype(float), y.astype(float))
        .predict(queries.astype(float))
    )
    fitted = model.fit(X, y.astype(y_dtype))
    assert fitted.predict(queries).dtype == dtype
    assert fitted.smoother_matrix(queries).dtype == dtype
    assert fitted.smoother_weights(queries).dtype == dtype
    # A tenth of the noise of the targets.
    np.testing.assert_allclose(fitted.predict(queries), double, atol=0.01)


@each_kind
def test_clones_and_pickles(features):
    X, y, queries = data()
    fitted = regressor(features, alpha="loo").fit(X, y)
    expected = fitted.predict(queries)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(queries), expected)
    np.testing.assert_array_equal(
        again.smoother_weights(queries), fitted.smoother_weights(queries)
    )
    np.testing.assert_array_equal(clone(fitted).fit(X, y).predict(queries), expected)
    assert not hasattr(clone(fitted), "alpha_")


@pytest.mark.parametrize("features", ["fourier", "nystroem"])
def test_random_state(features):
    X, y, queries = data()
    first, again, other = (
        regressor(features, random_state=s).fit(X, y).predict(queries)
        for s in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


@each_kind
def test_arguments_are_left_as_they_were(features):
    X, y, queries = data()
    copies = [array.copy() for array in (X, y, queries)]
    for array in (X, y, queries):
        array.flags.writeable = False
    fitted = regressor(features, gamma="loo", alpha="loo", trend="linear").fit(X, y)
    for method in (fitted.predict, fitted.smoother_matrix, fitted.smoother_weights):
        method(queries)
    for array, copy in zip((X, y, queries), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_grid_search_over_the_bandwidth():
    X, y, _ = data()
    search = GridSearchCV(regressor(), {"gamma": [1e-6, 0.1, 1e6]}, cv=3).fit(X, y)
    assert search.best_params_ == {"gamma": 0.1}
    assert search.best_score_ > 0.9
    assert (search.cv_results_["mean_test_score"][[0, 2]] < 0.5).all()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        *[({"features": f}, "features") for f in ("rff", 3, "None", np.eye(3))],
        *[({"n_components": n}, "n_components") for n in (0, -3, 2.5, "3", None)],
        *[
            ({"n_components": n, "features": "nystroem"}, "n_components")
            for n in (0, -3, 2.5, "3", None)
        ],
        *[({"kernel": k}, "kernel") for k in ("poly", None)],
        ({"features": "nystroem", "kernel": "matern32"}, "kernel"),
        *[
            ({"gamma": g}, "gamma")
            for g in (0, -1.0, np.nan, np.inf, "auto", None, [1.0])
        ],
        *[
            ({"alpha": a}, "alpha")
            for a in (0, -1.0, np.nan, np.inf, "auto", None, [1.0])
        ],
        *[({"trend": t}, "trend") for t in ("cubic", 1)],
        *[
            ({"groups": g, "features": f}, "groups")
            for g in ("rows", [[3]], 3)
            for f in KINDS
        ],
    ],
    ids=str,
)
def test_a_bad_parameter_is_named(options, name):
    X, y, _ = data(n=20)
    with pytest.raises(ValueError, match=name):
        regressor(**{"features": "fourier", **options}).fit(X, y)


@pytest.mark.parametrize("estimator", [regressor(gamma=-1), regressor(trend=3)])
def test_what_never_was_fitted_says_so(estimator):
    X, y, _ = data(n=20)
    with pytest.raises(ValueError, match="must be"):
        estimator.fit(X, y)
    with pytest.raises(NotFittedError):
        estimator.predict(X)


@pytest.mark.parametrize(
    "function", [lambda X: X[:, 0], lambda X: X[1:], lambda X: X * np.nan]
)
def test_a_map_to_no_features_is_named(function):
    X, y, _ = data(n=20)
    with pytest.raises(ValueError, match="features must map 20 rows .* Function"):
        AmortisedGradientRegressor(FunctionTransformer(function)).fit(X, y)


def test_a_trend_of_too_many_columns_is_an_error():
    X, y, _ = data(n=39)
    with pytest.raises(ValueError, match="trend='quadratic' has 10 columns"):
        regressor(trend="quadratic").fit(X, y)


def test_a_transformer_of_plain_functions():
    X, y, queries = data()
    fitted = regressor(trend=None).fit(X, y)
    features = FunctionTransformer(fitted.features_.transform)
    same = AmortisedGradientRegressor(features, alpha=ALPHA, trend=None).fit(X, y)
    np.testing.assert_allclose(
        same.predict(queries), fitted.predict(queries), rtol=1e-10
    )


class Halves(TransformerMixin, BaseEstimator):
    """A transformer that cannot name its output, and so has no set_output."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return np.concatenate([X / 2, X**2], axis=1)


@pytest.mark.parametrize("features", [Halves(), make_pipeline(Halves(), Halves())])
def test_features_need_no_names(features):
    X = np.random.default_rng(0).standard_normal((40, 2))
    y = X[:, 0] ** 2
    regressor = AmortisedGradientRegressor(features, alpha=1e-6).fit(X, y)
    np.testing.assert_allclose(regressor.predict(X), y, atol=1e-3)
