"""Independent components of image patches: recovery of known filters, and what is left.

Filters: FastICA(36) on 10,000 patches of 16 x 16 pixels from photographs that come with
sporco, scikit-image and scikit-learn; each patch less its mean and over its standard
deviation (0.01 at least), each pixel then standardised. Data: x = A z with unit-norm
filters A and 36 Laplace sources, each pixel standardised, and normal noise of scale
0.1. Recovery is the mean absolute cosine of learned and true filters after optimal
matching, with the pixels' scales put back.

Where the noise is small, the score of the mixing matrix is mostly noise, and the
rotation of the sources is learned slowly: so amortsk is given the data with more noise,
which belongs to the same model with the same filters, and, as FastICA does by itself,
their principal components. For `importance` noise of scale 1, and 72 components, twice
the sources, since the noise is known by the rest. For `likelihood` the first 36 of unit
variance, as FastICA has them, and noise of scale 0.25, where the fit starts; every
update sees all rows. FastICA has the data as they are.

What `likelihood` regresses on: with noise of equal size along all sources, as whitened
data have it near the optimum, E[z_i z_j | x] is a product of functions E[z_i | x_i] of
single sources, and these are known. So the features are these functions of the
independent components that FastICA finds in the *sleep* draws, and products of two of
them: a regression made for this model, not the default one.

Overcomplete: 64 Laplace sources mixed into 36 dimensions, and noise of scale 0.1, which
FastICA cannot represent. Scores of held-out rows are importance-weighted lower bounds,
effective sample sizes beside them.
"""

import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from _report import parser, report, row
from PIL import Image
from scipy.linalg import solve_triangular
from scipy.optimize import linear_sum_assignment
from scipy.special import expit, log_ndtr, logsumexp
from sklearn.base import clone
from sklearn.covariance import EmpiricalCovariance
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA, FastICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures

from amortsk import AmortisedGradientRegressor, WakeSleepFitter
from amortsk.models import IndependentComponentsModel
from amortsk.observation import noise_scale, scale_params

WIDTH, N_SOURCES, NOISE = 16, 36, 0.1
PHOTOGRAPHS = {
    "sporco": ("sail", "tulips", "monarch", "kodim23", "barbara"),
    "skimage": ("camera", "astronaut", "coffee", "chelsea"),
}


def photographs():
    """Grey images, as far as the packages are installed."""
    images = [image.mean(axis=2) for image in load_sample_images().images]
    for package, names in PHOTOGRAPHS.items():
        folder = Path(find_spec(package).origin).parent / "data"
        for name in names:
            images.append(np.asarray(Image.open(folder / f"{name}.png").convert("L")))
    return images


def true_filters(seed):
    """FastICA's filters of patches, of unit norm: (256, 36)."""
    rng = np.random.default_rng(seed)
    images, patches = photographs(), []
    for k in rng.integers(len(images), size=10_000):
        i, j = (rng.integers(size - WIDTH + 1) for size in images[k].shape)
        patches.append(images[k][i : i + WIDTH, j : j + WIDTH].ravel() / 255)
    X = np.array(patches)
    X -= X.mean(axis=1, keepdims=True)
    X /= np.maximum(X.std(axis=1, keepdims=True), 0.01)
    return unit_norm(fast_ica((X - X.mean(0)) / X.std(0), seed).mixing_)


def fast_ica(X, seed, n_components=N_SOURCES):
    return FastICA(
        n_components, whiten="unit-variance", max_iter=1000, random_state=seed
    ).fit(X)


def unit_norm(filters):
    return filters / np.linalg.norm(filters, axis=0)


def recovery(learned, truth):
    """Mean absolute cosine of optimally matched columns."""
    cosines = np.abs(unit_norm(learned).T @ truth)
    return cosines[linear_sum_assignment(-cosines)].mean()


class NoisyStart(IndependentComponentsModel):
    """Starts from noise of a given scale."""

    def __init__(self, n_components=2, noise=0.1):
        super().__init__(n_components)
        self.noise = noise

    def init_params(self, X, rng):
        params = super().init_params(X, rng)
        return {**params, **scale_params(np.array([self.noise]), params["min_scale"])}


def denoise(x, noise):
    """E[z | x] for z of a Laplace distribution and x = z + noise, of unit variance."""
    total = 1 + noise**2
    scale, noise = np.sqrt(0.5 / total), noise / np.sqrt(total)
    # Two truncated normals, of positive and of negative z.
    positive, negative = x - noise**2 / scale, x + noise**2 / scale
    log_odds = log_ndtr(positive / noise) - log_ndtr(-negative / noise) - 2 * x / scale
    share = expit(log_odds)
    return share * positive + (1 - share) * negative


def patches(seeds, n_samples, target, pca, model, added_noise, **options):
    ours, theirs, times = [], [], []
    for seed in seeds:
        truth = true_filters(seed)
        rng = np.random.default_rng([seed, 1])
        X = rng.laplace(size=(n_samples, N_SOURCES)) @ truth.T
        scale = X.std(0)
        X = (X - X.mean(0)) / scale + NOISE * rng.standard_normal(X.shape)
        start = time.process_time()
        pca = clone(pca).set_params(random_state=seed).fit(X)
        projected = pca.transform(X)
        projected += added_noise * rng.standard_normal(projected.shape)
        fitter = WakeSleepFitter(model=model, random_state=seed, **options)
        mixing = fitter.fit(projected).params_["mixing"]
        times.append(time.process_time() - start)
        learned = pca.inverse_transform(mixing.T) - pca.mean_
        ours.append(recovery((scale * learned).T, truth))
        theirs.append(recovery(scale[:, None] * fast_ica(X, seed).mixing_, truth))
        print(f"<!-- seed {seed}: {ours[-1]:.4f} -->", flush=True)
    row(
        f'{n_samples} patches, gradient="{options["gradient"]}": mean absolute cosine, '
        f"{np.median(times):.0f} s of processor time a fit",
        ours,
        at_least=target,
        baseline=f"FastICA: {np.median(theirs):.4f}",
    )


