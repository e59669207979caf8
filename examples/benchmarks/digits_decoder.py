"""Images from a neural decoder: wake-sleep against variational autoencoders.

Binary digits, 1500 of 8 x 8 pixels (6 normal latents, 64 tanh units) or 4000 of 28 x 28
(20 latents, 2 x 200 units), and 7000 patches of two photographs, 8 x 8 pixels in colour
(16 latents, 100 units, normal noise). All methods share decoder, start, optimiser,
batches and number of updates; the seed draws split and start. VAE: the evidence lower
bound; IWAE: its importance-weighted form with 50 draws, as many as wake-sleep has
proposals; "longer" has more updates. Principal components: the linear decoder with
normal noise, at its maximum of the likelihood. "Prior": normal, of all weights and
biases; "power": of p(x | z) while a decoder is fitted, which spreads the weight of an
image over more latents and is, in a VAE, a larger weight of the divergence from the
prior; "noise": fitted to 20 copies of the training images, to whose grey values normal
noise of one level of 16 is added before they are made binary.

The mean and the covariance of the latents over all images may differ from the prior's;
samples are then of latents that no image has. Every fit ends with one EM step for both,
which the first layer absorbs, so that the prior stays standard normal. Moments are
those that a fit offers: wake-sleep's `posterior_expectation`, of a VAE 50 weighted
draws of its encoder, both with the power, if any.

The held-out log-likelihood is estimated in the same way for every decoder: 2000 draws a
row from a mixture of eight multivariate t distributions, at the modes of the posterior
that are uphill from the best eight of 20 000 draws of the prior, weighted. ESS is their
effective sample size, median and lowest of all rows.

Sample quality is the unbiased squared maximum mean discrepancy of 10 000 samples to the
held-out digits, with the polynomial kernel of the kernel inception distance (Binkowski
et al., *Demystifying MMD GANs*, ICLR 2018), on the hidden layer of a small classifier;
on pixels, where there are no classes.
"""

import time
import warnings

import numpy as np
from _data import colour_patches, digits, mnist, noisy_digits
from _report import line, parser, report
from learned_features import LearnedFeatures
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_t
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from vae import VAE

from amortsk import AmortisedGradientRegressor, WakeSleepFitter
from amortsk.models import DecoderModel
from amortsk.observation import Bernoulli, noise_scale
from amortsk.pairs import natural_log_likelihood
from amortsk.proposals import normalise

# Degrees of freedom of the proposals.
DF = 5
# Training images of the EM step.
N_MOMENTS = 2000

# Held-out log-likelihood --------------------------------------------------------------


def linearised(params, z):
    """Output of every row, and its derivatives by the latents, (n, k, d)."""
    n_layers = sum(name.startswith("weights_") for name in params)
    slope = np.broadcast_to(np.eye(z.shape[1]), (len(z), *2 * z.shape[1:]))
    for i in range(n_layers):
        z = z @ params[f"weights_{i}"] + params[f"biases_{i}"]
        slope = slope @ params[f"weights_{i}"]
        if i < n_layers - 1:
            z = np.tanh(z)
            slope = slope * (1 - z**2)[:, np.newaxis]
    return z, slope


def derivatives(params, output, x):
    """First and negative second derivatives of log p(x | output) by the output."""
    if "log_scale" in params:
        precision = np.broadcast_to(noise_scale(params) ** -2.0, x.shape)
        return (x - output) * precision, precision
    p = expit(output)
    return x - p, p * (1 - p)


def modes(model, params, x, z, n_steps=25):
    """Modes of the posterior of x uphill from every row of z, inverse Hessians there.

    Hessians are those of Gauss and Newton, steps those of Levenberg and Marquardt.
    """
    x = np.tile(x, (len(z), 1))
    identity = np.eye(z.shape[1])
    value, damping = model.log_joint(params, z, x), np.ones((len(z), 1, 1))
    for _ in range(n_steps):
        output, slope = linearised(params, z)
        residual, curvature = derivatives(params, output, x)
        hessian = (slope * curvature[:, np.newaxis]) @ slope.transpose(0, 2, 1)
        hessian += identity
        uphill = np.einsum("nkd,nd->nk", slope, residual) - z
        step = np.linalg.solve(hessian + damping * identity, uphill[..., np.newaxis])
        trial = z + step[..., 0]
        trial_value = model.log_joint(params, trial, x)
        better = trial_value > value
        z = np.where(better[:, np.newaxis], trial, z)
        value = np.where(better, trial_value, value)
        damping *= np.where(better, 0.25, 4.0)[:, np.newaxis, np.newaxis]
    return z, np.linalg.inv(hessian)


