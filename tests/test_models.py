"""Ready-made models: densities, likelihoods, draws, starts, checks."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from scipy import integrate, special, stats
from sklearn.base import clone
from sklearn.mixture import GaussianMixture

from amortsk.models import (
    BernoulliFactorModel,
    FactorAnalysisModel,
    GaussianMixtureModel,
    IndependentComponentsModel,
)

LINEAR = [FactorAnalysisModel, IndependentComponentsModel, BernoulliFactorModel]
MODELS = [*LINEAR, GaussianMixtureModel]
EXACT = [FactorAnalysisModel, GaussianMixtureModel]


def perturbed(model, d, seed=0, n=60, size=0.3):
    """Data and generic params: the start of a fit, with every free entry shifted."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * np.linspace(0.5, 2, d)
    if isinstance(model, BernoulliFactorModel):
        X = (X > 0).astype(float)
    params = model.init_params(X, rng)
    for name in set(params) - set(model.fixed_params):
        # The coefficients of many features would add up.
        scale = size / np.sqrt(d) if name == "coefficients" else size
        params[name] = params[name] + scale * rng.normal(size=params[name].shape)
    return X, params


def free_vector(model, params):
    """The free params as one vector, and the way back."""
    names = sorted(set(params) - set(model.fixed_params))
    sizes = [params[name].size for name in names]

    def unpack(vector):
        pieces = anp.split(vector, np.cumsum(sizes)[:-1])
        shaped = [
            anp.reshape(piece, params[name].shape)
            for name, piece in zip(names, pieces, strict=True)
        ]
        return {**params, **dict(zip(names, shaped, strict=True))}

    return np.concatenate([params[name].ravel() for name in names]), unpack


def central_differences(function, vector, step=1e-5):
    steps = step * np.eye(vector.size)
    return np.array([function(vector + s) - function(vector - s) for s in steps]) / (
        2 * step
    )


def covariances(model, params):
    """Mean, covariance and weight of each component of the marginal of x."""
    if isinstance(model, GaussianMixtureModel):
        weights = special.softmax(params.get("logits", np.zeros(1)))
        return weights, params["means"], model.covariances(params)
    variance = (params["min_scale"] + np.exp(params["log_scale"])) ** 2
    if isinstance(model, IndependentComponentsModel):
        mixing = params["mixing"]
        # A Laplace variable has variance 2.
        covariance = 2 * mixing @ mixing.T + variance * np.eye(len(mixing))
    else:
        loadings = params["loadings"]
        covariance = loadings @ loadings.T + np.diag(variance)
    return np.ones(1), params["mean"][None], covariance[None]


@pytest.mark.parametrize("Model", MODELS)
@pytest.mark.parametrize("d", [1, 3, 1000])
@pytest.mark.parametrize("n_components", [1, 3])
def test_shapes(Model, d, n_components):
    model = Model(n_components=n_components)
    X, params = perturbed(model, d)
    assert all(value.dtype == np.float64 for value in params.values())
    assert all(value.size for value in params.values())
    assert set(model.fixed_params) <= set(params)
    z, x = model.sample(params, 7, np.random.default_rng(1))
    assert x.shape == (7, d)
    if Model is GaussianMixtureModel:
        assert z.shape == (7,)
        assert z.dtype.kind == "i"
        assert model.latent_support == ("categorical", n_components)
    else:
        assert z.shape == (7, n_components)
        assert model.latent_support == "real"
    log_joint = model.log_joint(params, z, x)
    assert log_joint.shape == model.log_prior(params, z).shape == (7,)
    assert np.isfinite(log_joint).all()
    if Model in EXACT:
        exact = model.exact_log_likelihood(params, X)
        assert exact.shape == (len(X),)
        assert np.isfinite(exact).all()


