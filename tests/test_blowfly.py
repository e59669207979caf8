"""BlowflyModel: densities, quadrature, simulations, delays."""

import autograd.numpy as anp
import numpy as np
import pytest
from scipy import stats
from toys import gradient_and_differences

from amortsk import WakeSleepFitter, check_model
from amortsk.datasets import load_blowfly
from amortsk.models import BlowflyModel

MODEL = BlowflyModel(max_delay=4, delays=(1, 3, 4))


def start(model=MODEL, seed=0):
    rng = np.random.default_rng(seed)
    X = model.rows(np.exp(0.5 * rng.standard_normal(60)))
    params = model.init_params(X, rng)
    return X, {
        name: value + 0.2 * rng.standard_normal(np.shape(value))
        for name, value in params.items()
    }


def test_rows_are_all_stretches():
    X = BlowflyModel(max_delay=3).rows(np.arange(6))
    assert X.tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]


def mean_of(params, delay, e, eps, past):
    P, capacity, death_rate, *_ = MODEL.values(params)
    parents = past[-delay]
    recruits = P * parents * np.exp(-parents / capacity) * e
    return recruits + past[-1] * np.exp(-death_rate * eps)


def test_joint_is_that_of_scipy():
    X, params = start()
    (index, e, eps), x = MODEL.sample(params, 20, np.random.default_rng(1), X[:20, :4])
    *_, s_p, s_d, s_r = MODEL.values(params)
    weights = np.exp(params["delay_logits"])
    found = MODEL.log_joint(params, (index, e, eps), x)
    for n in range(20):
        mean = mean_of(params, (1, 3, 4)[index[n]], e[n], eps[n], x[n, :4])
        expected = (
            np.log(weights[index[n]] / weights.sum())
            + stats.gamma.logpdf(e[n], s_p**-2, scale=s_p**2)
            + stats.gamma.logpdf(eps[n], s_d**-2, scale=s_d**2)
            + stats.lognorm.logpdf(x[n, 4], s_r, scale=mean)
        )
        assert abs(found[n] - expected) < 1e-9


def test_quadrature_is_fine_enough():
    X, params = start()
    *_, s_p, s_d, s_r = MODEL.values(params)
    weights = np.exp(params["delay_logits"])
    weights = weights / weights.sum()
    e_prior = stats.gamma(s_p**-2, scale=s_p**2)
    eps_prior = stats.gamma(s_d**-2, scale=s_d**2)
    levels = (np.arange(1200) + 0.5) / 1200
    e, eps = e_prior.ppf(levels)[:, np.newaxis], eps_prior.ppf(levels)
    expected = []
    for x in X[:20]:
        total = 0.0
        for delay, weight in zip((1, 3, 4), weights, strict=True):
            mean = mean_of(params, delay, e, eps, x[:4])
            total += weight * stats.lognorm.pdf(x[4], s_r, scale=mean).mean()
        expected.append(np.log(total))
    error = MODEL.exact_log_likelihood(params, X[:20]) - expected
    # A hundred quantiles instead of 1200: coarse in the tails.
    assert np.abs(error.mean()) < 0.01
    assert np.abs(error).max() < 0.05


def test_every_entry_has_the_gradient_of_finite_differences():
    X, params = start()
    z, x = MODEL.sample(params, 20, np.random.default_rng(1), X[:20, :4])

    def total(p):
        return anp.sum(np.cos(np.arange(20)) * MODEL.log_joint(p, z, x))

    found, numeric = gradient_and_differences(total, params, params)
    np.testing.assert_allclose(found, numeric, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("delays", [None, (2,), (1, 3)])
def test_model_passes_its_check(delays):
    model = BlowflyModel(max_delay=4, delays=delays)
    X, _ = start(model)
    check_model(model, X, random_state=0)


def test_a_single_delay_has_no_weights():
    model = BlowflyModel(max_delay=4, delays=(2,))
    X, params = start(model)
    assert "delay_logits" not in params
    (index, _, _), _ = model.sample(params, 5, np.random.default_rng(0), X[:5, :4])
    assert index.tolist() == [0] * 5


def test_simulations_repeat_single_steps():
    X, params = start()
    series = MODEL.simulate(params, X[:3, :4], 2, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    first = MODEL.sample(params, 3, rng, X[:3, :4])[1]
    second = MODEL.sample(params, 3, rng, first[:, 1:])[1]
    np.testing.assert_array_equal(series, np.c_[first[:, -1], second[:, -1]])


@pytest.mark.parametrize("delays", [(0,), (5,), (1.5,), (2, 2), 2, ((1, 2),)])
def test_bad_delays_are_named(delays):
    with pytest.raises(ValueError, match="delays must be different integers from 1"):
        start(BlowflyModel(max_delay=4, delays=delays))


@pytest.mark.parametrize("X", [np.ones((3, 4)), np.zeros((3, 5))])
def test_bad_data_are_named(X):
    with pytest.raises(ValueError, match=r"max_delay \+ 1 = 5 columns of positive"):
        BlowflyModel(max_delay=4).init_params(X, np.random.default_rng(0))


@pytest.mark.parametrize("series", [np.ones(4), np.ones((9, 2))])
def test_bad_series_are_named(series):
    with pytest.raises(ValueError, match="series must have one axis and more than"):
        MODEL.rows(series)


@pytest.mark.parametrize("history", [np.ones(4), np.ones((2, 3)), np.zeros((2, 4))])
def test_bad_histories_are_named(history):
    _, params = start()
    with pytest.raises(ValueError, match="history must hold rows of at least max"):
        MODEL.simulate(params, history, 3, np.random.default_rng(0))


def test_blowflies_mature_in_seven_or_eight_steps():
    model = BlowflyModel(delays=(7, 8))
    X = model.rows(load_blowfly())
    fitter = WakeSleepFitter(
        model=model,
        gradient="importance",
        max_iter=100,
        learning_rate=0.05,
        random_state=0,
    ).fit(X)
    # The start has -8.63, the maximum is -7.44; of 20 seeds the worst fit has -7.50.
    assert fitter.score(X) > -7.7


def test_extinction_is_impossible():
    X, params = start()
    X[0, -1] = 0.0
    found = MODEL.exact_log_likelihood(params, X[:2])
    assert found[0] == -np.inf
    assert np.isfinite(found[1])