def log_likelihood(model, params, X, n_draws=2000, n_modes=8, seed=0):
    """Estimated log p(x) of every row of X, and its effective sample size."""
    rng = np.random.default_rng(seed)
    prior = rng.standard_normal((20_000, model.n_latent))
    fit = natural_log_likelihood(model, params, prior, X)
    starts = np.argpartition(-fit, n_modes)[:, :n_modes]
    shape = n_modes, n_draws // n_modes, model.n_latent
    found = []
    for x, start in zip(X, starts, strict=True):
        mean, inverse = modes(model, params, x, prior[start])
        root = np.linalg.cholesky(inverse)
        scale = np.sqrt(rng.chisquare(DF, (*shape[:2], 1)) / DF)
        noise = rng.standard_normal(shape) / scale
        z = mean[:, np.newaxis] + noise @ root.transpose(0, 2, 1)
        z = z.reshape(-1, model.n_latent)
        log_q = logsumexp(
            [
                multivariate_t(m, S, DF).logpdf(z)
                for m, S in zip(mean, inverse, strict=True)
            ],
            axis=0,
        ) - np.log(n_modes)
        log_w = model.log_joint(params, z, np.tile(x, (len(z), 1))) - log_q
        _, value, size = normalise(log_w[np.newaxis])
        found.append((value[0], size[0]))
    return np.transpose(found)


# Sample quality -----------------------------------------------------------------------


def kernel_distance(a, b):
    """Unbiased squared maximum mean discrepancy of two sets of rows."""

    def mean(u, v, n_equal):
        gram = (u @ v.T / u.shape[1] + 1) ** 3
        return (gram.sum() - n_equal * np.trace(gram)) / (gram.size - n_equal * len(u))

    return mean(a, a, 1) + mean(b, b, 1) - 2 * mean(a, b, 0)


def classifier_features(X, y):
    """A function from images to the hidden layer of a classifier of X."""
    if y is None:
        return lambda images: images
    classifier = MLPClassifier(64, random_state=0).fit(X, y)
    weights, biases = classifier.coefs_[0], classifier.intercepts_[0]
    return lambda images: np.maximum(images @ weights + biases, 0)


# Methods ------------------------------------------------------------------------------


def wake_sleep(model, X, seed, **options):
    fitter = WakeSleepFitter(model=model, random_state=seed, **options).fit(X)

    def moments(X):
        def first_and_second(z):
            row = z[:, np.newaxis]
            return np.concatenate([row, z[:, :, np.newaxis] * row], axis=1)

        mean, *second = fitter.posterior_expectation(X, first_and_second).mean(0)
        return mean, np.array(second)

    return fitter.params_, moments


def variational(model, X, seed, **options):
    vae = VAE(model, random_state=seed, **options).fit(X)
    return vae.params_, vae.latent_moments


def principal_components(model, X, seed, **options):
    """A decoder without hidden layers (Tipping and Bishop, JRSS B 61, 1999)."""
    pca = PCA(model.n_latent).fit(X)
    noise = pca.noise_variance_
    signal = np.sqrt(pca.explained_variance_ - noise)[:, np.newaxis]
    params = {
        "weights_0": signal * pca.components_,
        "biases_0": pca.mean_,
        "log_scale": np.array([0.5 * np.log(noise)]),
        "min_scale": np.zeros(1),
    }
    return params, lambda X: (np.zeros(model.n_latent), np.eye(model.n_latent))


def em_step(params, mean, second):
    """Maximise over the latents' mean and covariance: the first layer absorbs them."""
    root = np.linalg.cholesky(second - np.outer(mean, mean))
    weights, biases = params["weights_0"], params["biases_0"]
    return {
        **params,
        "weights_0": root.T @ weights,
        "biases_0": biases + mean @ weights,
    }


