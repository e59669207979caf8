"""How fast gradient estimates approach the exact gradient as sleep draws grow.

z ~ N(0, I_2), x | z ~ N(softplus(b . z) - |b|^2, sigma^2), parameters b = (0.5, 1). The
exact gradient of log p(x) is an integral over v = b . z / |b|. Errors are relative root
mean squares: of the gradient at single points drawn from the model itself, and of the
mean gradient over as many points drawn at 0.9 b, where it is not zero.
"""

import autograd.numpy as np
import numpy as onp
from _report import line, parser, report, verdict
from scipy.special import expit

from amortsk import WakeSleepFitter
from amortsk.autodiff import pullback
from amortsk.proposals import normalise

B = onp.array([0.5, 1.0])
N_SLEEP = (300, 1000, 3000, 10_000)
SIGMAS = (0.1, 0.3, 1.0)
N_POINTS = 300
METHODS = ("joint", "likelihood", "importance")


class Toy:
    """Sampler and log-joint at one noise scale."""

    def __init__(self, sigma):
        self.sigma = sigma

    def mean(self, b, z):
        return np.logaddexp(0.0, np.dot(z, b)) - np.sum(b**2)

    def sampler(self, params, n, rng):
        z = rng.standard_normal((n, 2))
        noise = self.sigma * rng.standard_normal(n)
        return z, (self.mean(params["b"], z) + noise)[:, None]

    def log_prior(self, params, z):
        return -0.5 * np.sum(z**2, axis=1) - np.log(2 * np.pi)

    def log_joint(self, params, z, x):
        eps = (x[:, 0] - self.mean(params["b"], z)) / self.sigma
        log_norm = np.log(self.sigma) + 0.5 * np.log(2 * np.pi)
        return self.log_prior(params, z) - 0.5 * eps**2 - log_norm

    def exact(self, x):
        """Gradient of log p(x) at B, (n, 2), by quadrature."""
        r = onp.linalg.norm(B)
        v = onp.linspace(-9, 9, 20_001)
        eps = (x - (onp.logaddexp(0, r * v) - r**2)) / self.sigma
        weights = onp.exp(-0.5 * eps**2 - 0.5 * v**2)
        score = eps / self.sigma * (expit(r * v) * v - 2 * r)
        return (
            onp.sum(weights * score, 1, keepdims=True)
            / weights.sum(1, keepdims=True)
            * (B / r)
        )

    def slope(self, z):
        """Derivative of the mean with respect to b, (n, 2)."""
        return expit(z @ B)[..., None] * z - 2 * B


def point_gradients(estimator, toy, sleep, x, rng):
    """Gradient at every point: weights are the package's, scores written out."""
    if estimator.name == "importance":
        estimator.refit({"b": B}, sleep, rng)
        moments = estimator.fitted.columns_at(x) @ estimator.coef
        z, log_q = estimator.candidates.draw(
            {"b": B}, x, moments, estimator.n_proposals, [rng]
        )
        flat, x_flat = z.reshape(-1, 2), onp.repeat(x, z.shape[1], axis=0)
        log_p = toy.log_joint({"b": B}, flat, x_flat).reshape(log_q.shape)
        weights = normalise(log_p - log_q)[0]
        residual = (x - toy.mean(B, z)) / toy.sigma**2
        return onp.einsum("mk,mkp->mp", weights * residual, toy.slope(z))
    (fitted,) = estimator.regression.fit(sleep, rng)
    draws = sleep.first
    A = fitted.weights(draws, fitted.queries(x)).T
    slope = toy.slope(draws.z) / toy.sigma**2
    mean = toy.mean(B, draws.z)[:, None]
    if estimator.name == "joint":
        A = A - estimator.unexplained["b"] / len(draws.x)
        return A @ ((draws.x - mean) * slope)
    return x * (A @ slope) - A @ (mean * slope)


def relative(estimates, exact):
    error = onp.mean(onp.sum((estimates - exact) ** 2, axis=-1))
    return onp.sqrt(error / onp.mean(onp.sum(exact**2, axis=-1)))