@pytest.mark.parametrize("Model", LINEAR)
@pytest.mark.parametrize("d", [1, 3])
def test_log_joint_is_prior_plus_exponential_family(Model, d):
    model = Model(n_components=2)
    _, params = perturbed(model, d)
    z, x = model.sample(params, 20, np.random.default_rng(1))
    terms = -model.log_normalizer(params, z) + model.observation.log_base_measure(x)
    natural = model.natural_params(params, z)
    for s, eta in zip(model.sufficient_statistics(x), natural, strict=True):
        terms = terms + s * eta
    expected = model.log_prior(params, z) + terms.sum(axis=1)
    np.testing.assert_allclose(model.log_joint(params, z, x), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("Model", "marginal"),
    [
        (FactorAnalysisModel, stats.norm),
        (BernoulliFactorModel, stats.norm),
        (IndependentComponentsModel, stats.laplace),
    ],
)
def test_log_prior_is_that_of_scipy(Model, marginal):
    z = np.random.default_rng(0).normal(size=(10, 3)) * 3
    log_prior = Model(n_components=3).log_prior({}, z)
    np.testing.assert_allclose(log_prior, marginal.logpdf(z).sum(axis=1))


@pytest.mark.parametrize("Model", LINEAR)
def test_linear_log_joint_is_that_of_scipy(Model):
    model = Model(n_components=2)
    _, params = perturbed(model, 3)
    z, x = model.sample(params, 10, np.random.default_rng(1))
    output = z @ params[model.matrix].T + params[model.offset]
    if Model is BernoulliFactorModel:
        log_prob = stats.bernoulli.logpmf(x, special.expit(output))
    else:
        scale = params["min_scale"] + np.exp(params["log_scale"])
        log_prob = stats.norm.logpdf(x, output, scale)
    prior = stats.laplace if Model is IndependentComponentsModel else stats.norm
    expected = prior.logpdf(z).sum(axis=1) + log_prob.sum(axis=1)
    np.testing.assert_allclose(model.log_joint(params, z, x), expected)


@pytest.mark.parametrize("d", [1, 4])
def test_mixture_log_joint_is_that_of_scipy(d):
    model = GaussianMixtureModel(n_components=3)
    X, params = perturbed(model, d)
    z = np.random.default_rng(1).integers(3, size=len(X))
    weights, means, covariance = covariances(model, params)
    normals = map(stats.multivariate_normal, means, covariance)
    terms = [
        np.log(weight) + normal.logpdf(X)
        for weight, normal in zip(weights, normals, strict=True)
    ]
    expected = np.choose(z, terms)
    np.testing.assert_allclose(model.log_joint(params, z, X), expected)
    np.testing.assert_allclose(model.log_prior(params, z), np.log(weights[z]))


@pytest.mark.parametrize("z", [-1, 2])
def test_mixture_has_no_mass_outside_its_components(z):
    model = GaussianMixtureModel(n_components=2)
    X, params = perturbed(model, 2)
    latents = np.ones(len(X), dtype=int)
    latents[3] = z
    outside = np.isneginf(model.log_joint(params, latents, X))
    assert outside.tolist() == (np.arange(len(X)) == 3).tolist()


def test_mixture_rows_do_not_depend_on_each_other():
    model = GaussianMixtureModel(n_components=3)
    X, params = perturbed(model, 3)
    z = np.random.default_rng(1).integers(3, size=len(X))
    together = model.log_joint(params, z, X)
    alone = [model.log_joint(params, z[[i]], X[[i]])[0] for i in range(len(X))]
    np.testing.assert_allclose(together, alone)


@pytest.mark.parametrize("Model", EXACT)
@pytest.mark.parametrize("d", [1, 3, 30])
@pytest.mark.parametrize("n_components", [1, 3])
def test_exact_log_likelihood_is_that_of_scipy(Model, d, n_components):
    model = Model(n_components=n_components)
    X, params = perturbed(model, d)
    weights, means, covariance = covariances(model, params)
    terms = [
        np.log(weight) + stats.multivariate_normal(m, S).logpdf(X)
        for weight, m, S in zip(weights, means, covariance, strict=True)
    ]
    exact = model.exact_log_likelihood(params, X)
    np.testing.assert_allclose(exact, special.logsumexp(terms, axis=0), rtol=1e-9)


