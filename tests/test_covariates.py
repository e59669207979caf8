"""Models with covariates: a random effect in a regression, of known likelihood."""

import pickle

import autograd.numpy as anp
import numpy as np
import pytest
from scipy import optimize, stats

from amortsk import LatentVariableModel, WakeSleepFitter, check_model
from amortsk.sleep import Sleep, draw

N_REPEATS = 3
TRUTH = {"slope": np.array(1.5), "log_spread": np.array(-0.2), "log_noise": -0.5}


class RandomEffect(LatentVariableModel):
    """y_j = slope c_j + spread z + noise e_j; a row is c_1, y_1, c_2, y_2, c_3, y_3."""

    covariate_columns = np.arange(0, 2 * N_REPEATS, 2)
    latent_support = "real"

    def init_params(self, X, rng):
        names = ("slope", "log_spread", "log_noise")
        return {name: np.array(0.0) for name in names}

    def sample(self, params, n_samples, rng, covariates):
        z = rng.standard_normal((n_samples, 1))
        noise = rng.standard_normal(covariates.shape)
        x = np.empty((n_samples, 2 * N_REPEATS))
        x[:, ::2] = covariates
        x[:, 1::2] = (
            params["slope"] * covariates
            + np.exp(params["log_spread"]) * z
            + np.exp(params["log_noise"]) * noise
        )
        return z, x

    def log_joint(self, params, z, x):
        effect = anp.exp(params["log_spread"]) * z
        residual = x[:, 1::2] - params["slope"] * x[:, ::2] - effect
        scaled = residual / anp.exp(params["log_noise"])
        squares = anp.sum(scaled**2, axis=1) + z[:, 0] ** 2
        constants = N_REPEATS * params["log_noise"] + 2 * anp.log(2 * anp.pi)
        return -0.5 * squares - constants


class WithPrior(RandomEffect):
    def log_prior(self, params, z):
        return -0.5 * z[:, 0] ** 2 - 0.5 * anp.log(2 * anp.pi)


class AnySupport(RandomEffect):
    latent_support = "any"


def exact(params, X):
    """log p(y | c) of every row."""
    spread, noise = np.exp(params["log_spread"]), np.exp(params["log_noise"])
    covariance = spread**2 + noise**2 * np.eye(N_REPEATS)
    residual = X[:, 1::2] - params["slope"] * X[:, ::2]
    return stats.multivariate_normal.logpdf(residual, cov=covariance)


def maximum_likelihood(X):
    """Parameters of largest exact likelihood, a vector."""

    def loss(v):
        return -np.mean(exact(dict(zip(TRUTH, v, strict=True)), X))

    return optimize.minimize(loss, np.zeros(len(TRUTH)), tol=1e-10).x


def data(n_samples=500, seed=0):
    rng = np.random.default_rng(seed)
    # Nothing like what a model of whole rows would draw.
    covariates = rng.exponential(size=(n_samples, N_REPEATS))
    return RandomEffect().sample(TRUTH, n_samples, rng, covariates)[1]


def fitter(model=None, **options):
    options = {"random_state": 0, "max_iter": 100, "learning_rate": 0.05, **options}
    return WakeSleepFitter(model=model or RandomEffect(), n_sleep=400, **options)


@pytest.fixture(scope="module")
def X():
    return data()


@pytest.fixture(scope="module")
def fitted(X):
    return fitter().fit(X)


@pytest.mark.parametrize(
    "model, gradient",
    [
        (RandomEffect(), "joint"),
        (RandomEffect(), "likelihood"),
        (RandomEffect(), "importance"),
        (WithPrior(), "importance"),
    ],
)
def test_fit_is_maximum_likelihood_given_covariates(X, model, gradient):
    params = fitter(model, gradient=gradient).fit(X).params_
    best = dict(zip(TRUTH, maximum_likelihood(X), strict=True))
    assert np.mean(exact(best, X) - exact(params, X)) < 0.01


def test_score_is_the_conditional_log_likelihood(fitted, X):
    new = data(200, seed=1)
    expected = exact(fitted.params_, new)
    np.testing.assert_allclose(fitted.score_samples(new), expected, atol=0.05)
    assert abs(fitted.score(new) - expected.mean()) < 0.025


def test_transform_is_the_posterior_mean_given_covariates(fitted, X):
    spread, noise = (np.exp(fitted.params_[f"log_{n}"]) for n in ("spread", "noise"))
    residual = X[:, 1::2] - fitted.params_["slope"] * X[:, ::2]
    mean = spread * residual.sum(1) / (noise**2 + N_REPEATS * spread**2)
    np.testing.assert_allclose(fitted.transform(X)[:, 0], mean, atol=0.05)


def test_samples_follow_their_covariates(fitted):
    covariates = np.repeat([[0.0, 1.0, 5.0], [2.0, -3.0, 0.0]], 2000, axis=0)
    drawn = fitted.sample(4000, random_state=0, covariates=covariates)
    np.testing.assert_array_equal(drawn[:, ::2], covariates)
    means = drawn[:, 1::2].reshape(2, 2000, N_REPEATS).mean(axis=1)
    expected = fitted.params_["slope"] * covariates[[0, -1]]
    np.testing.assert_allclose(means, expected, atol=0.12)


def test_one_row_of_covariates_serves_all_draws(fitted):
    x, z = fitted.sample(4, return_latent=True, covariates=[[1.0, 2.0, 3.0]])
    assert z.shape == (4, 1)
    np.testing.assert_array_equal(x[:, ::2], np.tile([1.0, 2.0, 3.0], (4, 1)))
    assert len(np.unique(x[:, 1])) == 4


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (1, 4), (0, 3)])
def test_covariates_of_another_shape_are_refused(fitted, shape):
    with pytest.raises(ValueError, match=r"must have shape \(4, 3\)|minimum of 1"):
        fitted.sample(4, covariates=np.zeros(shape))


