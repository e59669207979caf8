"""Windows of columns and the rows of the pooled regression."""

import numpy as np
import pytest

from amortsk import windows
from amortsk.terms import Block, check_term_columns, make_blocks, widen


@pytest.mark.parametrize("n_columns", [1, 2, 5])
@pytest.mark.parametrize("half_width", [0, 1, 3])
def test_windows(n_columns, half_width):
    expected = [
        [
            c if 0 <= c < n_columns else -1
            for c in range(t - half_width, t + half_width + 1)
        ]
        for t in range(n_columns)
    ]
    np.testing.assert_array_equal(windows(n_columns, half_width), expected)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        *[((n, 1), "n_columns") for n in (0, -1, 2.0, "3", None)],
        *[((3, h), "half_width") for h in (-1, 1.0, "1", None)],
    ],
    ids=str,
)
def test_bad_windows_are_named(arguments, name):
    with pytest.raises(ValueError, match=f"{name} must be an integer"):
        windows(*arguments)


def test_term_columns_may_differ_in_width():
    checked = check_term_columns([[0, 1], [-1, 0, 2]], 3)
    assert [columns.tolist() for columns in checked] == [[0, 1], [-1, 0, 2]]


@pytest.mark.parametrize(
    "term_columns",
    [
        [[0, 3]],
        [[0, -2]],
        [[-1, -1]],
        [[0.0, 1.0]],
        [[True, False]],
        [[]],
        [[[0, 1]]],
        [[0, 1], ["a"]],
        [0, 1],
    ],
    ids=str,
)
def test_bad_term_columns_are_named(term_columns):
    with pytest.raises(ValueError, match=r"term_columns must hold, .* 0\.\.2"):
        check_term_columns(term_columns, 3)


@pytest.mark.parametrize(("half_width", "wider"), [(0, 1), (1, 2), (2, 4), (4, 8)])
def test_widened_windows_have_twice_the_half_width(half_width, wider):
    widened = widen(list(windows(6, half_width)))
    np.testing.assert_array_equal(widened, windows(6, wider))


def test_widening_keeps_centres():
    # The last column is taken to be the largest index.
    widened = widen([np.array([2, 3, 4]), np.array([8]), np.array([0, 1, 2, 3, 4])])
    expected = [[1, 2, 3, 4, 5], [7, 8, -1], [-1, -1, 0, 1, 2, 3, 4, 5, 6]]
    assert [columns.tolist() for columns in widened] == expected


@pytest.mark.parametrize("columns", [[0, 2, 4], [2, 1, 0], [0, 1, -1, 3, 4, 6]])
def test_irregular_windows_are_not_widened(columns):
    assert widen([np.array(columns)]) is None


def test_a_whole_row_is_one_term():
    x = np.arange(6.0).reshape(2, 3)
    (block,) = make_blocks(None, 3)
    np.testing.assert_array_equal(block.rows(x), x)
    assert block.n_terms == 1


def test_rows_of_terms_tell_zeros_from_ends():
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    (block,) = make_blocks(windows(3, 1), 3)
    # Row by row and term by term; then one indicator for each end.
    expected = [
        [0, 1, 2, 1, 0],
        [1, 2, 3, 0, 0],
        [2, 3, 0, 0, 1],
        [0, 4, 5, 1, 0],
        [4, 5, 6, 0, 0],
        [5, 6, 0, 0, 1],
    ]
    np.testing.assert_array_equal(block.rows(x), expected)


def test_terms_inside_the_row_have_no_indicators():
    x = np.array([[1.0, 2.0, 3.0]])
    block = Block(np.array([[0, 1], [2, 1]]), [0, 1])
    np.testing.assert_array_equal(block.rows(x), [[1, 2], [3, 2]])


def test_terms_of_equal_width_share_a_block():
    blocks = make_blocks([[0, 1], [2], [1, 2], [0]], 3)
    assert [block.terms.tolist() for block in blocks] == [[1, 3], [0, 2]]
    assert [block.columns.tolist() for block in blocks] == [
        [[2], [0]],
        [[0, 1], [1, 2]],
    ]
    assert [block.n_terms for block in blocks] == [2, 2]


def past(n_steps, n_back):
    columns = np.arange(n_steps)[:, None] + np.arange(-n_back, 1)
    return np.where(columns < 0, -1, columns)


def outputs(n_steps, half_width, n_outputs):
    steps = windows(n_steps, half_width)[:, :, None]
    columns = np.where(steps < 0, -1, n_outputs * steps + np.arange(n_outputs))
    return columns.reshape(n_steps, -1)


SEASONAL = [[1], [*range(7)]]
FULL = [[5], [4, 5, 6], [3, 4, 5, 6, 7], [*range(1, 10)], [*range(21)]]


@pytest.mark.parametrize(
    ("term_columns", "n_features", "groups"),
    [
        # Windows of five, nine and three columns, then an indicator for each end.
        (windows(9, 2), 9, [[2], [1, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7, 8]]),
        (windows(9, 4), 9, [[4], [3, 4, 5], [2, 3, 4, 5, 6], [*range(17)]]),
        (past(9, 2), 9, [[2], [1, 2], [0, 1, 2, 3, 4]]),
        (outputs(5, 1, 2), 10, [[2, 3], [*range(10)]]),
        (outputs(5, 1, 4), 20, [[4, 5, 6, 7], [*range(20)]]),
        (outputs(5, 1, 5), 25, None),
        (windows(6, 5), 6, FULL),
        (windows(9, 0), 9, [[0]]),
        # A -1 more, to have a regression of their own.
        (np.pad(windows(9, 1), ((0, 0), (0, 1)), constant_values=-1), 9, SEASONAL),
        # Of unequal shifts, without a step of their own, of the wrong number.
        (windows(9, 2)[[0, 0, 2, 3, 4, 5, 6, 7, 8]], 9, None),
        ([[t, (t + 3) % 9] for t in range(9)], 9, None),
        ([[(t + 1) % 9] for t in range(9)], 9, None),
        (windows(9, 1)[:, [0, 2]], 9, None),
        (windows(9, 2)[:5], 9, None),
    ],
)
def test_nested_groups_are_about_each_terms_own_step(term_columns, n_features, groups):
    (block,) = make_blocks(term_columns, n_features)
    found = block.groups(n_features, len(term_columns))
    assert (found and [group.tolist() for group in found]) == groups
    if found:
        assert len(found[-1]) == block.rows(np.zeros((1, n_features))).shape[1]


def test_windows_of_steps_are_widened_by_steps():
    widened = widen(list(outputs(6, 1, 2)))
    np.testing.assert_array_equal(widened, outputs(6, 2, 2))


def test_blocks_of_different_widths_have_groups_of_their_own():
    term_columns = [*windows(6, 1)[:3], *windows(6, 2)[3:]]
    found = [block.groups(6, 6) for block in make_blocks(term_columns, 6)]
    assert [[g.tolist() for g in groups] for groups in found] == [
        [[1], [0, 1, 2, 3]],
        [[2], [1, 2, 3], [0, 1, 2, 3, 4, 5, 6]],
    ]
    (whole,) = make_blocks(None, 6)
    assert whole.groups(6, 1) is None


def test_rows_leave_the_data_as_they_were():
    x = np.ones((2, 3))
    x.flags.writeable = False
    (block,) = make_blocks(windows(3, 1), 3)
    rows = block.rows(x)
    rows += 1
    np.testing.assert_array_equal(x, 1)
