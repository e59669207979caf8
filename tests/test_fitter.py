"""WakeSleepFitter: what it finds, what it keeps, how it behaves."""

import copy
import pickle
import warnings
from collections import namedtuple
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import autograd.numpy as anp
import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from autograd.scipy.special import gammaln
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import nbinom, norm
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.kernel_approximation import Nystroem
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from toys import Chain, Shift, exact_scores, log_normal, training

from amortsk import (
    AmortisedGradientRegressor,
    LatentVariableModel,
    WakeSleepFitter,
    windows,
)
from amortsk import training as training_module
from amortsk.callbacks import CallbackSupportMixin
from amortsk.evaluation import (
    ENERGY_DRAWS,
    energy_score,
    posterior_block,
    scoring_rule,
)
from amortsk.fitter import DRIFTING
from amortsk.gradients import Estimate
from amortsk.latents import as_columns
from amortsk.models import (
    FactorAnalysisModel,
    GaussianMixtureModel,
    HiddenMarkovModel,
    HierarchicalMixtureModel,
)
from amortsk.proposals import Proposal
from amortsk.regression import Regression
from amortsk.sleep import Sleep
from amortsk.training import HISTORY, Training

# Fixed bandwidth and ridge: most tests are of something else.
QUICK = AmortisedGradientRegressor(
    n_components=30, gamma=0.3, alpha=0.1, trend="linear"
)
GOOD = AmortisedGradientRegressor(n_components=100, gamma="median", trend="linear")
HAS_CALLBACKS = CallbackSupportMixin.__module__.startswith("sklearn")


def fitter_of(model, **options):
    quick = {
        "regressor": QUICK,
        "n_sleep": 100,
        "n_proposals": 20,
        "max_iter": 15,  # too few for a warning that they are too few
        "learning_rate": 0.05,
        "random_state": 0,
    }
    return WakeSleepFitter(model=model, **{**quick, **options})


def functions_of(model, init_params, **options):
    options = {"model": None, **options}
    fitter = fitter_of(**options)
    return fitter.set_params(
        log_joint=model.log_joint, sampler=model.sample, init_params=init_params
    )


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(1.0, 1.4, size=(150, 1))


