r"""
A neural decoder of digits, without an encoder
==============================================

Claim: fitted by wake-sleep, the decoder of a variational autoencoder (VAE),

.. math::
    z \sim N(0, I_6), \qquad P(x_d = 1 \,|\, z) = \frac{1}{1 + \exp(-g_d(z))},

with a neural network g, gives held-out digits a higher likelihood than the VAE itself,
with the same start, optimiser and number of updates. There is no encoder to design, and
no Gaussian that the posterior is bent to. An update costs some fifteen times the VAE's.
"""

# %%
# Digits of 8 x 8 pixels, on from half intensity. Needs a clone: the baseline is in
# ``examples/benchmarks``.
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

sys.path.append(str(Path(__file__).parent / "benchmarks"))
from digits_decoder import log_likelihood
from vae import VAE

from amortsk import WakeSleepFitter
from amortsk.models import DecoderModel

X, X_test = train_test_split(
    (load_digits().data >= 8).astype(float), train_size=1500, random_state=0
)
model = DecoderModel(n_latent=6, hidden=64, observation="bernoulli")

# %%
# Two fits of one decoder, 700 updates each. Neither has converged; with thousands of
# updates the VAE comes nearer, and on noisy copies of the images it draws level in the
# end, see ``doc/results.md``.
fitter = WakeSleepFitter(
    model=model, gradient="importance", max_iter=700, random_state=0
).fit(X)
vae = VAE(model, max_iter=700, random_state=0).fit(X)

# %%
# The log-likelihood of every held-out image, by importance sampling from proposals that
# depend on nothing but the decoder.
fits = {"wake-sleep": fitter.params_, "VAE": vae.params_}
found = {}
print(f"Log-likelihood of {len(X_test)} held-out images, nats per image")
for name, params in fits.items():
    found[name], size = log_likelihood(model, params, X_test)
    print(
        f"  {name:10s} {found[name].mean():.2f}   "
        f"(median effective sample size {np.median(size):.0f} of 2000)"
    )
gain = found["wake-sleep"] - found["VAE"]
error = gain.std() / np.sqrt(len(gain))
print(f"  difference {gain.mean():.2f} (standard error {error:.2f})")

# %%
# Draws from both: the probability of every pixel.
figure = plt.figure(figsize=(9, 4.2), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1.9, 1))
grids = left.subfigures(3, 1)
z = model.draw_latents({}, 24, np.random.default_rng(0))
rows = {"held-out digits": X_test[:24]}
for name, params in fits.items():
    rows[f"draws, {name}"] = expit(model.decode(params, z))
for (title, images), grid in zip(rows.items(), grids, strict=True):
    grid.suptitle(title, fontsize="medium")
    for image, ax in zip(images, grid.subplots(2, 12).flat, strict=True):
        ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
ax = right.subplots()
ax.scatter(found["VAE"], found["wake-sleep"], s=8)
ax.axline((-17, -17), slope=1, color="black", linewidth=0.8)
ax.set(
    title="log-likelihood, held-out",
    xlabel="VAE",
    ylabel="wake-sleep",
    aspect="equal",
)
path = sys.argv[1] if len(sys.argv) > 1 else "digits_decoder.png"
figure.savefig(path, dpi=150)
print(f"Figure: {path}")
plt.show()
