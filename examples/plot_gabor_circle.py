r"""
A prior on the circle
=====================

Images of Gabor patches differ in one thing, their orientation, which comes back to
itself after half a turn. A model with a latent on the unit circle,

.. math::
    z = (\cos a, \sin a), \quad a \sim U(0, 2 \pi), \qquad
    x \,|\, z \sim N(g(z), s^2 I)

with a neural network g, has room for exactly that. Fitted by maximum likelihood it lays
out all orientations on its circle, once round and evenly. Nothing in the method is
particular to circles.
"""

# %%
# The data: 16 x 16 pixels, no noise. Orientations are not shown to the fit. Needs a
# clone: the baseline is in ``examples/benchmarks``.
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import kstest
from sklearn.decomposition import PCA

sys.path.append(str(Path(__file__).parent / "benchmarks"))
from vae import VAE

from amortsk import WakeSleepFitter
from amortsk.datasets import gabor, make_gabors
from amortsk.models import CircularLatentModel, DecoderModel

X, _ = make_gabors(2000, random_state=0)

# %%
# ``latent_support="any"`` says that no proposal distribution is wanted: the latents of
# the model's own draws are weighted by the likelihood of each image.
fitter = WakeSleepFitter(
    model=CircularLatentModel(hidden=64),
    gradient="importance",
    latent_support="any",
    max_iter=400,
    random_state=0,
).fit(X)

# %%
# The method's first route regresses the log-joint itself. Its errors grow as the noise
# falls, and in 256 pixels they destroy the decoder; in a few principal components of
# the images, with smaller steps, they do not.
pca = PCA(6, random_state=0).fit(X)
regressed = WakeSleepFitter(
    model=CircularLatentModel(hidden=64),
    gradient="likelihood",
    max_iter=1000,
    learning_rate=0.004,
    random_state=0,
).fit(pca.transform(X))

# %%
# The usual choice for comparison: a normal latent in the plane, as a variational
# autoencoder (VAE), with the same decoder. Updates are 400, 1000 and 400.
vae = VAE(DecoderModel(2, hidden=64), max_iter=400).fit(X)

# %%
# Where on the circle, or at which angle in the plane, do sampled images come from?
# Their orientation is that of the most similar patch. While the latent angle goes round
# it should run through half a turn once, in either direction: the winding number, of
# twice the orientation, is 1 or -1.
bank = np.linspace(0, np.pi, 720, endpoint=False)
patches = gabor(bank)


def orientation(images):
    return bank[
        np.argmax(images @ patches.T - 0.5 * np.sum(patches**2, axis=1), axis=1)
    ]


def circle(angle, radius=1.0):
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def unchanged(images):
    return images


angles = np.linspace(0, 2 * np.pi, 361)
models = {
    "Circle, importance": (fitter.model_, fitter.params_, 1.0, unchanged),
    "Circle, likelihood": (
        regressed.model_,
        regressed.params_,
        1.0,
        pca.inverse_transform,
    ),
    # Half of a normal latent's draws are within this radius.
    "Plane, VAE": (vae.model, vae.params_, np.sqrt(2 * np.log(2)), unchanged),
}
found = {}
print("                     winding number   distance from uniform   error of images")
for name, (model, params, radius, images_of) in models.items():
    means = images_of(model.decode(params, circle(angles, radius)))
    turned = np.unwrap(2 * orientation(means))
    z, x = model.sample(params, 1000, np.random.default_rng(0))
    x = images_of(x)
    sampled = orientation(x)
    distance = kstest(sampled / np.pi, "uniform").statistic
    error = np.mean((x - gabor(sampled)) ** 2) / X.var(axis=0).mean()
    winding = (turned[-1] - turned[0]) / (2 * np.pi)
    print(f"{name:20s} {winding:8.2f} {distance:20.3f} {100 * error:21.2f} %")
    found[name] = means[:360:30], np.arctan2(z[:, 1], z[:, 0]), sampled

# %%
figure = plt.figure(figsize=(9, 6.4), layout="constrained")
top, bottom = figure.subfigures(2, 1, height_ratios=(1.2, 1.4))
rows = top.subplots(3, 12, subplot_kw={"xticks": [], "yticks": []})
for (name, (images, _, _)), axes in zip(found.items(), rows, strict=True):
    axes[0].set_ylabel(name.replace(", ", ",\n"))
    for pixels, degrees, ax in zip(images, range(0, 360, 30), axes, strict=True):
        ax.imshow(pixels.reshape(16, 16), cmap="gray", vmin=-1, vmax=1)
        ax.set_title(f"{degrees}°", fontsize=8)
plots = bottom.subplots(1, 3, sharey=True)
for (name, (_, angle, sampled)), ax in zip(found.items(), plots, strict=True):
    ax.plot(np.degrees(angle) % 360, np.degrees(sampled), ".", markersize=3)
    ax.set(title=name, xlabel="latent angle (degrees)", xticks=range(0, 361, 90))
plots[0].set(ylabel="orientation of the sample", yticks=range(0, 181, 45))
plt.show()
