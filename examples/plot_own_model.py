r"""
A model of one's own: a hidden angle
====================================

Twelve sensors count events. Each prefers some angle, and the angle is never seen:

.. math::
    z = (\cos a, \sin a), \quad a \sim U(0, 2 \pi), \qquad
    x_d \,|\, z \sim \mathrm{Poisson}(\exp(b_d + w_d \cdot z)) .

No standard package has this model. Written down, checked and fitted, it recovers the
angle of every row, up to the rotation or reflection that no data can determine.
"""

# %%
# A :class:`amortsk.LatentVariableModel` says where to start, how to draw, and what the
# density is. Rows of unit norm tell that the latent lives on a circle; its density is
# with respect to arc length.
import autograd.numpy as np
import matplotlib.pyplot as plt
from autograd.scipy.special import gammaln
from scipy.linalg import orthogonal_procrustes

from amortsk import LatentVariableModel, WakeSleepFitter, check_model
from amortsk.plotting import ConvergenceDisplay


def circle(angle):
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def log_rate(params, z):
    return z @ params["weights"].T + params["bias"]


class HiddenAngle(LatentVariableModel):
    def init_params(self, X, rng):
        weights = 0.3 * rng.standard_normal((X.shape[1], 2))
        return {"weights": weights, "bias": np.log(X.mean(axis=0) + 0.1)}

    def sample(self, params, n_samples, rng):
        z = circle(rng.uniform(0, 2 * np.pi, n_samples))
        return z, rng.poisson(np.exp(log_rate(params, z)))

    def log_joint(self, params, z, x):
        rate = log_rate(params, z)
        log_likelihood = np.sum(x * rate - np.exp(rate) - gammaln(x + 1), axis=1)
        return log_likelihood + self.log_prior(params, z)

    def log_prior(self, params, z):
        return np.full(len(z), -np.log(2 * np.pi))


# %%
# Data with a known angle: 1000 rows to learn from, 500 held out.
rng = np.random.default_rng(0)
preferred = np.sort(rng.uniform(0, 2 * np.pi, 12))
truth = {
    "weights": rng.uniform(0.5, 2, 12)[:, None] * circle(preferred),
    "bias": rng.uniform(-0.5, 1, 12),
}
Z, X = HiddenAngle().sample(truth, 1500, rng)
X_train, X_test, Z_train, Z_test = X[:1000], X[1000:], Z[:1000], Z[1000:]

# %%
# Before a fit, :func:`amortsk.check_model` asks whether sampler and density belong
# together. A sampler that covers half of the circle only, say by a forgotten 2, runs
# without complaint; the check tells.


class HalfCircle(HiddenAngle):
    def sample(self, params, n_samples, rng):
        z = circle(rng.uniform(0, np.pi, n_samples))
        return z, rng.poisson(np.exp(log_rate(params, z)))


print("The model:", check_model(HiddenAngle(), X_train, random_state=0))
try:
    check_model(HalfCircle(), X_train, random_state=0)
except ValueError as error:
    print("The mistake:", error)

# %%
# The fit. ``score`` estimates the log-likelihood by importance sampling. With a single
# angle the integral can also be done on a grid, here to tell how good everything is.
fitter = WakeSleepFitter(
    model=HiddenAngle(), max_iter=300, learning_rate=0.05, random_state=0
).fit(X_train)


def on_a_grid(params, X):
    """Log-likelihood of each row, and its posterior mean direction."""
    grid = circle(np.linspace(0, 2 * np.pi, 360, endpoint=False))
    a = log_rate(params, grid)
    log_p = X @ a.T - np.sum(np.exp(a), axis=1)
    log_p = log_p - np.sum(gammaln(X + 1), axis=1)[:, None]
    largest = log_p.max(axis=1, keepdims=True)
    p = np.exp(log_p - largest)
    return largest[:, 0] + np.log(p.mean(axis=1)), p @ grid


mean = X_train.mean(axis=0)
independent = np.sum(X_test * np.log(mean) - mean - gammaln(X_test + 1), axis=1)
print("\nHeld-out log-likelihood, nats per row")
print(f"  independent Poisson counts    {independent.mean():.3f}")
print(f"  fitted model, fitter.score    {fitter.score(X_test):.3f}")
print(
    f"  fitted model, on a grid       {on_a_grid(fitter.params_, X_test)[0].mean():.3f}"
)
print(f"  true parameters, on a grid    {on_a_grid(truth, X_test)[0].mean():.3f}")

# %%
# The posterior means are rotated onto the truth with the training rows. On held-out
# rows their direction is then about as close to the true angle as counts allow: as
# close as it is for someone who knows the true parameters.


def angle(z):
    return np.arctan2(z[:, 1], z[:, 0])


def error(z):
    """Angle between z and the true direction, from -180 to 180 degrees."""
    return np.degrees(np.angle(np.exp(1j * (angle(z) - angle(Z_test)))))


rotation, _ = orthogonal_procrustes(fitter.transform(X_train), Z_train)
recovered = error(fitter.transform(X_test) @ rotation)
best = error(on_a_grid(truth, X_test)[1])
print("\nMean absolute error of the angle, degrees")
print(f"  fitted model     {np.abs(recovered).mean():.1f}")
print(f"  true parameters  {np.abs(best).mean():.1f}")

figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(12, 4), layout="constrained"
)
ConvergenceDisplay.from_estimator(fitter, ax=left)
left.set(title="Objective, nats per row")
true_angle = np.degrees(angle(Z_test)) % 360
middle.plot([0, 360], [0, 360], color="0.7")
middle.plot(true_angle, true_angle + recovered, ".", markersize=4)
middle.set(xlabel="true angle (degrees)", ylabel="recovered angle (nearest turn)")
middle.set(title="Held-out rows")

degrees = np.arange(361)
z = circle(np.radians(degrees))
true_curves = np.exp(log_rate(truth, z))
fitted_curves = np.exp(log_rate(fitter.params_, z @ rotation.T))
for d in range(0, 12, 2):
    right.plot(degrees, fitted_curves[:, d], color=f"C{d // 2}")
    right.plot(degrees, true_curves[:, d], "k:")
right.set(xlabel="angle (degrees)", ylabel="mean count")
right.set(title="Some sensors: fitted, true (dotted)")
plt.show()
