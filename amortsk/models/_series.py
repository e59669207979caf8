"""What models of series have in common."""

import autograd.numpy as np

from amortsk.model import LatentVariableModel
from amortsk.models._decoder import check_positive_int
from amortsk.terms import windows


class SeriesModel(LatentVariableModel):
    """Rows are series of `n_steps` steps, the `n_outputs` columns of a step together.

    A subclass defines ``log_joint_terms(params, z, x)`` of shape (n, n_steps), one term
    for each step, and ``_log_moves(params, z)``, the part of the states alone. With a
    `half_width` each term is regressed on a window of as many steps on either side,
    otherwise their sum on the whole row.
    """

    n_outputs = 1
    half_width = None

    @property
    def term_columns(self):
        """Columns of the window around each step, (n_steps, width); None without."""
        if self.half_width is None:
            return None
        check_positive_int("n_steps", self.n_steps)
        steps = windows(self.n_steps, self.half_width)[:, :, np.newaxis]
        columns = steps * self.n_outputs + np.arange(self.n_outputs)
        return np.where(steps < 0, -1, columns).reshape(self.n_steps, -1)

    def log_joint(self, params, z, x):
        """Log-density of paired rows: of each step (n, n_steps), or in all (n,)."""
        terms = self.log_joint_terms(params, z, x)
        return np.sum(terms, axis=1) if self.half_width is None else terms

    def log_prior(self, params, z):
        """Log-density of paths of states, of shape (n,)."""
        return np.sum(self._log_moves(params, z), axis=1)

    def steps(self, x):
        """Rows cut into steps, of shape (n, n_steps, n_outputs).

        Raises
        ------
        ValueError
            If the number of columns is not ``n_steps * n_outputs``.
        """
        for name in ("n_steps", "n_outputs"):
            check_positive_int(name, getattr(self, name))
        if x.shape[1] != self.n_steps * self.n_outputs:
            raise ValueError(
                f"X must have n_steps * n_outputs = {self.n_steps} * {self.n_outputs} "
                f"columns, got {x.shape[1]}"
            )
        return np.reshape(x, (len(x), self.n_steps, self.n_outputs))
