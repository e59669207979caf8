"""Neural processes on sine functions: wake-sleep, the usual objective, the ceiling.

Functions y = a sin(t - b) with noise of 0.1, a uniform between -0.5 and 1, b between
-0.5 and 0.5; contexts and targets of 4 to 8 values each at random positions. 5000
functions to fit, 500 held out; the seed draws all of them. Networks with two layers of
32 tanh units, 8 latents, batches of 50. The baselines are the same network, optimiser
and number of updates, with the objective of Garnelo et al. (*Neural processes*, 2018):
E_{q(z|C,T)} log p(y|t,z) - KL(q(z|C,T) || q(z|C)), reparameterised, q(z|C,T) the same
encoder on context and targets together; and with the log of the mean of p(y|t,z) over
reparameterised draws of q(z|C), as many as wake-sleep has proposals: the same
likelihood without sleep or a regression. The learning rate of each is the best of
`--tune`, on functions of their own. Log-likelihoods are of the targets of a row
together, from draws of q(z|C), over their number. The ceiling integrates over a and b
numerically.
"""

import time

import autograd.numpy as np
import numpy as onp
from _report import line, parser, report, verdict
from autograd.scipy.special import logsumexp

from amortsk import WakeSleepFitter
from amortsk.autodiff import pullback
from amortsk.datasets import make_sine_functions
from amortsk.models import NeuralProcessModel
from amortsk.observation import LOG_2PI
from amortsk.optimizers import Adam, Window, decay

N_TRAIN, N_TEST, MAX_ITER, N_DRAWS = 5000, 500, 1000, 2000
# The best of LEARNING_RATES for each, by --tune.
BEST = {
    "wake-sleep": 0.01,
    "standard, 1 draw": 0.01,
    "standard, 10 draws": 0.01,
    "likelihood, 50 draws": 0.01,
}
LEARNING_RATES = (0.003, 0.01, 0.03)


