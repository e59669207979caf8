"""Orientations of Gabor patches laid out on a circle: winding, uniformity, sharpness.

2000 noise-free images of 16 x 16 pixels, decoder of 64 tanh units, 500 updates from
batches of 100; the seed draws data and start. The winding number is that of twice the
best-matching orientation as the latent angle goes round, its magnitude to be one; steps
back are the steps of half a degree, of 720, against that direction. Of 2000 sampled
images: the Kolmogorov-Smirnov distance of their best-matching orientations from
uniform, and the mean squared error of that match over the variance of a pixel. The
baseline has a standard normal latent in the plane, the same decoder and as many updates
as a variational autoencoder (VAE); its circle is the one that half of its latents are
in. The likelihood route is shown on the pixels, where its errors destroy the decoder as
the noise falls, and on the images' six leading principal components, which hold 99.9%
of their variance, with 1000 smaller updates; images are put together from components.
"""

import time

import numpy as np
from _report import parser, report, row
from scipy.stats import kstest
from sklearn.decomposition import PCA
from vae import VAE

from amortsk import WakeSleepFitter
from amortsk.datasets import gabor, make_gabors
from amortsk.models import CircularLatentModel, DecoderModel

N_COMPONENTS = 6
ORIENTATIONS = np.linspace(0, np.pi, 1440, endpoint=False)
BANK = gabor(ORIENTATIONS)


def match(images):
    """Orientation of the nearest patch, and its mean squared error."""
    squares = np.sum(images**2, axis=1, keepdims=True) + np.sum(BANK**2, axis=1)
    distance = squares - 2 * images @ BANK.T
    nearest = distance.argmin(axis=1)
    error = distance[np.arange(len(images)), nearest] / images.shape[1]
    return ORIENTATIONS[nearest], error


def measure(model, params, X, radius=1.0):
    """Winding number, steps back, KS distance, relative error, noise."""
    angle = np.linspace(0, 2 * np.pi, 721)
    z = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    turned = np.unwrap(2 * match(model.decode(params, z))[0])
    winding = (turned[-1] - turned[0]) / (2 * np.pi)
    back = np.sum(np.diff(turned) * np.sign(winding) < -1e-9)
    orientation, error = match(model.sample(params, 2000, np.random.default_rng(0))[1])
    distance = kstest(orientation / np.pi, "uniform").statistic
    variance = X.var(axis=0).mean()
    noise = (params["min_scale"] + np.exp(params["log_scale"]))[0]
    return (
        abs(winding),
        back,
        distance,
        error.mean() / variance,
        noise / np.sqrt(variance),
    )


def wake_sleep(X, seed, **options):
    fitter = WakeSleepFitter(
        model=CircularLatentModel(), max_iter=500, random_state=seed, **options
    ).fit(X)
    return measure(fitter.model_, fitter.params_, X)


class Pixels:
    """A model of principal components, its output as images."""

    def __init__(self, model, pca):
        self.model, self.pca = model, pca

    def decode(self, params, z):
        return self.pca.inverse_transform(self.model.decode(params, z))

    def sample(self, params, n_samples, rng):
        z, x = self.model.sample(params, n_samples, rng)
        return z, self.pca.inverse_transform(x)


def on_principal_components(X, seed):
    """Winding number and the rest of a likelihood fit to principal components."""
    pca = PCA(N_COMPONENTS, random_state=seed).fit(X)
    fitter = WakeSleepFitter(
        model=CircularLatentModel(),
        gradient="likelihood",
        max_iter=1000,
        learning_rate=0.004,
        random_state=seed,
    ).fit(pca.transform(X))
    return measure(Pixels(fitter.model_, pca), fitter.params_, X)


def variational(X, seed):
    vae = VAE(DecoderModel(2), max_iter=500, random_state=seed).fit(X)
    return measure(vae.model, vae.params_, X, radius=np.sqrt(2 * np.log(2)))


def show(name, fit, n_seeds):
    start = time.process_time()
    found = []
    for seed in range(n_seeds):
        X, _ = make_gabors(2000, random_state=seed)
        found.append(fit(X, seed))
    winding, back, distance, error, noise = np.transpose(found)
    seconds = (time.process_time() - start) / n_seeds
    row(
        f"{name}: distance of winding number from +-1",
        abs(winding - 1),
        at_most=1e-9,
        digits=3,
    )
    row(f"{name}: steps back", back, at_most=0, digits=0)
    row(f"{name}: KS distance of orientations", distance, at_most=0.1, digits=3)
    row(f"{name}: error of samples over variance", error, at_most=0.01)
    row(f"{name}: noise over standard deviation, {seconds:.0f} s CPU a fit", noise)


ROUTES = {
    "importance, sleep latents": lambda X, seed: wake_sleep(
        X, seed, gradient="importance", latent_support="any"
    ),
    "importance, von Mises-Fisher": lambda X, seed: wake_sleep(
        X, seed, gradient="importance"
    ),
    "likelihood, principal components": on_principal_components,
    "likelihood, pixels": lambda X, seed: wake_sleep(X, seed, gradient="likelihood"),
    "VAE": variational,
}

if __name__ == "__main__":
    options = parser(__doc__, seeds=3)
    options.add_argument("--routes", nargs="+", default=ROUTES, choices=ROUTES)
    arguments = options.parse_args()
    with report():
        for name in arguments.routes:
            show(name, ROUTES[name], arguments.seeds)
