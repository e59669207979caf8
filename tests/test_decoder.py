"""DecoderModel and CircularLatentModel: priors, decoder, observations, fits."""

import autograd.numpy as anp
import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import expit, logsumexp
from sklearn.base import clone
from sklearn.decomposition import PCA
from toys import free, gradient_and_differences

from amortsk import WakeSleepFitter, check_model
from amortsk.models import CircularLatentModel, DecoderModel
from amortsk.observation import Gaussian

OBSERVATIONS = ["gaussian", "bernoulli", "poisson"]
MODELS = [DecoderModel, CircularLatentModel]


def circle(angle):
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def start(model, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.integers(2, size=(40, d)).astype(float)
    return X, model.init_params(X, rng)


def test_prior_is_standard_normal():
    model = DecoderModel(n_latent=3)
    z = np.random.default_rng(0).standard_normal((5, 3))
    expected = stats.norm.logpdf(z).sum(axis=1)
    np.testing.assert_allclose(model.log_prior({}, z), expected)


def test_latents_are_standard_normal():
    z = DecoderModel(n_latent=3).draw_latents({}, 1000, np.random.default_rng(0))
    assert z.shape == (1000, 3)
    assert stats.kstest(z.ravel(), "norm").pvalue > 0.01
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=0.15)


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


@pytest.mark.parametrize("Model", MODELS)
def test_decoder_is_the_network_written_out(Model):
    model = Model(hidden=(5, 4))
    _, params = start(model)
    z = circle(np.array([0.3, 2.0]))
    layer = np.tanh(z @ params["weights_0"] + params["biases_0"])
    layer = np.tanh(layer @ params["weights_1"] + params["biases_1"])
    expected = layer @ params["weights_2"] + params["biases_2"]
    np.testing.assert_allclose(model.decode(params, z), expected)


@pytest.mark.parametrize("Model", MODELS)
@pytest.mark.parametrize("hidden", [7, (), (7,), (4, 3, 5)])
@pytest.mark.parametrize("d", [1, 6])
def test_any_widths_decode_to_any_number_of_columns(Model, hidden, d):
    model = Model(hidden=hidden)
    X, params = start(model, d)
    z, x = model.sample(params, 9, np.random.default_rng(0))
    assert z.shape == (9, 2)
    assert x.shape == (9, d)
    assert np.isfinite(model.log_joint(params, z, x)).all()


@pytest.mark.parametrize("Model", MODELS)
def test_log_joint_is_that_of_scipy(Model):
    model = Model(hidden=4)
    _, params = start(model)
    z, x = model.sample(params, 10, np.random.default_rng(1))
    scale = params["min_scale"] + np.exp(params["log_scale"])
    log_prob = stats.norm.logpdf(x, model.decode(params, z), scale).sum(axis=1)
    expected = log_prob + model.log_prior(params, z)
    np.testing.assert_allclose(model.log_joint(params, z, x), expected)


@pytest.mark.parametrize("Model", MODELS)
@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_every_entry_has_the_gradient_of_finite_differences(Model, observation):
    model = Model(hidden=3, observation=observation)
    _, params = start(model, d=2)
    z, x = model.sample(params, 20, np.random.default_rng(1))

    def total(p):
        return anp.sum(np.cos(np.arange(20)) * model.log_joint(p, z, x))

    names = free(model, params)
    found, numeric = gradient_and_differences(total, params, names)
    np.testing.assert_allclose(found, numeric, rtol=1e-6, atol=1e-6)
    assert np.all(found != 0)


@pytest.mark.parametrize("Model", MODELS)
@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_model_passes_its_check(Model, observation):
    model = Model(hidden=8, observation=observation)
    check_model(model, start(model)[0], random_state=0)


@pytest.mark.parametrize("hidden", [5, (5, 4), ()])
def test_start_decodes_to_the_mean_of_the_data(hidden):
    model = DecoderModel(hidden=hidden, observation="bernoulli")
    X, params = start(model)
    at_zero = expit(model.decode(params, np.zeros((1, 2))))[0]
    np.testing.assert_allclose(at_zero, X.mean(axis=0), atol=0.02)


def test_parameters_can_be_cloned_and_set():
    model = clone(CircularLatentModel(hidden=3, observation="bernoulli"))
    assert model.get_params() == {"hidden": 3, "observation": "bernoulli"}
    assert model.fixed_params == ()
    model.set_params(observation=Gaussian(), hidden=5)
    assert model.fixed_params == ("min_scale",)


@pytest.mark.parametrize("Model", MODELS)
@pytest.mark.parametrize("hidden", [0, (3, -1), (2.5,)])
def test_bad_hidden_is_named(Model, hidden):
    with pytest.raises(ValueError, match="hidden must be"):
        start(Model(hidden=hidden))


@pytest.mark.parametrize("n_latent", [0, 1.5, True])
def test_bad_number_of_latents_is_named(n_latent):
    with pytest.raises(ValueError, match="n_latent must be"):
        start(DecoderModel(n_latent=n_latent))


def test_bad_observation_is_named():
    with pytest.raises(ValueError, match="got 'cauchy'"):
        start(CircularLatentModel(observation="cauchy"))


def test_score_and_its_gradient_are_those_of_quadrature():
    rng = np.random.default_rng(0)
    X = (rng.random((200, 6)) < expit(2 * rng.standard_normal((200, 1)))).astype(float)
    fitter = WakeSleepFitter(
        model=DecoderModel(n_latent=1, hidden=4, observation="bernoulli"),
        gradient="importance",
        n_sleep=300,
        max_iter=100,
        learning_rate=0.03,
        random_state=0,
    ).fit(X)
    model, params, X = fitter.model_, fitter.params_, X[:5]
    z, step = np.linspace(-10, 10, 2001, retstep=True)
    pairs = np.tile(z, 5)[:, np.newaxis], np.repeat(X, len(z), axis=0)

    def log_likelihood(params):
        log_joint = model.log_joint(params, *pairs).reshape(5, -1)
        return logsumexp(log_joint, axis=1) + np.log(step)

    np.testing.assert_allclose(
        fitter.score_samples(X), log_likelihood(params), atol=0.08
    )
    found, expected = [], []
    gradient = fitter.score_gradient(X)
    for name, value in params.items():
        along = rng.standard_normal(value.shape)
        ahead, behind = (
            log_likelihood({**params, name: value + h * along}) for h in (1e-4, -1e-4)
        )
        expected.append((ahead - behind) / 2e-4)
        found.append((gradient[name] * along).reshape(5, -1).sum(axis=1))
    error = np.linalg.norm(np.subtract(found, expected))
    assert error < 0.2 * np.linalg.norm(expected)


def test_without_hidden_layers_it_is_probabilistic_pca():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 2)) @ rng.standard_normal((2, 5))
    X += 0.5 * rng.standard_normal(X.shape)
    fitter = WakeSleepFitter(
        model=DecoderModel(n_latent=2, hidden=()),
        n_sleep=300,
        max_iter=200,
        learning_rate=0.03,
        random_state=0,
    ).fit(X)
    params = fitter.params_
    W, scale = params["weights_0"], params["min_scale"] + np.exp(params["log_scale"])
    normal = stats.multivariate_normal(
        params["biases_0"], W.T @ W + scale**2 * np.eye(5)
    )
    gap = PCA(2).fit(X).score(X) - normal.logpdf(X).mean()
    assert -1e-9 < gap < 0.002


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
