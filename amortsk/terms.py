"""Local terms: windows of columns, over which one regression is pooled."""

import numpy as np

from amortsk.features import are_indices, check_integer


def windows(n_columns, half_width):
    """Columns within `half_width` of each column, for terms of a series.

    Parameters
    ----------
    n_columns : int
        Number of columns, one local term each.
    half_width : int
        How many columns to take on either side.

    Returns
    -------
    term_columns : ndarray of shape (n_columns, 2 * half_width + 1), int
        Row t holds t - half_width, ..., t + half_width; -1 beyond the ends.

    Raises
    ------
    ValueError
        If `n_columns` is not positive or `half_width` negative.

    See Also
    --------
    WakeSleepFitter : Takes them as `term_columns`.

    Examples
    --------
    >>> from amortsk import windows
    >>> windows(4, 1)
    array([[-1,  0,  1],
           [ 0,  1,  2],
           [ 1,  2,  3],
           [ 2,  3, -1]])
    """
    check_integer("n_columns", n_columns, 1)
    check_integer("half_width", half_width, 0)
    offsets = np.arange(-half_width, half_width + 1)
    columns = np.arange(n_columns)[:, np.newaxis] + offsets
    return np.where((columns >= 0) & (columns < n_columns), columns, -1)


def check_term_columns(term_columns, n_features):
    """One integer array per term.

    Raises
    ------
    ValueError
        If they are not column indices, or -1.
    """
    listed = np.iterable(term_columns)
    checked = [np.asarray(columns) for columns in term_columns] if listed else []
    if not checked or not all(are_indices(c, n_features, lowest=-1) for c in checked):
        raise ValueError(
            "term_columns must hold, for each term, integer indices of columns in "
            f"0..{n_features - 1} (or -1 beyond the ends), got {term_columns!r}"
        )
    return checked


def centres(term_columns):
    """Middle column of every window; None where they are not runs of neighbours."""
    found = []
    for columns in term_columns:
        inside = np.flatnonzero(columns >= 0)
        start = columns[inside[0]] - inside[0]
        if not np.array_equal(columns[inside], start + inside):
            return None
        found.append(start + (len(columns) - 1) / 2)
    return np.array(found)


def default_groups(term_columns):
    """``"nested"`` for windows that move on by a column, not by several, a term."""
    middles = centres(term_columns)
    by_column = middles is not None and np.all(np.abs(np.diff(middles)) <= 1)
    return "nested" if by_column else None


def widen(term_columns):
    """Windows of twice the half-width (at least one) about the same centres.

    None where they are not windows.
    """
    middles = centres(term_columns)
    if middles is None:
        return None
    widened, last = [], max(int(columns.max()) for columns in term_columns)
    for columns, middle in zip(term_columns, middles, strict=True):
        width = len(columns) + 2 * max(1, (len(columns) - 1) // 2)
        run = int(middle - (width - 1) / 2) + np.arange(width)
        widened.append(np.where((run >= 0) & (run <= last), run, -1))
    return widened


class Block:
    """Terms of equal width, which share one regression; or the whole row as one term.

    Parameters
    ----------
    columns : ndarray of shape (n_terms, width) or None
        Columns of each term; None is the whole row.
    terms : ndarray of shape (n_terms,)
        Which terms of the log-joint these are.
    """

    def __init__(self, columns=None, terms=(0,)):
        self.columns, self.terms = columns, np.asarray(terms)
        self.n_terms = len(self.terms)

    def rows(self, x):
        """Rows of the regression, (n * n_terms, width), with indicators of the ends.

        These stand outside, so that the middle of a window stays the middle.
        """
        if self.columns is None:
            return x
        beyond = self.columns < 0
        rows = np.where(beyond, 0.0, x[:, self.columns])
        indicated = np.flatnonzero(beyond.any(0))
        n_first = np.sum(indicated < beyond.shape[1] // 2)
        ends = np.broadcast_to(beyond[:, indicated], (*rows.shape[:2], len(indicated)))
        first, last = ends[..., :n_first], ends[..., n_first:]
        rows = np.concatenate([first, rows, last], axis=2)
        return rows.reshape(-1, rows.shape[2])


def make_blocks(term_columns, n_features):
    """Blocks of equal width; a single one of whole rows without `term_columns`."""
    if term_columns is None:
        return [Block()]
    checked = check_term_columns(term_columns, n_features)
    blocks = []
    for width in sorted({len(columns) for columns in checked}):
        terms = [t for t, columns in enumerate(checked) if len(columns) == width]
        blocks.append(Block(np.array([checked[t] for t in terms]), terms))
    return blocks