REGRESSOR = AmortisedGradientRegressor(n_components=20, trend="linear")


def patches_importance(seeds, n_samples):
    patches(
        seeds,
        n_samples,
        target=0.95,
        pca=PCA(2 * N_SOURCES),
        model=IndependentComponentsModel(N_SOURCES),
        added_noise=1.0,
        gradient="importance",
        regressor=REGRESSOR,
        n_sleep=6000,
        n_proposals=60,
        batch_size=300,
        learning_rate=0.03,
        max_iter=1600,
    )


def patches_likelihood(seeds, n_samples):
    noise = 0.25
    features = make_pipeline(
        FastICA(
            N_SOURCES, whiten="unit-variance", max_iter=15, tol=1e-3, random_state=0
        ),
        FunctionTransformer(denoise, kw_args={"noise": noise}),
        PolynomialFeatures(2, include_bias=False),
    )
    n_samples = min(n_samples, 20_000)
    patches(
        seeds,
        n_samples,
        target=0.85,
        pca=PCA(N_SOURCES, whiten=True),
        model=NoisyStart(N_SOURCES, noise),
        added_noise=noise,
        gradient="likelihood",
        regressor=AmortisedGradientRegressor(features, trend="linear", alpha=1.0),
        n_sleep=5000,
        batch_size=n_samples,
        learning_rate=0.02,
        max_iter=1200,
    )


def mixture_log_likelihood(mixing, mean, scale, X, n_draws=16_000):
    """log p(x), estimated from the variances of the sources alone.

    A Laplace variable is normal with a variance that is exponential, of mean two; given
    those, x is normal. Below the truth in expectation, as any such estimate.
    """
    rng = np.random.default_rng(1)
    residual, log_p = (X - mean).T, np.empty((len(X), n_draws))
    for k in range(n_draws):
        variances = rng.exponential(2, size=mixing.shape[1])
        covariance = (mixing * variances) @ mixing.T + scale**2 * np.eye(len(mixing))
        root = np.linalg.cholesky(covariance)
        whitened = solve_triangular(root, residual, lower=True)
        log_p[:, k] = -0.5 * np.sum(whitened**2, 0) - np.log(np.diag(root)).sum()
    log_p -= 0.5 * len(mixing) * np.log(2 * np.pi)
    return logsumexp(log_p, axis=1) - np.log(n_draws)


def overcomplete(seeds, n_samples):
    gains, times = {"score": [], "variances of the sources": []}, []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        mixing = unit_norm(rng.standard_normal((36, 64)))

        def draw(n, rng=rng, mixing=mixing):
            x = rng.laplace(size=(n, 64)) @ mixing.T
            return x + NOISE * rng.standard_normal(x.shape)

        train, test = draw(20_000), draw(1000)
        # What second moments alone say, and the true parameters.
        normal = EmpiricalCovariance().fit(train).score(test)
        truth = mixture_log_likelihood(mixing, 0.0, NOISE, test).mean()
        print(f"<!-- multivariate normal {normal:.3f}, true parameters {truth:.3f} -->")
        start = time.process_time()
        found = {name: [] for name in gains}
        for k, n_proposals in ((36, 400), (64, 800)):
            fitter = WakeSleepFitter(
                model=IndependentComponentsModel(k),
                gradient="importance",
                regressor=REGRESSOR,
                n_sleep=6000,
                n_proposals=n_proposals,
                max_iter=1500,
                scoring="importance",
                random_state=seed,
            ).fit(train)
            params = fitter.params_
            scale = noise_scale(params)[0]
            score, level = (
                fitter.score_samples(test),
                mixture_log_likelihood(params["mixing"], params["mean"], scale, test),
            )
            for values, rows in zip(found.values(), (score, level), strict=True):
                values.append(rows)
            size = fitter._posterior.effective_sample_size(test)
            print(
                f"<!-- {k} sources: score {score.mean():.3f}, effective sample size "
                f"{size:.0f} of {20 * n_proposals}; from the variances "
                f"{level.mean():.3f}; noise {scale:.3f} -->",
                flush=True,
            )
        times.append(time.process_time() - start)
        for name, (complete, over) in found.items():
            gains[name].append(over - complete)
    for name, differences in gains.items():
        errors = [d.std() / np.sqrt(len(d)) for d in differences]
        row(
            "64 sources in 36 dimensions: held-out log-likelihood less that of 36 "
            f"sources, by {name}, {np.median(times):.0f} s of processor time",
            np.mean(differences, axis=1),
            at_least=0.0,
            baseline=f"standard error {max(errors):.3f}",
        )


BENCHMARKS = (patches_importance, patches_likelihood, overcomplete)

if __name__ == "__main__":
    parser = parser(__doc__, seeds=3)
    names = [benchmark.__name__ for benchmark in BENCHMARKS]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--rows", type=int, default=100_000, help="of patches")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    with report():
        for benchmark in BENCHMARKS:
            if benchmark.__name__ in arguments.only:
                benchmark(range(arguments.seeds), arguments.rows)