class StandardNeuralProcess:
    """The baseline: a variational bound that encodes context and targets together.

    Parameters
    ----------
    model : NeuralProcessModel
    n_draws : int
        Reparameterised draws for each row.
    batch_size, max_iter, learning_rate, random_state
        As in WakeSleepFitter; Adam, decay and averaging are its own too.

    Attributes
    ----------
    params_ : dict of ndarray
    """

    def __init__(
        self,
        model,
        n_draws=1,
        batch_size=100,
        max_iter=1000,
        learning_rate=0.01,
        random_state=0,
    ):
        self.model, self.n_draws = model, n_draws
        self.batch_size, self.max_iter = batch_size, max_iter
        self.learning_rate, self.random_state = learning_rate, random_state

    def fit(self, X):
        """Maximise the bound."""
        rng = onp.random.default_rng(self.random_state)
        params = self.model.init_params(X, rng)
        adam, window = Adam(self.learning_rate), Window(self.max_iter // 4)
        order = []
        for i in range(self.max_iter):
            if len(order) < self.batch_size:
                order = rng.permutation(len(X))
            rows, order = order[: self.batch_size], order[self.batch_size :]
            _, gradient = self.gradient(params, X[rows], rng)
            params = adam.step(params, gradient, decay(i, self.max_iter))
            window.update(params, adam.precondition(gradient))
        self.params_ = {**params, **window.mean_params()}
        return self

    def gradient(self, params, X, rng):
        """The bound of a batch, in nats per row, and its gradient."""
        contexts, (t, y, filled) = self.model.unpack(X)
        pairs = zip(contexts, (t, y, filled), strict=True)
        both = [onp.hstack(pair) for pair in pairs]
        noise = rng.standard_normal((self.n_draws, len(X), self.model.n_latent))

        def bound(p):
            prior_mean, prior_scale = self.model.encode(p, contexts)
            mean, scale = self.model.encode(p, both)
            z = np.reshape(mean + scale * noise, (-1, self.model.n_latent))
            log_prob = self.log_prob(p, z, t, y)
            squares = (scale**2 + (mean - prior_mean) ** 2) / prior_scale**2
            divergence = 0.5 * (squares - 1) + np.log(prior_scale / scale)
            fit = np.sum(filled * log_prob) / self.n_draws
            return (fit - np.sum(divergence)) / len(X)

        value, pull = pullback(bound, params)
        return float(value), pull(1.0)

    def log_prob(self, params, z, t, y):
        """log p(y | t, z) of every target, for each of the draws."""
        t = onp.tile(t, (self.n_draws, 1))
        location, spread = self.model.decode(params, z, t)
        residual = np.reshape(location, (self.n_draws, *y.shape)) - y
        spread = np.reshape(spread, residual.shape)
        return -0.5 * (residual / spread) ** 2 - np.log(spread) - 0.5 * LOG_2PI


class DirectNeuralProcess(StandardNeuralProcess):
    """A baseline: the likelihood by draws of q(z|C), reparameterised."""

    def gradient(self, params, X, rng):
        """The log of the mean likelihood of a batch, and its gradient."""
        contexts, (t, y, filled) = self.model.unpack(X)
        noise = rng.standard_normal((self.n_draws, len(X), self.model.n_latent))

        def bound(p):
            mean, scale = self.model.encode(p, contexts)
            z = np.reshape(mean + scale * noise, (-1, self.model.n_latent))
            log_prob = self.log_prob(p, z, t, y)
            return np.mean(logsumexp(np.sum(filled * log_prob, axis=2), axis=0))

        value, pull = pullback(bound, params)
        return float(value), pull(1.0)


def make_rows(model, n_samples, seed):
    contexts, targets, _ = make_sine_functions(n_samples, random_state=seed)
    return model.pack(contexts, targets)


def predictive(model, params, X, n_draws=N_DRAWS, seed=0):
    """log p(y | t, C) of every row by draws from q(z|C)."""
    noise = onp.random.default_rng(seed).standard_normal((n_draws, model.n_latent))
    found = []
    for row_ in X:
        _, (t, y, filled) = model.unpack(row_[onp.newaxis])
        rows = onp.repeat(row_[onp.newaxis], n_draws, axis=0)
        mean, scale = model.predict_values(params, noise, rows)
        log_prob = -0.5 * ((y - mean) / scale) ** 2 - onp.log(scale) - 0.5 * LOG_2PI
        found.append(logsumexp(onp.sum(filled * log_prob, axis=1)) - onp.log(n_draws))
    return onp.array(found)


def exact_predictive(model, X, noise=0.1, n_grid=200):
    """log p(y | t, C) of every row under the family that drew it, on a grid."""
    a, b = (
        low + width * (onp.arange(n_grid) + 0.5) / n_grid
        for low, width in ((-0.5, 1.5), (-0.5, 1.0))
    )

    def log_likelihood(t, y, filled):
        curves = onp.sin(t[:, onp.newaxis] - b)
        squares = (filled * y) @ y - 2 * onp.outer(a, (filled * y) @ curves)
        squares = squares + onp.outer(a**2, filled @ curves**2)
        return -0.5 * squares / noise**2 - filled.sum() * (
            onp.log(noise) + 0.5 * LOG_2PI
        )

    found = []
    for row_ in X:
        contexts, targets = model.unpack(row_[onp.newaxis])
        of_context, of_targets = (
            log_likelihood(*(array[0] for array in arrays))
            for arrays in (contexts, targets)
        )
        found.append(logsumexp(of_context + of_targets) - logsumexp(of_context))
    return onp.array(found)


def per_target(model, log_likelihood, X):
    """Mean over all targets."""
    _, (_, _, filled) = model.unpack(X)
    return log_likelihood.sum() / filled.sum()


def fit(name, X, learning_rate, seed, max_iter=MAX_ITER):
    """Fitted parameters."""
    options = {
        "batch_size": 50,
        "max_iter": max_iter,
        "learning_rate": learning_rate,
        "random_state": seed,
    }
    model = NeuralProcessModel()
    if name == "wake-sleep":
        fitter = WakeSleepFitter(model=model, gradient="importance", **options)
        return fitter.fit(X).params_
    if name == "likelihood, 50 draws":
        return DirectNeuralProcess(model, 50, **options).fit(X).params_
    n_draws = 10 if name == "standard, 10 draws" else 1
    return StandardNeuralProcess(model, n_draws, **options).fit(X).params_


def tune(methods):
    """Held-out log-likelihood at each learning rate, on functions of their own."""
    model = NeuralProcessModel()
    X, new = make_rows(model, N_TRAIN, 100), make_rows(model, 300, 200)
    line("log-likelihood per target", *(f"rate {rate}" for rate in LEARNING_RATES))
    line(*["---"] * (1 + len(LEARNING_RATES)))
    for name in methods:
        found = [
            per_target(model, predictive(model, fit(name, X, rate, 0), new), new)
            for rate in LEARNING_RATES
        ]
        line(name, *(f"{value:.4f}" for value in found))


def show(n_seeds, methods, updates):
    """Rows of the table: the ceiling, then every method at each number of updates."""
    model = NeuralProcessModel()
    data = [
        (make_rows(model, N_TRAIN, seed), make_rows(model, N_TEST, 1000 + seed))
        for seed in range(n_seeds)
    ]
    exact = [per_target(model, exact_predictive(model, new), new) for _, new in data]
    line("exact Bayesian predictive", "", "", *listed(exact), "", "")
    for n_updates in updates:
        for name in methods:
            start = time.process_time()
            fits = [
                fit(name, X, BEST[name], seed, n_updates)
                for seed, (X, _) in enumerate(data)
            ]
            seconds = (time.process_time() - start) / n_seeds
            found = onp.array(
                [
                    per_target(model, predictive(model, params, new), new)
                    for params, (_, new) in zip(fits, data, strict=True)
                ]
            )
            compared = ("", "")
            if name == "wake-sleep":
                ours = found
            elif "wake-sleep" in methods:
                less = onp.min(ours - found)
                compared = f"{less:.4f}", verdict(less > 0)
            line(name, str(n_updates), f"{seconds:.0f}", *listed(found), *compared)


def listed(values):
    """Median, and the value of every seed."""
    return f"{onp.median(values):.4f}", ", ".join(f"{value:.4f}" for value in values)


if __name__ == "__main__":
    options = parser(__doc__, seeds=3)
    options.add_argument("--tune", action="store_true")
    options.add_argument("--methods", nargs="+", default=list(BEST), choices=BEST)
    options.add_argument("--updates", nargs="+", type=int, default=[MAX_ITER])
    arguments = options.parse_args()
    methods = [name for name in BEST if name in arguments.methods]
    if arguments.tune:
        tune(methods)
    else:
        columns = (
            "log-likelihood per target",
            "updates",
            "CPU seconds a fit",
            "median",
            "each seed",
            "worst of wake-sleep less it (target > 0)",
            "met",
        )
        with report(columns):
            show(arguments.seeds, methods, arguments.updates)
