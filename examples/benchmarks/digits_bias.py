"""Why a decoder of digits is not better still: errors of the estimated gradients.

At a decoder that wake-sleep has fitted to 1500 digits (`digits_decoder.py`), the mean
score of ten of them by a million draws of the prior, weighted by the likelihood, and by
each estimator. Errors are lengths of differences over the length of the former: that of
a single estimate, and that of the mean of several, of which what is not their noise is
bias.
"""

import warnings

import autograd.numpy as anp
import numpy as np
from _data import digits
from _report import line, parser, report
from digits_decoder import DATA, SLEEP_LATENTS, split
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from vae import VAE

from amortsk import WakeSleepFitter
from amortsk.autodiff import pullback
from amortsk.models import DecoderModel
from amortsk.pairs import natural_log_likelihood

N_ROWS, N_REPEATS = 10, 10


class Given(DecoderModel):
    """Starts from parameters that are given."""

    def __init__(self, n_latent=6, hidden=64, observation="bernoulli", params=None):
        super().__init__(n_latent, hidden, observation)
        self.params = params

    def init_params(self, X, rng):
        return self.params


def flat(gradient):
    return np.concatenate([gradient[name].ravel() for name in sorted(gradient)])


def long_run(model, params, rows, rng, n_chunks=50, n_draws=20_000, n_kept=1000):
    """Mean score by draws of the prior, and effective sample sizes."""
    z, fit = [], []
    for _ in range(n_chunks):
        draws = rng.standard_normal((n_draws, model.n_latent))
        level = natural_log_likelihood(model, params, draws, rows)
        # The others have no weight.
        best = np.argpartition(-level, n_kept)[:, :n_kept]
        z.append(draws[best])
        fit.append(np.take_along_axis(level, best, axis=1))
    z, fit = np.concatenate(z, axis=1), np.concatenate(fit, axis=1)
    weights = np.exp(fit - logsumexp(fit, axis=1, keepdims=True))

    def objective(p):
        return sum(
            anp.dot(w, model.log_joint(p, draws, np.tile(x, (len(draws), 1))))
            for x, draws, w in zip(rows, z, weights, strict=True)
        ) / len(rows)

    return flat(pullback(objective, params, ())[1](1.0)), 1 / np.sum(weights**2, axis=1)


def estimates(params, X, rows, **options):
    """Repeated estimates of the mean score, and their effective sample size."""
    fitter = WakeSleepFitter(
        model=Given(params=params),
        max_iter=1,
        learning_rate=1e-12,
        random_state=0,
        **options,
    ).fit(X)
    run, found = fitter._run, []
    for i in range(N_REPEATS):
        run.estimator.age = 0
        sleep = run.sleep(key=(1, i))
        rng = np.random.default_rng(i)
        found.append(run.estimator.estimate(params, sleep, rows, rng))
    size = np.mean([estimate.effective_sample_size for estimate in found])
    return [flat(estimate.gradient) for estimate in found], size


def main():
    X = split(digits, 1500, 0)[0]
    rows, model = X[:N_ROWS], DATA["digits"]["model"]
    params = (
        WakeSleepFitter(
            model=model, gradient="importance", max_iter=3000, random_state=0
        )
        .fit(X)
        .params_
    )
    exact, sizes = long_run(model, params, rows, np.random.default_rng(0))
    length = np.linalg.norm(exact)
    line("long run", "", "", f"{sizes.min():.0f} to {sizes.max():.0f} a row")

    def show(name, found, size=""):
        one = np.mean([np.linalg.norm(g - exact) for g in found]) / length
        mean = np.linalg.norm(np.mean(found, axis=0) - exact) / length
        line(name, f"{one:.2f}", f"{mean:.2f}", size)

    for n in (50, 200, 1000):
        found, size = estimates(params, X, rows, gradient="importance", n_proposals=n)
        show(f"importance, {n} proposals", found, f"{size:.0f}")
    found, size = estimates(params, X, rows, **SLEEP_LATENTS)
    show("importance, 4000 sleep latents", found, f"{size:.0f}")
    for gradient in ("joint", "likelihood"):
        show(gradient, estimates(params, X, rows, gradient=gradient)[0])
    vae = VAE(model, train_decoder=False, max_iter=2000, random_state=0)
    show("lower bound", [flat(vae.fit(X, params=params).gradient(rows, 500))])


if __name__ == "__main__":
    parser(__doc__, seeds=1).parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    with report(("estimator", "one estimate", "mean of ten", "ESS")):
        main()