class PowerBernoulli(Bernoulli):
    """Binary pixels, their likelihood to a power."""

    def __init__(self, power):
        self.power = power

    def natural_params(self, params, output):
        return (self.power * output,)

    def log_normalizer(self, params, output):
        return self.power * super().log_normalizer(params, output)


class Shrunk(DecoderModel):
    """A decoder with a normal prior of all weights and biases."""

    def __init__(self, n_latent, hidden, observation, precision):
        super().__init__(n_latent, hidden, observation)
        self.precision = precision

    def log_prior_params(self, params):
        """Log-density, but for a constant."""
        squares = [
            (value**2).sum()
            for name, value in params.items()
            if name.startswith(("weights", "biases"))
        ]
        return -0.5 * self.precision * sum(squares)


FIXED = AmortisedGradientRegressor(gamma="median", alpha=1e-3, trend="linear")
# Sleep latents as candidates: 4000 for every row, without a regression.
SLEEP_LATENTS = {"gradient": "importance", "latent_support": "any", "n_sleep": 4000}
LEARNED = AmortisedGradientRegressor(LearnedFeatures())
ENCODER = {"hidden": (200,), "standardise": False}
ENCODED = {"gradient": "importance", "n_sleep": 2000, "regressor": LEARNED}
BOUND_OF_50 = {"n_draws": 50, "importance": True}
VAE_LONGER = {"max_iter": 18_000, "learning_rate": 0.003}
# Noise keeps encoders from overfitting: they gain from many more updates.
VAE_NOISY = {"noisy": True, "max_iter": 144_000, "learning_rate": 0.005}
IWAE_LONGER = {**BOUND_OF_50, "max_iter": 9000, "learning_rate": 0.005}
LONGER = {"learning_rate": 0.003, "max_iter": 3000}
# Against overfitting; chosen on two other splits of the images. A prior counts once for
# all rows, of which 20 are one noisy image.
SHRUNK = {"model": Shrunk(6, 64, "bernoulli", 0.3)}
TEMPERED = {"model": Shrunk(6, 64, PowerBernoulli(0.75), 0.3)}
NOISY_TEMPERED = {"noisy": True, "model": Shrunk(6, 64, PowerBernoulli(0.75), 20 * 0.3)}
DATA = {
    "digits": {
        "load": digits,
        "sizes": (1500, 297),
        "model": DecoderModel(6, 64, "bernoulli"),
        "shared": {"max_iter": 3000, "batch_size": 100},
        "fits": {
            "VAE": (variational, {}),
            "VAE, longer": (variational, VAE_LONGER),
            "IWAE": (variational, BOUND_OF_50),
            "IWAE, longer": (variational, IWAE_LONGER),
            "wake-sleep": (wake_sleep, {"gradient": "importance"}),
            "wake-sleep, sleep latents": (wake_sleep, SLEEP_LATENTS),
            "wake-sleep, sleep latents, longer": (
                wake_sleep,
                {**SLEEP_LATENTS, "max_iter": 9000, "learning_rate": 0.005},
            ),
            "VAE, longer, prior": (variational, {**SHRUNK, **VAE_LONGER}),
            "IWAE, longer, prior and power": (variational, {**TEMPERED, **IWAE_LONGER}),
            "wake-sleep, 6000 sleep latents, longer, prior and power": (
                wake_sleep,
                {**TEMPERED, **SLEEP_LATENTS, "n_sleep": 6000, "max_iter": 9000},
            ),
            "VAE, longer, noise": (variational, VAE_NOISY),
            "IWAE, longer, prior, power and noise": (
                variational,
                {**NOISY_TEMPERED, **IWAE_LONGER, "max_iter": 27_000},
            ),
            "wake-sleep, 6000 sleep latents, longer, prior, power and noise": (
                wake_sleep,
                {**NOISY_TEMPERED, **SLEEP_LATENTS, "n_sleep": 6000, "max_iter": 9000},
            ),
            "wake-sleep, fixed kernel": (
                wake_sleep,
                {"gradient": "importance", "regressor": FIXED},
            ),
            "wake-sleep, likelihood": (wake_sleep, {"gradient": "likelihood"}),
            "wake-sleep, likelihood, fixed kernel": (
                wake_sleep,
                {"gradient": "likelihood", "regressor": FIXED},
            ),
        },
    },
    "mnist": {
        "load": mnist,
        "sizes": (4000, 200),
        "model": DecoderModel(20, (200, 200), "bernoulli"),
        "shared": {"max_iter": 300, "batch_size": 50},
        "fits": {
            "VAE": (variational, ENCODER),
            "VAE, longer": (variational, {**ENCODER, **LONGER}),
            "VAE, 9000 updates": (variational, {**ENCODER, **LONGER, "max_iter": 9000}),
            "IWAE, longer": (variational, {**BOUND_OF_50, **ENCODER, **LONGER}),
            "wake-sleep": (wake_sleep, ENCODED),
            "wake-sleep, longer": (wake_sleep, {**ENCODED, **LONGER}),
        },
    },
    "patches": {
        "load": colour_patches,
        "sizes": (7000, 300),
        "model": DecoderModel(16, 100),
        "shared": {"max_iter": 3000, "batch_size": 100, "learning_rate": 0.003},
        "fits": {
            "principal components": (principal_components, {}),
            "VAE": (variational, {"hidden": (100,)}),
            "VAE, longer": (variational, {"hidden": (100,), "max_iter": 18_000}),
            "IWAE": (variational, {"hidden": (100,), **BOUND_OF_50}),
            "wake-sleep": (wake_sleep, {"gradient": "importance"}),
        },
    },
}


