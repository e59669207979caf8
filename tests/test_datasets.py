"""Generated data sets."""

import numpy as np
import pytest
from scipy import stats

from amortsk.datasets import gabor, make_gabors


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
