"""Bad data, bad functions, bad parameters: a clear error, or a finite fit."""

import warnings

import autograd.numpy as np
import numpy as onp
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from toys import Shift, log_normal

from amortsk import AmortisedGradientRegressor, WakeSleepFitter
from amortsk.model import summary
from amortsk.models import (
    BernoulliFactorModel,
    FactorAnalysisModel,
    GaussianMixtureModel,
    HiddenMarkovModel,
    IndependentComponentsModel,
)

X = onp.random.default_rng(0).standard_normal((40, 1))
QUICK = {
    "regressor": AmortisedGradientRegressor(n_components=20, gamma=0.3, alpha=0.1),
    "n_sleep": 200,
    "n_proposals": 15,
    "max_iter": 10,
    "random_state": 0,
}
MODEL = Shift()
START = {"mu": onp.zeros(2)}


def sampler(params, n_samples, rng):
    z = rng.standard_normal(n_samples)
    return z, (params["mu"][0] + z + rng.standard_normal(n_samples))[:, None]


def log_joint(params, z, x):
    mean = params["mu"][0] + z
    return log_normal(z, 0.0, 1.0) + log_normal(
        x[:, 0], mean, 1.0 + params["mu"][1] ** 2
    )


def fit(data=X, *, log_joint=log_joint, sampler=sampler, init_params=START, **options):
    options = {**QUICK, **options}
    return WakeSleepFitter(log_joint, sampler, init_params, **options).fit(data)


def with_entry(value, n=1):
    data = X.copy()
    data[:n] = value
    return data


# Data


@pytest.mark.parametrize(
    "data, message",
    [
        (with_entry(onp.nan), "contains NaN"),
        (with_entry(onp.inf), "contains infinity"),
        (with_entry(-onp.inf), "contains infinity"),
        (X[:, 0], "Expected 2D array, got 1D"),
        (X[:, :, None], "dim 3"),
        (X[:0], r"0 sample\(s\)"),
        (X[:, :0], r"0 feature\(s\)"),
        (X + 1j, "[Cc]omplex data not supported"),
        (onp.array([["a"], ["b"]]), "could not convert string to float"),
        (onp.array([[None], [{}]], dtype=object), "float()"),
        (onp.hstack([X, X]), "sampler must return x with 2 columns"),
    ],
)
def test_data_that_are_no_use(data, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fit(data)


@pytest.mark.parametrize(
    "method", ["score_samples", "score", "transform", "score_gradient"]
)
def test_rows_that_are_no_use(method):
    fitter = fit()
    with pytest.raises(ValueError, match="contains NaN"):
        getattr(fitter, method)(with_entry(onp.nan))
    with pytest.raises(ValueError, match="features"):
        getattr(fitter, method)(onp.hstack([X, X]))


def test_objects_that_are_numbers_will_do():
    expected = fit().params_["mu"]
    onp.testing.assert_array_equal(fit(X.astype(object)).params_["mu"], expected)


def columns(n, d, rank=None):
    rng = onp.random.default_rng(1)
    data = rng.standard_normal((n, d))
    if rank is not None:
        data = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d))
    return data


