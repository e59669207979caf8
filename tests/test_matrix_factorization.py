"""Non-negative matrix factorisation of binary data."""

import itertools

import autograd.numpy as anp
import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import expit, logit
from sklearn.base import clone
from toys import gradient_and_differences

from amortsk import WakeSleepFitter, check_model
from amortsk.models import BernoulliMatrixFactorizationModel
from amortsk.observation import Observation


def start(n_components, n_features=3, seed=0):
    """A model, binary data, and generic params: weights of any size."""
    rng = np.random.default_rng(seed)
    model = BernoulliMatrixFactorizationModel(n_components)
    X = (rng.random((40, n_features)) < 0.4).astype(float)
    params = model.init_params(X, rng)
    for name, value in params.items():
        params[name] = value + rng.standard_normal(value.shape)
    return model, X, params


def test_joint_integrates_to_one():
    model, _, params = start(1)
    images = np.array(list(itertools.product((0.0, 1.0), repeat=3)))

    def density(z):
        return np.exp(model.log_joint(params, np.full((8, 1), z), images)).sum()

    # Whatever z: pixels alone sum to one.
    assert density(0.3) == pytest.approx(1, rel=1e-12)
    assert integrate.quad(density, 0, 1)[0] == pytest.approx(1, rel=1e-9)


def test_joint_is_prior_times_bernoulli():
    model, _, params = start(2)
    z, x = model.sample(params, 20, np.random.default_rng(1))
    log_odds = logit(1e-4 + 0.9998 * z) @ model.components(params) + params["intercept"]
    expected = stats.bernoulli(expit(log_odds)).logpmf(x).sum(axis=1)
    np.testing.assert_allclose(model.log_joint(params, z, x), expected)
    natural = x * model.natural_params(params, z)[0] - model.log_normalizer(params, z)
    np.testing.assert_allclose(natural.sum(axis=1), expected)


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_outside_the_interval_the_density_is_zero(value):
    model, X, params = start(2)
    z = np.full((len(X), 2), 0.5)
    z[0, 1] = value
    log_joint = model.log_joint(params, z, X)
    assert log_joint[0] == -np.inf
    assert np.isfinite(log_joint[1:]).all()


def test_edges_of_the_interval_are_finite():
    model, X, params = start(2)
    z = np.tile([0.0, 1.0], (len(X), 1))
    assert np.isfinite(model.log_joint(params, z, X)).all()


def test_prior_of_the_weights_is_gamma():
    model, _, params = start(2)
    weights = model.components(params)
    expected = stats.gamma(0.9, scale=1 / 0.3).logpdf(weights).sum()
    assert model.log_prior_params(params) == pytest.approx(expected)


def test_weights_have_a_floor():
    model, _, params = start(2)
    params["log_weights"] = np.full((2, 3), -800.0)
    assert (model.components(params) == 0.01).all()
    assert np.isfinite(model.log_prior_params(params))


def test_gradient_is_that_of_finite_differences():
    model, _, params = start(2)
    z, x = model.sample(params, 30, np.random.default_rng(1))

    def objective(p):
        weighted = anp.sum(np.cos(np.arange(30)) * model.log_joint(p, z, x))
        return weighted + model.log_prior_params(p)

    found, numeric = gradient_and_differences(objective, params, params)
    np.testing.assert_allclose(found, numeric, rtol=1e-6, atol=1e-6)


def test_sample_has_the_exact_moments():
    model, _, params = start(1)
    n = 50_000
    z, x = model.sample(params, n, np.random.default_rng(1))
    assert stats.kstest(z[:, 0], "uniform").pvalue > 1e-3
    nodes, weights = np.polynomial.legendre.leggauss(200)
    grid = 0.5 * (nodes[:, None] + 1)
    p = expit(model.decode(params, grid))
    mean = 0.5 * weights @ p
    together = 0.5 * (weights * p[:, 0]) @ p[:, 1]
    for drawn, exact in ((x, mean), (x[:, 0] * x[:, 1], together)):
        error = np.sqrt(exact * (1 - exact) / n)
        assert (np.abs(drawn.mean(axis=0) - exact) < 4 * error).all()


def test_start():
    model, X, _ = start(4)
    params = model.init_params(X, np.random.default_rng(0))
    weights = model.components(params)
    assert weights.shape == (4, 3)
    assert ((weights > 0.1) & (weights < 0.2)).all()
    np.testing.assert_allclose(expit(params["intercept"]), (X.sum(0) + 1) / 42)


def test_bad_arguments_are_named():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="n_components must be a positive int"):
        BernoulliMatrixFactorizationModel(0).init_params(np.ones((3, 2)), rng)
    with pytest.raises(ValueError, match="must be 0 or 1"):
        BernoulliMatrixFactorizationModel().init_params(np.full((3, 2), 2.0), rng)


def test_model_is_a_stateless_estimator():
    model = BernoulliMatrixFactorizationModel(3)
    assert clone(model).get_params() == {"n_components": 3}
    assert isinstance(model.observation, Observation)


def test_sampler_and_density_belong_together():
    model, X, _ = start(2)
    check_model(model, X, random_state=0)


def test_fit_finds_the_parts():
    """Two halves of an image, each on or off."""
    rng = np.random.default_rng(0)
    on = np.repeat(rng.random((400, 2)) < 0.5, 3, axis=1)
    X = (on ^ (rng.random(on.shape) < 0.05)).astype(float)
    fitter = WakeSleepFitter(
        model=BernoulliMatrixFactorizationModel(2),
        max_iter=150,
        learning_rate=0.1,
        random_state=0,
    ).fit(X)
    parts = fitter.model_.components(fitter.params_)
    first, second = parts[np.argsort(parts[:, 0])[::-1]]
    assert first[:3].min() > 3 * first[3:].max()
    assert second[3:].min() > 3 * second[:3].max()
