"""Adam, its schedule, the guard of its steps, and the window of the last iterations."""

import numpy as np
import pytest

from amortsk.optimizers import Adam, StepGuard, Window, decay


def gradients(n_steps, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {"a": rng.standard_normal((2, 3)), "b": 100 * rng.standard_normal(4)}
        for _ in range(n_steps)
    ]


def start():
    return {"a": np.ones((2, 3)), "b": np.zeros(4), "fixed": np.arange(2.0)}


def textbook(n_steps, rate, b1=0.9, b2=0.999, epsilon=1e-8):
    """Algorithm 1 of Kingma and Ba, entry by entry, with its signs turned."""
    theta = {name: value.ravel().tolist() for name, value in start().items()}
    m = {name: [0.0] * len(value) for name, value in theta.items()}
    v = {name: [0.0] * len(value) for name, value in theta.items()}
    for t, gradient in enumerate(gradients(n_steps), start=1):
        for name, values in gradient.items():
            for i, g in enumerate(values.ravel()):
                m[name][i] = b1 * m[name][i] + (1 - b1) * g
                v[name][i] = b2 * v[name][i] + (1 - b2) * g * g
                m_hat = m[name][i] / (1 - b1**t)
                v_hat = v[name][i] / (1 - b2**t)
                theta[name][i] += rate * m_hat / (v_hat**0.5 + epsilon)
    return theta


@pytest.mark.parametrize("n_steps", [1, 2, 30])
@pytest.mark.parametrize("decay_rates", [(0.9, 0.999), (0.5, 0.9)])
def test_adam_is_that_of_the_textbook(n_steps, decay_rates):
    adam, params = Adam(0.1, decay_rates), start()
    for gradient in gradients(n_steps):
        params = adam.step(params, gradient)
    for name, expected in textbook(n_steps, 0.1, *decay_rates).items():
        np.testing.assert_allclose(params[name].ravel(), expected, rtol=1e-12)


def test_a_step_scales_with_its_factor_and_changes_no_argument():
    (gradient,), params = gradients(1), start()
    moves = [
        Adam(0.1).step(params, gradient, factor)["b"] - params["b"]
        for factor in (1, 0.25)
    ]
    np.testing.assert_allclose(moves[1], 0.25 * moves[0])
    np.testing.assert_array_equal(params["b"], 0)
    np.testing.assert_array_equal(gradient["b"], gradients(1)[0]["b"])


def test_adam_climbs():
    adam, params = Adam(0.05), {"a": np.array([4.0, -3.0])}
    for i in range(500):
        params = adam.step(params, {"a": 1 - params["a"]}, decay(i, 500))
    np.testing.assert_allclose(params["a"], 1, atol=1e-2)


def test_preconditioned_gradient_is_in_units_of_its_size():
    adam = Adam(0.1)
    for gradient in gradients(5):
        adam.step(start(), gradient)
    size = [
        np.average(
            [g[name] ** 2 for g in gradients(5)], axis=0, weights=0.999 ** -np.arange(5)
        )
        for name in ("a", "b")
    ]
    (other,) = gradients(1, seed=1)
    expected = [other[name] / np.sqrt(s) for name, s in zip("ab", size, strict=True)]
    actual = adam.precondition(other)
    np.testing.assert_allclose(
        actual, np.concatenate([e.ravel() for e in expected]), 1e-6
    )