DATA = {
    "one row": columns(1, 3),
    "two rows": columns(2, 3),
    "one column": columns(50, 1),
    "all rows alike": onp.tile(columns(1, 3), (50, 1)),
    "duplicated rows": onp.tile(columns(2, 3), (25, 1)),
    "a constant column": columns(50, 3) * [1, 0, 1] + 2,
    "all zero": onp.zeros((50, 3)),
    "a copied column": columns(50, 3)[:, [0, 1, 1]],
    "rank one": columns(50, 4, rank=1),
    "wide": columns(10, 30),
    "a thousand columns": columns(50, 1000),
    "many units": columns(50, 3) * [1e-8, 1, 1e8],
    "far away": columns(50, 3) + 1e6,
}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(
    "model",
    [
        FactorAnalysisModel(1),
        GaussianMixtureModel(2),
        IndependentComponentsModel(2),
        BernoulliFactorModel(1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_awkward_data_give_finite_fits(model, data):
    rows = DATA[data]
    if rows.shape[1] == 1000 and isinstance(model, GaussianMixtureModel):
        rows = rows[:, :100]  # a covariance has d^2 / 2 entries
    if isinstance(model, BernoulliFactorModel):
        rows = (rows > rows.mean()).astype(float)
    fitter = WakeSleepFitter(model=model, **QUICK)
    with warnings.catch_warnings():
        # Scores may be loose bounds: after ten steps nothing is fitted.
        warnings.filterwarnings("ignore", "the log-likelihood is a loose lower bound")
        fitter.fit(rows)
        scores = fitter.score_samples(rows)
    assert all(onp.isfinite(value).all() for value in fitter.params_.values())
    assert fitter.n_iter_ == 10 and fitter.history_["n_skipped"].sum() == 0
    assert onp.isfinite(scores).all()
    assert onp.isfinite(fitter.transform(rows)).all()
    assert onp.isfinite(fitter.sample(5, random_state=0)).all()


# What functions return


def draws_of(z=None, x=None):
    """A sampler that changes what it returns."""

    def changed(params, n_samples, rng):
        drawn = sampler(params, n_samples, rng)
        return tuple(
            part if change is None else change(part)
            for part, change in zip(drawn, (z, x), strict=True)
        )

    return changed


@pytest.mark.parametrize(
    "changed, message",
    [
        (
            draws_of(x=lambda x: x[:, 0]),
            r"x as real numbers of shape \(200, n_features",
        ),
        (draws_of(x=lambda x: x[1:]), r"got shape \(199, 1\)"),
        (draws_of(x=lambda x: x + 1j), "complex128"),
        (draws_of(x=lambda x: x.astype(object)), "object"),
        (draws_of(x=lambda x: onp.hstack([x, x])), "with 1 columns, as the data have"),
        (draws_of(x=lambda x: x * onp.nan), "returned non-finite values in 200 of 200"),
        (draws_of(z=lambda z: z * onp.inf), "returned non-finite values in 200 of 200"),
        (draws_of(z=lambda z: z[1:]), "latents with 200 rows"),
        (draws_of(z=lambda z: z[0]), "latents with 200 rows"),
        (draws_of(z=lambda z: z.astype(str)), "real or integer latents"),
        (draws_of(z=lambda z: ()), "no latents"),
        (lambda params, n, rng: sampler(params, n, rng)[1], r"a pair \(z, x\)"),
        (lambda params, n, rng: None, r"a pair \(z, x\)"),
    ],
)
def test_samplers_that_are_no_use(changed, message):
    with pytest.raises(ValueError, match=f"^sampler.*{message}"):
        fit(sampler=changed)


@pytest.mark.parametrize(
    "changed, message",
    [
        (lambda p, z, x: np.sum(log_joint(p, z, x)), r"shape \(200,\).*got \(\)"),
        (lambda p, z, x: log_joint(p, z, x)[1:], r"shape \(200,\).*got \(199,\)"),
        (lambda p, z, x: log_joint(p, z, x)[:, None, None], r"got \(200, 1, 1\)"),
        (lambda p, z, x: log_joint(p, z, x) + 1j, "real numbers, got complex128"),
        (lambda p, z, x: log_joint(p, z, x) * onp.nan, "not finite at 200 of 200"),
        (lambda p, z, x: onp.zeros(len(x)), r"depend on the parameters \['mu'\]"),
        (
            lambda p, z, x: log_normal(z, onp.full(1, 0.0), 1.0) + onp.zeros(len(x)),
            r"depend on the parameters \['mu'\]",
        ),
        # NumPy's own functions either fail or drop the derivative.
        (
            lambda p, z, x: log_normal(z, float(p["mu"][0]), 1.0),
            "raised TypeError.*autograd cannot see",
        ),
        (
            lambda p, z, x: onp.asarray(log_joint(p, z, x), dtype=float),
            "raised ValueError: setting an array element with a sequence",
        ),
        (lambda p, z, x: p["nu"], r"KeyError: 'nu', at .*{'mu': '\(2,\), 0 to 0'}"),
        (lambda p, z, x: None, r"got \(\)"),
    ],
)
def test_log_joints_that_are_no_use(changed, message):
    with pytest.raises(ValueError, match=f"(?s)^log_joint.*{message}"):
        fit(log_joint=changed)


@pytest.mark.parametrize("name", ["sampler", "log_joint", "log_prior", "init_params"])
def test_exceptions_name_the_function_and_are_chained(name):
    def broken(*arguments):
        raise RuntimeError("out of cheese")

    with pytest.raises(ValueError, match=f"{name} raised Runt.*out of cheese") as info:
        fit(**{name: broken})
    assert isinstance(info.value.__cause__, RuntimeError)
    if name != "init_params":
        assert "{'mu': '(2,), 0 to 0'}" in str(info.value)


@pytest.mark.parametrize(
    "start, message",
    [
        ({}, "non-empty dict"),
        ([1.0], "non-empty dict"),
        (lambda X, rng: None, "non-empty dict"),
        ({"mu": onp.array([0, onp.nan])}, "finite real arrays, but 'mu'"),
        ({"mu": onp.array([0j, 1])}, "finite real arrays, but 'mu'"),
        ({"mu": onp.array(["a"])}, "finite real arrays, but 'mu'"),
        ({"mu": onp.array([None, 1], dtype=object)}, "finite real arrays, but 'mu'"),
        ({**START, "nu": onp.zeros(3)}, r"depend on the parameters \['nu'\]"),
    ],
)
def test_starts_that_are_no_use(start, message):
    def never(*arguments):
        raise AssertionError("the start comes first")

    with pytest.raises(ValueError, match=message):
        fit(init_params=start, sampler=sampler if "depend" in message else never)


def test_a_few_bad_draws_are_drawn_again():
    def leaky(params, n_samples, rng):
        z, x = sampler(params, n_samples, rng)
        x[rng.random(n_samples) < 0.01] = onp.nan
        return z, x

    with pytest.warns(UserWarning, match="sampler returned .* non-finite") as record:
        fitter = fit(sampler=leaky)
    assert len(record) == 1
    counts = fitter.history_["n_redrawn"]
    # 2000 draws in all, one in a hundred bad: 20, and four standard deviations.
    assert 2 <= counts.sum() <= 38
    assert counts.shape == (10,) and fitter.history_["n_skipped"].sum() == 0
    assert onp.isfinite(fitter.params_["mu"]).all()
    assert onp.isfinite(fitter.sample(1000)).all()


def failing_after(n_calls, n_failures):
    """A log-joint that is NaN for a while when it is differentiated."""
    calls = [0]

    def failing(params, z, x):
        traced = not isinstance(params["mu"], onp.ndarray)
        calls[0] += traced
        value = log_joint(params, z, x)
        bad = traced and n_calls < calls[0] <= n_calls + n_failures
        return value * (onp.nan if bad else 1.0)

    return failing


def test_steps_without_a_gradient_are_skipped_and_counted():
    # One call for the dry run, then one a step.
    options = {"gradient": "joint", "log_joint": failing_after(4, 3), "max_iter": 15}
    with pytest.warns(UserWarning, match="% of the steps were skipped") as record:
        fitter = fit(**options)
    assert record[0].filename == __file__
    skipped = fitter.history_["n_skipped"]
    onp.testing.assert_array_equal(onp.flatnonzero(skipped), [3, 4, 5])
    lost = onp.isnan(fitter.history_["objective"])
    onp.testing.assert_array_equal(lost, skipped == 1)
    assert onp.isfinite(fitter.params_["mu"]).all()


def test_ten_steps_in_a_row_without_a_gradient_are_an_error():
    with pytest.raises(ValueError, match=r"10 steps in a row.*log_joint.*\(2,\)") as e:
        fit(gradient="joint", log_joint=failing_after(4, 10**6), max_iter=1000)
    assert isinstance(e.value.__cause__, FloatingPointError)


# Parameters

LOCAL = {"log_joint": lambda params, z, x: log_joint(params, z, x)[:, None]}


def column_meets_row(params, z, x):
    return log_joint(params, z, x) + 0 * x


def where_of_a_scalar(params, z, x):
    return log_joint(params, z, x) + np.where(x[:, 0] > 0, np.sum(params["mu"]), 0.0)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_sleep": 1}, "n_sleep must be an integer >= 2, got 1"),
        ({"n_sleep": 100.0}, "n_sleep must be an integer"),
        ({"n_proposals": 0}, "n_proposals must be an integer >= 2"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1"),
        ({"max_iter": 0}, "max_iter must be an integer >= 1"),
        ({"max_iter": None}, "max_iter must be an integer >= 1"),
        ({"verbose": -1}, "verbose must be an integer >= 0, got -1"),
        ({"verbose": "yes"}, "verbose must be an integer >= 0"),
        ({"n_jobs": 0}, "n_jobs must be None or a non-zero integer, got 0"),
        ({"n_jobs": "all"}, "n_jobs must be None or a non-zero integer"),
        ({"warm_start": "False"}, "warm_start must be True or False, got 'False'"),
        ({"learning_rate": 0}, "learning_rate must be a positive number"),
        ({"learning_rate": onp.inf}, "learning_rate must be a positive number"),
        ({"learning_rate": "fast"}, "learning_rate must be a positive number"),
        ({"tol": -1.0}, "tol must be a positive number"),
        ({"gradient": "exact"}, "gradient must be 'auto', 'direct', 'joint'"),
        ({"scoring": "accuracy"}, "scoring must be 'auto' or one of"),
        ({"scoring": "exact"}, "scoring must be 'auto' or one of"),
        ({"log_joint": 3}, "log_joint must be a function, got 3"),
        ({"sampler": "normal"}, "sampler must be a function"),
        ({"log_prior": 1.0}, "log_prior must be a function"),
        ({"log_joint": column_meets_row}, r"must return shape \(200,\), got \(200, 2"),
        ({"log_joint": where_of_a_scalar}, "must have the shape of the condition"),
        ({"model": MODEL}, "either model= or the functions"),
        ({"latent_support": "reel"}, "latent_support must be 'real'"),
        ({"latent_support": [5]}, "latent_support must be 'real'.* got 5"),
        (
            {"latent_support": ("categorical", 2)},
            r"latent_support \('categorical', 2\)",
        ),
        (
            {"latent_support": ["real", "real"]},
            "has 2 entries, but the latents have 1 parts",
        ),
        (LOCAL | {"term_columns": [[0, 1]]}, r"term_columns must hold.* 0\.\.0"),
        (LOCAL | {"term_columns": [[-1]]}, "term_columns must hold"),
        (LOCAL | {"term_columns": [[0.5]]}, "term_columns must hold"),
        (LOCAL | {"term_columns": 5, "regressor": None}, "term_columns must hold"),
        (LOCAL | {"term_columns": [0], "regressor": None}, "term_columns must hold"),
        (LOCAL | {"term_columns": [], "regressor": None}, "term_columns must hold"),
        (LOCAL | {"term_columns": [[0], [0]]}, r"must return shape \(200, 2\)"),
        ({"regressor": 3}, "regressor must be an AmortisedGradientRegressor, got 3"),
        ({"regressor": AmortisedGradientRegressor("sine")}, "features must be"),
        ({"regressor": AmortisedGradientRegressor(gamma=-1.0)}, "gamma must be"),
        ({"regressor": AmortisedGradientRegressor(alpha="gcv")}, "alpha must be"),
        ({"regressor": AmortisedGradientRegressor(trend="cubic")}, "trend must be"),
        ({"regressor": AmortisedGradientRegressor(kernel="tanh")}, "kernel must be"),
        ({"random_state": "seed"}, "cannot be used to seed"),
    ],
)
def test_parameters_that_are_no_use(options, message):
    with pytest.raises(ValueError, match=message):
        fit(**options)


@pytest.mark.parametrize(
    "model, message",
    [
        (FactorAnalysisModel(0), "n_components must be a positive int"),
        (GaussianMixtureModel(1.5), "n_components must be a positive int"),
        (HiddenMarkovModel(2, n_steps=0), "n_steps must be a positive int"),
        (object(), "model must be a LatentVariableModel instance"),
        (FactorAnalysisModel, "model must be a LatentVariableModel instance"),
    ],
)
def test_models_that_are_no_use(model, message):
    with pytest.raises(ValueError, match=message):
        WakeSleepFitter(model=model, **QUICK).fit(X)


@pytest.mark.parametrize("value", [onp.zeros(1), onp.zeros(3), None, onp.nan])
def test_a_prior_of_the_parameters_is_one_finite_number(value):
    class Prior(Shift):
        def log_prior_params(self, params):
            return value

    message = "Prior.log_prior_params must return a finite number"
    with pytest.raises(ValueError, match=message):
        WakeSleepFitter(model=Prior(), **QUICK).fit(X)


def test_parameters_without_entries_are_left_alone():
    start = {"mu": onp.zeros(2), "none": onp.zeros((3, 0))}
    for gradient in ("joint", "likelihood"):
        fitter = fit(init_params=start, gradient=gradient, regressor=None)
        assert fitter.params_["none"].shape == (3, 0)


def test_parameters_without_entries_have_no_range():
    params = {"mu": onp.array([-1.0, 2.5]), "none": onp.zeros((3, 0))}
    assert summary(params) == {"mu": "(2,), -1 to 2.5"}


def test_a_sampler_may_use_its_arrays_again():
    buffers = {}

    def reusing(params, n_samples, rng):
        z, x = sampler(params, n_samples, rng)
        z_buffer, x_buffer = buffers.setdefault(
            n_samples, (onp.empty_like(z), onp.empty_like(x))
        )
        z_buffer[:], x_buffer[:] = z, x
        return z_buffer, x_buffer

    fitter = fit(sampler=reusing, scoring="energy", gradient="joint")
    before = fitter.score_samples(X), fitter.transform(X)
    fitter.sample(1000)
    onp.testing.assert_array_equal(fitter.score_samples(X), before[0])
    onp.testing.assert_array_equal(fitter.transform(X), before[1])


def test_a_function_of_the_latents_may_write_to_them():
    options = {"scoring": "energy", "gradient": "joint", "latent_support": "any"}
    fitter = fit(**options)
    before = fitter.transform(X)

    def in_place(z):
        z **= 2
        return z

    squares = fitter.posterior_expectation(X, in_place)
    onp.testing.assert_array_equal(
        squares, fitter.posterior_expectation(X, lambda z: z**2)
    )
    onp.testing.assert_array_equal(fitter.transform(X), before)


@pytest.mark.parametrize(
    "name", ["fixed_params", "latent_support", "covariate_columns"]
)
def test_attributes_that_a_copy_would_lose_are_an_error(name):
    model = Shift()
    setattr(model, name, None)
    fitter = WakeSleepFitter(model=model, **QUICK)
    with pytest.raises(ValueError, match=rf"\['{name}'\] of Shift\(\) would be lost"):
        fitter.fit(X)
    with pytest.raises(ValueError, match="would be lost in a copy"):
        clone(fitter)


def test_a_step_that_is_far_too_long_ends():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitter = fit(learning_rate=1e3, max_iter=30)
    assert onp.isfinite(fitter.params_["mu"]).all()


@pytest.mark.parametrize("far", [1e3, 1e8])
def test_rows_far_from_all_draws_have_finite_scores(far):
    fitter = WakeSleepFitter(model=Shift(), **QUICK).fit(X)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the log-likelihood is a loose lower bound")
        score = fitter.score_samples([[far]])
    assert score < fitter.score_samples(X).min()
    assert onp.isfinite(fitter.transform([[far]])).all()
    assert onp.isfinite(fitter.score_gradient([[far]])["mu"]).all()
