"""Random slopes: posterior means that are products of columns.

y_t = u_0 + u_1 c_t + e_t, u_j ~ N(b_j, tau_j^2), e_t ~ N(0, s^2), for 500 rows of T
observations, each at covariates of its own (Laird and Ware, *Random-effects models for
longitudinal data*, Biometrics 38, 1982). The exact likelihood is normal, its maximum
found by BFGS. The posterior mean of u_1 is a product of y and c, which a kernel on 2 T
columns learns slowly; beside it candidates without the pilot, and a regression that
also sees the least-squares line of every row. What a fit loses is told in nats of all
rows together: two are within sampling error.
"""

from contextlib import nullcontext
from unittest import mock

import autograd.numpy as np
import numpy as onp
from _report import parser, report, row
from autograd import value_and_grad
from autograd.misc.flatten import flatten
from scipy.optimize import minimize
from sklearn.preprocessing import FunctionTransformer

from amortsk import AmortisedGradientRegressor, LatentVariableModel, WakeSleepFitter
from amortsk.candidates import Candidates

N_ROWS = 500
TRUTH = {"b": onp.array([1.0, -0.5]), "log_tau": onp.log([1.0, 0.8]), "log_s": -0.7}
SETTINGS = {"max_iter": 500, "learning_rate": 0.03, "n_sleep": 600}


class RandomSlopes(LatentVariableModel):
    """Rows hold T observations, then their T covariates."""

    latent_support = "real"

    def __init__(self, n_times):
        self.n_times = n_times

    @property
    def covariate_columns(self):
        return list(range(self.n_times, 2 * self.n_times))

    def init_params(self, X, rng):
        return {"b": onp.zeros(2), "log_tau": onp.zeros(2), "log_s": onp.zeros(())}

    def line(self, params, z, covariates):
        u = params["b"] + np.exp(params["log_tau"]) * z
        return u[:, :1] + u[:, 1:] * covariates

    def sample(self, params, n_samples, rng, covariates):
        z = rng.standard_normal((n_samples, 2))
        noise = onp.exp(params["log_s"]) * rng.standard_normal(covariates.shape)
        return z, onp.hstack([self.line(params, z, covariates) + noise, covariates])

    def log_prior(self, params, z):
        return -0.5 * np.sum(z**2, axis=1) - np.log(2 * np.pi)

    def log_joint(self, params, z, x):
        y, c = x[:, : self.n_times], x[:, self.n_times :]
        residual = (y - self.line(params, z, c)) / np.exp(params["log_s"])
        log_norm = self.n_times * (params["log_s"] + 0.5 * np.log(2 * np.pi))
        return self.log_prior(params, z) - 0.5 * np.sum(residual**2, axis=1) - log_norm


def log_likelihood(params, X):
    """Sum over rows, of normal vectors with covariances of their own."""
    y, c = onp.split(X, 2, axis=1)
    design = onp.stack([onp.ones_like(c), c], axis=2)
    residual = y - np.dot(design, params["b"])
    scaled = design * np.exp(params["log_tau"])
    covariance = np.einsum("nti,nsi->nts", scaled, scaled)
    covariance = covariance + np.exp(2 * params["log_s"]) * onp.eye(y.shape[1])
    solved = np.linalg.solve(covariance, residual[:, :, None])[:, :, 0]
    log_det = np.linalg.slogdet(2 * np.pi * covariance)[1]
    return -0.5 * np.sum(residual * solved) - 0.5 * np.sum(log_det)


def maximum(X):
    """The highest log-likelihood."""
    start, unflatten = flatten(TRUTH)

    def loss(values):
        return -log_likelihood(unflatten(values), X)

    return -minimize(value_and_grad(loss), start, jac=True).fun


def with_lines(X):
    """Columns, and the least-squares line of every row."""
    y, c = onp.split(X, 2, axis=1)
    centred = c - c.mean(1, keepdims=True)
    slope = onp.sum(y * centred, axis=1) / onp.sum(centred**2, axis=1)
    return onp.column_stack([X, slope, y.mean(1) - slope * c.mean(1)])


def without_pilot(self, params, x, moments, n_candidates, rngs):
    """Candidates by regressed moments alone."""
    return self._mixture([(moments, 1.0)], n_candidates, rngs)


LINES = AmortisedGradientRegressor(FunctionTransformer(with_lines), trend="linear")
# Whether there is a pilot, and the regression.
FITS = {
    "without the pilot": (False, None),
    "default": (True, None),
    "with lines": (True, LINES),
}


def compare(n_times, n_seeds):
    lost, poor = {name: [] for name in FITS}, {name: [] for name in FITS}
    for seed in range(n_seeds):
        rng, model = onp.random.default_rng(seed), RandomSlopes(n_times)
        covariates = rng.standard_normal((N_ROWS, n_times))
        X = model.sample(TRUTH, N_ROWS, rng, covariates)[1]
        best = maximum(X)
        for name, (pilot, regressor) in FITS.items():
            options = {"regressor": regressor, "random_state": seed, **SETTINGS}
            patch = mock.patch.object(Candidates, "draw", without_pilot)
            with nullcontext() if pilot else patch:
                fitter = WakeSleepFitter(model=model, **options).fit(X)
            lost[name].append(best - log_likelihood(fitter.params_, X))
            poor[name].append(fitter.history_["share_of_poor_rows"][-100:].mean())
    for name in FITS:
        row(
            f"{n_times} observations, {name}: nats lost",
            lost[name],
            digits=2,
            baseline=f"poor rows {onp.median(poor[name]):.1%}",
        )


if __name__ == "__main__":
    n_seeds = parser(__doc__, seeds=3).parse_args().seeds
    with report():
        for n_times in (5, 10, 20):
            compare(n_times, n_seeds)
