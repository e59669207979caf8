r"""
Parts of digits: non-negative factors of binary images
======================================================

Claim: a matrix factorisation written as a generative model,

.. math::
    z_k \sim \mathrm{Uniform}(0, 1), \qquad
    P(x_d = 1 \,|\, z) = \frac{1}{1 + \exp(-\mathrm{logit}(z) \cdot w_d - b_d)},
    \qquad w_{kd} > 0,

rebuilds held-out binary images, and mends broken ones, better than NMF with as many
components. No posterior has to be designed for these uniform latents.
"""

# %%
# Digits of 8 x 8 pixels, on or off. Of the held-out images, one in ten pixels is
# flipped.
import sys

import numpy as np
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF
from sklearn.model_selection import train_test_split

from amortsk import WakeSleepFitter
from amortsk.models import BernoulliMatrixFactorizationModel

images, labels = load_digits(return_X_y=True)
X_train, X_test, _, y_test = train_test_split(
    (images >= 8).astype(float), labels, train_size=1500, random_state=0
)
flipped = np.random.default_rng(0).random(X_test.shape) < 0.1
X_noisy = np.abs(X_test - flipped)

# %%
# The fit. The weights have a gamma prior with a pole at zero, which makes them sparse.
fitter = WakeSleepFitter(
    model=BernoulliMatrixFactorizationModel(n_components=16),
    max_iter=300,
    learning_rate=0.1,
    random_state=0,
    verbose=1,
).fit(X_train)
parts = fitter.model_.components(fitter.params_)


# %%
# An image is rebuilt by its posterior expectation, E[P(x = 1 | z) | x], and so is a
# broken one: the model knows neither that pixels were flipped nor how many.
def probability(z):
    return expit(fitter.model_.decode(fitter.params_, z))


rebuilt = fitter.posterior_expectation(X_test, probability)
denoised = fitter.posterior_expectation(X_noisy, probability)

# %%
# NMF of the same rank. Its values are no probabilities: they are clipped where that is
# best for these very images.
nmf = NMF(
    16,
    init="nndsvda",
    alpha_W=0.03,
    alpha_H=0.0,
    tol=1e-3,
    max_iter=2000,
    random_state=0,
).fit(X_train)


def cross_entropy(p):
    return -np.mean(X_test * np.log(p) + (1 - X_test) * np.log1p(-p))


def best_clipped(p):
    edges = (1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1)
    return min(cross_entropy(np.clip(p, edge, 1 - edge)) for edge in edges)


print(f"\nCross-entropy of {len(X_test)} held-out images, nats per pixel")
print("                     rebuilt  denoised")
print(
    f"  generative         {cross_entropy(rebuilt):.4f}   {cross_entropy(denoised):.4f}"
)
theirs = (
    best_clipped(nmf.inverse_transform(nmf.transform(X))) for X in (X_test, X_noisy)
)
print("  NMF                " + "   ".join(f"{c:.4f}" for c in theirs))
print(f"  weights above 0.5: {np.mean(parts > 0.5):.0%}")

# %%
# Most components turn on a few neighbouring pixels.
import matplotlib.pyplot as plt

shown = np.unique(y_test, return_index=True)[1]
figure = plt.figure(figsize=(8, 4.6), layout="constrained")
top, bottom = figure.subfigures(2, 1, height_ratios=[2, 4])
for part, ax in zip(parts, top.subplots(2, 8).flat, strict=True):
    ax.imshow(part.reshape(8, 8), cmap="gray_r", vmin=0)
top.suptitle(
    "the 16 parts: weights, from zero to the largest of each", fontsize="medium"
)
rows = {
    "held-out": X_test,
    "rebuilt": rebuilt,
    "10% flipped": X_noisy,
    "denoised": denoised,
}
grid = bottom.subplots(4, 10)
for (title, pixels), axes in zip(rows.items(), grid, strict=True):
    axes[0].set_ylabel(title, rotation=0, ha="right", va="center")
    for image, ax in zip(pixels[shown], axes, strict=True):
        ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
for ax in figure.axes:
    ax.set(xticks=[], yticks=[])
path = sys.argv[1] if len(sys.argv) > 1 else "matrix_factorization.png"
figure.savefig(path, dpi=150)
print(f"Figure: {path}")
plt.show()
