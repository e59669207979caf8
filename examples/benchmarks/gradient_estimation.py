"""Error and bias of five gradient estimates, over a grid of parameters.

z ~ N(0, I_2), x | z ~ N(softplus(b . z) - |b|^2, sigma^2): the gradient of the mean
log-likelihood of 500 rows, drawn at |b| = 1, with respect to b. The exact one is by
quadrature. Errors are lengths of the difference from it, in units of the standard
deviation of the exact gradient over rows (its standard error is 0.045 such units), root
mean squares over |b| = 0.5, 0.75, ..., 1.5 and, but for the converged evidence lower
bound (ELBO), over sleep sets. Squared biases are unbiased: variance is subtracted.
"""

import time

import numpy as np
from _report import line, parser, report
from vae import VAE

from amortsk import AmortisedGradientRegressor, WakeSleepFitter
from amortsk.models import SoftplusGaussianModel
from amortsk.training import Training

MODEL = SoftplusGaussianModel()
# The posterior's axes are those of a diagonal covariance only for the second.
OBLIQUE, ALIGNED = np.array([1.0, 2.0]) / np.sqrt(5), np.array([1.0, 0.0])
LENGTHS = np.arange(0.5, 1.75, 0.25)
SIGMAS = (0.1, 0.3, 1.0)
N_SLEEP = (300, 1000, 3000)
N_ROWS = 500


def make_params(b, sigma):
    return {
        "coefficients": np.asarray(b),
        "log_scale": np.log([sigma]),
        "min_scale": np.zeros(1),
    }


def make_data(sigma):
    rng = np.random.default_rng(0)
    return MODEL.sample(make_params(OBLIQUE, sigma), N_ROWS, rng)[1]


def exact_slopes(length, sigma, X):
    """Derivative of log p(x) with respect to |b| of every row."""
    ahead, behind = (
        MODEL.exact_log_likelihood(make_params((length + h) * ALIGNED, sigma), X)
        for h in (1e-4, -1e-4)
    )
    return (ahead - behind) / 2e-4


def estimates(gradient, params, X, n_sleep, n_repeats, seed=0):
    """Gradients from independent sleep sets, one choice of bandwidth for all."""
    options = WakeSleepFitter(
        gradient=gradient, n_sleep=n_sleep, n_proposals=n_sleep // 10
    )
    regressor = AmortisedGradientRegressor(trend="linear")
    run = Training(MODEL, params, ["real"], options, regressor, seed, 1)
    run.gap = n_repeats + 1
    found = []
    for run.n_iter in range(n_repeats):
        run.estimator.age = 0  # or a proposal would serve five sleep sets
        found.append(run.estimate(run.sleep(), X).gradient["coefficients"])
    return np.array(found)


def elbo_gradients(direction, sigma, X, lengths=LENGTHS, max_iter=2000, seed=0):
    """Gradients of the bound, its encoder converged at each length of b."""
    found, encoder = [], None
    for length in lengths:
        vae = VAE(
            MODEL,
            n_draws=5,
            max_iter=max_iter if encoder is None else max_iter // 2,
            train_decoder=False,
            random_state=seed,
        )
        vae.fit(X, make_params(length * direction, sigma), encoder)
        encoder = vae.encoder_
        found.append(vae.gradient(X, n_draws=400)["coefficients"])
    return np.array(found)


def error_and_bias(found, exact, spread):
    """Of gradients (n_lengths, n_repeats, 2), in units of the spread over rows."""
    difference = (found - exact[:, None]) / spread[:, None, None]
    squares = np.mean(np.sum(difference**2, axis=2))
    if found.shape[1] == 1:
        return np.sqrt(squares), np.sqrt(squares)
    variance = np.mean(np.sum(difference.var(axis=1, ddof=1), axis=1))
    return np.sqrt(squares), np.sqrt(max(0.0, squares - variance))


def compare(sigma, n_repeats):
    """Print the rows of one noise scale."""
    X = make_data(sigma)
    slopes = np.array([exact_slopes(length, sigma, X) for length in LENGTHS])
    mean, spread = slopes.mean(1), slopes.std(1)

    def timed(compute):
        start = time.perf_counter()
        found = np.array(compute())
        seconds = (time.perf_counter() - start) / (len(LENGTHS) * found.shape[1])
        return found, f"{seconds:.2f}"

    def show(method, n_sleep, direction, found, seconds):
        numbers = error_and_bias(found, mean[:, None] * direction, spread)
        error, bias = (f"{number:.3f}" for number in numbers)
        line(str(sigma), method, str(n_sleep), error, bias, seconds)

    def regressed(method, n_sleep, n_repeats):
        return [
            estimates(method, make_params(r * OBLIQUE, sigma), X, n_sleep, n_repeats)
            for r in LENGTHS
        ]

    for n_sleep in N_SLEEP:
        found = {}
        for method in ("joint", "likelihood", "importance"):
            found[method], seconds = timed(
                lambda m=method, n=n_sleep: regressed(m, n, n_repeats)
            )
            show(method, n_sleep, OBLIQUE, found[method], seconds)
        direct, seconds = timed(lambda n=n_sleep: regressed("direct", n, 1))
        np.testing.assert_allclose(direct, found["joint"][:, :1], rtol=1e-6)
        line(str(sigma), "direct", str(n_sleep), "as joint", "as joint", seconds)
    for name, direction in (("oblique", OBLIQUE), ("aligned", ALIGNED)):
        found, seconds = timed(lambda u=direction: elbo_gradients(u, sigma, X)[:, None])
        show(f"ELBO, {name}", "", direction, found, seconds)


if __name__ == "__main__":
    arguments = parser(__doc__, seeds=10).parse_args()
    with report(("sigma", "estimate", "N", "error", "bias", "seconds")):
        for sigma in SIGMAS:
            compare(sigma, arguments.seeds)