@pytest.fixture(scope="module")
def factors():
    """Rows with one factor."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((300, 4)) * [0.5, 0.7, 0.9, 1.1]
    return 3 + rng.standard_normal((300, 1)) * [1.0, -1.0, 0.7, 0.2] + noise


@pytest.fixture(scope="module")
def factor_fit(factors):
    fitter = fitter_of(
        FactorAnalysisModel(1),
        regressor=GOOD,
        n_sleep=300,
        n_proposals=30,
        max_iter=300,
        learning_rate=0.03,
    )
    return fitter.fit(factors)


@pytest.fixture
def wakes(monkeypatch):
    """Rows of data of every iteration, filled as they are used."""
    seen, iterate = [], Training.iterate

    def watched(self, wake, n_rows, factor):
        seen.append(wake)
        iterate(self, wake, n_rows, factor)

    monkeypatch.setattr(Training, "iterate", watched)
    return seen


def recording(Model, seen):
    """A model that notes a random number of every sleep, but not of the dry run."""

    class Recording(Model):
        def sample(self, params, n_samples, rng):
            if n_samples != 200:
                seen.append(rng.random())
            return super().sample(params, n_samples, rng)

    return Recording


def in_two_units(Model, name):
    """A model of the sum of a parameter and another in units ten thousand times it."""

    def total(params):
        return {**params, name: params[name] + 1e-4 * params["small"]}

    class InTwoUnits(Model):
        def init_params(self, X, rng):
            params = super().init_params(X, rng)
            return {**params, "small": np.zeros_like(params[name])}

        def sample(self, params, n_samples, rng):
            return super().sample(total(params), n_samples, rng)

        def log_joint(self, params, z, x):
            return super().log_joint(total(params), z, x)

    return InTwoUnits


class AnyLatent(Shift):
    """Shift whose candidates are the sleep latents."""

    latent_support = "any"


def posterior_of(fitter, X):
    """Exact posterior mean and variance of the factor."""
    params = fitter.params_
    precision = (params["min_scale"] + np.exp(params["log_scale"])) ** -2
    loadings = params["loadings"][:, 0]
    variance = 1 / (1 + np.sum(loadings**2 * precision))
    return variance * ((X - params["mean"]) * precision) @ loadings, variance


def rms(errors):
    return np.sqrt(np.mean(np.square(errors)))


def assert_same_params(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


# What it finds


def test_factor_analysis_is_maximum_likelihood(factors, factor_fit):
    peer = FactorAnalysis(1, svd_method="lapack", tol=1e-6, max_iter=5000).fit(factors)
    gap = peer.score(factors) - factor_fit.score(factors)
    assert -1e-4 < gap < 0.005
    assert factor_fit.converged_
    assert factor_fit.gradient_ == "importance"


class Spread(GaussianMixtureModel):
    """Components start apart: not every start leads away from a saddle."""

    def init_params(self, X, rng):
        levels = (np.arange(self.n_components) + 0.5) / self.n_components
        return {**super().init_params(X, rng), "means": np.quantile(X, levels, axis=0)}


def test_mixture_is_maximum_likelihood():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 2)) * [0.5, 1.0]
    X[:150] += [4, 2]
    fitter = fitter_of(
        Spread(2),
        regressor=GOOD,
        n_sleep=300,
        max_iter=300,
        learning_rate=0.03,
    )
    fitter.fit(X)
    peer = GaussianMixture(2, tol=1e-8, max_iter=1000, random_state=0).fit(X)
    assert -1e-4 < peer.score(X) - fitter.score(X) < 0.005
    order = np.argsort(fitter.params_["means"][:, 0])
    expected = peer.means_[np.argsort(peer.means_[:, 0])]
    np.testing.assert_allclose(fitter.params_["means"][order], expected, atol=0.05)


def test_local_terms_find_a_chain():
    model = Chain(2, 8, half_width=2)
    truth = model.init_params(None, None)
    X = model.sample(truth, 200, np.random.default_rng(0))[1]
    start = {**truth, "means": np.array([0.3, 0.9]), "logits": np.zeros((2, 2))}
    fitter = functions_of(
        model,
        start,
        term_columns=model.term_columns,
        latent_support=model.latent_support,
        regressor=GOOD,
        max_iter=100,
        n_sleep=200,
    )
    fitter.fit(X)
    assert fitter.gradient_ == "joint"

    def likelihood(params):
        return model.exact_log_likelihood(params, X).mean() / model.length

    assert likelihood(start) < likelihood(truth) - 0.1
    assert likelihood(fitter.params_) > likelihood(truth) - 0.01
    moments = fitter.posterior_expectation(X, lambda z: z.astype(float))
    assert moments.shape == (200, 8)


@pytest.mark.parametrize(
    "regressor",
    [
        AmortisedGradientRegressor(n_components=30),
        AmortisedGradientRegressor("nystroem", n_components=30),
        AmortisedGradientRegressor(None),
        AmortisedGradientRegressor(Nystroem(gamma=0.5, n_components=30)),
        None,
    ],
    ids=["fourier", "nystroem", "exact", "transformer", "default"],
)
def test_any_regression_drives_the_fit(X, regressor):
    fitter = fitter_of(
        Shift(),
        gradient="joint",
        regressor=regressor,
        max_iter=100,
    )
    fitter.fit(X)
    assert fitter.params_["mu"] == pytest.approx(X.mean(), abs=0.15)
    if regressor is not None:
        assert type(fitter.regressor_.features_) is type(
            clone(regressor).fit(X, X).features_
        )


class Passes(TransformerMixin, BaseEstimator):
    """Columns as they are, and how often they were fitted, to which targets."""

    def __init__(self, warm_start=True):
        self.warm_start = warm_start

    def fit(self, X, y=None):
        self.n_passes_ = getattr(self, "n_passes_", 0) + 1
        self.slope_ = None if y is None else np.polyfit(X[:, 0], y[:, 0], 1)[0]
        return self

    def transform(self, X):
        return X


@pytest.mark.parametrize(("warm_start", "n_passes"), [(True, 3), (False, 1)])
def test_features_that_learn(X, warm_start, n_passes):
    """A proposal serves five iterations of the fifteen."""
    regressor = AmortisedGradientRegressor(Passes(warm_start))
    fitter = fitter_of(Shift(), gradient="importance", regressor=regressor).fit(X)
    features = fitter.regressor_.features_
    assert features.n_passes_ == n_passes
    if warm_start:
        # In units of the columns: x is z + 1 and noise of the same size.
        assert features.slope_ == pytest.approx(np.sqrt(0.5), abs=0.25)
    assert not hasattr(regressor.features, "n_passes_")
    fitter.partial_fit(X)
    assert fitter.regressor_.features_.n_passes_ == n_passes + warm_start
    assert features.n_passes_ == n_passes
    assert fitter.fit(X).regressor_.features_.n_passes_ == n_passes


def test_features_that_learn_leave_earlier_ones_as_they_were():
    sleep = Sleep(Shift(), {"mu": np.zeros(())}, 50, np.random.SeedSequence(0))
    regression = Regression(AmortisedGradientRegressor(Passes()), None, 1)
    z, rng = sleep.first.z, np.random.default_rng(0)
    regression.select(sleep.first, z[:, np.newaxis, np.newaxis], rng)
    regression.fit(sleep, rng, as_columns)
    first = regression.regressor.features
    regression.fit(sleep, rng, as_columns)
    assert first.n_passes_ == 1
    assert regression.regressor.features.n_passes_ == 2


def test_columns_that_are_kept_on_draws_are_those_of_the_last_fit():
    sleep = Sleep(Shift(), {"mu": np.zeros(())}, 50, np.random.SeedSequence(0))
    for gamma in (0.1, 1.0):
        regression = Regression(clone(QUICK).set_params(gamma=gamma), None, 1)
        targets = sleep.first.z[:, np.newaxis, np.newaxis]
        regression.select(sleep.first, targets, np.random.default_rng(0))
        (fitted,) = regression.fit(sleep, np.random.default_rng(0))
        expected = fitted.columns_at(sleep.first.x)
        np.testing.assert_array_equal(fitted.columns(sleep.first), expected)


def test_learned_features_serve_any_gradient(X):
    regressor = AmortisedGradientRegressor(Passes())
    fitter = fitter_of(Shift(), gradient="importance", regressor=regressor).fit(X)
    learned = clone(regressor).set_params(features=fitter.regressor_.features_)
    again = fitter_of(Shift(), gradient="joint", regressor=learned).fit(X)
    assert again.regressor_.features_.n_passes_ == 3


@pytest.mark.parametrize(
    ("gradient", "support"),
    [("auto", None), ("joint", None), ("likelihood", None), ("importance", "any")],
)
def test_features_that_learn_need_latents_to_predict(X, gradient, support):
    options = {"gradient": gradient, "latent_support": support}
    regressor = AmortisedGradientRegressor(Passes())
    with pytest.raises(ValueError, match="warm_start=True .* got gradient="):
        fitter_of(Shift(), regressor=regressor, **options).fit(X)


@pytest.mark.parametrize("gradient", ["direct", "joint", "likelihood", "importance"])
def test_any_gradient_drives_the_fit(X, gradient):
    options = {"n_sleep": 50, "max_iter": 50, "learning_rate": 0.1}
    fitter = fitter_of(Shift(), gradient=gradient, **options).fit(X)
    assert fitter.gradient_ == gradient
    assert fitter.params_["mu"] == pytest.approx(X.mean(), abs=0.15)


def test_maximum_a_posteriori(X):
    """A normal prior of the mean of a normal: the mode is a weighted mean."""

    class Shrunk(Shift):
        def log_prior_params(self, params):
            return log_normal(params["mu"], 0.0, 0.1)

    few = X[:40]
    fitter = fitter_of(Shrunk(), max_iter=200, n_proposals=50).fit(few)
    precision = len(few) / 2  # of the data, whose marginal variance is two
    mode = precision * few.mean() / (precision + 0.1**-2)
    assert abs(few.mean() - mode) > 0.5
    assert fitter.params_["mu"] == pytest.approx(mode, abs=0.03)
    value = log_normal(fitter.params_["mu"], 0.0, 0.1) / len(few)
    likelihood = log_normal(few, fitter.params_["mu"], np.sqrt(2)).mean()
    assert fitter.history_["objective"][-50:].mean() == pytest.approx(
        likelihood + value, abs=0.05
    )


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_prior_of_parameters_counts_all_rows(X, method):
    """Not those of a batch alone."""

    class Shrunk(Shift):
        def log_prior_params(self, params):
            return log_normal(params["mu"], 1.0, 0.1)

    shrunk, plain = (
        getattr(fitter_of(model, batch_size=10, max_iter=1), method)(X)
        for model in (Shrunk(), Shift())
    )
    prior = shrunk.history_["objective"][0] - plain.history_["objective"][0]
    assert prior == pytest.approx(log_normal(0.0, 1.0, 0.1) / 150)


def test_fixed_params_stay(X):
    class Scaled(Shift):
        fixed_params = ("scale",)

        def init_params(self, X, rng):
            return {"mu": np.zeros(()), "scale": np.array(1.3)}

        def log_joint(self, params, z, x):
            x = x[:, 0]
            return self.log_prior(params, z) + log_normal(
                x, params["mu"] + z, params["scale"]
            )

        def sample(self, params, n_samples, rng):
            z = rng.standard_normal(n_samples)
            noise = params["scale"] * rng.standard_normal(n_samples)
            return z, (params["mu"] + z + noise)[:, None]

    fitter = fitter_of(Scaled()).fit(X)
    assert fitter.params_["scale"] == 1.3
    assert fitter.params_["mu"] != 0
    assert list(fitter.score_gradient(X[:2])) == ["mu"]


# Functions, models, latents


def test_functions_and_model_are_one(X):
    model = Shift()
    by_model = fitter_of(model, scoring="importance").fit(X)
    start = model.init_params(X, None)
    for init_params in (start, lambda X, rng: start):
        by_functions = functions_of(
            model, init_params, log_prior=model.log_prior, scoring="importance"
        ).fit(X)
        assert_same_params(by_functions.params_, by_model.params_)
        for method in ("score_samples", "transform"):
            np.testing.assert_array_equal(
                getattr(by_functions, method)(X), getattr(by_model, method)(X)
            )


def test_latents_are_arrays_tuples_or_dicts(factors):
    model = FactorAnalysisModel(2)
    params = model.init_params(factors, np.random.default_rng(0))

    def split(z):
        return z[:, 0], z[:, 1:]

    def name(z):
        return {"a": z[:, 0], "b": z[:, 1:]}

    Named = namedtuple("Named", "a b")

    def field(z):
        return Named(z[:, 0], z[:, 1:])

    def join_fields(z):
        return join((z.a, z.b))

    def join(z):
        if isinstance(z, dict):
            z = z["a"], z["b"]
        return anp.concatenate([z[0][:, None], z[1]], axis=1)

    def as_they_are(z):
        return z

    fits = []
    for arrange, back in (
        (as_they_are, as_they_are),
        (split, join),
        (name, join),
        (field, join_fields),
    ):

        def sampler(params, n_samples, rng, arrange=arrange):
            z, x = model.sample(params, n_samples, rng)
            return arrange(z), x

        def log_joint(params, z, x, back=back):
            return model.log_joint(params, back(z), x)

        fitter = fitter_of(None, log_joint=log_joint, sampler=sampler)
        fitter.set_params(init_params=params).fit(factors)
        drawn = fitter.sample(3, random_state=0, return_latent=True)[1]
        assert type(drawn) is type(arrange(np.zeros((1, 2))))
        assert fitter.transform(factors).shape == (300, 2)
        expected = fitter.transform(factors)[:, 0]
        first = fitter.posterior_expectation(factors, lambda z, f=back: f(z)[:, 0])
        np.testing.assert_allclose(first, expected, rtol=1e-10)
        fits.append(fitter)
    for fitter in fits[1:]:
        for name in params:
            np.testing.assert_allclose(
                fitter.params_[name], fits[0].params_[name], rtol=1e-6, atol=1e-8
            )


def test_nothing_to_fit_gives_advice(X):
    with pytest.raises(ValueError, match="needs log_joint, sampler and init_params"):
        WakeSleepFitter().fit(X)
    with pytest.raises(ValueError, match="not both"):
        WakeSleepFitter(Shift().log_joint, model=Shift()).fit(X)


def test_user_objects_are_not_changed(X):
    model, start = Shift(), {"mu": np.array(0.5)}
    given = model, start, X
    before = copy.deepcopy((model.__dict__, start, X))
    regressor = clone(QUICK)
    fitter = fitter_of(model, regressor=regressor, latent_support="real").fit(X)
    assert fitter.model is model and fitter.model_ is not model
    assert not hasattr(regressor, "kernel_ridge_")
    functions_of(model, start).fit(X)
    after = given[0].__dict__, given[1], given[2]
    np.testing.assert_equal(after, before)


# What it keeps


def test_history(X):
    fitter = fitter_of(Shift(), gradient="importance", max_iter=15).fit(X)
    assert tuple(fitter.history_) == HISTORY
    assert fitter.n_iter_ == 15
    for values in fitter.history_.values():
        assert values.shape == (15,)
    assert np.all(fitter.history_["gamma"] == 0.3)
    assert np.all(fitter.history_["alpha"] == 0.1)
    assert np.all(fitter.history_["n_redrawn"] == 0)
    assert np.all(fitter.history_["n_skipped"] == 0)
    assert np.all(fitter.history_["gradient_norm"] > 0)
    sizes = fitter.history_["effective_sample_size"]
    assert np.all((1 <= sizes) & (sizes <= 20))
    shares = fitter.history_["share_of_poor_rows"]
    assert np.all((0 <= shares) & (shares < 0.5))
    assert Estimate(0.0, {}, np.array([1.0, 4.9, 5.0, 9.0])).share_of_poor_rows == 0.5
    assert fitter.gradient_reason_ == "it was asked for"
    joint = fitter_of(Shift(), gradient="joint", max_iter=15).fit(X)
    assert np.isnan(joint.history_["effective_sample_size"]).all()
    assert np.isnan(joint.history_["share_of_poor_rows"]).all()


def test_params_are_the_mean_of_the_last_quarter(X):
    seen = []

    class Watched(Shift):
        def sample(self, params, n_samples, rng):
            seen.append(float(params["mu"]))
            return super().sample(params, n_samples, rng)

    fitter = fitter_of(Watched(), gradient="joint", max_iter=80).fit(X)
    # A dry run and 80 iterations; what the last step led to was never drawn from.
    iterates = np.array(seen[1:81])
    assert iterates[0] == 0.0
    fitted = float(fitter.params_["mu"])
    assert seen[81] == fitted
    last = 20 * fitted - iterates[-19:].sum()
    # The learning rate has decayed to a hundredth.
    assert last == pytest.approx(iterates[-1], abs=0.002)
    assert last != iterates[-1]


def test_warm_start_goes_on(X):
    warm = fitter_of(Shift(), warm_start=True).fit(X)
    first = warm.params_["mu"]
    warm.set_params(max_iter=1, learning_rate=1e-6).fit(X)
    assert warm.n_iter_ == len(warm.history_["objective"]) == 1
    # It starts at the mean of the last quarter, and a step is no longer than the rate.
    assert warm.params_["mu"] == pytest.approx(first, abs=1e-5)
    assert first != 0
    warm.set_params(warm_start=False).fit(X)
    assert warm.params_["mu"] == pytest.approx(0.0, abs=1e-5)


def test_warm_start_goes_on_with_the_optimiser(X):
    warm = fitter_of(Shift(), warm_start=True, max_iter=40).fit(X)
    first = warm.params_["mu"]
    warm.set_params(max_iter=1, learning_rate=0.05).fit(X)
    # The first step of another optimiser is as long as the learning rate.
    assert 0 < abs(warm.params_["mu"] - first) < 0.04


def test_every_sleep_is_another(X):
    """From the first of a fit to those of later calls that go on with it."""
    seen = []
    fitter = fitter_of(recording(Shift, seen)(), warm_start=True, gradient="joint")
    fitter.set_params(batch_size=50).fit(X).fit(X).partial_fit(X)
    # Fifteen iterations or three, and the draws for what the fit says of data.
    assert len(set(seen)) == len(seen) == 16 + 16 + 4


@pytest.mark.parametrize("gradient", ["joint", "likelihood", "importance"])
def test_every_iteration_has_random_numbers_of_its_own(X, gradient):
    """Features or candidates differ, of one sleep set and one batch."""
    run = training(Shift(), {"mu": np.zeros(())}, gradient, QUICK, 1, 0, n_sleep=100)
    sleep, found = run.sleep(), []
    for n_iter in range(3):
        run.n_iter = n_iter
        found.append(run.estimate(sleep, X).objective)
    assert len(set(found)) == 3


def failures(X):
    yield {}, np.full_like(X, np.nan)
    yield {}, np.hstack([X, X])
    yield {"max_iter": 0}, X
    yield {"model": None}, X
    yield {"model": Broken()}, X


class Broken(Shift):
    def log_joint(self, params, z, x):
        raise RuntimeError("no")


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("case", [0, 1, 2, 3, 4])
def test_a_failing_refit_leaves_the_fit_as_it_was(X, warm_start, case):
    fitter = fitter_of(Shift(), warm_start=warm_start).fit(X)
    before = {k: v for k, v in vars(fitter).items() if k.endswith("_")}
    scores = fitter.score_samples(X)
    options, data = list(failures(X))[case]
    if warm_start and "model" in options:
        options = {"max_iter": 0}
    with pytest.raises(ValueError):
        fitter.set_params(**options).fit(data)
    after = {k: v for k, v in vars(fitter).items() if k.endswith("_")}
    assert after.keys() == before.keys()
    assert all(after[k] is before[k] or after[k] == before[k] for k in before)
    np.testing.assert_array_equal(fitter.score_samples(X), scores)


def test_a_failing_warm_start_leaves_the_optimiser_as_it_was(X):
    class Fails(Shift):
        beyond = None

        def sample(self, params, n_samples, rng):
            if self.beyond not in (None, params["mu"]):
                raise RuntimeError("no")
            return super().sample(params, n_samples, rng)

    fitter = fitter_of(Fails(), warm_start=True).fit(X)
    twin = copy.deepcopy(fitter)
    Fails.beyond = float(fitter.params_["mu"])
    with pytest.raises(ValueError, match="RuntimeError"):
        fitter.fit(X)
    Fails.beyond = None
    assert_same_params(fitter.fit(X).params_, twin.fit(X).params_)


def test_a_failing_pass_leaves_the_fit_as_it_was(X):
    fitter = fitter_of(Bounded(), gradient="importance", batch_size=10).partial_fit(X)
    twin = copy.deepcopy(fitter)
    with pytest.raises(ValueError, match="10 steps in a row"):
        fitter.partial_fit(X + 100)
    assert_same_params(fitter.partial_fit(X).params_, twin.partial_fit(X).params_)


def test_partial_fit(X):
    fitter = fitter_of(Shift(), batch_size=40, learning_rate=0.2)
    path = []
    for _ in range(20):
        fitter.partial_fit(X)
        assert fitter.n_iter_ == 4  # batches of at most 40 in 150 rows
        path.append(float(fitter.params_["mu"]))
    assert np.all(np.diff([0.0, *path[:2]]) > 0)
    assert np.mean(path[10:]) == pytest.approx(X.mean(), abs=0.2)
    with pytest.raises(ValueError, match="features"):
        fitter.partial_fit(np.hstack([X, X]))
    assert fitter.params_["mu"] == path[-1]


def test_a_pass_takes_every_row_once(X, wakes):
    fitter = fitter_of(Shift(), batch_size=40)
    for size, n_rows in ((40, 150), (40, 7), (10, 101)):
        wakes.clear()
        fitter.set_params(batch_size=size).partial_fit(X[:n_rows])
        assert all(len(wake) <= size for wake in wakes)
        np.testing.assert_array_equal(
            np.sort(np.concatenate(wakes), axis=0), np.sort(X[:n_rows], axis=0)
        )


def test_every_pass_has_a_random_order_of_its_own(X, wakes):
    fitter = fitter_of(Shift(), batch_size=40).partial_fit(X).partial_fit(X)
    assert fitter.n_iter_ == 4
    first, second = np.split(np.concatenate(wakes), 2)
    for one, other in ((first, X), (second, X), (first, second)):
        assert np.mean(one == other) < 0.1


def test_every_epoch_has_a_random_order_of_its_own(X, wakes):
    fitter_of(Shift(), batch_size=40).fit(X)
    # Three batches an epoch leave out 30 of 150 rows, others every time.
    epochs = [np.unique(np.concatenate(wakes[i : i + 3])) for i in range(0, 15, 3)]
    assert all(len(rows) == 120 for rows in epochs)
    assert len(np.unique(np.concatenate(epochs))) == 150


def test_partial_fit_does_not_ask_for_max_iter(X):
    fitter = fitter_of(Bounded(), gradient="importance", batch_size=40, max_iter=1)
    with pytest.warns(UserWarning, match="25% of the steps were skipped") as record:
        fitter.partial_fit(np.vstack([X, [[20.0]]]))
    assert record[0].filename == __file__
    assert fitter.history_["n_skipped"].sum() == 1


def test_partial_fit_to_one_batch_after_another(X):
    """A bad row skips its batch; ten batches in a row are an error."""
    fitter = fitter_of(Bounded(), gradient="importance").partial_fit(X[:50])
    before = fitter.params_["mu"]
    for _ in range(9):
        with pytest.warns(UserWarning, match="100% of the steps were skipped"):
            fitter.partial_fit(np.vstack([X[:50], [[20.0]]]))
    with pytest.raises(ValueError, match="10 steps in a row had no finite gradient"):
        fitter.partial_fit(np.vstack([X[:50], [[20.0]]]))
    assert fitter.params_["mu"] == before
    fitter.partial_fit(X[:50])
    assert fitter.history_["n_skipped"].tolist() == [0]


@pytest.mark.parametrize(
    "method",
    ["score", "score_samples", "transform", "score_gradient", "sample"],
)
def test_what_needs_a_fit_says_so(X, method):
    arguments = () if method == "sample" else (X,)
    with pytest.raises(NotFittedError):
        getattr(fitter_of(Shift()), method)(*arguments)
    with pytest.raises(NotFittedError):
        fitter_of(Shift()).posterior_expectation(X, lambda z: z)


def test_partial_fit_takes_the_learning_rate_that_is_set(X):
    fitter = fitter_of(Shift()).partial_fit(X)
    others = [copy.deepcopy(fitter).set_params(learning_rate=r) for r in (1e-9, 0.2)]
    steps = [abs(o.partial_fit(X).params_["mu"] - fitter.params_["mu"]) for o in others]
    assert steps[0] < 1e-6 < steps[1]


def test_warm_start_needs_parameters_of_the_same_shapes():
    X = np.random.default_rng(0).standard_normal((60, 3))
    fitter = fitter_of(GaussianMixtureModel(2), warm_start=True).fit(X)
    with pytest.raises(ValueError, match="warm_start goes on from .* not those of"):
        fitter.set_params(model__n_components=3).fit(X)
    assert fitter.params_["means"].shape == (2, 3)


class Bounded(Shift):
    """Shift where no value beyond ten is possible."""

    def log_joint(self, params, z, x):
        inside = anp.abs(x[:, 0]) < 10
        return anp.where(inside, super().log_joint(params, z, x), -anp.inf)


@pytest.mark.parametrize("gradient", ["auto", "likelihood", "importance"])
@pytest.mark.parametrize("max_iter", [5, 15])
def test_impossible_data_are_an_error(X, gradient, max_iter):
    fitter = fitter_of(Bounded(), gradient=gradient, max_iter=max_iter)
    n = min(10, max_iter)
    with pytest.raises(ValueError, match=f"{n} steps in a row had no finite gradient"):
        fitter.fit(X + 100)


class Spike(Shift):
    """A log-joint that is infinite at rare latents."""

    def log_joint(self, params, z, x):
        value = super().log_joint(params, z, x)
        return anp.where(z > 4.0, np.inf, value)


@pytest.mark.filterwarnings("ignore:.*of the steps were skipped")
@pytest.mark.filterwarnings("ignore:the gradient still pointed one way")
def test_steps_with_an_infinite_log_joint_are_skipped(X):
    """Over 8 seeds a tenth to four tenths of the steps."""
    options = {"gradient": "importance", "max_iter": 30, "n_proposals": 30}
    fitter = fitter_of(Spike(), **options, n_sleep=200).fit(X)
    assert 0 < fitter.history_["n_skipped"].mean() < 0.7


def test_rows_that_are_impossible(X):
    fitter = fitter_of(Bounded(), gradient="importance", max_iter=1)
    fitter.fit(X).fit(np.vstack([X, [[20.0]]]))
    some = np.array([[0.5], [20.0], [1.0]])
    with pytest.warns(
        UserWarning, match=r"rows of X are impossible under the model, 1.*\[20.\]"
    ):
        scores = fitter.score_samples(some)
    assert scores[1] == -np.inf and np.isfinite(scores[[0, 2]]).all()
    alone = fitter.score_samples(some[[0, 2]])
    np.testing.assert_allclose(scores[[0, 2]], alone, rtol=1e-12)
    gap = fitter._posterior.gap
    assert gap(some) == pytest.approx(gap(some[[0, 2]]), rel=1e-9)
    for method in (fitter.transform, fitter.score_gradient):
        with pytest.raises(
            ValueError, match=r"rows of X are impossible under the model, 1.*\[20.\]"
        ):
            method(some)


def bounded_run(regressor):
    start = {"mu": np.zeros(())}
    return training(Bounded(), start, "importance", regressor, 1, 0, n_sleep=100)


def test_a_bandwidth_is_chosen_anew_after_a_step_without_a_gradient(X):
    run = bounded_run(GOOD)
    for wake in (X, X, X + 100, X, X):
        run.iterate(wake, 150, 1.0)
    assert run.history["n_skipped"] == [0, 0, 1, 0, 0]
    first, last = run.history["gamma"][0], run.history["gamma"][-1]
    assert run.history["gamma"] == [first] * 3 + [last] * 2
    assert first != last


def test_only_steps_in_a_row_without_a_gradient_are_an_error(X):
    run = bounded_run(QUICK)
    for _ in range(12):
        run.iterate(X + 100, 150, 1.0)
        run.iterate(X, 150, 1.0)
    assert run.history["n_skipped"] == [1, 0] * 12


def zero_inflated_error(gradient, seed):
    """Largest error of the parameters; a count rules out the inflating latent."""

    def sampler(params, n, rng):
        z = (rng.random(n) < expit(params["logit"])).astype(np.uint64)
        return z, (rng.poisson(np.exp(params["log_rate"]), n) * (1 - z))[:, None]

    def log_joint(params, z, x):
        rate, zero = params["log_rate"], anp.log1p(anp.exp(-params["logit"]))
        count = x[:, 0] * rate - anp.exp(rate) - gammaln(x[:, 0] + 1)
        inflated = anp.where(x[:, 0] == 0, anp.zeros(len(x)), -anp.inf)
        log_prior = -(1 - z) * params["logit"] - zero
        return log_prior + anp.where(z == 1, inflated, count)

    truth = {"logit": -1.0, "log_rate": 1.2}
    X = sampler(truth, 1000, np.random.default_rng(seed))[1]
    fitter = WakeSleepFitter(
        log_joint,
        sampler,
        {"logit": 0.0, "log_rate": 0.5},
        gradient=gradient,
        n_sleep=500,
        max_iter=150,
        learning_rate=0.05,
        random_state=seed,
    ).fit(X)
    assert not fitter.history_["n_skipped"].any()
    return max(abs(fitter.params_[name] - truth[name]) for name in truth)


@pytest.mark.parametrize("gradient", ["likelihood", "importance"])
def test_latents_may_exclude_data(gradient):
    said = nullcontext()
    if gradient == "likelihood":
        said = pytest.warns(UserWarning, match="exclude each other, in 100% of the")
    with said:
        assert zero_inflated_error(gradient, seed=0) < 0.25  # 20 seeds: at most 0.144


def negative_binomial_gap(seed):
    """Nats a row below the maximum, of a start whose draws reach a quarter as far."""

    def sampler(params, n, rng):
        shape = np.exp(params["log_shape"])
        z = rng.gamma(shape, 1 / shape, n)
        return z, rng.poisson(np.exp(params["log_mean"]) * z)[:, None]

    def log_joint(params, z, x):
        k, rate = anp.exp(params["log_shape"]), anp.exp(params["log_mean"]) * z
        log_prior = k * anp.log(k) + (k - 1) * anp.log(z) - k * z - gammaln(k)
        return log_prior + x[:, 0] * anp.log(rate) - rate - gammaln(x[:, 0] + 1)

    def exact(log_mean, log_shape):
        k = np.exp(log_shape)
        return nbinom.logpmf(X, k, k / (k + np.exp(log_mean))).mean()

    rng = np.random.default_rng(seed)
    X = rng.poisson(4 * rng.gamma(1.5, 1 / 1.5, (500, 1)))
    fitter = WakeSleepFitter(
        log_joint,
        sampler,
        {"log_mean": 0.0, "log_shape": 0.0},
        latent_support="positive",
        n_sleep=500,
        max_iter=150,
        learning_rate=0.05,
        random_state=seed,
    ).fit(X)
    best = minimize(lambda v: -exact(*v), [1.4, 0.4], method="Nelder-Mead")
    return -best.fun - exact(**fitter.params_)


def test_rows_beyond_the_sleep_draws_do_not_lead_astray():
    assert negative_binomial_gap(seed=0) < 0.001  # 20 seeds: at most 0.0003


def test_tol_stops_early(X):
    X = X - X.mean()
    # The window of 80 / 4 iterations is full, and no drift is as large as that.
    # Not before half of the schedule: what is averaged would begin at the start.
    assert fitter_of(Shift(), max_iter=80, tol=100.0).fit(X).n_iter_ == 41
    drifts = fitter_of(Shift(), max_iter=80, tol=1e-9).fit(X)
    assert drifts.n_iter_ == 80 or drifts.converged_


def test_convergence_warning(X):
    fitter = fitter_of(Shift(), max_iter=80, learning_rate=1e-4)
    with pytest.warns(ConvergenceWarning, match="max_iter") as record:
        fitter.fit(X + 5)
    assert len(record) == 1
    assert not fitter.converged_


def test_warnings_point_at_the_call(X):
    fitter = fitter_of(Shift(), max_iter=80, learning_rate=1e-4)
    with pytest.warns(ConvergenceWarning) as record:
        fitter.fit(X + 5)
    assert record[0].filename == __file__


def test_warnings_of_scores_point_at_the_call(X):
    fitter = fitter_of(Bounded(), gradient="importance").fit(X)
    for method in (fitter.score_samples, fitter.score):
        with pytest.warns(UserWarning, match="impossible") as record:
            method(np.vstack([X, [[20.0]]]))
        assert [warning.filename for warning in record] == [__file__]


def test_converged_at_the_optimum(X):
    assert fitter_of(Shift(), max_iter=400).fit(X).converged_


def test_drift_is_of_gradients_in_units_of_their_size(X):
    fitter = fitter_of(in_two_units(Shift, "mu")(), gradient="joint", max_iter=80)
    gradients = np.array(fitter.fit(X)._run.window.gradients)
    size, small = np.abs(gradients).mean(axis=0)
    np.testing.assert_allclose(small, size, rtol=0.01)


@pytest.fixture(scope="module")
def series():
    model = Chain(2, 5)
    start = model.init_params(None, None)
    return model.sample(start, 60, np.random.default_rng(0))[1]


def test_drift_with_wider_windows_is_in_units_of_sizes_too(series, monkeypatch):
    seen = []

    def watched(gradients):
        seen.append(np.array(gradients))
        return 0.0

    monkeypatch.setattr(training_module, "drift", watched)
    model = in_two_units(Chain, "means")(2, 5, half_width=1)
    fitter_of(model, max_iter=3).fit(series)
    (gradients,) = seen
    # Of 20 parts of the data: four logits, two means, a scale, small means.
    assert gradients.shape == (20, 9)
    means, small = np.abs(gradients[:, 4:6]), np.abs(gradients[:, 7:])
    # Each has a multiple of the control variate of its own: 0.13 apart in 20 seeds.
    np.testing.assert_allclose(small.mean(0), means.mean(0), rtol=0.5)


def test_every_part_of_the_data_has_a_sleep_for_wider_windows(series):
    seen = []
    model = recording(Chain, seen)(2, 5, half_width=1)
    fitter_of(model, max_iter=2).fit(series)
    assert len(set(seen)) == len(seen) == 2 + 1 + 20


@pytest.mark.parametrize("share, warns", [(0.99, False), (1.01, True), (np.nan, False)])
def test_windows_that_are_too_narrow_are_warned_of(series, monkeypatch, share, warns):
    found = share * DRIFTING
    monkeypatch.setattr(Training, "wider_windows_drift", lambda self, X: found)
    fitter = fitter_of(Chain(2, 5, half_width=1), max_iter=2)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        fitter.fit(series)
    assert [w for w in record if "twice the half-width" in str(w.message)] == record
    assert len(record) == warns
    np.testing.assert_array_equal(fitter.history_["wider_windows_drift"], [found])


def test_a_seed_fixes_every_bit(factors):
    fits = [
        fitter_of(FactorAnalysisModel(1), random_state=seed).fit(factors)
        for seed in (0, 0, 1)
    ]
    assert_same_params(fits[0].params_, fits[1].params_)
    np.testing.assert_equal(fits[0].history_, fits[1].history_)
    np.testing.assert_array_equal(*(f.transform(factors) for f in fits[:2]))
    assert np.all(fits[0].params_["loadings"] != fits[2].params_["loadings"])


def test_results_do_not_depend_on_n_jobs(X):
    options = {"gradient": "joint", "n_sleep": 21_000, "max_iter": 2}
    one, two = (
        fitter_of(Shift(), n_jobs=n_jobs, **options).fit(X) for n_jobs in (None, 2)
    )
    assert_same_params(one.params_, two.params_)
    assert one.params_["mu"] != 0


@pytest.mark.parametrize("copied", ["pickle", "joblib", "deepcopy"])
def test_copies(X, tmp_path, copied):
    fitter = fitter_of(Shift()).fit(X)
    if copied == "pickle":
        other = pickle.loads(pickle.dumps(fitter))
    elif copied == "joblib":
        joblib.dump(fitter, tmp_path / "fitter")
        other = joblib.load(tmp_path / "fitter")
    else:
        other = copy.deepcopy(fitter)
    assert_same_params(other.params_, fitter.params_)
    np.testing.assert_array_equal(other.score_samples(X), fitter.score_samples(X))
    np.testing.assert_array_equal(other.sample(3), fitter.sample(3))
    assert not hasattr(clone(fitter), "params_")
    assert_same_params(clone(fitter).fit(X).params_, fitter.params_)


# Data in and out


@pytest.mark.parametrize(
    "convert",
    [
        pd.DataFrame,
        pl.DataFrame,
        partial(np.asarray, order="F"),
        np.ndarray.tolist,
    ],
    ids=["pandas", "polars", "fortran", "lists"],
)
def test_any_table_will_do(factors, convert):
    fitter = fitter_of(FactorAnalysisModel(1)).fit(factors)
    data = convert(factors)
    if hasattr(data, "columns"):
        data.columns = list("abcd")
    other = clone(fitter).fit(data)
    assert_same_params(other.params_, fitter.params_)
    # Sums over memory laid out otherwise.
    np.testing.assert_allclose(
        other.score_samples(data), fitter.score_samples(factors), rtol=1e-12
    )
    # scikit-learn 1.6 does not see the names of every polars.
    if not isinstance(data, pl.DataFrame):
        assert hasattr(other, "feature_names_in_") == hasattr(data, "columns")


def test_names_of_columns_go_with_the_data(X):
    fitter = fitter_of(Shift()).fit(pd.DataFrame(X, columns=["a"]))
    assert fitter.feature_names_in_.tolist() == ["a"]
    fitter.fit(X).partial_fit(X)
    assert not hasattr(fitter, "feature_names_in_")


def test_float32_is_made_float64(factors):
    single = factors.astype(np.float32)
    model = FactorAnalysisModel(1)
    one, other = (fitter_of(model).fit(X) for X in (single, single.astype(float)))
    assert_same_params(one.params_, other.params_)
    assert all(value.dtype == np.float64 for value in one.params_.values())
    assert one.transform(single).dtype == np.float64


@pytest.mark.parametrize("library, frame", [("pandas", pd), ("polars", pl)])
def test_set_output(factors, library, frame):
    fitter = fitter_of(FactorAnalysisModel(2)).fit(factors)
    plain = fitter.transform(factors)
    assert isinstance(plain, np.ndarray)
    Z = fitter.set_output(transform=library).transform(factors)
    assert isinstance(Z, frame.DataFrame)
    names = ["wakesleepfitter0", "wakesleepfitter1"]
    assert list(Z.columns) == list(fitter.get_feature_names_out()) == names
    np.testing.assert_array_equal(Z.to_numpy(), plain)


def test_pipeline_and_search_over_the_regression(factors):
    pipeline = make_pipeline(StandardScaler(), fitter_of(FactorAnalysisModel(1)))
    grid = {"wakesleepfitter__regressor__gamma": [0.1, "median"]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(factors)
    scores = search.cv_results_["mean_test_score"]
    assert scores.shape == (2,) and np.isfinite(scores).all()
    assert search.best_estimator_.transform(factors).shape == (300, 1)


def test_search_over_the_model():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 1)) * 0.5
    X[:150] += 4
    fitter = fitter_of(Spread(1), max_iter=150)
    search = GridSearchCV(fitter, {"model__n_components": [1, 2]}, cv=2).fit(X)
    assert search.best_params_ == {"model__n_components": 2}
    assert search.best_estimator_.params_["means"].shape == (2, 1)


# What it says of data


def test_transform_is_the_posterior_mean(factors, factor_fit):
    mean, variance = posterior_of(factor_fit, factors)
    Z = factor_fit.transform(factors)
    assert Z.shape == (300, 1)
    # Over 20 seeds at most 0.042 and 0.005, here and below: errors average out.
    errors = (Z[:, 0] - mean) / np.sqrt(variance)
    assert rms(errors) < 0.05 and abs(errors.mean()) < 0.01
    moment = factor_fit.posterior_expectation(factors, lambda z: z[:, 0] ** 2)
    errors = moment / (mean**2 + variance) - 1
    assert rms(errors) < 0.05 and abs(errors.mean()) < 0.01


def test_transform_of_categories_is_their_probabilities():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 1)) + np.repeat([0, 2], 100)[:, None]
    fitter = fitter_of(GaussianMixtureModel(2), max_iter=200).fit(X)
    weights = np.exp(fitter.params_["logits"])
    scales = fitter.params_["min_scale"] + np.exp(fitter.params_["log_scale"])
    densities = weights * np.exp(log_normal(X, fitter.params_["means"].T, scales.T))
    expected = densities / densities.sum(axis=1, keepdims=True)
    assert rms(fitter.transform(X) - expected) < 0.05
    np.testing.assert_allclose(fitter.transform(X).sum(axis=1), 1, rtol=1e-12)


def test_categories_that_are_not_declared_are_those_of_the_sleep_draws():
    """Not those of the candidates, which differ from row to row."""

    def sampler(params, n, rng):
        z = rng.poisson(2.0, n)
        return z, params["mu"] + z[:, None] + rng.standard_normal((n, 1))

    def log_joint(params, z, x):
        log_prior = z * np.log(2.0) - 2 - gammaln(z + 1.0)
        return log_prior + log_normal(x[:, 0], params["mu"] + z, 1.0)

    X = sampler({"mu": 0.5}, 150, np.random.default_rng(0))[1]
    fitter = fitter_of(None, log_joint=log_joint, sampler=sampler, n_proposals=3)
    options = {"gradient": "importance", "max_iter": 2}
    fitter.set_params(init_params={"mu": np.zeros(())}, **options).fit(X)
    Z = fitter.transform(X)
    assert Z.shape == (150, len(fitter.get_feature_names_out()))
    for row in (0, X.argmin()):
        np.testing.assert_allclose(fitter.transform(X[[row]]), Z[[row]])


def test_few_effective_candidates_are_not_used(X):
    options = {"gradient": "likelihood", "max_iter": 1}
    fitter = fitter_of(AnyLatent(), **options).fit(X + 7)
    posterior = fitter._posterior
    assert 0 < posterior.effective_sample_size(X + 7) < 10
    expected = fitter.regressor_.predict(posterior.rows(X))
    np.testing.assert_allclose(fitter.transform(X), expected, atol=1e-8)


def test_one_row_does_not_decide_how_expectations_are_taken(X):
    fitter = fitter_of(AnyLatent(), max_iter=1).fit(np.vstack([[[9.0]], X]))
    assert fitter._posterior.effective_sample_size(np.array([[9.0]])) < 10
    mean = (X[:, 0] - fitter.params_["mu"]) / 2
    assert fitter._posterior.by_importance
    assert rms(fitter.transform(X)[:, 0] - mean) < 0.2


def test_the_effective_sample_size_is_the_median(X, monkeypatch):
    posterior = fitter_of(Shift(), max_iter=1).fit(X)._posterior
    monkeypatch.setattr(posterior, "bounds", lambda X: (None, np.array([30.0, 1, 2])))
    assert posterior.effective_sample_size(X) == 2


def test_residuals_of_proposals_count_degrees_of_freedom(X, monkeypatch):
    seen, fit_residuals = [], Proposal.fit_residuals

    def watched(self, scatter, n_samples, degrees_of_freedom):
        seen.append(degrees_of_freedom)
        fit_residuals(self, scatter, n_samples, degrees_of_freedom)

    monkeypatch.setattr(Proposal, "fit_residuals", watched)
    fitter_of(Shift(), gradient="importance", max_iter=1).fit(X)
    # Two of the trend and up to 30 of the features, in the loop and after it.
    assert len(seen) == 2 and all(2 < found < 32 for found in seen)


def test_posterior_expectation_of_any_shape(factors, factor_fit):
    X = factors[:7]

    def powers(z):
        return np.stack([np.ones_like(z), z], axis=2)

    expectation = factor_fit.posterior_expectation(X, powers)
    assert expectation.shape == (7, 1, 2)
    np.testing.assert_allclose(expectation[:, 0, 0], 1, rtol=1e-12)
    np.testing.assert_allclose(expectation[:, :, 1], factor_fit.transform(X))


@pytest.mark.parametrize("func", [lambda z: 1.0, np.sum, np.transpose])
def test_expectation_of_what_is_not_a_row_each_is_refused(factors, factor_fit, func):
    with pytest.raises(ValueError, match="func must return an array of shape"):
        factor_fit.posterior_expectation(factors[:7], func)


def test_score_gradient_is_the_score(factors, factor_fit):
    X = factors[:20]
    estimates = factor_fit.score_gradient(X)
    exact = exact_scores(factor_fit.model_, factor_fit.params_, X)
    assert estimates.keys() == exact.keys() == {"loadings", "mean", "log_scale"}
    for name, expected in exact.items():
        assert estimates[name].shape == (20, *factor_fit.params_[name].shape)
        error = np.linalg.norm(estimates[name] - expected) / np.linalg.norm(expected)
        assert error < 0.1
    alone = factor_fit.score_gradient(X[3:4])
    for name in exact:
        np.testing.assert_allclose(alone[name][0], estimates[name][3], rtol=1e-8)


@pytest.mark.parametrize("gradient", ["joint", "likelihood"])
def test_score_gradient_by_regression(X, gradient):
    """Of a model whose latents are anything: d/dmu log N(x; mu, 2) = (x - mu) / 2."""

    class Anything(Shift):
        latent_support = "any"
        log_prior = None

    fitter = fitter_of(
        Anything(), gradient=gradient, regressor=GOOD, n_sleep=1000, max_iter=1
    )
    fitter.fit(X)
    score = (X[:, 0] - fitter.params_["mu"]) / 2
    estimate = fitter.score_gradient(X)["mu"]
    assert np.linalg.norm(estimate - score) < 0.2 * np.linalg.norm(score)


class Levels(LatentVariableModel):
    """z_t ~ N(m, 1), x_t | z_t ~ N(z_t, 1), every step a term."""

    term_columns = windows(4, 1)

    def init_params(self, X, rng):
        return {"m": np.zeros(())}

    def sample(self, params, n_samples, rng):
        z = params["m"] + rng.standard_normal((n_samples, 4))
        return z, z + rng.standard_normal((n_samples, 4))

    def log_joint(self, params, z, x):
        return log_normal(z, params["m"], 1.0) + log_normal(x, z, 1.0)


@pytest.mark.parametrize("gradient", ["joint", "likelihood"])
def test_score_gradient_sums_over_local_terms(gradient):
    X = Levels().sample({"m": 0.5}, 20, np.random.default_rng(0))[1]
    fitter = fitter_of(Levels(), gradient=gradient, n_sleep=500, max_iter=2).fit(X)
    # The score is the sum of z_t - m, and E[z_t - m | x] half of x_t - m.
    score = (X - fitter.params_["m"]).sum(axis=1) / 2
    estimate = fitter.score_gradient(X)["m"]
    assert np.linalg.norm(estimate - score) < 0.2 * np.linalg.norm(score)


def test_probabilities_of_windows_are_probabilities():
    model = Chain(3, 6, half_width=1)
    X = model.sample(model.init_params(None, None), 60, np.random.default_rng(0))[1]
    fitter = fitter_of(model, n_sleep=100, max_iter=2).fit(X)
    raw = fitter.posterior_expectation(X, lambda z: z[..., None] == np.arange(3))
    assert raw.min() < -0.01 and raw.max() > 1.01
    p = fitter.transform(X).reshape(60, 6, 3)
    np.testing.assert_allclose(p.sum(axis=2), 1, rtol=1e-12)
    clipped = np.clip(raw, 0, 1)
    clipped = clipped / clipped.sum(axis=2, keepdims=True)
    np.testing.assert_allclose(p, clipped, atol=1e-12)


def test_terms_count_in_the_size_of_the_final_sleep_set():
    """Ten thousand rows of the regression: 500 draws of 20 terms."""
    model = Chain(2, 20, half_width=0)
    X = model.sample(model.init_params(None, None), 3, np.random.default_rng(0))[1]
    fitter = fitter_of(model, n_sleep=300).partial_fit(X)
    assert len(fitter._posterior.draws.x) == 500


def test_means_of_windows_beside_probabilities(series):
    class Both(Chain):
        latent_support = ["real", ("categorical", 2)]

        def sample(self, params, n_samples, rng):
            z, x = super().sample(params, n_samples, rng)
            return (x + rng.standard_normal(x.shape), z), x

        def log_joint(self, params, z, x):
            return super().log_joint(params, z[1], x) + log_normal(z[0], x, 1.0)

    def both(z):
        return np.concatenate([z[0][..., None], z[1][..., None] == [0, 1]], axis=2)

    fitter = fitter_of(Both(2, 5, half_width=1), max_iter=2).fit(series)
    raw = fitter.posterior_expectation(series, both)
    assert raw[..., 1:].min() < -0.01
    found = fitter.transform(series).reshape(60, 5, 3)
    np.testing.assert_allclose(found[..., 0], raw[..., 0])
    clipped = np.clip(raw[..., 1:], 0, 1)
    clipped = clipped / clipped.sum(axis=2, keepdims=True)
    np.testing.assert_allclose(found[..., 1:], clipped, atol=1e-12)


@pytest.mark.parametrize(
    "term_columns, shapes, is_local",
    [
        (windows(3, 1), [(5, 3), (5, 3, 2)], True),
        (windows(3, 1), [(5, 3), (5, 2)], False),
        # As many entries as there are terms of the first width.
        ([[0], [1], [0, 1], [1, 2]], [(5, 2)], False),
    ],
)
def test_latents_with_an_entry_for_each_term_have_windows(
    term_columns, shapes, is_local
):
    regression = Regression(QUICK, term_columns, 3)
    block = posterior_block(regression, tuple(np.zeros(shape) for shape in shapes))
    assert (block.columns is not None) == is_local


def test_score_gradient_by_likelihood_has_the_data_in_it(X):
    """What a rough regression says of x itself does not matter."""

    class NoPrior(AnyLatent):
        log_prior = None

    rough = AmortisedGradientRegressor(n_components=30, gamma=0.3, alpha=10.0)
    options = {"regressor": rough, "gradient": "likelihood", "max_iter": 1}
    fitter = fitter_of(NoPrior(), **options).fit(X)
    expected = X[:, 0] - fitter.params_["mu"] - fitter.transform(X)[:, 0]
    np.testing.assert_allclose(fitter.score_gradient(X)["mu"], expected, atol=1e-8)


def test_score_gradient_is_finite_where_candidates_are_impossible():
    """The gradient of the log-joint is NaN there, and the weight zero."""

    class GammaShape(LatentVariableModel):
        latent_support = "real"

        def init_params(self, X, rng):
            return {"shape": np.array(2.0)}

        def sample(self, params, n_samples, rng):
            z = rng.gamma(params["shape"], 1.0, n_samples)
            return z, (z + rng.standard_normal(n_samples))[:, None]

        def log_joint(self, params, z, x):
            k = params["shape"]
            log_prior = (k - 1) * anp.log(z) - z - gammaln(k)
            inside = log_prior + log_normal(x[:, 0], z, 1.0)
            return anp.where(z > 0, inside, -anp.inf)

    model = GammaShape()
    X = model.sample({"shape": 2.0}, 50, np.random.default_rng(0))[1]
    fitter = fitter_of(model, gradient="importance", max_iter=1).fit(X)
    assert fitter._posterior.by_importance
    assert np.isfinite(fitter.score_gradient(X)["shape"]).all()


def test_scores_are_repeatable_and_of_a_row_alone(factors, factor_fit):
    fitter = clone(factor_fit).set_params(scoring="importance", max_iter=15)
    fitter.fit(factors)
    scores = fitter.score_samples(factors)
    np.testing.assert_array_equal(fitter.score_samples(factors), scores)
    zeros = fitter.score_samples(np.zeros((1, 4)))
    np.testing.assert_array_equal(fitter.score_samples(-np.zeros((1, 4))), zeros)
    one_by_one = [fitter.score_samples(row[None])[0] for row in factors[:9]]
    np.testing.assert_allclose(one_by_one, scores[:9], rtol=1e-10)
    np.testing.assert_allclose(fitter.score_samples(factors[::-1]), scores[::-1])
    assert fitter.score(factors) == pytest.approx(scores.mean(), rel=1e-12)
    exact = fitter.model_.exact_log_likelihood(fitter.params_, factors)
    np.testing.assert_allclose(scores, exact, atol=0.1)


def test_errors_of_scores_average_out():
    """In standard errors; over 40 seeds 2.1, with the same draws for all rows 17."""
    X, noisy = np.random.default_rng(0).standard_normal((400, 1)), []
    for seed in range(5):
        fitter = fitter_of(Shift(), scoring="importance", max_iter=1, random_state=seed)
        fitter.fit(X)
        exact = log_normal(X[:, 0], fitter.params_["mu"], np.sqrt(2))
        errors = fitter.score_samples(X) - exact
        noisy.append(np.mean(errors) / (rms(errors) / np.sqrt(400)))
    assert rms(noisy) < 6


def test_scores_of_a_mixture_are_nearly_exact():
    X = np.random.default_rng(0).standard_normal((100, 2))
    fitter = fitter_of(GaussianMixtureModel(2), scoring="importance").fit(X)
    exact = fitter.model_.exact_log_likelihood(fitter.params_, X)
    assert rms(fitter.score_samples(X) - exact) < 0.05


def test_scoring_rules(X):
    class NoPrior(Shift):
        log_prior = None

    class Anything(NoPrior):
        latent_support = "any"

    class Exact(Shift):
        def exact_log_likelihood(self, params, X):
            return log_normal(X[:, 0], params["mu"], np.sqrt(2))

    def scores_of(model, scoring="auto"):
        return fitter_of(model, scoring=scoring).fit(X).score_samples(X)

    exact = scores_of(Exact())
    importance = scores_of(Shift())
    np.testing.assert_array_equal(scores_of(Exact(), "exact"), exact)
    np.testing.assert_array_equal(scores_of(Exact(), "importance"), importance)
    np.testing.assert_allclose(importance, exact, atol=0.1)
    assert np.abs(importance - exact).max() > 0
    np.testing.assert_allclose(scores_of(NoPrior()), exact, atol=0.1)

    energy = scores_of(Shift(), "energy")
    fitter = fitter_of(Anything()).fit(X)
    # E|x - y| and E|y - y'| of normal variables.
    distance = fitter.params_["mu"] - X[:, 0]
    spread = np.sqrt(2 / np.pi)
    expected = spread - mean_distance(distance, np.sqrt(2))
    np.testing.assert_allclose(fitter.score_samples(X), expected, atol=0.15)
    assert energy.shape == exact.shape

    for model, scoring in ((Shift(), "exact"), (Anything(), "importance")):
        with pytest.raises(ValueError, match="scoring must be 'auto' or one of"):
            scores_of(model, scoring)


def test_local_terms_are_scored_by_their_draws():
    assert scoring_rule("auto", Levels(), ["real"]) == "energy"


def test_sleep_latents_give_the_log_likelihood(X):
    fitter = fitter_of(AnyLatent(), n_sleep=1000).fit(X)
    exact = log_normal(X[:, 0], fitter.params_["mu"], np.sqrt(2))
    np.testing.assert_allclose(fitter.score_samples(X), exact, atol=0.2)
    assert fitter.score(X) == pytest.approx(exact.mean(), abs=0.02)


def test_a_loose_bound_is_warned_of(X):
    fitter = fitter_of(AnyLatent(), gradient="likelihood", max_iter=1).fit(X + 7)
    with pytest.warns(UserWarning, match="a loose lower bound, by 0"):
        fitter.score(X + 7)


@pytest.mark.parametrize("size, warned", [(2.0, True), (10.0, False)])
def test_a_minority_of_poor_rows_makes_a_loose_bound(X, monkeypatch, size, warned):
    """A tenth of the rows: 0.025 nats a row, or 0.005."""
    fitter = fitter_of(AnyLatent(), gradient="likelihood", max_iter=1).fit(X)
    sizes = np.where(np.arange(len(X)) % 10, 1e9, size)
    monkeypatch.setattr(fitter._posterior, "bounds", lambda X: (-sizes, sizes))
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        fitter.score(X)
    messages = [str(w.message) for w in record]
    assert [f"bound, by {0.05 / size:.2f} nats" in m for m in messages] == [
        True
    ] * warned


BLIND = AmortisedGradientRegressor(FunctionTransformer(np.zeros_like), alpha=1.0)


@pytest.mark.parametrize("gradient", ["joint", "direct"])
def test_a_gradient_that_vanished_at_the_wrong_place_is_warned_of(X, gradient):
    """N(0, 2) is 1 / 4 below the maximum for data of mean 1, and a Newton step less."""
    options = {"gradient": gradient, "regressor": BLIND, "max_iter": 80}
    fitter = fitter_of(Shift(), learning_rate=1e-9, n_sleep=50, **options)
    rows = X - X.mean() + 1
    message = "be higher elsewhere, by .* take gradient='importance', or a larger n_sle"
    with pytest.warns(UserWarning, match=message) as record:
        fitter.fit(rows)
    assert record[0].filename == __file__
    assert fitter.converged_
    score = fitter.score_gradient(rows)["mu"]
    expected = 0.5 * score.mean() ** 2 / np.mean(score**2)
    # By four times the candidates.
    assert fitter._posterior.gap(rows) == pytest.approx(expected, 0.02)
    exact = (rows[:, 0] - fitter.params_["mu"]) / 2
    assert expected == pytest.approx(0.5 * exact.mean() ** 2 / np.mean(exact**2), 0.1)


class Spiked(Shift):
    """Its log-joint is infinite at one row of data."""

    def log_joint(self, params, z, x):
        return super().log_joint(params, z, x) + anp.where(x[:, 0] == 5.0, anp.inf, 0.0)


def test_a_test_that_cannot_be_done_loses_no_fit():
    rows = Shift().sample({"mu": 0.0}, 400, np.random.default_rng(0))[1]
    options = {"gradient": "joint", "max_iter": 100, "regressor": None}
    good = fitter_of(Shift(), **options).fit(rows)
    assert good.converged_
    assert good._posterior.gap(rows) < 0.01
    assert good._posterior.gap(np.vstack([rows, [[5.0]]])) < 0.02
    fitter = fitter_of(Spiked(), **options).fit(np.vstack([rows, [[5.0]]]))
    assert fitter._posterior.gap(np.array([[5.0], [0.0]])) == 0


def test_the_gap_is_that_of_rows_with_a_finite_score(X, monkeypatch):
    """Of scores 1 and 2: half the square of their mean over the mean square."""
    posterior = fitter_of(Shift(), max_iter=1).fit(X)._posterior
    scores = [{"mu": value} for value in (1.0, np.nan, 2.0, np.inf)]
    name, instead = "_scores_by_importance", lambda X, skip_impossible: scores
    monkeypatch.setattr(posterior, name, instead)
    assert posterior.gap(X[:4]) == pytest.approx(0.5 * 1.5**2 / 2.5)
    scores[:] = scores[1::2]
    assert posterior.gap(X[:4]) == 0


def test_rotations_of_factors_are_no_gap():
    """Of 48 parameters and errors alone: over 10 seeds 0.008 to 0.017."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 2)) @ rng.standard_normal((2, 6))
    X += rng.standard_normal(X.shape)
    options = {"max_iter": 300, "learning_rate": 0.03, "n_sleep": 500}
    # A warning would be an error.
    fitter = WakeSleepFitter(model=FactorAnalysisModel(6), random_state=0, **options)
    assert 0 < fitter.fit(X)._posterior.gap(X) < 48 / 2000


