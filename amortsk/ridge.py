"""Penalised least squares: weights of sleep rows, and closed-form leave-one-out."""

from contextlib import suppress

import numpy as np
from scipy import linalg

MAX_LEVERAGE = 1 - 1e-6
# Probes of a trace.
N_SIGNS = 8


class PrimalSmoother:
    r"""Smoother matrix of ridge regression on explicit columns, a few of them free.

    With columns :math:`\Phi = [P\ F]`, trend P unpenalised, and
    :math:`S = \Phi^\top\Phi + \alpha\,\mathrm{diag}(0, I)`, predictions at queries are
    :math:`A y` with :math:`A = \Phi_* S^{-1} \Phi^\top`.

    Parameters
    ----------
    gram : ndarray of shape (q + D, q + D)
        :math:`\Phi^\top\Phi`, summed over any number of chunks of rows.
    n_trend : int
        q, the number of unpenalised columns; they come first.
    alpha : float
        Ridge.
    columns : ndarray of shape (n, q + D) or None
        The rows themselves, when at hand: their QR factor stands in for the Cholesky
        factor of an ill-conditioned Gram matrix.
    """

    def __init__(self, gram, n_trend, alpha, columns=None):
        self.gram = gram
        self.penalty = np.full(len(gram), alpha, dtype=gram.dtype)
        self.penalty[:n_trend] = 0
        system = gram + np.diag(self.penalty)
        well_conditioned = False
        with suppress(linalg.LinAlgError):
            self._factor = linalg.cho_factor(system, check_finite=False)
            pivots = np.diag(self._factor[0])
            # The condition number is at least this ratio of pivots, squared.
            ratio = pivots.min() / pivots.max()
            well_conditioned = ratio**2 > 1e3 * np.finfo(gram.dtype).eps
        if not well_conditioned:
            self._refactor(system, columns)

    def _refactor(self, system, columns):
        if columns is not None:
            root = np.vstack([columns, np.diag(np.sqrt(self.penalty))])
            R = linalg.qr(root, mode="r", check_finite=False)[0][: len(system)]
            pivots = np.abs(np.diag(R))
            if pivots.min() > np.finfo(R.dtype).eps * len(R) * pivots.max():
                self._factor = (R, False)
                return
        values, vectors = linalg.eigh(system, check_finite=False)
        kept = values > np.finfo(system.dtype).eps * len(system) * values[-1]
        self._factor = None
        self._root = vectors[:, kept] / np.sqrt(values[kept])

    def coef(self, cross):
        r"""Coefficients :math:`S^{-1} \Phi^\top Y` of the columns, from the product."""
        if self._factor is None:
            return self._root @ (self._root.T @ cross)
        return linalg.cho_solve(self._factor, cross, check_finite=False)

    def query(self, columns):
        """What `weights` needs of query rows with these columns, (.,) or (m, .)."""
        return self.coef(columns.T)

    def weights(self, columns, query):
        """Weights of the sleep rows with these columns, of shape (n,) or (n, m)."""
        return columns @ query

    def degrees_of_freedom(self, rng):
        """Trace of the smoother matrix of the sleep rows, from random signs."""
        signs = rng.choice([-1.0, 1.0], size=(len(self.gram), N_SIGNS))
        return np.sum(signs * self.coef(self.gram @ signs)) / N_SIGNS


