r"""
A limit cycle behind twenty noisy units
=======================================

A state goes round and round, pushed off its cycle by noise and drawn back to it, and
twenty units with bell-shaped tuning curves see one of its two coordinates. The model
knows nothing of that,

.. math::
    z_t \sim N(f(z_{t-1}), \mathrm{diag}(s_z^2)), \qquad x_t \sim N(g(z_t), s_x^2 I),

with two networks f and g. Claim: fitted to three series of thirty steps, it runs on by
itself for a hundred, with the period of the data.
"""

# %%
import sys

import numpy as np

from amortsk import WakeSleepFitter
from amortsk.datasets import make_limit_cycle
from amortsk.models import StateSpaceModel

X, states = make_limit_cycle(3, 30, random_state=0)

# %%
# The networks start from canonical variates of past and future, and wake-sleep goes on
# from there: every step is a local term, regressed on a window of three.
model = StateSpaceModel(n_steps=30, n_outputs=20, half_width=1)
fitter = WakeSleepFitter(
    model=model,
    n_sleep=100,
    max_iter=600,
    learning_rate=0.01,
    random_state=0,
    verbose=1,
).fit(X)

# %%
# The same params serve series of any length.
free, params = StateSpaceModel(101, n_outputs=20), fitter.params_
z, long = free.sample(params, 200, np.random.default_rng(0))
_, true_z = make_limit_cycle(200, 101, random_state=1)


def period(path):
    """Of the largest peak of the spectrum of each path, of shape (n, n_steps)."""
    power = np.abs(np.fft.rfft(path - path.mean(1, keepdims=True), 4096, axis=1))
    return 4096 / power.argmax(axis=1)


print("\nperiod, quantiles 10%, 50%, 90%")
for name, path in (("data", true_z[:, :, 0]), ("fit", z[:, :, 0])):
    print(f"  {name:5s}", np.round(np.quantile(period(path), [0.1, 0.5, 0.9]), 2))
noise = params["min_scale"][0] + np.exp(params["log_scale"][0])
print(f"noise of the units: {noise:.3f}, in the data 0.050")

# %%
import matplotlib.pyplot as plt

figure = plt.figure(figsize=(9, 4.4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(5, 3))
top, middle, bottom = left.subplots(3, 1)
shown = {
    "data": (top, X[0]),
    "simulated": (middle, long[0]),
    "simulated again": (bottom, long[1]),
}
for name, (ax, series) in shown.items():
    ax.imshow(series.reshape(-1, 20).T, aspect="auto", cmap="gray_r", vmin=0, vmax=1)
    ax.set(xlim=(-0.5, 100.5), yticks=[], ylabel="unit")
    ax.set_title(name, loc="left", fontsize=9)
bottom.set_xlabel("step")
for ax, (name, paths) in zip(
    right.subplots(2, 1),
    {"true states": true_z, "fitted states": z}.items(),
    strict=True,
):
    for path in paths[:3]:
        ax.plot(*path[:60].T, linewidth=0.8)
    ax.set(title=name, aspect="equal")
path = sys.argv[1] if len(sys.argv) > 1 else "sinusoids.png"
figure.savefig(path, dpi=100)
print(f"Figure: {path}")
plt.show()
