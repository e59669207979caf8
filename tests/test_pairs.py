"""Weighted sums over pairs of latents and data, and importance weights."""

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.base import clone

from amortsk import LatentVariableModel, pairs
from amortsk.model import FunctionModel, has_natural_params
from amortsk.models import (
    BernoulliFactorModel,
    FactorAnalysisModel,
    GaussianMixtureModel,
    IndependentComponentsModel,
)
from amortsk.pairs import (
    directional_score,
    log_joint,
    natural_log_likelihood,
    weigh,
    weighted_pairs,
)

NATURAL = [FactorAnalysisModel, IndependentComponentsModel, BernoulliFactorModel]
each_natural = pytest.mark.parametrize("Model", NATURAL)
D = 3


def setting(Model, n=7, m=5, seed=0):
    """Model, generic params, n sleep draws, m rows of data, signed weights."""
    rng = np.random.default_rng(seed)
    model = Model(n_components=2)
    X = rng.standard_normal((20, D))
    if Model is BernoulliFactorModel:
        X = (X > 0).astype(float)
    params = model.init_params(X, rng)
    for name in set(params) - set(model.fixed_params):
        params[name] = params[name] + 0.3 * rng.standard_normal(params[name].shape)
    z, _ = model.sample(params, n, rng)
    return model, params, z, X[:m], rng.standard_normal((n, m))


def plain(model):
    """The same model without natural parameters."""
    bare = FunctionModel(model.log_joint, model.sample, model.init_params)
    bare.fixed_params = model.fixed_params
    assert not has_natural_params(bare)
    return bare


def all_pairs(model, params, z, x):
    """Log-joints of every latent with every row, (n, m), one by one."""
    rows = [
        [model.log_joint(params, z[i : i + 1], x[j : j + 1])[0] for j in range(len(x))]
        for i in range(len(z))
    ]
    return np.array(rows)


def base_measure(model, x):
    return model.observation.log_base_measure(x).sum(1)


def finite_differences(function, params, fixed=()):
    """Derivatives of a function of a dict of arrays, entry by entry."""
    gradient = {}
    for name in set(params) - set(fixed):
        gradient[name] = np.empty_like(params[name])
        for index in np.ndindex(params[name].shape):
            ahead, behind = ({**params, name: params[name].copy()} for _ in range(2))
            ahead[name][index] += 1e-5
            behind[name][index] -= 1e-5
            gradient[name][index] = (function(ahead) - function(behind)) / 2e-5
    return gradient


def assert_same(actual, expected, tolerance):
    assert actual.keys() == expected.keys()
    for name in expected:
        error = tolerance * (1 + np.abs(expected[name]).max())
        np.testing.assert_allclose(actual[name], expected[name], atol=error)


@each_natural
@pytest.mark.parametrize("summed", [True, False], ids=["summed", "terms"])
def test_natural_pairs_are_plain_pairs(Model, summed, monkeypatch):
    model, params, z, x, weights = setting(Model)
    assert has_natural_params(model)
    if not summed:
        monkeypatch.setattr(Model, "weighted_log_likelihood", None)
    fixed = model.fixed_params
    fast, fast_gradient = weighted_pairs(model, params, z, x, weights)
    slow, slow_gradient = weighted_pairs(plain(model), params, z, x, weights)
    np.testing.assert_allclose(slow, np.sum(weights * all_pairs(model, params, z, x)))
    # What does not depend on the parameters is left out of the fast one.
    np.testing.assert_allclose(fast + weights.sum(0) @ base_measure(model, x), slow)
    assert set(slow_gradient) == set(params) - set(fixed)
    assert_same(fast_gradient, slow_gradient, 1e-10)


@pytest.mark.parametrize("Model", [*NATURAL, GaussianMixtureModel])
@pytest.mark.parametrize("natural", [True, False])
def test_gradient_is_that_of_finite_differences(Model, natural):
    model, params, z, x, weights = setting(Model)
    model, fixed = model if natural else plain(model), model.fixed_params
    _, gradient = weighted_pairs(model, params, z, x, weights)
    numeric = finite_differences(
        lambda p: weighted_pairs(model, p, z, x, weights)[0], params, fixed
    )
    assert_same(gradient, numeric, 1e-7)


