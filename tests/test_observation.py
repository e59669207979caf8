"""Observations: densities, the exponential-family identity, draws, checks."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, value_and_grad
from scipy import stats
from scipy.special import expit

from amortsk.observation import Bernoulli, Gaussian, LogNormal, Poisson, noise_scale

OBSERVATIONS = [
    Gaussian(),
    Gaussian(shared=True),
    Bernoulli(),
    Poisson(),
    LogNormal(),
    LogNormal(shared=True),
]
families = pytest.mark.parametrize("family", OBSERVATIONS, ids=repr)


def data(family, n=50, d=3, seed=0):
    """Rows that lie in the support, params that fit them, an output for each row."""
    rng = np.random.default_rng(seed)
    output = rng.normal(size=(n, d))
    params = {"log_scale": np.zeros(1), "min_scale": np.full(1, 1e-3)}
    X = family.sample(params, output, rng)
    return X, family.init_params(X), output


def scipy_log_prob(family, params, output, x):
    if isinstance(family, Bernoulli):
        terms = stats.bernoulli.logpmf(x, 1 / (1 + np.exp(-output)))
    elif isinstance(family, Poisson):
        terms = stats.poisson.logpmf(x, np.exp(output))
    elif isinstance(family, LogNormal):
        scale = np.broadcast_to(noise_scale(params), x.shape)
        terms = stats.lognorm.logpdf(x, scale, scale=np.exp(output))
    else:
        terms = stats.norm.logpdf(x, output, noise_scale(params))
    return terms.sum(axis=1)


def distribution(family, params, output):
    """The same as a frozen distribution of one entry."""
    if isinstance(family, Bernoulli):
        return stats.bernoulli(1 / (1 + np.exp(-output)))
    if isinstance(family, Poisson):
        return stats.poisson(np.exp(output))
    scale = noise_scale(params)[0]
    if isinstance(family, LogNormal):
        return stats.lognorm(scale, scale=np.exp(output))
    return stats.norm(output, scale)


@families
@pytest.mark.parametrize("d", [1, 3, 1000])
def test_log_prob_is_that_of_scipy(family, d):
    X, params, output = data(family, d=d)
    log_prob = family.log_prob(params, output, X)
    assert log_prob.shape == (50,)
    expected = scipy_log_prob(family, params, output, X)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-10)


@families
@pytest.mark.parametrize("d", [1, 3])
def test_exponential_family_identity(family, d):
    X, params, output = data(family, d=d)
    natural = family.natural_params(params, output)
    statistics = family.sufficient_statistics(X)
    terms = sum(s * eta for s, eta in zip(statistics, natural, strict=True))
    terms = terms - family.log_normalizer(params, output) + family.log_base_measure(X)
    assert terms.shape == X.shape
    log_prob = family.log_prob(params, output, X)
    np.testing.assert_allclose(terms.sum(axis=1), log_prob, rtol=1e-10)


@families
def test_gradient_is_that_of_finite_differences(family):
    X, params, output = data(family, n=4, d=2)
    names = sorted(set(params) - set(family.fixed_params))
    sizes = [output.size] + [params[name].size for name in names]

    def objective(vector):
        pieces = anp.split(vector, np.cumsum(sizes)[:-1])
        free = dict(zip(names, pieces[1:], strict=True))
        out = anp.reshape(pieces[0], output.shape)
        # Unequal weights, since any weights may meet the rows of a log-density.
        return anp.dot(
            np.cos(np.arange(4)), family.log_prob({**params, **free}, out, X)
        )

    start = np.concatenate([output.ravel()] + [params[name] for name in names])
    steps = 1e-5 * np.eye(start.size)
    numeric = [(objective(start + s) - objective(start - s)) / 2e-5 for s in steps]
    tolerance = 1e-6 * np.abs(numeric).max()
    np.testing.assert_allclose(grad(objective)(start), numeric, atol=tolerance)


@families
def test_log_normalizer_gradient_is_the_mean_statistic(family):
    # d Psi / d output = E[S] . d eta / d output: an identity of exponential families
    # that joins log_normalizer and natural_params.
    X, params, output = data(family, n=5, d=2)
    statistic = output
    if not isinstance(family, LogNormal):
        statistic = distribution(family, params, output).mean()
    slope = grad(lambda o: anp.sum(family.log_normalizer(params, o)))(output)
    change = grad(lambda o: anp.sum(family.natural_params(params, o)[0]))(output)
    np.testing.assert_allclose(slope, statistic * change, rtol=1e-10)


@families
def test_sample_has_the_exact_moments(family):
    n, value = 100_000, 0.4
    params = {"log_scale": np.array([-0.7]), "min_scale": np.array([0.1])}
    x = family.sample(params, np.full((n, 1), value), np.random.default_rng(0))
    assert x.dtype == np.float64
    assert family.in_support(x).all()
    exact = distribution(family, params, value)
    mean, variance, kurtosis = (float(m) for m in exact.stats(moments="mvk"))
    assert abs(x.mean() - mean) < 5 * np.sqrt(variance / n)
    error = variance * np.sqrt((kurtosis + 2) / n)
    assert abs(x.var() - variance) < 5 * error


@families
def test_sample_of_each_row_follows_its_own_output(family):
    params = {"log_scale": np.array([-3.0]), "min_scale": np.array([0.0])}
    output = np.array([[-2.0, 2.0], [2.0, -2.0]]).repeat(500, axis=0)
    x = family.sample(params, output, np.random.default_rng(1))
    first, second = x[:500].mean(axis=0), x[500:].mean(axis=0)
    assert first[0] < first[1]
    assert second[1] < second[0]


def test_gaussian_is_accurate_where_the_sum_of_terms_is_not():
    params = {"log_scale": np.array([-14.0]), "min_scale": np.array([1e-9])}
    output = np.array([[1000.0]])
    x = output + 1e-7
    expected = stats.norm.logpdf(x - output, 0, noise_scale(params))[0]
    log_prob = Gaussian().log_prob(params, output, x)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-6)


@pytest.mark.parametrize("log_odds", [-800.0, -30.0, 0.0, 30.0, 800.0])
@pytest.mark.parametrize("x", [0.0, 1.0])
def test_bernoulli_is_stable_at_extreme_log_odds(log_odds, x):
    def log_prob(o):
        return Bernoulli().log_prob({}, anp.array([[o]]), np.array([[x]]))[0]

    value, slope = value_and_grad(log_prob)(log_odds)
    np.testing.assert_allclose(value, x * log_odds - np.logaddexp(0, log_odds))
    np.testing.assert_allclose(slope, x - expit(log_odds), atol=1e-14)


def test_poisson_has_no_trouble_with_large_counts():
    x = np.array([[1e9, 0.0, 3.0]])
    rate = np.array([[1e9, 1e-9, 2.0]])
    expected = stats.poisson.logpmf(x, rate).sum()
    np.testing.assert_allclose(Poisson().log_prob({}, np.log(rate), x), expected, 1e-6)


def test_poisson_rates_out_of_range_give_infinite_draws():
    output = np.array([[0.0, 50.0, 1000.0, np.nan]])
    x = Poisson().sample({}, output, np.random.default_rng(0))
    assert np.isfinite(x).tolist() == [[True, False, False, False]]


@pytest.mark.parametrize("x", [2.0, 0.5, -1.0])
def test_log_prob_is_minus_infinity_outside_the_support(x):
    params = {"log_scale": np.zeros(1), "min_scale": np.zeros(1)}
    for family in OBSERVATIONS:
        expected = np.isfinite if family.in_support(x) else np.isneginf
        log_prob = family.log_prob(params, np.zeros((1, 2)), np.array([[x, 1.0]]))
        assert expected(log_prob).all(), family


@pytest.mark.parametrize(
    ("family", "value", "message"),
    [
        (Bernoulli(), 2.0, "Bernoulli .* must be 0 or 1, got 2"),
        (Bernoulli(), 0.5, "Bernoulli .* must be 0 or 1, got 0.5"),
        (Poisson(), -1.0, "Poisson .* must be integers from 0, got -1"),
        (Poisson(), 1.5, "Poisson .* must be integers from 0, got 1.5"),
        (LogNormal(), 0.0, "LogNormal .* must be positive, got 0"),
        (Gaussian(), np.nan, "NaN"),
        (Gaussian(), np.inf, "infinity"),
    ],
)
def test_data_outside_the_support_are_refused(family, value, message):
    X = np.ones((4, 2))
    X[2, 1] = value
    with pytest.raises(ValueError, match=message):
        family.init_params(X)
    with pytest.raises(ValueError, match=message):
        family.initial_output(X)


def test_gaussian_scale_starts_at_the_standard_deviation():
    X = np.random.default_rng(0).normal(size=(100, 3)) * [1e-3, 1, 1e3]
    params = Gaussian().init_params(X)
    np.testing.assert_allclose(noise_scale(params), X.std(axis=0))
    np.testing.assert_allclose(params["min_scale"], 1e-3 * X.std(axis=0))
    shared = Gaussian(shared=True).init_params(X)
    assert shared["log_scale"].shape == shared["min_scale"].shape == (1,)
    np.testing.assert_allclose(noise_scale(shared), np.sqrt(X.var(axis=0).mean()))


@pytest.mark.parametrize("shared", [False, True])
def test_constant_columns_have_unit_scale(shared):
    # 0.1 is no binary fraction: its column has a standard deviation that is not zero.
    X = np.full((7, 2), 0.1)
    assert X.std() > 0
    params = Gaussian(shared=shared).init_params(X)
    np.testing.assert_allclose(noise_scale(params), 1.0)


@families
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("n", [1, 10])
def test_start_is_finite_for_constant_data(family, value, n):
    X = np.full((n, 3), value + isinstance(family, LogNormal))
    params = family.init_params(X)
    location, scale = family.initial_output(X)
    assert location.shape == scale.shape == (3,)
    assert (scale > 0).all()
    output = np.tile(location, (n, 1))
    assert np.isfinite(family.log_prob(params, output, X)).all()


@families
def test_initial_output_reproduces_the_column_means(family):
    X, params, _ = data(family, n=20_000, d=2)
    location, _ = family.initial_output(X)
    mean = distribution(family, params, location).mean()
    # The log-normal's own fit of the mean is only as good as its normality.
    tolerance = 0.2 if isinstance(family, LogNormal) else 1e-3
    np.testing.assert_allclose(mean, X.mean(axis=0), rtol=tolerance, atol=1e-3)


@families
def test_params_are_float64_whatever_the_data(family):
    X = np.array([[0, 1], [1, 1], [1, 0]]) + isinstance(family, LogNormal)
    for Z in (X.tolist(), X.astype(np.float32), X.astype(np.int64)):
        arrays = [*family.init_params(Z).values(), *family.initial_output(Z)]
        assert all(array.dtype == np.float64 for array in arrays)


def test_gaussian_natural_params_do_not_broadcast_the_precision():
    X, params, output = data(Gaussian())
    assert Gaussian().natural_params(params, output)[1].shape == (3,)
    shared = Gaussian(shared=True).init_params(X)
    assert Gaussian(shared=True).natural_params(shared, output)[1].shape == (1,)