class PartlyFixed(Shift):
    fixed_params = ("fixed",)


class WithPrior(PartlyFixed):
    def log_prior_params(self, params):
        return 0.0


@pytest.mark.parametrize(
    "n_rows, n_params, gap, changed, warned",
    [
        # Two nats of all rows.
        (100, 1, 0.019, {}, False),
        (100, 1, 0.021, {}, True),
        # Chance gives five of a hundred and a hundred rows.
        (100, 5, 0.024, {}, False),
        (100, 5, 0.026, {}, True),
        # A hundredth a row.
        (500, 1, 0.009, {}, False),
        (500, 1, 0.011, {}, True),
        # By 2000 of 3000 rows (100 + 10 sqrt(200) / 3) / 4000.
        (3000, 100, 0.0367, {}, False),
        (3000, 100, 0.0369, {}, True),
        # Too many parameters, and too many for the rows.
        (3000, 101, 9.0, {}, False),
        (100, 6, 9.0, {}, False),
        (1000, 1, 9.0, {"model_": WithPrior()}, False),
        (1000, 1, 9.0, {"drift": 0.99 * DRIFTING}, True),
        (1000, 1, 9.0, {"drift": 1.01 * DRIFTING}, False),
        (1000, 1, 9.0, {"drift": np.nan}, False),
        (1000, 1, 9.0, {"gradient_": "importance"}, True),
        (1000, 1, 9.0, {"by_importance": False}, False),
    ],
)
def test_gaps_that_are_warned_of(n_rows, n_params, gap, changed, warned):
    seen = []

    def watched(rows):
        seen.append(rows)
        return gap

    fitter = WakeSleepFitter()
    fitter._posterior = SimpleNamespace(gap=watched, by_importance=True)
    window = SimpleNamespace(drift=lambda: changed.get("drift", 0.0))
    rng = np.random.default_rng(0)
    fitter._run = SimpleNamespace(rng=lambda key: rng, window=window)
    fitter.model_, fitter.gradient_ = PartlyFixed(), "joint"
    fitter.params_ = {"mu": np.zeros(n_params), "fixed": np.zeros(1000)}
    for name, value in changed.items():
        setattr(fitter._posterior if name == "by_importance" else fitter, name, value)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        fitter._warn_of_gap(np.arange(n_rows))
    assert len(record) == warned
    for warning in record:
        by_importance = fitter.gradient_ == "importance"
        assert ("n_proposals" in str(warning.message)) == by_importance
        assert warning.category is ConvergenceWarning
    for rows in seen:
        expected = min(n_rows, max(500, 20 * n_params))
        assert len(rows) == len(np.unique(rows)) == expected