def split(load, n_train, seed):
    """Training images, held-out ones, what a classifier sees in them, training rows."""
    images, labels = load()
    index = np.arange(len(images))
    train, test = train_test_split(index, train_size=n_train, random_state=seed)
    X, X_test = images[train], images[test]
    labels = None if labels is None else labels[train]
    return X, X_test, classifier_features(X, labels), train


def show(name, values, digits):
    """One row: figures of all seeds."""
    line(
        name,
        *(
            ", ".join(f"{v:.{n}f}" for v in column)
            for n, column in zip(digits, zip(*values, strict=True), strict=True)
        ),
    )


def compare(n_seeds, names, load, sizes, model, shared, fits):
    splits = [split(load, sizes[0], seed) for seed in range(n_seeds)]
    floor = [kernel_distance(f(X), f(X_test)) for X, X_test, f, _ in splits]
    distances = ", ".join(f"{1000 * d:.2f}" for d in floor)
    line("training images", "", "", "", "", distances, "", "")
    for name in names or fits:
        fit, options = fits[name]
        found = []
        for seed, (X, X_test, features, train) in enumerate(splits):
            start = time.process_time()
            settings = {"model": model, **shared, **options}
            noisy = settings.pop("noisy", False)
            rows = noisy_digits(train, seed) if noisy else X
            params, moments = fit(X=rows, seed=seed, **settings)
            spent = time.process_time() - start

            def distance(params, seed=seed, X_test=X_test, features=features):
                _, x = model.sample(params, 10_000, np.random.default_rng(seed))
                return 1000 * kernel_distance(features(x), features(X_test))

            first = distance(params)
            params = em_step(params, *moments(X[:N_MOMENTS]))
            value, size = log_likelihood(model, params, X_test[: sizes[1]])
            seen, _ = log_likelihood(model, params, X[: sizes[1]])
            found.append(
                (
                    value.mean(),
                    np.median(size),
                    size.min(),
                    seen.mean(),
                    distance(params),
                    first,
                    spent,
                )
            )
        show(name, found, (2, 0, 1, 2, 2, 2, 0))


COLUMNS = (
    "fit",
    "log-likelihood",
    "ESS",
    "lowest ESS",
    "of training images",
    "1000 x distance",
    "before the EM step",
    "CPU s",
)

if __name__ == "__main__":
    parser = parser(__doc__, seeds=3)
    parser.add_argument("--data", choices=DATA, default="digits")
    parser.add_argument("--fits", nargs="+")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    with report(COLUMNS):
        compare(arguments.seeds, arguments.fits, **DATA[arguments.data])