def test_mixture_log_likelihood_is_that_of_scikit_learn():
    model = GaussianMixtureModel(n_components=3)
    X, params = perturbed(model, 4)
    other = GaussianMixture(n_components=3)
    other.weights_, other.means_, covariance = covariances(model, params)
    other.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(covariance))
    exact = model.exact_log_likelihood(params, X)
    np.testing.assert_allclose(exact, other.score_samples(X))


def test_factor_analysis_likelihood_stays_accurate_at_small_noise():
    model = FactorAnalysisModel(n_components=2)
    X, params = perturbed(model, 5)
    params["log_scale"] = np.full(5, -20.0)
    _, (mean,), (covariance,) = covariances(model, params)
    exact = model.exact_log_likelihood(params, X)
    expected = stats.multivariate_normal(mean, covariance).logpdf(X)
    np.testing.assert_allclose(exact, expected, rtol=1e-6)


@pytest.mark.parametrize("Model", LINEAR)
def test_log_joint_is_normalised(Model):
    # One latent and one feature: integrate over both.
    model = Model(n_components=1)
    _, params = perturbed(model, 1)

    def density(z, x):
        joint = model.log_joint(params, np.array([[z]]), np.array([[x]]))
        return float(np.exp(joint[0]))

    if Model is BernoulliFactorModel:
        slices = [integrate.quad(density, -9, 9, args=(x,))[0] for x in (0.0, 1.0)]
        total = sum(slices)
    else:
        # Noise of unit scale: a narrow ridge would ask for a finer rule.
        params["log_scale"] = np.zeros(1)
        total, _ = integrate.dblquad(density, -25, 25, -25, 25, epsabs=1e-5)
    assert abs(total - 1) < 1e-3


@pytest.mark.parametrize("Model", MODELS)
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("n_components", [1, 2])
def test_gradient_is_that_of_finite_differences(Model, d, n_components):
    model = Model(n_components=n_components)
    X, params = perturbed(model, d)
    z, x = model.sample(params, 30, np.random.default_rng(1))
    functions = [lambda p: model.log_joint(p, z, x)]
    if Model in EXACT:
        functions.append(lambda p: model.exact_log_likelihood(p, X))
    if Model in LINEAR:
        functions.append(lambda p: anp.sum(model.log_normalizer(p, z), axis=1))
        functions.append(lambda p: anp.sum(model.natural_params(p, z)[0], axis=1))
    vector, unpack = free_vector(model, params)
    for function in functions:

        def objective(v, function=function):
            # Unequal weights, since any weights may meet the rows of a log-joint.
            values = function(unpack(v))
            return anp.mean(np.cos(np.arange(len(values))) * values)

        numeric = central_differences(objective, vector)
        tolerance = 1e-6 * np.abs(numeric).max()
        np.testing.assert_allclose(grad(objective)(vector), numeric, atol=tolerance)


@pytest.mark.parametrize("Model", MODELS)
@pytest.mark.parametrize("d", [1, 4])
@pytest.mark.parametrize("n_components", [1, 3])
def test_every_free_entry_has_an_effect(Model, d, n_components):
    model = Model(n_components=n_components)
    X, params = perturbed(model, d)
    z, x = model.sample(params, 200, np.random.default_rng(1))
    vector, unpack = free_vector(model, params)
    gradient = grad(lambda v: anp.sum(model.log_joint(unpack(v), z, x) ** 2))(vector)
    assert (gradient != 0).all()


def test_mixture_gradient_is_the_posterior_mean_of_that_of_the_joint():
    # Fisher's identity, on which the package rests, with the exact posterior.
    model = GaussianMixtureModel(n_components=3)
    X, params = perturbed(model, 3)
    latents = [np.full(len(X), k) for k in range(3)]
    joint = np.array([model.log_joint(params, z, X) for z in latents])
    posterior = np.exp(joint - model.exact_log_likelihood(params, X))
    np.testing.assert_allclose(posterior.sum(axis=0), 1)
    vector, unpack = free_vector(model, params)

    def expected(v):
        terms = zip(posterior, latents, strict=True)
        return sum(anp.sum(p * model.log_joint(unpack(v), z, X)) for p, z in terms)

    exact = grad(lambda v: anp.sum(model.exact_log_likelihood(unpack(v), X)))(vector)
    np.testing.assert_allclose(grad(expected)(vector), exact, atol=1e-9)