@pytest.mark.parametrize("n", [2, 10, 1000])
def test_decay_is_one_for_the_first_half_and_ends_near_zero(n):
    factors = np.array([decay(i, n) for i in range(n + 1)])
    np.testing.assert_array_equal(factors[: n // 2 + 1], 1)
    assert (np.diff(factors[n // 2 :]) < 0).all()
    np.testing.assert_allclose(factors[-1], 0.01)
    # Half way down a cosine.
    np.testing.assert_allclose(decay(0.75 * n, n), 0.505)


def test_guard_passes_usual_gradients_and_shortens_others():
    guard = StepGuard(factor=5.0)
    gradient = {"a": np.array([3.0]), "b": np.array([[0.0, 4.0]])}
    for _ in range(3):
        passed, norm = guard(gradient)
        assert passed is gradient
        assert norm == 5
    long = {name: 100 * g for name, g in gradient.items()}
    shortened, norm = guard(long)
    assert norm == 500
    np.testing.assert_allclose(shortened["a"], 5 * gradient["a"])
    np.testing.assert_allclose(shortened["b"], 5 * gradient["b"])
    np.testing.assert_array_equal(long["a"], 300)
    # What is usual has moved a twentieth of the way to the limit.
    shortened, _ = guard(long)
    np.testing.assert_allclose(shortened["a"], 5 * 1.2 * gradient["a"])


def test_guard_follows_lasting_changes():
    guard = StepGuard()
    guard({"a": np.ones(1)})
    passed = [guard({"a": np.full(1, 100.0)})[0]["a"][0] for _ in range(40)]
    assert passed[0] == 5
    assert passed[-1] == 100
    assert (np.diff(passed) >= 0).all()


def test_guard_recovers_from_a_gradient_of_zero():
    guard = StepGuard()
    for _ in range(3):
        np.testing.assert_array_equal(guard({"a": np.zeros(2)})[0]["a"], 0)
    np.testing.assert_array_equal(guard({"a": np.ones(2)})[0]["a"], 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_guard_refuses_what_is_not_finite(value):
    guard = StepGuard()
    guard({"a": np.ones(2)})
    with pytest.raises(FloatingPointError, match="gradient is not finite"):
        guard({"a": np.array([0.0, value])})
    # What is usual is as it was.
    np.testing.assert_allclose(guard({"a": np.full(1, 9.0)})[0]["a"], 5 * np.sqrt(2))


@pytest.mark.parametrize("size", [1, 7, 20, 60])
def test_window_averages_the_last_iterates(size):
    window, per_batch = Window(size), max(1, size // 20)
    n_kept = min(size, 20 * per_batch)
    iterates = np.random.default_rng(0).standard_normal((7 * 20 * per_batch, 2))
    for n, value in enumerate(iterates, start=1):
        window.update({"a": value, "b": value[:1] ** 2}, value)
        if n % (20 * per_batch) == 0:
            last = iterates[n - n_kept : n]
            np.testing.assert_allclose(window.mean_params()["a"], last.mean(0))
            squares = np.mean(last[:, :1] ** 2, axis=0)
            np.testing.assert_allclose(window.mean_params()["b"], squares)


def test_window_has_a_mean_before_it_is_full():
    window = Window(20)
    for value in (1.0, 2.0, 6.0):
        window.update({"a": np.array([value])}, np.zeros(1))
        assert np.isnan(window.drift())
    assert window.mean_params()["a"] == [3.0]


def drifts(n_windows, dimension, mean=0.0, size=40, seed=0):
    """Drift of windows of white noise of unequal scales about a mean."""
    rng = np.random.default_rng(seed)
    scale = np.geomspace(1, 100, dimension)
    values = []
    for _ in range(n_windows):
        window = Window(size)
        for _ in range(size):
            gradient = scale * (mean + rng.standard_normal(dimension))
            window.update({}, gradient)
        values.append(window.drift())
    return np.array(values)


@pytest.mark.parametrize("dimension", [1, 50])
def test_white_noise_rarely_drifts(dimension):
    values = drifts(2000, dimension)
    # Over 10 seeds up to 0.0045 in one dimension, up to 0.001 in fifty.
    assert np.mean(np.abs(values) > 5) < 0.01
    assert abs(values.mean()) < 5 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("dimension", [1, 50])
def test_a_constant_mean_drifts(dimension):
    # Over 20 seeds 12.3 and more, of a largest possible 13.8.
    assert drifts(50, dimension, mean=3.0).min() > 10


def test_drift_of_equal_gradients_is_the_largest():
    window = Window(20)
    for _ in range(20):
        window.update({}, np.array([1.0, -2.0]))
    np.testing.assert_allclose(window.drift(), np.sqrt(190))


def test_gradients_of_zero_do_not_drift():
    window = Window(20)
    for _ in range(20):
        window.update({}, np.zeros(3))
    assert window.drift() == 0