@pytest.mark.parametrize(
    "gradient, n_infinite, n_skipped, drift, messages",
    [
        ("joint", 0, 0, 0.99 * DRIFTING, []),
        ("joint", 0, 0, 1.01 * DRIFTING, ["one way"]),
        ("likelihood", 2, 0, 0.0, []),
        ("likelihood", 3, 0, 0.0, ["exclude each other, in 15% of the steps"]),
        ("joint", 3, 0, 0.0, []),
        ("likelihood", 0, 2, 0.0, []),
        ("likelihood", 0, 3, 0.0, ["15% of the steps were skipped"]),
        # A fifth of the steps that were taken.
        ("likelihood", 2, 10, 0.0, ["in 20% of", "50% of the steps were skipped"]),
    ],
)
def test_steps_that_are_warned_of(gradient, n_infinite, n_skipped, drift, messages):
    """Of twenty; more than a tenth."""
    fitter, objective, skipped = WakeSleepFitter(), np.zeros(20), np.zeros(20)
    objective[:n_infinite] = -np.inf
    objective[20 - n_skipped :], skipped[20 - n_skipped :] = np.nan, 1
    fitter.history_ = {"objective": objective, "n_skipped": skipped}
    fitter.gradient_ = gradient
    fitter._run = SimpleNamespace(
        regression=SimpleNamespace(is_local=False),
        window=SimpleNamespace(drift=lambda: drift),
    )
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        fitter._check_convergence(None)
        fitter._warn_of_skips()
    assert len(record) == len(messages)
    for warning, message in zip(record, messages, strict=True):
        assert message in str(warning.message)


