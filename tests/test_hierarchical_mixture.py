"""The mixture seen through a network."""

import numpy as np
import pytest
from autograd import grad
from scipy import stats

from amortsk import WakeSleepFitter, check_model
from amortsk.models import HierarchicalMixtureModel


def start(seed=0, **options):
    rng = np.random.default_rng(seed)
    model = HierarchicalMixtureModel(**{"n_components": 3, "hidden": 5, **options})
    params = model.init_params(rng.standard_normal((30, 2)), rng)
    params["logits"] = rng.standard_normal(model.n_components)
    params["lower"] = rng.standard_normal(params["lower"].shape)
    return model, params


@pytest.mark.parametrize("latent_dim", [1, 2, 3])
def test_log_joint_is_that_of_scipy(latent_dim):
    model, params = start(latent_dim=latent_dim)
    (c, y), x = model.sample(params, 20, np.random.default_rng(1))
    weights = np.exp(params["logits"]) / np.sum(np.exp(params["logits"]))
    scale = params["min_scale"] + np.exp(params["log_scale"])
    expected = []
    for n in range(20):
        L = model.factors(params)[c[n]]
        mean = model.decode(params, (c, y))[n]
        expected.append(
            np.log(weights[c[n]])
            + stats.multivariate_normal(params["means"][c[n]], L @ L.T).logpdf(y[n])
            + stats.norm(mean, scale).logpdf(x[n]).sum()
        )
    # The floor of the weights moves them by up to 1e-6.
    np.testing.assert_allclose(model.log_joint(params, (c, y), x), expected, atol=1e-4)


def test_sampler_and_log_joint_belong_together():
    X = np.random.default_rng(0).standard_normal((100, 2))
    check = check_model(HierarchicalMixtureModel(3, hidden=4), X, random_state=0)
    assert check.mean_score < 5
    assert check.gradient_error < 1e-4


def test_weights_are_floored():
    model, params = start()
    params["logits"] = np.array([0.0, -800.0, 0.0])
    weights = np.exp(model.log_weights(params))
    np.testing.assert_allclose(weights, [0.5, 1e-6, 0.5], rtol=1e-5)
    assert np.isfinite(model.log_prior_params(params))


def test_prior_of_the_parameters_empties_components():
    model, params = start()
    slope = grad(lambda logits: model.log_prior_params({**params, "logits": logits}))
    logits = np.array([1.0, 0.0, -1.0])
    smallest = slope(logits)[2]
    # The derivative of -10 sum log pi: the rarest component is pushed down.
    weights = np.exp(logits) / np.sum(np.exp(logits))
    np.testing.assert_allclose(smallest, -10 * (1 - 3 * weights[2]), rtol=1e-3)
    assert smallest < 0


def test_prior_of_the_parameters_is_the_formula():
    model, params = start(strength=0.7)
    params["means"] = params["means"] + 1
    weights = np.exp(params["logits"]) / np.sum(np.exp(params["logits"]))
    expected = -10 * np.log(weights).sum() - np.sum(params["means"] ** 2) / 18
    for L in model.factors(params):
        covariance = L @ L.T
        expected -= 2.5 * np.linalg.slogdet(covariance)[1]
        expected -= 0.01 * np.trace(np.linalg.inv(covariance))
    layers = [value for name, value in params.items() if name.startswith("weights_")]
    expected -= sum(np.sum(layer**2) for layer in layers) / 4
    # The floor of the weights moves them by up to 1e-6.
    np.testing.assert_allclose(model.log_prior_params(params), 0.7 * expected, 1e-4)


def test_no_strength_is_maximum_likelihood():
    model, params = start(strength=0.0)
    assert model.log_prior_params(params) == 0


@pytest.mark.parametrize(
    "options",
    [{"hidden": hidden} for hidden in ((4, 0), 2.5, True)]
    + [{"latent_dim": latent_dim} for latent_dim in (0, 1.5, True)]
    + [{"n_components": 0}, {"strength": -1.0}, {"strength": "strong"}],
)
def test_bad_parameters_are_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"^{name} must be a"):
        start(**options)


@pytest.mark.parametrize("c", [-1, 3])
def test_no_mass_outside_the_components(c):
    model, params = start()
    (component, y), _ = model.sample(params, 6, np.random.default_rng(0))
    component[2] = c
    outside = np.isneginf(model.log_prior(params, (component, y)))
    assert outside.tolist() == [False, False, True, False, False, False]


def test_fit_tells_clusters_apart():
    """Over 20 seeds the components of two clusters overlap by 0.28 at most."""
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=200)
    X = np.array([[-2.0, 0.0], [2.0, 0.0]])[label] + 0.3 * rng.standard_normal((200, 2))
    model = HierarchicalMixtureModel(n_components=3, hidden=5, strength=0.1)
    fitter = WakeSleepFitter(
        model=model, max_iter=200, learning_rate=0.03, random_state=0
    ).fit(X)
    shares = fitter.posterior_expectation(X, lambda z: np.eye(3)[z[0]])
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    overlap = np.minimum(
        shares[label == 0].mean(axis=0), shares[label == 1].mean(axis=0)
    )
    assert overlap.sum() < 0.5


def test_network_starts_near_the_principal_plane():
    rng = np.random.default_rng(0)
    X = 3 + rng.standard_normal((500, 4)) * [2.0, 1.0, 0.1, 0.1]
    model = HierarchicalMixtureModel(hidden=(30, 20))
    params = model.init_params(X, rng)
    y = rng.standard_normal((300, 2))
    x = model.decode(params, (None, y))
    # Columns one and two by y, up to sign; the others hardly move.
    slopes = np.linalg.lstsq(y, x - 3, rcond=None)[0]
    expected = np.diag([2.0, 1.0]) / np.sqrt(1.25)
    np.testing.assert_allclose(np.abs(slopes[:, :2]), expected, atol=0.25)
    assert np.abs(slopes[:, 2:]).max() < 0.1
    residual = x - 3 - y @ slopes
    assert np.sqrt(np.mean(residual**2)) < 0.4


def test_one_component_keeps_its_weight():
    X = np.random.default_rng(0).standard_normal((60, 2))
    model = HierarchicalMixtureModel(n_components=1, hidden=5)
    fitter = WakeSleepFitter(model=model, n_sleep=100, max_iter=15, random_state=0)
    assert fitter.fit(X).params_["logits"] == 0
    assert fitter.params_["log_scale"].shape == (2,)
