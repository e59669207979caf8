r"""
Hodgkin-Huxley: the channels of a neuron from one noisy trace
=============================================================

The voltage V of a neuron follows the current I that is injected, and the currents
through three kinds of channels,

.. math::
    C \dot V = I - g_l (V - E_l) - g_{Na} m^3 h (V - E_{Na}) - g_K n^4 (V - E_K),

whose gates m, h and n open and close with the voltage. It is seen through noise only:
the path of the voltage is a latent of a thousand steps. Claim: from one such trace, and
from a start with another number of spikes, the fit comes at least twice as near to the
truth in each of the eight biophysical parameters, and neurons simulated with them fire
as often as the true one, give or take a spike.
"""

# %%
# A row of data is a trace of 50 ms, in mV, and the current that drove it. The current
# is a covariate: it is given, not modelled. Needs a clone: traces and features are in
# ``examples/benchmarks``.
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

sys.path.append(str(Path(__file__).parent / "benchmarks"))
from gated_features import GatedFeatures
from hodgkin_huxley import TRUTH, count_spikes, make_trace

from amortsk import AmortisedGradientRegressor, WakeSleepFitter
from amortsk.models import HodgkinHuxleyModel

# %%
# The gates are functions of the voltages before, so that the model can be sampled and
# its log-joint evaluated. Every iteration of a fit samples at the current parameters:
# a subclass notes them down.
visited = []


class Neuron(HodgkinHuxleyModel):
    def sample(self, params, n_samples, rng, covariates):
        visited.append(self.to_values(params))
        return super().sample(params, n_samples, rng, covariates)


model = Neuron(n_steps=1000)
z, X = make_trace(model, np.random.default_rng(0))

# %%
# Each step's term of the log-joint is regressed on a window around it, and all steps of
# the twenty neurons drawn in an iteration train the same regression. Its features tell
# small deviations from the shape of a spike, which is where the noise can be seen.
warnings.simplefilter("ignore", ConvergenceWarning)  # a short fit, still moving a bit
fitter = WakeSleepFitter(
    model=model,
    regressor=AmortisedGradientRegressor(GatedFeatures(), alpha=1.0),
    n_sleep=20,
    max_iter=170,
    learning_rate=0.06,
    random_state=0,
    verbose=1,
)
visited.clear()
fitter.fit(X)
course = list(visited)

# %%
# Errors, and neurons simulated with the current of the data.
start, fitted = model.to_params({}), fitter.params_
first, last = model.to_values(start), model.to_values(fitted)
print("\n               start     fit   truth   error over that of the start")
for name, true in list(TRUTH.items())[:8]:
    ratio = abs((last[name] - true) / (first[name] - true))
    print(f"{name:12s} {first[name]:7.2f} {last[name]:7.2f} {true:7.2f} {ratio:12.2f}")

current = np.repeat(X[:, 1000:], 20, axis=0)
paths = {
    name: model.sample(params, 20, np.random.default_rng(1), current)[0]
    for name, params in (
        ("start", start),
        ("fit", fitted),
        ("truth", model.to_params(TRUTH)),
    )
}
print(f"\nspikes: data {count_spikes(z)[0]}", end="")
for name, path in paths.items():
    counts = count_spikes(path)
    print(f", {name} {counts.min()} to {counts.max()}", end="")
print()

# %%
import matplotlib.pyplot as plt

figure = plt.figure(figsize=(10, 4.5), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(2, 3))
ax = left.subplots()
for name, true in list(TRUTH.items())[:8]:
    ax.plot([values[name] / true for values in course], label=name)
ax.axhline(1, color="black", linewidth=0.5)
ax.set(title="parameter over its truth", xlabel="iteration", ylim=(0, 2.6))
ax.legend(ncols=2, fontsize=8)
axes = right.subplots(3, 1, sharex=True, sharey=True)
time = 0.05 * np.arange(1000)
for (name, path), ax in zip(paths.items(), axes, strict=True):
    ax.plot(time, X[0, :1000], ".", color="0.7", markersize=2)
    ax.plot(time, path[:5].T, linewidth=0.8)
    ax.set_title(f"five neurons simulated, {name}; data in grey", fontsize=9)
axes[1].set_ylabel("voltage (mV)")
axes[-1].set_xlabel("time (ms)")
path = sys.argv[1] if len(sys.argv) > 1 else "hodgkin_huxley.png"
figure.savefig(path, dpi=100)
print(f"Figure: {path}")
plt.show()