def test_energy_score_is_of_different_draws():
    draws = np.array([[0.0], [1.0], [5.0]])
    # E|y - y'| is (1 + 5 + 4) / 3, E|x - y| is (0 + 1 + 5) / 3.
    np.testing.assert_allclose(energy_score(draws[:1], draws), [5 / 3 - 2])


def test_the_energy_score_takes_a_thousand_draws():
    X, draws = np.split(np.random.default_rng(0).standard_normal((1105, 2)), [5])
    np.testing.assert_array_equal(
        energy_score(X, draws), energy_score(X, draws[:ENERGY_DRAWS])
    )


def mean_distance(mean, scale):
    """E|y| of y ~ N(mean, scale^2)."""
    t = mean / scale
    return scale * np.sqrt(2 / np.pi) * np.exp(-(t**2) / 2) + mean * (
        1 - 2 * norm.cdf(-t)
    )


def test_draws(factors):
    fitter = fitter_of(FactorAnalysisModel(1)).fit(factors)
    first, second = fitter.sample(5), fitter.sample(5)
    assert first.shape == (5, 4)
    assert np.all(first != second)
    fitter.fit(factors)
    np.testing.assert_array_equal(fitter.sample(5), first)
    np.testing.assert_array_equal(fitter.sample(5), second)

    seeded = fitter.sample(5, random_state=3)
    np.testing.assert_array_equal(fitter.sample(5, random_state=3), seeded)
    x, z = fitter.sample(5, random_state=3, return_latent=True)
    np.testing.assert_array_equal(x, seeded)
    assert z.shape == (5, 1)
    state = np.random.RandomState(3)
    np.testing.assert_array_equal(fitter.sample(5, random_state=state), seeded)
    assert np.all(fitter.sample(5, random_state=state) != seeded)
    assert fitter.sample().shape == (1, 4)
    with pytest.raises(ValueError, match="n_samples must be a positive integer"):
        fitter.sample(0)