def test_pairs_that_do_not_fit_at_once_have_the_same_sum(monkeypatch):
    model, params, z, x, weights = setting(FactorAnalysisModel)
    whole = weighted_pairs(plain(model), params, z, x, weights)
    # Two rows of data at a time.
    monkeypatch.setattr(pairs, "PAIR_NUMBERS", 2 * len(z) * D + 1)
    assert [s.start for s in pairs.steps(len(x), len(z), D)] == [0, 2, 4]
    stepped = weighted_pairs(plain(model), params, z, x, weights)
    np.testing.assert_allclose(stepped[0], whole[0])
    assert_same(stepped[1], whole[1], 1e-12)


@each_natural
def test_natural_log_likelihood(Model):
    model, params, z, x, _ = setting(Model)
    expected = all_pairs(model, params, z, x) - model.log_prior(params, z)[:, None]
    actual = natural_log_likelihood(model, params, z, x)
    assert actual.shape == (len(x), len(z))
    np.testing.assert_allclose(actual + base_measure(model, x)[:, None], expected.T)


def candidates(n_candidates=6):
    """Draws from the prior for each row of data, and their log-density."""
    model, params, _, x, _ = setting(FactorAnalysisModel)
    z = np.random.default_rng(1).standard_normal((len(x), n_candidates, 2))
    log_q = model.log_prior(params, z.reshape(-1, 2)).reshape(len(x), n_candidates)
    return model, params, z, x, log_q


def bound(model, params, z, x, log_q):
    """Importance-weighted bound of each row, written out."""
    joints = [model.log_joint(params, z[:, k], x) for k in range(z.shape[1])]
    return logsumexp(np.transpose(joints) - log_q, axis=1) - np.log(z.shape[1])


def test_weigh_has_the_value_and_gradient_of_the_bound():
    model, params, z, x, log_q = candidates()
    value, gradient, sizes = weigh(model, params, z, x, log_q, 4.0)
    np.testing.assert_allclose(value, bound(model, params, z, x, log_q))
    numeric = finite_differences(
        lambda p: bound(model, p, z, x, log_q).sum() / 4, params, model.fixed_params
    )
    assert_same(gradient, numeric, 1e-7)
    joints = np.transpose([model.log_joint(params, z[:, k], x) for k in range(6)])
    weights = np.exp(joints - log_q)
    expected = weights.sum(1) ** 2 / np.sum(weights**2, 1)
    np.testing.assert_allclose(sizes, expected)


def bounded(model):
    """The model with a density that vanishes where z_0 is above the first mean."""

    def log_joint(params, z, x):
        room = anp.maximum(params["mean"][0] - z[:, 0], 0.0)
        return model.log_joint(params, z, x) + anp.log(room)

    return FunctionModel(log_joint, model.sample, model.init_params)


def test_candidates_outside_the_support_have_no_weight():
    model, params, z, x, log_q = candidates()
    params["mean"][0] = 0.0
    z[:, :4, 0] = -np.abs(z[:, :4, 0])
    z[:, 4:, 0] = np.abs(z[:, 4:, 0])
    model = bounded(model)
    with np.errstate(all="ignore"):
        value, gradient, sizes = weigh(model, params, z, x, log_q, 1.0)
    inside = weigh(model, params, z[:, :4], x, log_q[:, :4], 1.0)
    np.testing.assert_allclose(value, inside[0] + np.log(4 / 6))
    assert_same(gradient, inside[1], 1e-12)
    np.testing.assert_allclose(sizes, inside[2])


@pytest.mark.parametrize("value", [-np.inf, np.nan, np.inf])
def test_a_row_without_finite_weights_is_an_error(value):
    model, params, z, x, log_q = candidates()
    log_q[2] = -value
    with pytest.raises(FloatingPointError, match="importance weights"):
        weigh(model, params, z, x, log_q, 1.0)