def errors(method, sigma, n_sleep, seed):
    """Relative errors of one sleep set: of single points, and of a mean."""
    toy = Toy(sigma)
    rng = onp.random.default_rng(12345)
    points = toy.sampler({"b": B}, N_POINTS, rng)[1]
    batch = toy.sampler({"b": 0.9 * B}, N_POINTS, rng)[1]
    fitter = WakeSleepFitter(
        toy.log_joint,
        toy.sampler,
        {"b": B},
        log_prior=toy.log_prior,
        gradient=method,
        n_sleep=n_sleep,
        n_proposals=n_sleep // 10,
        random_state=seed,
    )
    run = fitter._begin(points)
    sleep, estimator = run.sleep(), run.estimator
    estimator.select(run.params, sleep, batch, onp.random.default_rng(seed))
    single = point_gradients(
        estimator, toy, sleep, points, onp.random.default_rng(seed)
    )
    many = point_gradients(estimator, toy, sleep, batch, onp.random.default_rng(seed))
    estimator.age = 0
    mean = estimator.estimate(
        run.params, sleep, batch, onp.random.default_rng(seed)
    ).gradient["b"]
    onp.testing.assert_allclose(many.mean(0), mean, rtol=1e-6, atol=1e-8)
    return (
        relative(single, toy.exact(points)),
        relative(mean, toy.exact(batch).mean(0)),
    )


def show(name, what, found, sigma):
    """A row: root mean squares over repeats, their log-log slope in N, verdicts."""
    rms = onp.sqrt(onp.mean(onp.square(found), axis=1))
    slope = onp.polyfit(onp.log(N_SLEEP), onp.log(rms), 1)[0]
    error = rms[N_SLEEP.index(3000)]
    line(
        name,
        what,
        ", ".join(f"{e:.3g}" for e in rms),
        f"{slope:.2f}",
        verdict(slope <= -0.4),
        f"{error:.3g}",
        verdict(error <= 0.12) if sigma == 0.3 else "",
    )


def check_exact():
    """The quadrature against differences of the log-density, and autograd."""
    toy = Toy(0.3)
    x = onp.array([[-1.0], [0.0], [2.0]])
    v = onp.linspace(-9, 9, 20_001)

    def log_density(b):
        r = onp.linalg.norm(b)
        eps = (x - (onp.logaddexp(0, r * v) - r**2)) / toy.sigma
        return onp.log(onp.exp(-0.5 * eps**2 - 0.5 * v**2).sum(1))

    step = 1e-5 * onp.eye(2)
    numeric = [(log_density(B + s) - log_density(B - s)) / 2e-5 for s in step]
    onp.testing.assert_allclose(toy.exact(x), onp.array(numeric).T, rtol=1e-6)
    z = onp.array([[0.3, -0.2], [1.0, 0.5], [0.0, 2.0]])
    pull = pullback(lambda p: toy.log_joint(p, z, x), {"b": B}, ())[1]
    score = (x - toy.mean(B, z)[:, None]) / toy.sigma**2 * toy.slope(z)
    onp.testing.assert_allclose(pull(onp.ones(3))["b"], score.sum(0))


if __name__ == "__main__":
    arguments = parser(__doc__, seeds=10).parse_args()
    check_exact()
    with report(
        (
            "estimator, sigma",
            "of",
            "RMS error at each N",
            "slope (target <= -0.4)",
            "met",
            "error at N=3000 (target <= 0.12 at sigma=0.3)",
            "met",
        )
    ):
        for method in METHODS:
            for sigma in SIGMAS:
                found = onp.array(
                    [
                        [errors(method, sigma, n, s) for s in range(arguments.seeds)]
                        for n in N_SLEEP
                    ]
                )
                show(f"{method}, {sigma}", "single points", found[..., 0], sigma)
                show(f"{method}, {sigma}", "mean gradient", found[..., 1], sigma)