class DualSmoother:
    r"""Smoother matrix of kernel ridge regression with the exact kernel and a trend.

    The trend's coefficients are the generalised least-squares ones,
    :math:`\beta = B y`, :math:`B = (P^\top M P)^{-1} P^\top M`,
    :math:`M = (K + \alpha I)^{-1}`; then :math:`A = k_* M (I - P B) + P_* B`.

    Parameters
    ----------
    columns : ndarray of shape (n, q + n)
        Trend columns of the sleep rows, then their kernel matrix.
    alpha : float
        Ridge.
    """

    def __init__(self, columns, alpha):
        self.columns = columns
        self.n_trend = columns.shape[1] - len(columns)
        self.P, K = columns[:, : self.n_trend], columns[:, self.n_trend :]
        system = K + alpha * np.eye(len(K), dtype=K.dtype)
        try:
            self._factor = linalg.cho_factor(system, check_finite=False)
        except linalg.LinAlgError as error:
            raise ValueError(
                f"K + alpha I is not positive definite at alpha={alpha!r}: the kernel "
                "matrix is singular (duplicated rows?); take a larger alpha"
            ) from error
        MP = self._inverse(self.P)
        self.B = linalg.lstsq(self.P.T @ MP, MP.T)[0] if self.n_trend else MP.T

    def _inverse(self, rhs):
        return linalg.cho_solve(self._factor, rhs, check_finite=False)

    def coef(self, cross):
        """Coefficients (of trend, then kernel) for targets, the rows themselves."""
        beta = self.B @ cross
        return np.concatenate([beta, self._inverse(cross - self.P @ beta)])

    def query(self, columns):
        """Weights of the sleep rows at queries with these columns, (n,) or (n, m)."""
        P, k = columns.T[: self.n_trend], columns.T[self.n_trend :]
        W = self._inverse(k)
        return W + self.B.T @ (P - self.P.T @ W)

    def weights(self, columns, query):
        """Weights of the sleep rows, which `query` holds already."""
        return query

    def degrees_of_freedom(self, rng):
        """Trace of the smoother matrix of the sleep rows, from random signs."""
        signs = rng.choice([-1.0, 1.0], size=(len(self.columns), N_SIGNS))
        return np.sum(signs * (self.columns @ self.coef(signs))) / N_SIGNS


def kernel_square_root(K):
    """Columns F with F F' = K, for a positive semi-definite K."""
    values, vectors = linalg.eigh(K, check_finite=False)
    return vectors * np.sqrt(np.clip(values, 0, None))


def leave_one_out(F, P, Y, alphas):
    r"""Leave-one-out error of ridge regression for many ridges, from one factorisation.

    The residual of row n when it is left out is :math:`r_n / (1 - h_n)`, with the
    leverage :math:`h_n` from the eigendecomposition of the Gram matrix of the penalised
    columns, which all ridges share. Near-constant targets are skipped and leverages
    clipped at 1 - 1e-6.

    Parameters
    ----------
    F : ndarray of shape (n, D)
        Penalised columns.
    P : ndarray of shape (n, q)
        Unpenalised, independent columns.
    Y : ndarray of shape (n, T)
        Targets.
    alphas : ndarray of shape (A,)
        Ridges.

    Returns
    -------
    by_row : ndarray of shape (n, A)
        Mean over targets of squared error over target variance; NaN if every target is
        constant.
    by_target : ndarray of shape (T, A)
        Mean over rows; NaN for constant targets.

    References
    ----------
    Golub, Heath and Wahba, *Generalized cross-validation*, Technometrics 21, 1979.
    """
    variance = Y.var(0)
    kept = variance > (1e-8 * np.abs(Y).max(0)) ** 2
    by_row = np.full((len(Y), len(alphas)), np.nan)
    by_target = np.full((len(kept), len(alphas)), np.nan)
    if not kept.any():
        return by_row, by_target
    Y, variance = Y[:, kept], variance[kept]
    Q = linalg.qr(P, mode="economic", check_finite=False)[0] if P.shape[1] else P
    F = F - Q @ (Q.T @ F)
    Y = Y - Q @ (Q.T @ Y)
    values, vectors = linalg.eigh(F.T @ F, check_finite=False)
    U = F @ vectors
    projections = U.T @ Y
    shrinkage = 1 / (np.clip(values, 0, None)[:, np.newaxis] + alphas)
    leverages = np.sum(Q**2, 1)[:, np.newaxis] + U**2 @ shrinkage
    slack = 1 - np.clip(leverages, 0, MAX_LEVERAGE)
    for a in range(len(alphas)):
        residuals = Y - U @ (shrinkage[:, a : a + 1] * projections)
        errors = (residuals / slack[:, a : a + 1]) ** 2 / variance
        by_row[:, a], by_target[kept, a] = errors.mean(1), errors.mean(0)
    return by_row, by_target
