"""CircularLatentModel: prior, decoder, observations, a loop of data."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from scipy import integrate, stats
from sklearn.base import clone

from amortsk import WakeSleepFitter, check_model
from amortsk.models import CircularLatentModel
from amortsk.observation import Gaussian

OBSERVATIONS = ["gaussian", "bernoulli", "poisson"]


def circle(angle):
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def start(model, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.integers(2, size=(40, d)).astype(float)
    return X, model.init_params(X, rng)


def test_prior_is_uniform_by_arc_length():
    model = CircularLatentModel()
    _, params = start(model)
    log_prior = model.log_prior(params, circle(np.linspace(0, 6, 5)))
    total, _ = integrate.quad(lambda a: np.exp(log_prior[0]), 0, 2 * np.pi)
    assert log_prior.shape == (5,)
    assert np.ptp(log_prior) == 0
    assert abs(total - 1) < 1e-12


def test_latents_are_uniform_on_the_circle():
    model = CircularLatentModel()
    z = model.draw_latents({}, 2000, np.random.default_rng(0))
    np.testing.assert_allclose(np.sum(z**2, axis=1), 1)
    angle = np.arctan2(z[:, 1], z[:, 0]) / (2 * np.pi) + 0.5
    assert stats.kstest(angle, "uniform").pvalue > 0.01


def test_decoder_is_the_network_written_out():
    model = CircularLatentModel(hidden=(5, 4))
    _, params = start(model)
    z = circle(np.array([0.3, 2.0]))
    layer = np.tanh(z @ params["weights_0"] + params["biases_0"])
    layer = np.tanh(layer @ params["weights_1"] + params["biases_1"])
    expected = layer @ params["weights_2"] + params["biases_2"]
    np.testing.assert_allclose(model.decode(params, z), expected)


@pytest.mark.parametrize("hidden", [7, (), (7,), (4, 3, 5)])
@pytest.mark.parametrize("d", [1, 6])
def test_any_widths_decode_to_any_number_of_columns(hidden, d):
    model = CircularLatentModel(hidden=hidden)
    X, params = start(model, d)
    z, x = model.sample(params, 9, np.random.default_rng(0))
    assert z.shape == (9, 2)
    assert x.shape == (9, d)
    assert np.isfinite(model.log_joint(params, z, x)).all()


def test_log_joint_is_that_of_scipy():
    model = CircularLatentModel(hidden=4)
    _, params = start(model)
    z, x = model.sample(params, 10, np.random.default_rng(1))
    scale = params["min_scale"] + np.exp(params["log_scale"])
    log_prob = stats.norm.logpdf(x, model.decode(params, z), scale).sum(axis=1)
    expected = log_prob - np.log(2 * np.pi)
    np.testing.assert_allclose(model.log_joint(params, z, x), expected)


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_every_entry_has_the_gradient_of_finite_differences(observation):
    model = CircularLatentModel(hidden=3, observation=observation)
    _, params = start(model, d=2)
    z, x = model.sample(params, 20, np.random.default_rng(1))
    for name in set(params) - set(model.fixed_params):

        def total(value, name=name):
            joint = model.log_joint({**params, name: value}, z, x)
            return anp.sum(np.cos(np.arange(20)) * joint)

        found, value = grad(total)(params[name]), params[name]
        for index in np.ndindex(value.shape):
            step = np.zeros(value.shape)
            step[index] = 1e-5
            numeric = (total(value + step) - total(value - step)) / 2e-5
            assert abs(found[index] - numeric) < 1e-5 * (1 + abs(numeric))
            assert found[index] != 0


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_model_passes_its_check(observation):
    model = CircularLatentModel(hidden=8, observation=observation)
    check_model(model, start(model)[0], random_state=0)


def test_parameters_can_be_cloned_and_set():
    model = clone(CircularLatentModel(hidden=3, observation="bernoulli"))
    assert model.get_params() == {"hidden": 3, "observation": "bernoulli"}
    assert model.fixed_params == ()
    model.set_params(observation=Gaussian(), hidden=5)
    assert model.fixed_params == ("min_scale",)


@pytest.mark.parametrize("hidden", [0, (3, -1), (2.5,)])
def test_bad_hidden_is_named(hidden):
    with pytest.raises(ValueError, match="hidden must be"):
        start(CircularLatentModel(hidden=hidden))


def test_bad_observation_is_named():
    with pytest.raises(ValueError, match="got 'cauchy'"):
        start(CircularLatentModel(observation="cauchy"))


@pytest.mark.parametrize("latent_support", ["unit", "any"])
def test_a_loop_of_data_is_laid_out_once_round(latent_support):
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 300)
    X = 3 * circle(angle) + 0.3 * rng.standard_normal((300, 2))
    fitter = WakeSleepFitter(
        model=CircularLatentModel(hidden=16),
        gradient="importance",
        latent_support=latent_support,
        n_sleep=300,
        max_iter=100,
        learning_rate=0.03,
        random_state=0,
    ).fit(X)
    round_trip = np.linspace(0, 2 * np.pi, 100)
    curve = fitter.model_.decode(fitter.params_, circle(round_trip))
    found = np.unwrap(np.arctan2(curve[:, 1], curve[:, 0]))
    assert abs(abs(found[-1] - found[0]) - 2 * np.pi) < 1e-8
    assert np.linalg.norm(curve, axis=1).min() > 2.5
    scale = fitter.params_["min_scale"] + np.exp(fitter.params_["log_scale"])
    assert abs(scale - 0.3) < 0.05
