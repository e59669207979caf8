r"""
Neural processes by maximum likelihood
======================================

Claim: fitted by wake-sleep, a neural process predicts better than the same network
fitted by the usual objective in as many updates. It predicts the values y of a function
at positions t from a context C of a few other values,

.. math::
    p(y \,|\, t, C) = \int N(z; m(C), s(C)^2) \prod_j
    N\big(y_j; \mu(t_j, z), \sigma(t_j, z)^2\big)\, dz .

The usual objective is a bound, in which the network of the context stands in for the
posterior of z given the targets. Wake-sleep maximises the likelihood itself: contexts
and positions are covariates, and one regression on whole rows proposes latents for all.
An update costs about five times as much, and most of what is gained is due to the
objective, see ``doc/results.md``.
"""

# %%
# Functions :math:`a \sin(t - b)` with noise of 0.1. A row of X is a function: a context
# of one to eight values, and four to eight targets. Needs a clone: the baseline is in
# ``examples/benchmarks``.
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

sys.path.append(str(Path(__file__).parent / "benchmarks"))
from neural_process import (
    StandardNeuralProcess,
    exact_predictive,
    per_target,
    predictive,
)

from amortsk import WakeSleepFitter
from amortsk.datasets import make_sine_functions
from amortsk.models import NeuralProcessModel

model = NeuralProcessModel()
train, test = (
    model.pack(*make_sine_functions(n, n_context=(1, 8), random_state=seed)[:2])
    for n, seed in ((3000, 0), (200, 1))
)

# %%
# Both fits have 500 updates on batches of 50 rows.
options = {"batch_size": 50, "max_iter": 500, "learning_rate": 0.01, "random_state": 0}
fitter = WakeSleepFitter(model=model, gradient="importance", **options).fit(train)
standard = StandardNeuralProcess(model, **options).fit(train)
fits = {"Wake-sleep": fitter.params_, "Usual objective": standard.params_}

print("held-out log-likelihood per target")
for name, params in fits.items():
    found = per_target(model, predictive(model, params, test, n_draws=1000), test)
    print(f"{name:20s} {found:.3f}")
print(f"{'Exact':20s} {per_target(model, exact_predictive(model, test), test):.3f}")

# %%
# One function, ever more of which is seen. The params hold for any number of slots: 60
# targets on a grid make the bands, of two standard deviations of a new value; dashed
# are those of Bayesian inference that knows the family of functions.
amplitude, shift, noise = 0.8, 0.3, 0.1
grid = np.linspace(-np.pi, np.pi, 60)
wide = NeuralProcessModel(n_target=len(grid))
rng = np.random.default_rng(5)
t = rng.uniform(-np.pi, np.pi, 8)
pairs = np.stack([t, amplitude * np.sin(t - shift) + noise * rng.standard_normal(8)], 1)


def band(params, context):
    """Mean and standard deviation of new values on the grid."""
    X = wide.pack([context], [np.stack([grid, grid], axis=1)])
    covariates = np.repeat(X[:, wide.covariate_columns], 2000, axis=0)
    _, x = wide.sample(params, 2000, np.random.default_rng(0), covariates)
    y = x[:, -len(grid) :]
    return y.mean(axis=0), y.std(axis=0)


def exact_band(context):
    """The same by weights of the context on a grid of amplitudes and shifts."""
    a, b = np.meshgrid(np.linspace(-0.5, 1, 200), np.linspace(-0.5, 0.5, 200))
    a, b = a.reshape(-1, 1), b.reshape(-1, 1)
    residual = context[:, 1] - a * np.sin(context[:, 0] - b)
    log_w = -0.5 * np.sum((residual / noise) ** 2, axis=1)
    w = np.exp(log_w - log_w.max())
    curves = a * np.sin(grid - b)
    mean = w @ curves / w.sum()
    return mean, np.sqrt(w @ (curves - mean) ** 2 / w.sum() + noise**2)


figure, axes = plt.subplots(
    2, 3, figsize=(9, 5), sharex=True, sharey=True, layout="constrained"
)
for (name, params), line in zip(fits.items(), axes, strict=True):
    line[0].set_ylabel(name)
    for size, ax in zip((1, 3, 8), line, strict=True):
        mean, deviation = band(params, pairs[:size])
        ax.fill_between(grid, mean - 2 * deviation, mean + 2 * deviation, alpha=0.3)
        ax.plot(grid, mean, label="predicted")
        mean, deviation = exact_band(pairs[:size])
        for sign, label in ((-2, "exact band"), (2, None)):
            ax.plot(grid, mean + sign * deviation, "k--", linewidth=0.8, label=label)
        ax.plot(grid, amplitude * np.sin(grid - shift), "C3", label="function")
        ax.plot(*pairs[:size].T, "ko", markersize=4, label="context")
for size, ax in zip((1, 3, 8), axes[0], strict=True):
    ax.set_title(f"{size} value{'s' * (size > 1)} seen")
axes[1, 1].set_xlabel("t")
axes[0, 0].legend(fontsize=7, loc="lower right")
path = sys.argv[1] if len(sys.argv) > 1 else "neural_process.png"
figure.savefig(path, dpi=150)
print(f"Figure: {path}")
plt.show()
