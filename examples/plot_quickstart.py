r"""
Quickstart: handwritten digits
==============================

Black-and-white images of handwritten digits, and a story of how they arise: a few
hidden causes :math:`z \sim N(0, I)`, and pixels that are independent given them,

.. math::
    P(x_d = 1 \,|\, z) = \frac{1}{1 + \exp(-w_d \cdot z - b_d)} .

Neither likelihood nor posterior has a closed form. Two functions are enough to fit it.
"""

# %%
# The data: 8 x 8 pixels, on or off, 1500 images to learn from and 297 held out. The
# baseline knows how often each pixel is on, and nothing of how pixels go together.
import sys

import autograd.numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from amortsk import WakeSleepFitter

images, labels = load_digits(return_X_y=True)
X_train, X_test, _, y_test = train_test_split(
    (images >= 8).astype(float), labels, train_size=1500, random_state=0
)
rate = (X_train.sum(axis=0) + 0.5) / (len(X_train) + 1)
baseline = np.sum(X_test * np.log(rate) + (1 - X_test) * np.log(1 - rate), axis=1)

# %%
# The model, written twice: once to draw from it, once as a density. ``log_prior`` is
# optional; where it is known it keeps importance weights bounded. `autograd.numpy` is
# NumPy with derivatives.
n_latents = 16


def log_odds(params, z):
    return z @ params["weights"].T + params["bias"]


def probability(params, z):
    return 1 / (1 + np.exp(-log_odds(params, z)))


def sampler(params, n_samples, rng):
    z = rng.standard_normal((n_samples, n_latents))
    x = rng.random((n_samples, 64)) < probability(params, z)
    return z, x.astype(float)


def log_prior(params, z):
    return -0.5 * np.sum(z**2 + np.log(2 * np.pi), axis=1)


def log_joint(params, z, x):
    a = log_odds(params, z)
    return log_prior(params, z) + np.sum(x * a - np.logaddexp(0, a), axis=1)


# %%
# The fit starts at the baseline, with small weights to break the symmetry.
start = {
    "weights": 0.1 * np.random.default_rng(0).standard_normal((64, n_latents)),
    "bias": np.log(rate / (1 - rate)),
}
fitter = WakeSleepFitter(
    log_joint,
    sampler,
    start,
    log_prior=log_prior,
    max_iter=300,
    learning_rate=0.05,
    random_state=0,
    verbose=1,
).fit(X_train)

# %%
# On images that it has not seen the model is far ahead of the baseline. Its
# log-likelihood is an importance-sampling estimate, on average a little too low.
print(f"\nHeld-out log-likelihood of {len(X_test)} images, nats per image")
print(f"  independent pixels (exact) {baseline.mean():.2f}")
print(f"  {n_latents} latents (estimate)      {fitter.score(X_test):.2f}")

# %%
# What it has learned: :math:`E[P(x = 1 | z) | x]` rebuilds a held-out image from its
# latents. Some of its fresh draws could pass for digits, others could not.
import matplotlib.pyplot as plt

one_of_each = np.unique(y_test, return_index=True)[1]
originals = X_test[one_of_each]
samples, z = fitter.sample(10, random_state=0, return_latent=True)
rows = {
    "held-out\nimages": originals,
    "reconstructions": fitter.posterior_expectation(
        originals, lambda z: probability(fitter.params_, z)
    ),
    "samples:\nprobabilities": probability(fitter.params_, z),
    "samples:\nimages": samples,
}

figure, axes = plt.subplots(
    len(rows), 10, figsize=(8, 3.6), subplot_kw={"xticks": [], "yticks": []}
)
for (title, row), row_axes in zip(rows.items(), axes, strict=True):
    row_axes[0].set_ylabel(title, rotation=0, ha="right", va="center")
    for pixels, ax in zip(row, row_axes, strict=True):
        ax.imshow(pixels.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
figure.tight_layout(pad=0.5)
path = sys.argv[1] if len(sys.argv) > 1 else "quickstart.png"
figure.savefig(path, dpi=150)
print(f"Figure: {path}")
plt.show()
