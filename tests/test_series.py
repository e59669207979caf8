"""Models of series: windows of steps, exact likelihoods, joint densities."""

from itertools import product
from types import SimpleNamespace

import autograd.numpy as anp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.base import clone
from toys import free, gradient_and_differences

from amortsk import (
    AmortisedGradientRegressor,
    WakeSleepFitter,
    check_model,
    windows,
)
from amortsk.datasets import make_limit_cycle
from amortsk.features import PolynomialTrend
from amortsk.models import (
    HiddenMarkovModel,
    LinearGaussianStateSpaceModel,
    StateSpaceModel,
)
from amortsk.models.state_space import canonical_states
from amortsk.observation import LogNormal, noise_scale
from amortsk.regression import Regression, default_trend
from amortsk.sleep import Draws

MODELS = [
    HiddenMarkovModel(3, n_steps=4, n_outputs=2),
    StateSpaceModel(4, n_outputs=2, transition_hidden=3, emission_hidden=3),
    LinearGaussianStateSpaceModel(4, n_outputs=2),
]


def start(model, n=30, seed=0):
    """Data of the right width and params off their start."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, model.n_steps * model.n_outputs))
    params = model.init_params(X, rng)
    for name in set(params) - set(model.fixed_params):
        params[name] = params[name] + 0.3 * rng.standard_normal(params[name].shape)
    return X, params


def name_of(model):
    return type(model).__name__


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_windows_hold_all_outputs_of_their_steps(model):
    expected = {
        0: [-1, -1, 0, 1, 2, 3],
        1: [0, 1, 2, 3, 4, 5],
        3: [4, 5, 6, 7, -1, -1],
    }
    columns = clone(model).set_params(half_width=1).term_columns
    assert columns.shape == (4, 6)
    for step, row in expected.items():
        assert columns[step].tolist() == row


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_terms_add_up(model):
    _, params = start(model)
    z, x = model.sample(params, 7, np.random.default_rng(0))
    whole = clone(model).set_params(half_width=None)
    assert whole.term_columns is None
    terms = model.log_joint(params, z, x)
    assert terms.shape == (7, 4)
    np.testing.assert_allclose(whole.log_joint(params, z, x), terms.sum(1))


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_gradients_are_those_of_finite_differences(model):
    _, params = start(model)
    z, x = model.sample(params, 20, np.random.default_rng(1))
    weights = np.cos(np.arange(80)).reshape(20, 4)

    def total(p):
        return anp.sum(weights * model.log_joint(p, z, x))

    names = free(model, params)
    found, numeric = gradient_and_differences(total, params, names)
    np.testing.assert_allclose(found, numeric, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("half_width", [None, 1])
@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_model_passes_its_check(model, half_width):
    model = clone(model).set_params(half_width=half_width)
    check_model(model, start(model)[0], random_state=0)


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_wrong_number_of_columns_is_named(model):
    with pytest.raises(ValueError, match=r"n_steps \* n_outputs = 4 \* 2 .*got 9"):
        model.init_params(np.zeros((5, 9)), np.random.default_rng(0))


@pytest.mark.parametrize("name", ["n_steps", "n_outputs"])
@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_bad_sizes_are_named(model, name):
    model = clone(model).set_params(**{name: 0})
    with pytest.raises(ValueError, match=f"{name} must be a positive int"):
        model.init_params(np.zeros((5, 8)), np.random.default_rng(0))


def test_chain_likelihood_sums_over_all_paths():
    model = HiddenMarkovModel(3, n_steps=4, n_outputs=2, half_width=None)
    X, params = start(model, n=5)
    paths = np.array(list(product(range(3), repeat=4)))
    for x, found in zip(X, model.exact_log_likelihood(params, X), strict=True):
        joint = model.log_joint(params, paths, np.tile(x, (len(paths), 1)))
        assert abs(logsumexp(joint) - found) < 1e-10


def test_chain_joint_is_that_of_scipy():
    model = HiddenMarkovModel(3, n_steps=4, n_outputs=2)
    _, params = start(model)
    z, x = model.sample(params, 6, np.random.default_rng(1))
    initial = np.exp(params["initial_logits"])
    moves = np.exp(params["transition_logits"])
    moves /= moves.sum(1, keepdims=True)
    scale = noise_scale(params)
    for states, row, found in zip(z, x, model.log_joint(params, z, x), strict=True):
        for t, state in enumerate(states):
            p = (
                initial[state] / initial.sum()
                if t == 0
                else moves[states[t - 1], state]
            )
            steps = row[2 * t : 2 * t + 2]
            density = stats.norm.logpdf(steps, params["means"][state], scale[state])
            assert abs(np.log(p) + density.sum() - found[t]) < 1e-10


def test_chain_moves_as_often_as_its_matrix_says():
    model = HiddenMarkovModel(3, n_steps=50)
    _, params = start(model)
    z, _ = model.sample(params, 4000, np.random.default_rng(0))
    moves = np.exp(params["transition_logits"])
    moves /= moves.sum(1, keepdims=True)
    counts = np.zeros((3, 3))
    np.add.at(counts, (z[:, :-1].ravel(), z[:, 1:].ravel()), 1)
    error = counts / counts.sum(1, keepdims=True) - moves
    # 196 000 moves: five standard errors of the rarest state's.
    assert np.all(np.abs(error) < 5 * np.sqrt(0.25 / counts.sum(1, keepdims=True)))


def test_chain_starts_at_well_separated_clusters():
    rng = np.random.default_rng(0)
    X = rng.integers(3, size=(40, 4)) * 10.0 + rng.standard_normal((40, 4))
    params = HiddenMarkovModel(3, n_steps=4).init_params(X, rng)
    np.testing.assert_allclose(np.sort(params["means"][:, 0]), [0, 10, 20], atol=0.6)
    assert np.all(np.abs(noise_scale(params) - 1) < 0.2)


def test_noise_of_a_chain_starts_at_that_within_clusters():
    rng = np.random.default_rng(0)
    levels = np.array([[-5.0] * 3, [5.0] * 3])[rng.integers(2, size=(100, 4))]
    X = (levels + 0.5 * rng.standard_normal(levels.shape)).reshape(100, -1)
    params = HiddenMarkovModel(2, n_steps=4, n_outputs=3).init_params(X, rng)
    np.testing.assert_allclose(noise_scale(params), 0.5, rtol=0.1)


def joint_normal(model, params):
    """Mean and covariance of a whole series, term by term."""
    A, C = params["transition_matrix"], params["emission_matrix"]
    T, k = model.n_steps, model.latent_dim
    process = (1e-3 + np.exp(params["process_log_scale"])) ** 2
    first = (1e-3 + np.exp(params["initial_log_scale"])) ** 2
    # z = L e: the effect on step t of the noise of step s.
    L = np.zeros((T * k, T * k))
    for t in range(T):
        for s in range(t + 1):
            power = np.linalg.matrix_power(A, t - s)
            L[t * k : t * k + k, s * k : s * k + k] = power
    noise = np.concatenate([first, np.tile(process, T - 1)])
    emit = np.kron(np.eye(T), C)
    mean = emit @ L[:, :k] @ params["initial_mean"]
    mean += np.tile(params["emission_offset"], T)
    covariance = emit @ (L * noise) @ L.T @ emit.T
    return mean, covariance + np.diag(np.tile(noise_scale(params) ** 2, T))


def test_kalman_filter_is_the_joint_normal():
    model = LinearGaussianStateSpaceModel(4, n_outputs=3, latent_dim=2)
    X, params = start(model)
    expected = stats.multivariate_normal(*joint_normal(model, params)).logpdf(X)
    np.testing.assert_allclose(model.exact_log_likelihood(params, X), expected)


def test_linear_draws_have_the_joint_moments():
    model = LinearGaussianStateSpaceModel(4, n_outputs=2, latent_dim=2)
    _, params = start(model)
    mean, covariance = joint_normal(model, params)
    _, x = model.sample(params, 20_000, np.random.default_rng(0))
    root = np.linalg.cholesky(covariance)
    white = np.linalg.solve(root, (x - mean).T)
    assert np.all(np.abs(white.mean(1)) < 5 / np.sqrt(20_000))
    assert np.all(np.abs(np.cov(white) - np.eye(8)) < 5 * np.sqrt(2 / 20_000))


def test_states_follow_the_networks_written_out():
    model = StateSpaceModel(
        3, n_outputs=2, transition_hidden=(4, 3), emission_hidden=(), half_width=None
    )
    _, params = start(model)
    z, x = model.sample(params, 5, np.random.default_rng(1))
    mean = z[:, :-1]
    for i in range(3):
        weights = params[f"transition_weights_{i}"]
        mean = np.tanh(mean @ weights + params[f"transition_biases_{i}"])
    first = 1e-3 + np.exp(params["initial_log_scale"])
    expected = stats.norm.logpdf(z[:, 0], params["initial_mean"], first).sum(1)
    process = 1e-3 + np.exp(params["process_log_scale"])
    expected += stats.norm.logpdf(z[:, 1:], mean, process).sum((1, 2))
    np.testing.assert_allclose(model.log_prior(params, z), expected)
    output = z @ params["emission_weights_0"] + params["emission_biases_0"]
    emitted = stats.norm.logpdf(x.reshape(5, 3, 2), output, noise_scale(params))
    expected += emitted.sum((1, 2))
    np.testing.assert_allclose(model.log_joint(params, z, x), expected)


def test_other_dynamics_are_two_methods():
    class Rotation(StateSpaceModel):
        def init_dynamics(self, steps, rng):
            return {"angle": np.array(0.5)}

        def transition(self, params, z):
            c, s = anp.cos(params["angle"]), anp.sin(params["angle"])
            return anp.stack([c * z[:, 0] - s * z[:, 1], s * z[:, 0] + c * z[:, 1]], 1)

        def emission(self, params, z):
            return z[:, :1]

    model = Rotation(6)
    check_model(model, start(model)[0], random_state=0)


def turning_series(n=8, n_steps=24, period=12, noise=0.05):
    """States that turn once in `period` steps, and six curved outputs of them."""
    rng = np.random.default_rng(0)
    angle = 2 * np.pi * (rng.random((n, 1)) + np.arange(n_steps) / period)
    z = np.stack([np.cos(angle), np.sin(angle)], axis=2)
    outputs = np.tanh(z @ rng.standard_normal((2, 6)))
    return z, outputs + noise * rng.standard_normal(outputs.shape)


def test_start_finds_states_that_turn():
    z, steps = turning_series()
    found, first = canonical_states(steps, 2, np.random.default_rng(0))
    true = z[:, first : first + found.shape[1]].reshape(-1, 2)
    rows = found.reshape(-1, 2)
    np.testing.assert_allclose(rows.std(0), 0.5)
    fitted = rows @ np.linalg.lstsq(rows, true, rcond=None)[0]
    assert np.mean((fitted - true) ** 2) < 0.05 * np.mean(true**2)


def test_start_turns_as_the_data_do():
    _, steps = turning_series()
    model = StateSpaceModel(24, n_outputs=6)
    params = model.init_params(steps.reshape(8, -1), np.random.default_rng(0))
    z = canonical_states(steps, 2, np.random.default_rng(0))[0][:, 5]
    angles = [np.arctan2(z[:, 1], z[:, 0])]
    for _ in range(12):
        z = model.transition(params, z)
        angles.append(np.arctan2(z[:, 1], z[:, 0]))
    turned = np.ptp(np.unwrap(angles, axis=0), axis=0) / (2 * np.pi)
    assert np.all(np.abs(turned - 1) < 0.15)
    assert np.all(np.linalg.norm(z, axis=1) > 0.3)


def turning_start(level=0.0):
    """Params at the start for series that turn, and the states found in them."""
    steps = turning_series()[1] + level
    model = StateSpaceModel(24, n_outputs=6)
    params = model.init_params(steps.reshape(8, -1), np.random.default_rng(0))
    return model, params, canonical_states(steps, 2, np.random.default_rng(0))[0]


def test_process_noise_starts_at_twice_what_transitions_leave():
    model, params, z = turning_start()
    predicted = model.transition(params, z[:, :-1].reshape(-1, 2))
    left = z[:, 1:].reshape(-1, 2) - predicted
    np.testing.assert_allclose(np.exp(params["process_log_scale"]), 2 * left.std(0))


def test_emission_starts_at_the_level_of_the_data():
    level = 10.0 * np.arange(1, 7)
    model, params, z = turning_start(level)
    emitted = model.emission(params, z.reshape(-1, 2))
    np.testing.assert_allclose(emitted.mean(0), level, atol=0.5)


@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_start_of_short_series(n_steps):
    model = StateSpaceModel(n_steps, n_outputs=2)
    _, params = start(model, n=5)
    z, x = model.sample(params, 5, np.random.default_rng(0))
    assert np.isfinite(model.log_joint(params, z, x)).all()


def test_linear_fit_by_local_terms_comes_near_the_optimum():
    model = LinearGaussianStateSpaceModel(20, latent_dim=1)
    params = {
        "initial_mean": np.zeros(1),
        "initial_log_scale": np.zeros(1),
        "process_log_scale": np.log([0.5]),
        "transition_matrix": np.array([[0.9]]),
        "emission_matrix": np.array([[1.0]]),
        "emission_offset": np.array([2.0]),
        "log_scale": np.log([0.5]),
        "min_scale": np.zeros(1),
    }
    X = model.sample(params, 60, np.random.default_rng(0))[1]
    fitter = WakeSleepFitter(
        model=model, n_sleep=100, max_iter=150, learning_rate=0.05, random_state=0
    ).fit(X)
    truth = model.exact_log_likelihood(params, X).mean()
    assert fitter.gradient_ == "joint"
    assert fitter.score(X) > truth - 20 * 0.005


def test_windows_too_wide_for_the_trend_are_not_compared():
    model = LinearGaussianStateSpaceModel(6, n_outputs=4, half_width=1)
    X = model.sample(start(model)[1], 40, np.random.default_rng(0))[1]
    fitter = WakeSleepFitter(
        model=model,
        regressor=AmortisedGradientRegressor(trend="quadratic", n_components=20),
        n_sleep=400,
        max_iter=3,
        random_state=0,
    ).fit(X)
    assert np.isnan(fitter.history_["wider_windows_drift"]).all()


def test_default_regression_on_whole_series_suits_their_width():
    model = HiddenMarkovModel(2, n_steps=30)
    X = model.sample(start(model)[1], 20, np.random.default_rng(0))[1]
    fitter = WakeSleepFitter(
        model=model, gradient="importance", n_sleep=60, max_iter=2, random_state=0
    ).fit(X)
    # Nothing was regressed on windows: there is no width to doubt.
    assert np.isnan(fitter.history_["wider_windows_drift"]).all()


@pytest.mark.parametrize(
    "width, trend", [(23, "linear"), (24, "linear"), (25, "constant")]
)
def test_default_trend_is_linear_where_that_can_be_fitted(width, trend):
    rows = np.random.default_rng(0).standard_normal((100, width))
    assert default_trend(*rows.shape[::-1]) == trend
    PolynomialTrend(trend).fit(rows)


@pytest.mark.parametrize("features", ["fourier", "nystroem", None])
def test_nested_groups_see_the_middle_of_a_window(features):
    """Of half-width four: an isotropic kernel sees little of what one column says."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 10))
    z = np.sin(3 * x)
    errors = []
    for groups in ("nested", None):
        regressor = AmortisedGradientRegressor(features, groups=groups)
        regression = Regression(regressor, windows(10, 4), 10)
        regression.select(Draws(z, x), z[:, :, np.newaxis], rng, True)
        errors.append(regression.unexplained[0])
    assert errors[0] < 0.1 and errors[1] > 0.5