def test_covariates_that_are_not_finite_are_refused(fitted):
    with pytest.raises(ValueError, match="NaN"):
        fitted.sample(covariates=[[0.0, np.nan, 1.0]])


def test_sample_needs_covariates_and_only_where_there_are_some(fitted):
    with pytest.raises(ValueError, match="covariates must be given for a model with"):
        fitted.sample(4)
    plain = WakeSleepFitter(
        lambda params, z, x: -((x[:, 0] - params["a"] - z) ** 2),
        lambda params, n, rng: (np.zeros(n), rng.standard_normal((n, 1))),
        {"a": np.array(0.0)},
        latent_support="any",
        gradient="joint",
        max_iter=2,
    ).fit(np.zeros((5, 1)))
    with pytest.raises(ValueError, match="columns is None"):
        plain.sample(covariates=[[1.0]])


def test_the_same_seed_gives_the_same_fit_and_draws(fitted, X):
    again = fitter().fit(X)
    for name, value in fitted.params_.items():
        np.testing.assert_array_equal(again.params_[name], value)
    drawn = again.sample(3, random_state=1, covariates=X[:3, ::2])
    expected = fitted.sample(3, random_state=1, covariates=X[:3, ::2])
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_array_equal(again.score_samples(X), fitted.score_samples(X))


def test_a_pickled_fit_goes_on_as_the_fit_does(fitted, X):
    copied = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copied.score_samples(X), fitted.score_samples(X))
    other = pickle.loads(pickle.dumps(fitted)).partial_fit(X[:100]).params_
    for name, value in copied.partial_fit(X[:100]).params_.items():
        np.testing.assert_array_equal(other[name], value)


def test_warm_start_and_partial_fit_draw_the_covariates_of_their_data(X):
    moved = X.copy()
    moved[:, ::2] += 100
    steps = fitter(max_iter=2, warm_start=True).fit(X)
    assert steps._posterior.draws.x[:, ::2].max() < 100
    assert steps.fit(moved)._posterior.draws.x[:, ::2].min() >= 100
    assert steps.partial_fit(X)._posterior.draws.x[:, ::2].max() < 100


@pytest.mark.parametrize("chunk_rows", [40, 100])
def test_sleep_draws_whole_rows_of_covariates_for_any_number_of_jobs(X, chunk_rows):
    pool = X[:7, ::2]
    chunks = [
        list(
            Sleep(
                RandomEffect(),
                TRUTH,
                100,
                np.random.SeedSequence(0),
                chunk_rows=chunk_rows,
                n_jobs=n_jobs,
                pool=pool,
            ).map(rows)
        )
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*map(np.concatenate, chunks))
    drawn = np.unique(np.concatenate(chunks[0])[:, ::2], axis=0)
    np.testing.assert_array_equal(drawn, np.unique(pool, axis=0))


def rows(draws):
    return draws.x


class SometimesNan(RandomEffect):
    def sample(self, params, n_samples, rng, covariates):
        z, x = super().sample(params, n_samples, rng, covariates)
        if n_samples == 40:
            x[[3, 17], 1] = np.nan
        return z, x


def test_redrawn_rows_keep_their_covariates(X):
    covariates = X[:40, ::2]
    seed = np.random.SeedSequence(0)
    draws = draw(SometimesNan(), TRUTH, 40, seed, covariates=covariates)
    assert draws.n_redrawn == 2
    np.testing.assert_array_equal(draws.x[:, ::2], covariates)


def test_model_passes_its_check(X):
    check = check_model(RandomEffect(), X, random_state=0)
    assert 0 < check.conditional_importance < 5
    with pytest.raises(ValueError, match="pass X"):
        check_model(RandomEffect(), random_state=0)


class WrongNoise(RandomEffect):
    def sample(self, params, n_samples, rng, covariates):
        z, x = super().sample(params, n_samples, rng, covariates)
        x[:, 1] *= 1.2
        return z, x


def test_check_finds_a_sampler_of_another_model(X):
    with pytest.raises(ValueError, match="not the log-density"):
        check_model(WrongNoise(), X, random_state=0)


class Forgetful(RandomEffect):
    def sample(self, params, n_samples, rng, covariates):
        z, x = super().sample(params, n_samples, rng, covariates)
        x[:, ::2] = 0
        return z, x


class Dropping(RandomEffect):
    def sample(self, params, n_samples, rng, covariates):
        z, x = super().sample(params, n_samples, rng, covariates)
        return z, x[:, 1::2]


@pytest.mark.parametrize("model", [Forgetful(), Dropping()])
def test_covariates_not_put_back_are_an_error(X, model):
    with pytest.raises(ValueError, match="must put the covariates back"):
        fitter(model).fit(X)


@pytest.mark.parametrize(
    "columns", [[0, 6], [-1], [0, 0], [[0, 2]], list(range(6)), [0.5], "ab"]
)
def test_bad_covariate_columns_are_named(X, columns):
    class Bad(RandomEffect):
        covariate_columns = columns

    with pytest.raises(ValueError, match="covariate_columns must be some but not all"):
        fitter(Bad()).fit(X)


def test_the_energy_score_is_never_that_of_covariates(X):
    with pytest.raises(ValueError, match="scoring must be 'auto' or one of"):
        fitter(scoring="energy").fit(X)
    unscored = fitter(AnySupport(), gradient="joint", max_iter=2).fit(X)
    with pytest.raises(ValueError, match="AnySupport cannot be scored"):
        unscored.score(X)