@pytest.mark.parametrize("Model", MODELS)
@pytest.mark.parametrize(("d", "n_components"), [(1, 1), (3, 2), (2, 4)])
def test_expected_score_of_the_draws_is_zero(Model, d, n_components):
    # Joins sampler and log-joint, whatever the model.
    model = Model(n_components=n_components)
    _, params = perturbed(model, d)
    vector, unpack = free_vector(model, params)
    rng = np.random.default_rng(2)
    scores = []
    for _ in range(150):
        z, x = model.sample(params, 300, rng)

        def objective(v, z=z, x=x):
            return anp.mean(model.log_joint(unpack(v), z, x))

        scores.append(grad(objective)(vector))
    mean, error = np.mean(scores, axis=0), np.std(scores, axis=0) / np.sqrt(150)
    assert (np.abs(mean) < 5 * error).all()


@pytest.mark.parametrize(
    "Model", [FactorAnalysisModel, IndependentComponentsModel, GaussianMixtureModel]
)
@pytest.mark.parametrize(("d", "n_components"), [(1, 1), (3, 2), (2, 4)])
def test_sample_has_the_exact_moments(Model, d, n_components):
    model, n = Model(n_components=n_components), 50_000
    _, params = perturbed(model, d)
    weights, means, within = covariances(model, params)
    mean = weights @ means
    between = np.einsum("k,ki,kj->ij", weights, means - mean, means - mean)
    covariance = np.einsum("k,kij->ij", weights, within) + between
    _, x = model.sample(params, n, np.random.default_rng(3))
    error = np.sqrt(np.diag(covariance) / n)
    assert (np.abs(x.mean(axis=0) - mean) < 5 * error).all()
    products = np.einsum("ni,nj->nij", x - mean, x - mean)
    error = products.std(axis=0) / np.sqrt(n)
    assert (np.abs(products.mean(axis=0) - covariance) < 5 * error).all()


def test_bernoulli_sample_has_the_exact_mean():
    model, n = BernoulliFactorModel(n_components=2), 50_000
    _, params = perturbed(model, 3, size=1.0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    # The log-odds of a feature are normal: one dimension suffices.
    spread = np.linalg.norm(params["loadings"], axis=1)
    log_odds = params["intercept"] + nodes[:, None] * spread
    mean = weights @ special.expit(log_odds) / weights.sum()
    _, x = model.sample(params, n, np.random.default_rng(4))
    error = np.sqrt(mean * (1 - mean) / n)
    assert (np.abs(x.mean(axis=0) - mean) < 5 * error).all()


def test_mixture_sample_visits_components_by_weight():
    model, n = GaussianMixtureModel(n_components=3), 20_000
    _, params = perturbed(model, 2)
    params["logits"] = np.array([2.0, 0.0, -3.0])
    weights = special.softmax(params["logits"])
    z, _ = model.sample(params, n, np.random.default_rng(5))
    error = np.sqrt(weights * (1 - weights) / n)
    assert (np.abs(np.bincount(z, minlength=3) / n - weights) < 5 * error).all()


@pytest.mark.parametrize("Model", MODELS)
@pytest.mark.parametrize("n", [1, 2, 20])
@pytest.mark.parametrize("n_components", [1, 3])
def test_start_is_finite_for_degenerate_data(Model, n, n_components):
    model = Model(n_components=n_components)
    constant = np.ones((n, 4))
    duplicated = np.tile(np.arange(n) % 2, (4, 1)).T.astype(float)
    for X in (constant, duplicated):
        rng = np.random.default_rng(0)
        params = model.init_params(X, rng)
        assert all(np.isfinite(value).all() for value in params.values())
        z, x = model.sample(params, 50, rng)
        assert np.isfinite(model.log_joint(params, z, x)).all()
        assert np.isfinite(model.log_joint(params, z[:n], X)).all()


@pytest.mark.parametrize("Model", MODELS)
def test_start_depends_on_the_generator_only(Model):
    X, _ = perturbed(Model(), 3)
    starts = [Model().init_params(X, np.random.default_rng(s)) for s in (0, 0, 1)]
    vectors = [np.concatenate([v.ravel() for v in p.values()]) for p in starts]
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert (vectors[0] != vectors[2]).any()


@pytest.mark.parametrize("Model", [FactorAnalysisModel, IndependentComponentsModel])
def test_start_follows_the_units_of_the_data(Model):
    X, _ = perturbed(Model(), 3)
    first = Model().init_params(X, np.random.default_rng(0))
    second = Model().init_params(1000 * X, np.random.default_rng(0))
    for name in {Model.matrix, Model.offset, "min_scale"}:
        np.testing.assert_allclose(second[name], 1000 * first[name])


def test_mixture_starts_from_the_covariance_of_the_data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) * [1.0, 100.0, 1.0]
    model = GaussianMixtureModel(n_components=2)
    start = model.covariances(model.init_params(X, rng))
    empirical = np.cov(X.T, bias=True)
    shrunk = 0.9 * empirical + 0.1 * np.diag(np.diag(empirical))
    np.testing.assert_allclose(start, [shrunk, shrunk])