def test_nested_groups_are_the_default_of_local_terms_alone():
    model = HiddenMarkovModel(2, n_steps=10)
    X = start(model)[0]
    fitter = WakeSleepFitter(model=model, n_sleep=50, random_state=0).partial_fit(X)
    groups = fitter._run.regression.regressors[0].groups
    assert [len(group) for group in groups] == [1, 3, 9]
    assert [len(group) for group in fitter.regressor_.groups] == [1, 3, 9]
    assert fitter._run.whole.regressors[0].groups is None


def test_default_trend_of_windows_counts_all_of_their_terms():
    model = HiddenMarkovModel(2, n_steps=20)
    X = model.sample(start(model)[1], 10, np.random.default_rng(0))[1]
    fitter = WakeSleepFitter(model=model, n_sleep=10, max_iter=2, random_state=0)
    assert fitter.fit(X).regressor_.trend == "linear"


def test_default_trend_of_windows_counts_indicators_of_the_ends():
    """Of 40 rows ten columns are a quarter; windows have seven, and six ends."""
    model = SimpleNamespace(term_columns=windows(20, 3))
    regressor = WakeSleepFitter(n_sleep=2)._make_regressor(np.zeros((5, 20)), model)
    assert regressor.trend == "constant"


def test_expectations_of_local_terms_are_of_one_value_a_term():
    model = HiddenMarkovModel(2, n_steps=3)
    X = np.random.default_rng(0).standard_normal((40, 3))
    fitter = WakeSleepFitter(model=model, n_sleep=200, max_iter=2, random_state=0)
    with pytest.raises(ValueError, match="one value per term"):
        fitter.fit(X).posterior_expectation(X, lambda z: z[:, 0])


