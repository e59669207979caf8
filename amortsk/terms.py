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


def widen(term_columns):
    """Windows of twice the half-width (at least one) about the same centres.

    None where they are not windows.
    """
    widened, last = [], max(int(columns.max()) for columns in term_columns)
    for columns in term_columns:
        inside = np.flatnonzero(columns >= 0)
        start = columns[inside[0]] - inside[0]
        run = start + np.arange(len(columns))
        if not np.array_equal(columns[inside], run[inside]):
            return None
        half = max(1, (len(columns) - 1) // 2)
        run = start - half + np.arange(len(columns) + 2 * half)
        widened.append(np.where((run >= 0) & (run <= last), run, -1))
    return widened


# Columns of a step, beyond which kernels on single steps would take too many features.
MAX_STEP = 4


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
        """Rows of the regression, (n * n_terms, width), with indicators of the ends."""
        if self.columns is None:
            return x
        beyond = self.columns < 0
        rows = np.where(beyond, 0.0, x[:, self.columns])
        indicated = beyond[:, beyond.any(0)]
        ends = np.broadcast_to(indicated, (len(x), *indicated.shape))
        rows = np.concatenate([rows, ends], axis=2)
        return rows.reshape(-1, rows.shape[2])

    def groups(self, n_features, n_terms):
        """Columns of the rows within 0, 1, 2, 4, ... steps of a term's own, and all.

        None unless data are as many steps of one to four columns as there are terms,
        and the columns of all terms lie alike about their own steps.
        """
        step, rest = divmod(n_features, n_terms)
        if self.columns is None or rest or step > MAX_STEP:
            return None
        beyond = self.columns < 0
        lags = self.columns // step - self.terms[:, np.newaxis]
        lag = np.where(beyond, lags.min(), lags).max(0)
        if np.any((lags != lag) & ~beyond) or not np.any(lag == 0):
            return None
        # What is beyond for every term says nothing; nor do indicators but with all.
        distance = np.where(beyond.all(0), n_terms, np.abs(lag))
        widest = distance[~beyond.all(0)].max()
        distance = np.append(distance, np.full(beyond.any(0).sum(), n_terms))
        radii = [0, *2 ** np.arange(n_terms.bit_length())]
        inside = [radius for radius in radii if radius < widest]
        return [np.flatnonzero(distance <= radius) for radius in (*inside, n_terms)]


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