def test_components_start_with_the_variance_of_the_data():
    X = np.random.default_rng(0).standard_normal((200, 5)) * [3.0, 2.0, 0.5, 0.5, 0.5]
    model = IndependentComponentsModel(n_components=2)
    params = model.init_params(X, np.random.default_rng(0))
    _, _, (start,) = covariances(model, params)
    expected = np.linalg.eigvalsh(np.cov(X.T, bias=True))
    np.testing.assert_allclose(np.linalg.eigvalsh(start)[-2:], expected[-2:], rtol=0.01)
    np.testing.assert_allclose(np.trace(start), expected.sum(), rtol=0.2)


def test_mixture_starts_at_separate_clusters():
    centres = np.array([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0]])
    rng = np.random.default_rng(0)
    X = np.repeat(centres, 50, axis=0) + 0.1 * rng.normal(size=(150, 2))
    means = GaussianMixtureModel(n_components=3).init_params(X, rng)["means"]
    distance = np.linalg.norm(means[:, None] - centres, axis=2)
    assert sorted(distance.argmin(axis=1)) == [0, 1, 2]
    assert distance.min(axis=1).max() < 1


@pytest.mark.parametrize("Model", MODELS)
@pytest.mark.parametrize("n_components", [0, -1, 1.5, "2", None, True])
def test_bad_n_components_is_named(Model, n_components):
    model = Model(n_components=n_components)
    with pytest.raises(ValueError, match=f"positive int, got {n_components!r}"):
        model.init_params(np.ones((3, 2)), np.random.default_rng(0))


@pytest.mark.parametrize("Model", MODELS)
def test_bad_data_are_refused(Model):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="NaN"):
        Model().init_params(np.array([[0.0, np.nan]]), rng)
    with pytest.raises(ValueError, match="2D array"):
        Model().init_params(np.ones(3), rng)


def test_binary_model_refuses_other_data():
    with pytest.raises(ValueError, match="must be 0 or 1, got 3"):
        BernoulliFactorModel().init_params([[0, 3]], np.random.default_rng(0))


@pytest.mark.parametrize("Model", MODELS)
def test_models_are_stateless_estimators(Model):
    model = Model(n_components=3)
    before = dict(vars(model))
    X, params = perturbed(model, 2)
    z, x = model.sample(params, 5, np.random.default_rng(0))
    model.log_joint(params, z, x)
    assert vars(model) == before
    assert clone(model).get_params() == {"n_components": 3}
    assert repr(model) == f"{Model.__name__}(n_components=3)"
