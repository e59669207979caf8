"""Generated data sets."""

import numpy as np
import pytest
from scipy import stats

from amortsk.datasets import gabor, make_gabors, make_limit_cycle, make_pinwheel


def test_gabor_is_the_formula():
    # Corner (-1, -1), middle of the top and of the left side, centre.
    upright = gabor([0.0], size=3).reshape(3, 3)
    window = np.exp(-1 / 0.18), np.exp(-0.64 / 0.18)
    assert upright[1, 1] == 1
    np.testing.assert_allclose(upright[1, 0], window[0])
    np.testing.assert_allclose(upright[0, 1], window[1])
    np.testing.assert_allclose(upright[0, 0], window[0] * window[1])


def test_gabor_of_a_quarter_turn_is_transposed():
    upright, turned = gabor([0.0, np.pi / 2]).reshape(2, 16, 16)
    np.testing.assert_allclose(turned, upright.T, atol=1e-12)


def test_gabor_repeats_after_half_a_turn():
    angles = np.array([0.3, 1.0, 2.5])
    np.testing.assert_allclose(gabor(angles), gabor(angles + np.pi), atol=1e-12)
    apart = np.abs(gabor(angles) - gabor(angles + np.pi / 2))
    assert (apart.max(axis=1) > 0.5).all()


@pytest.mark.parametrize("size", [1, 5, 16])
def test_shapes_follow_size(size):
    X, orientation = make_gabors(7, size=size, random_state=0)
    assert X.shape == (7, size**2)
    assert orientation.shape == (7,)
    assert np.isfinite(X).all()


def test_images_have_the_orientations_returned():
    X, orientation = make_gabors(20, random_state=0)
    np.testing.assert_array_equal(X, gabor(orientation))
    again, _ = make_gabors(20, random_state=0)
    np.testing.assert_array_equal(X, again)


def test_orientations_are_uniform():
    _, orientation = make_gabors(2000, random_state=0)
    assert stats.kstest(orientation / np.pi, "uniform").pvalue > 0.01


def test_noise_has_the_standard_deviation_asked_for():
    clean, orientation = make_gabors(200, random_state=0)
    noisy, same = make_gabors(200, noise=0.3, random_state=0)
    np.testing.assert_array_equal(same, orientation)
    assert abs((noisy - clean).std() - 0.3) < 0.005


def test_pinwheel_straightened_is_normal():
    X, arm = make_pinwheel(5000, random_state=0)
    # By five-fold symmetry the mean taken off was near zero: 0.01.
    radius = np.hypot(*X.T)
    # r is within 0.1 of the distance from the centre, for all but a few.
    for _ in range(50):
        angle = 2 * np.pi * arm / 5 + 0.2 * np.exp(radius)
        radius = X[:, 0] * np.cos(angle) - X[:, 1] * np.sin(angle)
    across = X[:, 0] * np.sin(angle) + X[:, 1] * np.cos(angle)
    assert stats.kstest((radius - 1) / 0.3, "norm").statistic < 0.04
    assert stats.kstest(across / 0.1, "norm").statistic < 0.04


def test_pinwheel_has_arms_of_equal_size_and_is_centred():
    X, arm = make_pinwheel(random_state=0)
    np.testing.assert_array_equal(np.bincount(arm), [500] * 5)
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-12)
    assert len(np.unique(arm[:20])) > 1
    np.testing.assert_array_equal(make_pinwheel(random_state=0)[0], X)
    _, arm = make_pinwheel(11, n_arms=3, random_state=0)
    np.testing.assert_array_equal(np.bincount(arm), [4, 4, 3])


def test_pinwheel_turns_by_one_arm():
    X, arm = make_pinwheel(20_000, random_state=0)
    fifth = 2 * np.pi / 5
    turn = np.array([[np.cos(fifth), -np.sin(fifth)], [np.sin(fifth), np.cos(fifth)]])
    means = np.array([X[arm == c].mean(axis=0) for c in range(5)])
    np.testing.assert_allclose(means[1:], means[:-1] @ turn, atol=0.03)


def test_limit_cycle_goes_round_in_twelve_steps():
    X, z = make_limit_cycle(20, 121, random_state=0)
    assert X.shape == (20, 121 * 20)
    angle = np.unwrap(np.arctan2(z[:, :, 1], z[:, :, 0]), axis=1)
    turns = (angle[:, -1] - angle[:, 0]) / (2 * np.pi)
    # Phases diffuse: 0.1 a step in each direction, over 120 steps.
    assert np.abs(turns.mean() - 10) < 0.3
    radius = np.linalg.norm(z, axis=2)
    assert np.abs(np.median(radius) - 0.92) < 0.03


def test_units_of_the_limit_cycle_see_the_first_state():
    X, z = make_limit_cycle(2, 10, noise=0.0, random_state=0)
    peak = np.linspace(-1.5, 1.5, 20)[X.reshape(2, 10, 20).argmax(axis=2)]
    assert np.all(np.abs(peak - z[:, :, 0]) <= 0.5 * 3 / 19 + 1e-9)