def test_draws_are_of_the_fitted_model(factors, factor_fit):
    x, z = factor_fit.sample(20_000, random_state=0, return_latent=True)
    params = factor_fit.params_
    noise = params["min_scale"] + np.exp(params["log_scale"])
    covariance = params["loadings"] @ params["loadings"].T + np.diag(noise**2)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.06)
    np.testing.assert_allclose(
        x.T @ z / len(z),
        params["loadings"] + params["mean"][:, None] * z.mean(),
        atol=0.06,
    )


# Progress


def test_verbose(X, capsys):
    fitter_of(Shift(), max_iter=40).fit(X)
    assert capsys.readouterr().out == ""
    fitter_of(Shift(), max_iter=40, verbose=1).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    assert lines[-1].split()[:3] == ["iteration", "40", "objective"]
    fitter_of(Shift(), max_iter=40, verbose=2).fit(X)
    assert len(capsys.readouterr().out.splitlines()) == 40


def test_progress_is_the_mean_since_the_last_line(capsys):
    """Every third of fifty iterations, for at most twenty lines."""
    fitter = WakeSleepFitter(verbose=1, max_iter=50)
    run = SimpleNamespace(estimator=SimpleNamespace(name="joint"))
    names = ("objective", "gradient_norm", "effective_sample_size")
    for n, lines in (5, 0), (6, 1):
        run.history = {name: [9.0, 9.0, 9.0, 1.0, 2.0, 3.0][:n] for name in names}
        fitter._report(run)
        out = capsys.readouterr().out
        assert len(out.splitlines()) == lines
    assert out.split()[:4] == ["iteration", "6", "objective", "2.0000"]


