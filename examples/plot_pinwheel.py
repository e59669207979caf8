r"""
A pinwheel: how many clusters, and of what shape?
=================================================

Claim: a mixture of ten normal components, seen through a network,

.. math::
    c \sim \mathrm{Cat}(\pi), \qquad y \,|\, c \sim N(\mu_c, S_c), \qquad
    x \,|\, y \sim N(g(y), \mathrm{diag}(s^2)),

keeps exactly five of them when fitted to a pinwheel of five arms: one an arm, each of a
fifth of the weight. The latent is an integer and a real vector; no posterior has to be
designed for the pair.
"""

# %%
# Five bent arms of 500 points. Which arm a point is on is not shown to the fit.
import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from amortsk import WakeSleepFitter
from amortsk.datasets import make_pinwheel
from amortsk.models import HierarchicalMixtureModel

X, arm = make_pinwheel(random_state=0)

# %%
# A prior on the parameters, of the given ``strength``, empties components that data do
# not need. It is switched on after the first 300 updates, when components have found
# their places. The candidates for the latents are those of the model's own draws.
fitter = WakeSleepFitter(
    model=HierarchicalMixtureModel(n_components=10, strength=0.0),
    max_iter=300,
    learning_rate=0.03,
    warm_start=True,
    random_state=0,
)
with warnings.catch_warnings():
    # The components settle long before the last decimals of the likelihood.
    warnings.simplefilter("ignore", ConvergenceWarning)
    fitter.fit(X)
    fitter.set_params(
        model=HierarchicalMixtureModel(n_components=10, strength=1.0), max_iter=900
    ).fit(X)

# %%
# Weights of the components, and where points of each arm are thought to come from: the
# posterior probabilities of the components, averaged over the arm.
model, params = fitter.model_, fitter.params_
weights = np.exp(model.log_weights(params))
survivors = np.flatnonzero(weights > 0.05)
print("weights:", np.round(np.sort(weights)[::-1], 3))


def components(z):
    return (z[0][:, np.newaxis] == np.arange(10)).astype(float)


responsibilities = fitter.posterior_expectation(X, components)
found = np.array([responsibilities[arm == c].mean(axis=0) for c in range(5)])
print("components that survive:", len(survivors))
print("arms, by components:")
print(np.round(found[:, survivors], 2))
agree = found.argmax(axis=1)[arm] == responsibilities.argmax(axis=1)
print(f"points given to the component of their arm: {100 * agree.mean():.1f} %")

# %%
sampled, (component, latent) = fitter.sample(2500, random_state=0, return_latent=True)
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
colour = np.full(10, -1)
colour[survivors] = np.arange(len(survivors))
panels = (
    ("data, by likeliest component", X, responsibilities.argmax(axis=1)),
    ("draws from the model", sampled, component),
    ("their latents y", latent, component),
)
for (title, points, label), ax in zip(panels, axes, strict=True):
    ax.scatter(*points.T, c=colour[label], s=2, cmap="tab10", vmin=-1, vmax=8)
    ax.set(title=title, xticks=[], yticks=[], aspect="equal")
axes[1].set(xlim=axes[0].get_xlim(), ylim=axes[0].get_ylim())
path = sys.argv[1] if len(sys.argv) > 1 else "pinwheel.png"
figure.savefig(path)
print(f"Figure: {path}")
plt.show()
