"""The neuron: its recursion, densities and gradients against written-out ones."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from scipy import stats

from amortsk import AmortisedGradientRegressor, WakeSleepFitter, check_model
from amortsk.models import HodgkinHuxleyModel
from amortsk.models.hodgkin_huxley import linear_recursion

TRUTH = {
    "capacitance": 1.0,
    "g_leak": 0.1,
    "e_leak": -70.42,
    "g_na": 50.0,
    "e_na": 50.0,
    "g_k": 5.0,
    "e_k": -90.0,
    "threshold": -60.0,
    "noise_v": 0.1,
    "noise_x": 1.0,
}


def series(n_steps=300, n=2, seed=0, **values):
    """Model, params, paths and rows, driven from step 50 on."""
    rng = np.random.default_rng(seed)
    model = HodgkinHuxleyModel(n_steps)
    params = model.to_params({**TRUTH, **values})
    current = rng.normal(0, 2, (n, n_steps)) + 10.0 * (np.arange(n_steps) >= 50)
    return model, params, *model.sample(params, n, rng, current)


def total_difference(function, array, index, step):
    """Central difference of the sum of a function of one array."""
    shifted = []
    for sign in (1, -1):
        moved = array.copy()
        moved[index] += sign * step
        shifted.append(np.sum(function(moved)))
    return (shifted[0] - shifted[1]) / (2 * step)


@pytest.mark.parametrize("argument", [0, 1, 2])
def test_gradient_of_the_recursion(argument):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in [(2, 3), (5, 2, 3), (5, 2, 3)]]
    weights = rng.standard_normal((6, 2, 3))

    def weighted(array):
        inputs = [*arrays[:argument], array, *arrays[argument + 1 :]]
        return anp.sum(weights * linear_recursion(*inputs))

    found = grad(weighted)(arrays[argument])
    for index in np.ndindex(arrays[argument].shape):
        numeric = total_difference(weighted, arrays[argument], index, 1e-5)
        assert abs(found[index] - numeric) < 1e-7 * (1 + abs(numeric))


def test_gradient_of_the_joint():
    model, params, z, x = series()
    weights = np.random.default_rng(1).standard_normal(z.shape)
    for name in params:

        def weighted(value, name=name):
            joint = model.log_joint({**params, name: value}, z, x)
            return anp.sum(weights * joint)

        value = np.array(params[name])
        numeric = total_difference(weighted, value, (), 1e-6)
        assert abs(grad(weighted)(value) - numeric) < 1e-4 * (1 + abs(numeric))


def written_out(values, step, voltages, currents):
    """Means of the next voltages, one step at a time, as in Pospischil et al."""
    v, means = -70.0, []
    m, h, n = 0.0, 0.8, 0.0
    for after, current in zip(voltages, currents, strict=True):
        leak = values["g_leak"] * (v - values["e_leak"])
        sodium = values["g_na"] * m**3 * h * (v - values["e_na"])
        potassium = values["g_k"] * n**4 * (v - values["e_k"])
        ionic = leak + sodium + potassium
        means.append(v + step / values["capacitance"] * (current - ionic))
        u = v - values["threshold"]
        a_m = -0.32 * (u - 13) / (np.exp(-(u - 13) / 4) - 1)
        b_m = 0.28 * (u - 40) / (np.exp((u - 40) / 5) - 1)
        a_h = 0.128 * np.exp(-(u - 17) / 18)
        b_h = 4 / (np.exp(-(u - 40) / 5) + 1)
        a_n = -0.032 * (u - 15) / (np.exp(-(u - 15) / 5) - 1)
        b_n = 0.5 * np.exp(-(u - 10) / 40)
        m += step * (a_m * (1 - m) - b_m * m)
        h += step * (a_h * (1 - h) - b_h * h)
        n += step * (a_n * (1 - n) - b_n * n)
        v = after
    return np.array(means)


def test_joint_is_the_equations_written_out():
    model, params, z, x = series()
    joint = model.log_joint(params, z, x)
    assert joint.shape == (2, 300)
    for path, row, found in zip(z, x, joint, strict=True):
        means = written_out(TRUTH, 0.05, path, row[300:])
        expected = stats.norm.logpdf(path, means, TRUTH["noise_v"])
        expected += stats.norm.logpdf(row[:300], path, TRUTH["noise_x"])
        np.testing.assert_allclose(found, expected, atol=1e-8)


def test_draws_follow_the_equations():
    model, params, z, x = series(noise_v=1e-9, noise_x=1e-9)
    for path, row in zip(z, x, strict=True):
        # Without noise the path is what it would be after its own past.
        means = written_out(TRUTH, 0.05, path, row[300:])
        np.testing.assert_allclose(path, means, atol=1e-6)
        np.testing.assert_allclose(row[:300], path, atol=1e-6)


def test_noises_have_their_scales():
    _, _, z, x = series(n=40)
    assert abs(np.std(x[:, :300] - z) - 1) < 5 / np.sqrt(2 * z.size)


def test_rates_where_their_quotients_vanish():
    model, params, z, x = series(threshold=-70.0 - 13.0)
    z[0, :2] = -70.0, -83.0 + 15.0
    joint = model.log_joint(params, z, x)
    near = model.log_joint(params, z + 1e-7, x)
    np.testing.assert_allclose(joint, near, rtol=1e-3, atol=1e-3)


def test_model_passes_its_check():
    model, _, _, x = series(30)
    model.set_params(start=TRUTH)
    check_model(model, x, random_state=0)


def test_columns_around_each_step():
    columns = HodgkinHuxleyModel(200).term_columns
    assert columns.shape == (200, 70)
    # Beyond an end are its own columns.
    assert columns[0, :36].tolist() == [0] * 35 + [1]
    assert columns[0, 61:].tolist() == [200] * 9
    assert columns[100, [0, 1, 34, 60]].tolist() == [10, 40, 100, 132]
    assert columns[100, 61:].tolist() == list(range(292, 301))
    assert columns[199, 33:61].tolist() == [198] + [199] * 27


def test_values_and_params_are_inverse():
    model = HodgkinHuxleyModel()
    values = model.to_values(model.to_params(TRUTH))
    assert values == pytest.approx(TRUTH)
    assert model.to_values(model.to_params({"g_k": 7.0}))["g_k"] == pytest.approx(7)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"e_leak": 10.0}, "signed as .* got e_leak=10.0"),
        ({"g_na": 0.0}, "signed as .* got g_na=0.0"),
        ({"E_K": -90.0}, "must be of .* got E_K=-90.0"),
    ],
)
def test_impossible_values_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        HodgkinHuxleyModel().to_params(values)


@pytest.mark.parametrize(
    ("n_steps", "message"), [(4, "2 \\* n_steps = 8 .*got 9"), (0, "n_steps must be")]
)
def test_wrong_sizes_are_named(n_steps, message):
    with pytest.raises(ValueError, match=message):
        HodgkinHuxleyModel(n_steps).init_params(np.zeros((2, 9)), None)


@pytest.mark.parametrize("step", [0, -1.0, "a"])
def test_bad_step_is_named(step):
    with pytest.raises(ValueError, match="step must be a positive number"):
        HodgkinHuxleyModel(4, step=step).init_params(np.zeros((2, 8)), None)


@pytest.mark.parametrize(
    ("start", "message"),
    [([1, 2], "start must be a dict"), ({"g_na": "a"}, "g_na='a'")],
)
def test_bad_start_is_named(start, message):
    with pytest.raises(ValueError, match=message):
        HodgkinHuxleyModel(4, start=start).init_params(np.zeros((2, 8)), None)


def test_voltage_is_found_in_the_noise():
    truth = {**TRUTH, "noise_x": 5.0}
    model, _, z, x = series(150, n=4, noise_x=5.0)
    fitter = WakeSleepFitter(
        model=model.set_params(start=truth),
        regressor=AmortisedGradientRegressor(n_components=50, trend="linear"),
        n_sleep=40,
        max_iter=1,
        learning_rate=1e-9,
        random_state=0,
    ).fit(x)
    assert fitter.gradient_ == "joint"
    # Of 20 seeds the errors are 2.1 to 2.6, those of the observations 4.6 to 5.3.
    assert np.std(fitter.transform(x) - z) < 3