class Watcher:
    """A callback that counts tasks, and stops after `n` of them."""

    def __init__(self, n):
        self.n, self.tasks, self.params = n, [], []

    def setup(self, estimator, context):
        self.tasks.append("setup")

    def teardown(self, estimator, context):
        self.tasks.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None):
        self.tasks.append("begin")

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.tasks.append("end")
        if fitted_estimator is not None:
            self.params.append(float(fitted_estimator.params_["mu"]))
        return len(self.params) == self.n


def with_callback(fitter, callback):
    return fitter.set_callbacks(callback) if HAS_CALLBACKS else fitter


@pytest.mark.parametrize("n, n_iter", [(7, 7), (100, 15)])
def test_callbacks(X, n, n_iter):
    """They see every task and may stop the fit; before scikit-learn 1.9, no effect."""
    watcher = Watcher(n)
    fitter = with_callback(fitter_of(Shift()), watcher).fit(X)
    if not HAS_CALLBACKS:
        assert fitter.n_iter_ == 15
        assert not hasattr(fitter, "set_callbacks")
        return
    assert fitter.n_iter_ == n_iter
    tasks = ["begin", "end"] * n_iter
    assert watcher.tasks == ["setup", "begin", *tasks, "end", "teardown"]
    assert len(set(watcher.params)) == n_iter


