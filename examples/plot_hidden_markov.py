r"""
A hidden chain in long series
=============================

A chain of five states, each seen through normal noise,

.. math::
    z_t \,|\, z_{t-1} \sim \mathrm{Cat}(\Pi_{z_{t-1}}), \qquad
    x_t \,|\, z_t \sim N(\mu_{z_t}, s_{z_t}^2).

There are :math:`5^{100}` paths behind a series of a hundred steps, and no proposal
guesses one. But the log-joint is a sum of local terms, one a step, and a term depends
on data nearby. Claim: regressed on windows of five steps, at a cost that is linear in
the length, the chain that is found is nearly as likely as the true one, on the training
rows, where maximum likelihood is above the truth; the exact likelihood, which the fit
does not use, says so.
"""

# %%
import sys

import numpy as np

from amortsk import WakeSleepFitter
from amortsk.models import HiddenMarkovModel

model = HiddenMarkovModel(n_states=5, n_steps=100)
truth = {
    "initial_logits": np.zeros(5),
    "transition_logits": np.log(0.02 + 0.8 * np.eye(5) + 0.1 * np.eye(5, k=1)),
    "means": 1.5 * np.arange(5)[:, np.newaxis],
    "log_scale": np.full((5, 1), np.log(0.5)),
    "min_scale": np.zeros(1),
}
states, X = model.sample(truth, 60, np.random.default_rng(0))

# %%
# Sixty paths are drawn at each iteration, which give 6000 windows.
fitter = WakeSleepFitter(
    model=model,
    n_sleep=60,
    max_iter=250,
    learning_rate=0.03,
    random_state=0,
    verbose=1,
).fit(X)

start = model.init_params(X, np.random.default_rng(0))
print("\nexact log-likelihood per step")
for name, params in (("start", start), ("fit", fitter.params_), ("truth", truth)):
    print(f"  {name:6s} {model.exact_log_likelihood(params, X).mean() / 100:8.4f}")

# %%
# Posterior probabilities of the states, window by window. States have no names: they
# are sorted by their means.
order = np.argsort(fitter.params_["means"][:, 0])
posterior = fitter.transform(X).reshape(60, 100, 5)[:, :, order]
agreement = np.mean(posterior.argmax(axis=2) == states)
print(f"  steps whose most probable state is the true one: {agreement:.1%}")


def moves(params, order):
    share = np.exp(params["transition_logits"])
    share = share / share.sum(axis=1, keepdims=True)
    return share[np.ix_(order, order)]


# %%
import matplotlib.pyplot as plt

figure = plt.figure(figsize=(9, 4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(3, 2))
top, bottom = left.subplots(2, 1, sharex=True)
top.plot(X[0], "k.")
top.plot(1.5 * states[0], color="C1", linewidth=1, label="true state")
top.set_ylabel("observation")
top.legend(loc="upper right", fontsize=8)
bottom.imshow(
    posterior[0].T, aspect="auto", origin="lower", cmap="Blues", vmin=0, vmax=1
)
bottom.set(xlabel="step", ylabel="state", title="posterior probability")
matrices = {"true": moves(truth, np.arange(5)), "fitted": moves(fitter.params_, order)}
for (name, matrix), ax in zip(matrices.items(), right.subplots(1, 2), strict=True):
    ax.imshow(matrix, vmin=0, vmax=1, cmap="Blues")
    for i, j in np.ndindex(5, 5):
        color = "w" if matrix[i, j] > 0.5 else "k"
        ax.text(
            j,
            i,
            f"{matrix[i, j]:.2f}",
            ha="center",
            va="center",
            fontsize=6,
            color=color,
        )
    ax.set(title=f"{name} moves", xticks=[], yticks=[])
path = sys.argv[1] if len(sys.argv) > 1 else "hidden_markov.png"
figure.savefig(path, dpi=100)
print(f"Figure: {path}")
plt.show()
