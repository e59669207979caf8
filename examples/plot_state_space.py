r"""
States that turn and decay: a linear-Gaussian model of series
=============================================================

Hidden states move linearly and are seen through noise,

.. math::
    z_t \sim N(A z_{t-1}, \mathrm{diag}(s_z^2)), \qquad
    x_t \sim N(C z_t + b, \mathrm{diag}(s_x^2)).

The likelihood of this model is known, by the Kalman filter, which makes it a test of a
method that does not know it. Claim: fitted from draws alone, window by window, the
model is as likely as the true parameters, on the training rows, where maximum
likelihood is above them, and has their eigenvalues: the speed at which states turn and
decay.
"""

# %%
# Sixty series of thirty steps with three outputs each. A row of X is a series.
import sys

import numpy as np

from amortsk import WakeSleepFitter
from amortsk.models import LinearGaussianStateSpaceModel

model = LinearGaussianStateSpaceModel(n_steps=30, n_outputs=3, latent_dim=2)
turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
truth = {
    "initial_mean": np.zeros(2),
    "initial_log_scale": np.zeros(2),
    "process_log_scale": np.log([0.3, 0.5]),
    "transition_matrix": 0.95 * turn,
    "emission_matrix": np.array([[1.0, 0.0], [0.5, 1.0], [0.0, -1.0]]),
    "emission_offset": np.array([0.0, 1.0, 2.0]),
    "log_scale": np.log([0.3, 0.5, 0.4]),
    "min_scale": np.zeros(3),
}
_, X = model.sample(truth, 60, np.random.default_rng(0))

# %%
# The log-joint is a sum of local terms, one for each step. Each is regressed on a
# window of five steps, and all steps of all draws train the same regression. With
# states unknown up to a linear map, only what does not depend on it can be compared.
fitter = WakeSleepFitter(
    model=model,
    n_sleep=100,
    max_iter=300,
    learning_rate=0.03,
    random_state=0,
    verbose=1,
).fit(X)

start = model.init_params(X, np.random.default_rng(0))
print("\nexact log-likelihood per step")
for name, params in (
    ("start", start),
    ("fit", fitter.params_),
    ("truth", truth),
):
    level = model.exact_log_likelihood(params, X).mean() / 30
    eigenvalues = np.linalg.eigvals(params["transition_matrix"])
    print(f"  {name:6s} {level:8.4f}   eigenvalues {np.round(eigenvalues, 3)}")

# %%
# States of one series as the fit sees them, and what they say of the outputs.
states = fitter.transform(X[:1]).reshape(1, 30, 2)[0]
outputs = model.emission(fitter.params_, states)

# %%
import matplotlib.pyplot as plt

figure = plt.figure(figsize=(9, 4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(3, 2))
axes = left.subplots(3, 1, sharex=True)
for d, ax in enumerate(axes):
    ax.plot(X[0].reshape(30, 3)[:, d], "k.", label="observed")
    ax.plot(outputs[:, d], color="C0", label="at the expected state")
    ax.set_ylabel(f"output {d + 1}")
axes[0].legend(loc="upper right", fontsize=8)
axes[-1].set_xlabel("step")
ax = right.subplots()
angle = np.linspace(0, 2 * np.pi, 200)
ax.plot(np.cos(angle), np.sin(angle), color="gray", linewidth=0.5)
for name, params, marker in (
    ("start", start, "s"),
    ("truth", truth, "o"),
    ("fit", fitter.params_, "x"),
):
    values = np.linalg.eigvals(params["transition_matrix"])
    ax.plot(
        values.real, values.imag, marker, label=name, markersize=8, fillstyle="none"
    )
ax.set(title="eigenvalues of A", xlabel="real", ylabel="imaginary", aspect="equal")
ax.legend(loc="center left")
path = sys.argv[1] if len(sys.argv) > 1 else "state_space.png"
figure.savefig(path, dpi=100)
print(f"Figure: {path}")
plt.show()