@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_start_of_constant_series(constant):
    model = StateSpaceModel(6)
    params = model.init_params(np.full((5, 6), constant), np.random.default_rng(0))
    z, x = model.sample(params, 5, np.random.default_rng(0))
    assert np.isfinite(model.log_joint(params, z, x)).all()


def test_start_for_positive_series_is_on_the_scale_of_logarithms():
    X = np.exp(2 * np.random.default_rng(0).standard_normal((40, 10)))
    model = StateSpaceModel(10, observation=LogNormal())
    params = model.init_params(X, np.random.default_rng(0))
    _, x = model.sample(params, 400, np.random.default_rng(0))
    assert 1 < np.log(x).std() < 6


@pytest.mark.parametrize("part", ["transition", "emission"])
def test_bad_hidden_of_either_network_is_named(part):
    with pytest.raises(ValueError, match=f"^{part}_hidden must be"):
        start(StateSpaceModel(6, **{f"{part}_hidden": 0}))


@pytest.mark.parametrize("observation", [3, None, "normal"])
def test_bad_observation_is_named(observation):
    with pytest.raises(ValueError, match="observation must be one of"):
        start(StateSpaceModel(6, observation=observation))


def test_fit_of_a_chain_is_as_likely_as_the_truth():
    """Over 20 seeds 0.001 nats a step below it at most, the start 0.034 at least."""
    model = HiddenMarkovModel(2, n_steps=20)
    truth = {
        "initial_logits": np.zeros(2),
        "transition_logits": np.log([[0.97, 0.03], [0.05, 0.95]]),
        "means": np.array([[0.0], [1.2]]),
        "log_scale": np.full((2, 1), np.log(0.5)),
        "min_scale": np.zeros(1),
    }
    X = model.sample(truth, 60, np.random.default_rng(0))[1]
    fitter = WakeSleepFitter(
        model=model, n_sleep=60, max_iter=150, learning_rate=0.03, random_state=0
    ).fit(X)
    start = model.init_params(X, np.random.default_rng(0))
    levels = [
        model.exact_log_likelihood(params, X).mean() / 20
        for params in (start, fitter.params_, truth)
    ]
    assert levels[1] > levels[2] - 0.005
    assert levels[0] < levels[2] - 0.02


