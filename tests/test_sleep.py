"""Draws from the model: redrawn where not finite, chunked, their shapes checked."""

import re

import numpy as np
import pytest

from amortsk.model import FunctionModel, LatentVariableModel
from amortsk.sleep import Sleep, draw

SHIFT = {"shift": np.array([1.0, -1.0])}


def sampler(params, n_samples, rng):
    z = rng.standard_normal((n_samples, 2))
    return z, params["shift"] + z


def model(sample=sampler):
    return FunctionModel(lambda params, z, x: -x[:, 0], sample, SHIFT)


def seed(entropy=0):
    return np.random.SeedSequence(entropy)


class Faulty:
    """A sampler with failures at given rows of its successive calls."""

    def __init__(self, *rows, value=np.nan, where="x"):
        self.rows, self.value, self.where = list(rows), value, where
        self.sizes = []

    def __call__(self, params, n_samples, rng):
        self.sizes.append(n_samples)
        z, x = sampler(params, n_samples, rng)
        faulty = self.rows.pop(0) if self.rows else []
        (x if self.where == "x" else z)[faulty, 0] = self.value
        return {"a": z[:, 0], "b": z}, x


@pytest.mark.parametrize("where", ["x", "z"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_drawn_again_and_counted(where, value):
    faulty = Faulty([3, 7, 20], [1], value=value, where=where)
    draws = draw(model(faulty), SHIFT, 40, seed())
    assert faulty.sizes == [40, 3, 1]
    assert draws.n_redrawn == 4
    # Rows stay together: x is z shifted, and both parts of z agree.
    np.testing.assert_array_equal(draws.z["a"], draws.z["b"][:, 0])
    np.testing.assert_array_equal(draws.x, SHIFT["shift"] + draws.z["b"])
    assert draws.x.shape == (40, 2)


def test_finite_draws_keep_their_order():
    clean = draw(model(), SHIFT, 40, seed())
    faulty = draw(model(Faulty([3, 7])), SHIFT, 40, seed())
    kept = np.delete(np.arange(40), [3, 7])
    np.testing.assert_array_equal(faulty.x[kept], clean.x[kept])
    assert clean.n_redrawn == 0


def test_a_tenth_may_be_redrawn_and_no_more():
    assert draw(model(Faulty(range(4))), SHIFT, 40, seed()).n_redrawn == 4
    message = "sampler returned non-finite values in 5 of 40 draws"
    with pytest.raises(ValueError, match=message):
        draw(model(Faulty(range(5))), SHIFT, 40, seed())
    with pytest.raises(ValueError, match=message):
        draw(model(Faulty(range(3), range(2))), SHIFT, 40, seed())


def test_one_row_of_few_may_be_redrawn():
    assert draw(model(Faulty([0])), SHIFT, 1, seed()).n_redrawn == 1
    with pytest.raises(ValueError, match="2 of 1 draws"):
        draw(model(Faulty([0], [0])), SHIFT, 1, seed())


def test_a_sampler_without_a_finite_draw_ends():
    def broken(params, n_samples, rng):
        return np.full(n_samples, np.nan), np.zeros((n_samples, 2))

    with pytest.raises(ValueError, match="100 of 100 draws"):
        draw(model(broken), SHIFT, 100, seed())


def first_column(draws):
    return draws.x[:, 0]


def test_results_do_not_depend_on_the_number_of_jobs():
    results = [
        list(
            Sleep(model(), SHIFT, 25, seed(), chunk_rows=10, n_jobs=n_jobs).map(
                first_column
            )
        )
        for n_jobs in (None, 1, 2)
    ]
    assert [len(chunk) for chunk in results[0]] == [10, 10, 5]
    for other in results[1:]:
        np.testing.assert_array_equal(np.concatenate(other), np.concatenate(results[0]))


def overflowing(draws):
    return np.exp(1e3 + draws.x[:, 0])


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_overflow_is_no_warning_in_any_process(n_jobs, capfd):
    sleep = Sleep(model(), SHIFT, 25, seed(), chunk_rows=10, n_jobs=n_jobs)
    assert np.isinf(np.concatenate(list(sleep.map(overflowing)))).all()
    assert "overflow" not in capfd.readouterr().err


def test_every_pass_sees_the_same_draws():
    sleep = Sleep(model(), SHIFT, 25, seed(), chunk_rows=10)
    first, second = (list(sleep.map(first_column)) for _ in range(2))
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(second))
    np.testing.assert_array_equal(sleep.first.x[:, 0], first[0])
    assert np.unique(np.concatenate(first)).size == 25


def test_one_chunk_is_drawn_once():
    counting = Faulty()
    sleep = Sleep(model(counting), SHIFT, 20, seed(), chunk_rows=20)
    assert counting.sizes == []
    for _ in range(3):
        list(sleep.map(first_column))
    assert counting.sizes == [20]


def sometimes(params, n_samples, rng):
    z, x = sampler(params, n_samples, rng)
    x[np.abs(x[:, 0] - 1) > 2.2] = np.nan
    return z, x


@pytest.mark.parametrize("chunk_rows", [500, 100])
@pytest.mark.parametrize("order", ["first, map", "map, first", "first, map, map"])
def test_redrawn_rows_are_counted_once(chunk_rows, order):
    sleep = Sleep(model(sometimes), SHIFT, 500, seed(), chunk_rows=chunk_rows)
    for step in order.split(", "):
        if step == "map":
            counts = list(sleep.map(lambda draws: draws.n_redrawn))
        else:
            assert sleep.first.n_redrawn > 0
    assert sleep.n_redrawn == sum(counts)


def test_draws_depend_on_the_seed():
    first, again, other = (draw(model(), SHIFT, 5, seed(s)).x for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_whole_numbers_become_floats_and_booleans_integers():
    def binary(params, n_samples, rng):
        return rng.random(n_samples) < 0.5, np.ones((n_samples, 2), dtype=int)

    draws = draw(model(binary), SHIFT, 5, seed())
    assert draws.z.dtype == int
    assert draws.x.dtype == np.float64


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        (np.zeros((5, 2)), "must return a pair (z, x)"),
        ((np.zeros(5),) * 3, "must return a pair (z, x)"),
        (
            (np.zeros(4), np.zeros((5, 2))),
            "latents with 5 rows, got an array of shape (4,)",
        ),
        (((np.zeros(5), np.zeros(())), np.zeros((5, 2))), "got an array of shape ()"),
        (({}, np.zeros((5, 2))), "returned no latents"),
        ((np.zeros(5, dtype=complex), np.zeros((5, 2))), "real or integer latents"),
        ((np.array(["a"] * 5), np.zeros((5, 2))), "real or integer latents"),
        ((np.zeros(5), np.zeros(5)), "x as real numbers of shape (5, n_features)"),
        ((np.zeros(5), np.zeros((4, 2))), "x as real numbers of shape (5, n_features)"),
        (
            (np.zeros(5), np.zeros((5, 2), complex)),
            "got shape (5, 2) and dtype complex128",
        ),
    ],
)
def test_what_is_wrong_with_draws_is_named(drawn, message):
    with pytest.raises(ValueError, match="sampler .*" + re.escape(message)):
        draw(model(lambda params, n_samples, rng: drawn), SHIFT, 5, seed())


def test_an_exception_in_the_sampler_names_it_and_the_parameters():
    def broken(params, n_samples, rng):
        return params["missing"]

    message = r"sampler raised KeyError: 'missing', .* \{'shift': '\(2,\), -1 to 1'\}"
    with pytest.raises(ValueError, match=message) as caught:
        draw(model(broken), SHIFT, 5, seed())
    assert isinstance(caught.value.__cause__, KeyError)


def test_advice_on_autograd_is_not_for_samplers():
    def broken(params, n_samples, rng):
        return params["shift"] + None

    with pytest.raises(ValueError, match=r"sampler raised TypeError: .* -1 to 1'\}$"):
        draw(model(broken), SHIFT, 5, seed())


def test_a_model_goes_by_its_class():
    class Mine(LatentVariableModel):
        def sample(self, params, n_samples, rng):
            return None

    with pytest.raises(ValueError, match=r"Mine\.sample must return a pair"):
        draw(Mine(), SHIFT, 5, seed())