def test_latents_of_many_parts():
    model, params, z, x, weights = setting(FactorAnalysisModel)

    def log_joint(params, z, x):
        both = anp.concatenate([z["a"], z["b"][:, None]], axis=1)
        return model.log_joint(params, both, x)

    split = FunctionModel(log_joint, None, None)
    split.fixed_params = model.fixed_params
    parts = {"a": z[:, :1], "b": z[:, 1]}
    value, gradient = weighted_pairs(split, params, parts, x, weights)
    expected = weighted_pairs(plain(model), params, z, x, weights)
    np.testing.assert_allclose(value, expected[0])
    assert_same(gradient, expected[1], 1e-12)


def test_local_terms_are_summed():
    terms = FunctionModel(lambda params, z, x: z * x, None, None)
    x = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(log_joint(terms, {}, x, x), [1, 13, 41])


def test_pairs_of_local_terms_are_those_of_their_sum():
    terms = FunctionModel(lambda params, z, x: params["a"] * z * x, None, None)
    rng = np.random.default_rng(0)
    z, x, weights = (rng.standard_normal(s) for s in ((4, 2), (3, 2), (4, 3)))
    value, gradient = weighted_pairs(terms, {"a": np.array(2.0)}, z, x, weights)
    expected = np.sum(weights * (z @ x.T))
    np.testing.assert_allclose([value, gradient["a"]], [2 * expected, expected])


@pytest.mark.parametrize("shape", [(), (2,), (3, 2, 1)])
def test_a_bad_shape_of_the_log_joint_is_named(shape):
    model = FunctionModel(lambda params, z, x: np.zeros(shape), None, None)
    with pytest.raises(ValueError, match=r"log_joint must return shape \(3,\)"):
        log_joint(model, {}, np.zeros(3), np.zeros((3, 2)))


def test_directional_score_is_a_directional_derivative():
    model, params, _, x, _ = setting(FactorAnalysisModel)
    z = np.zeros((len(x), 2))

    def joints(p):
        return model.log_joint(p, z, x) / (x[:, 0] != x[0, 0])

    with np.errstate(all="ignore"):
        score = directional_score(joints, params, "mean", np.random.default_rng(2))
    direction = np.random.default_rng(2).standard_normal(D) / np.sqrt(D)
    precision = (params["min_scale"] + np.exp(params["log_scale"])) ** -2
    expected = (x - params["mean"]) * precision @ direction
    # The first row is not finite.
    np.testing.assert_allclose(score, [0, *expected[1:]], rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (1,), (D,), (1, D), (7, 1), (7, D)])
def test_natural_params_of_any_shape(shape):
    """Those that broadcast are as good as those written out."""

    class Poisson(LatentVariableModel):
        def natural_params(self, params, z):
            return (params["log_rate"],)

        def log_normalizer(self, params, z):
            return anp.exp(params["log_rate"])

        def sufficient_statistics(self, x):
            return (x,)

        def log_prior(self, params, z):
            return -0.5 * z[:, 0] ** 2

        def log_joint(self, params, z, x):
            log_rate = params["log_rate"] + np.zeros((7, D))
            terms = x * log_rate - anp.exp(log_rate)
            return self.log_prior(params, z) + anp.sum(terms, axis=1)

    rng = np.random.default_rng(0)
    model, params = Poisson(), {"log_rate": rng.standard_normal(shape)}
    z, x = rng.standard_normal((7, 2)), rng.poisson(1.0, (5, D)).astype(float)
    weights = rng.standard_normal((7, 5))
    expected = np.array([model.log_joint(params, z, row) for row in x])
    likelihood = natural_log_likelihood(model, params, z, x) + np.zeros((5, 7))
    np.testing.assert_allclose(likelihood, expected - model.log_prior(params, z))
    value, gradient = weighted_pairs(model, params, z, x, weights)
    assert value == pytest.approx(np.sum(weights.T * expected))
    numeric = finite_differences(
        lambda p: weighted_pairs(model, p, z, x, weights)[0], params
    )
    assert_same(gradient, numeric, 1e-7)


def test_two_functions_can_be_shown_and_cloned():
    model = FunctionModel(base_measure, None, {"shift": 0.0})
    assert repr(model).startswith("FunctionModel(init=")
    assert clone(model).get_params()["init"] == {"shift": 0.0}