@pytest.mark.skipif(not HAS_CALLBACKS, reason="needs callbacks of scikit-learn 1.9")
def test_a_callback_may_stop_before_the_first_step(X):
    """A row that is impossible, in the only batch: the step is skipped."""
    rows = np.vstack([X, [[20.0]]])
    fitter = fitter_of(Bounded(), gradient="importance", batch_size=len(rows))
    with pytest.warns(UserWarning, match="100% of the steps were skipped"):
        fitter.set_callbacks(Watcher(1)).fit(rows)
    assert fitter.n_iter_ == fitter.history_["n_skipped"].sum() == 1
    assert fitter.params_["mu"] == Bounded().init_params(rows, None)["mu"]
    assert not fitter.converged_


def test_support_of_the_fitter_replaces_a_computed_one():
    model = HierarchicalMixtureModel(2, hidden=3)
    X = np.random.default_rng(0).standard_normal((40, 2))
    fitter = WakeSleepFitter(
        model=model, latent_support=["any", "any"], n_sleep=100, max_iter=2
    )
    run = fitter._begin(X)
    assert run.supports == ["any", "any"]
    assert run.model.latent_support == [("categorical", 2), "any"]


def test_computed_term_columns_cannot_be_replaced():
    model = HiddenMarkovModel(2, n_steps=4)
    fitter = WakeSleepFitter(model=model, term_columns=windows(4, 1))
    with pytest.raises(ValueError, match="HiddenMarkovModel computes its own term_col"):
        fitter.fit(np.zeros((5, 4)))


def test_latents_of_whole_series_beside_windows():
    class SharedShift(LatentVariableModel):
        """One shift of all 30 steps, each term seen through its own window."""

        term_columns = windows(30, 1)

        def init_params(self, X, rng):
            return {"mean": np.zeros(1)}

        def sample(self, params, n_samples, rng):
            z = rng.standard_normal(n_samples)
            noise = rng.standard_normal((n_samples, 30))
            return z, params["mean"] + z[:, None] + noise

        def log_joint(self, params, z, x):
            residual = x - params["mean"] - z[:, None]
            return -0.5 * (residual**2 + z[:, None] ** 2 / 30)

    model = SharedShift()
    X = model.sample({"mean": np.array([1.0])}, 60, np.random.default_rng(0))[1]
    # 20 paths are too few for a linear trend in 30 columns.
    fitter = WakeSleepFitter(
        model=model, n_sleep=20, max_iter=100, learning_rate=0.05, random_state=0
    ).fit(X)
    assert fitter.transform(X).shape == (60, 1)
    assert not fitter._posterior.by_importance
    assert np.abs(fitter.params_["mean"][0] - X.mean()) < 0.1