def test_fit_of_a_cycle_finds_less_noise():
    """Over 20 seeds 0.61 of the start's at most."""
    X, _ = make_limit_cycle(3, 30, random_state=0)
    model = StateSpaceModel(30, n_outputs=20, half_width=1)
    fitter = WakeSleepFitter(
        model=model, n_sleep=50, max_iter=100, learning_rate=0.01, random_state=0
    ).fit(X)
    start = model.init_params(X, np.random.default_rng(0))
    assert noise_scale(fitter.params_)[0] < 0.7 * noise_scale(start)[0]


def test_one_state_is_a_normal_distribution():
    X = 2 + np.random.default_rng(0).standard_normal((200, 3))
    model = HiddenMarkovModel(1, n_steps=3)
    options = {"n_sleep": 200, "max_iter": 150, "learning_rate": 0.05}
    fitter = WakeSleepFitter(model=model, random_state=0, **options).fit(X)
    assert fitter.params_["initial_logits"] == 0
    exact = stats.norm(X.mean(), X.std()).logpdf(X).sum(axis=1).mean()
    assert exact - 0.002 < fitter.score(X) <= exact


def test_one_step_is_a_mixture():
    X = np.random.default_rng(0).choice([-2.0, 2.0], (300, 1))
    X = X + np.random.default_rng(1).standard_normal(X.shape)
    model = HiddenMarkovModel(2, n_steps=1)
    fitter = WakeSleepFitter(model=model, n_sleep=200, max_iter=30, random_state=0)
    start = model.init_params(X, np.random.default_rng(0))["transition_logits"]
    np.testing.assert_array_equal(fitter.fit(X).params_["transition_logits"], start)
