"""Small models whose likelihood, and so whose score, is known."""

import autograd.numpy as np
import numpy as onp
from autograd import grad, jacobian
from autograd.misc.flatten import flatten
from autograd.scipy.special import logsumexp

from amortsk import LatentVariableModel, WakeSleepFitter, windows
from amortsk.proposals import latent_supports
from amortsk.training import Training

LOG_2PI = np.log(2 * np.pi)


def log_normal(x, mean, scale):
    return -0.5 * ((x - mean) / scale) ** 2 - np.log(scale) - 0.5 * LOG_2PI


class Shift(LatentVariableModel):
    """z ~ N(0, 1), x | z ~ N(mu + z, 1): marginally N(mu, 2)."""

    def init_params(self, X, rng):
        return {"mu": np.zeros(())}

    def sample(self, params, n_samples, rng):
        z = rng.standard_normal(n_samples)
        return z, (params["mu"] + z + rng.standard_normal(n_samples))[:, None]

    def log_prior(self, params, z):
        return log_normal(z, 0.0, 1.0)

    def log_joint(self, params, z, x):
        return log_normal(z, 0.0, 1.0) + log_normal(x[:, 0], params["mu"] + z, 1.0)


class Curved(LatentVariableModel):
    """z ~ N(0, I) in the plane, x | z ~ N(softplus(b.z) - |b|^2, scale^2).

    The posterior is a curved ridge: one direction of z is not seen.
    """

    scale = 0.3

    def init_params(self, X, rng):
        return {"b": np.array([0.5, 1.0])}

    def mean(self, b, projected):
        return np.logaddexp(0.0, projected) - np.sum(b**2)

    def sample(self, params, n_samples, rng):
        z = rng.standard_normal((n_samples, 2))
        mean = self.mean(params["b"], z @ params["b"])
        return z, (mean + self.scale * rng.standard_normal(n_samples))[:, None]

    def log_joint(self, params, z, x):
        mean = self.mean(params["b"], np.dot(z, params["b"]))
        prior = np.sum(log_normal(z, 0.0, 1.0), axis=1)
        return prior + log_normal(x[:, 0], mean, self.scale)

    def exact_log_likelihood(self, params, X):
        # b.z / |b| is standard normal: a sum over a fine grid is exact to rounding.
        v, width = np.linspace(-9, 9, 1501, retstep=True)
        mean = self.mean(params["b"], np.sqrt(np.sum(params["b"] ** 2)) * v)
        log_joint = log_normal(v, 0.0, 1.0) + log_normal(X, mean, self.scale)
        return logsumexp(log_joint, axis=1) + np.log(width)


class Chain(LatentVariableModel):
    """Hidden Markov chain; rows are series. Local terms where `half_width` is given."""

    def __init__(self, n_states=2, length=5, half_width=None):
        self.n_states = n_states
        self.length = length
        self.half_width = half_width

    @property
    def latent_support(self):
        return ("categorical", self.n_states)

    @property
    def term_columns(self):
        if self.half_width is None:
            return None
        return windows(self.length, self.half_width)

    def init_params(self, X, rng):
        states = np.arange(self.n_states)
        return {
            "logits": 1.5 * np.eye(self.n_states) + 0.2 * states,
            "means": 1.5 * states,
            "log_scale": np.array(-0.3),
        }

    def log_transitions(self, params):
        logits = params["logits"]
        return logits - logsumexp(logits, axis=1, keepdims=True)

    def sample(self, params, n_samples, rng):
        cumulative = np.cumsum(np.exp(self.log_transitions(params)), axis=1)
        z = np.empty((n_samples, self.length), dtype=int)
        z[:, 0] = rng.integers(self.n_states, size=n_samples)
        for t in range(1, self.length):
            u = rng.random((n_samples, 1))
            z[:, t] = np.sum(u > cumulative[z[:, t - 1], :-1], axis=1)
        noise = np.exp(params["log_scale"]) * rng.standard_normal(z.shape)
        return z, params["means"][z] + noise

    def log_joint(self, params, z, x):
        moves = self.log_transitions(params)[z[:, :-1], z[:, 1:]]
        start = np.full((len(z), 1), -np.log(self.n_states))
        prior = np.concatenate([start, moves], axis=1)
        scale = np.exp(params["log_scale"])
        terms = prior + log_normal(x, params["means"][z], scale)
        return terms if self.half_width is not None else np.sum(terms, axis=1)

    def exact_log_likelihood(self, params, X):
        scale = np.exp(params["log_scale"])
        emitted = log_normal(X[:, :, None], params["means"], scale)
        forward = emitted[:, 0] - np.log(self.n_states)
        for t in range(1, self.length):
            paths = forward[:, :, None] + self.log_transitions(params)
            forward = logsumexp(paths, axis=1) + emitted[:, t]
        return logsumexp(forward, axis=1)


def free(model, params):
    return [name for name in params if name not in model.fixed_params]


def exact_scores(model, params, X):
    """Gradient of log p(x) of every row, from the exact likelihood."""

    def of(name):
        return lambda v: model.exact_log_likelihood({**params, name: v}, X)

    return {name: jacobian(of(name))(params[name]) for name in free(model, params)}


def gradient_and_differences(function, params, names):
    """Gradient of ``function(params)`` in entries named, and central differences."""
    vector, unflatten = flatten({name: params[name] for name in names})

    def of(vector):
        return function({**params, **unflatten(vector)})

    steps = 1e-5 * onp.eye(len(vector))
    numeric = [(of(vector + step) - of(vector - step)) / 2e-5 for step in steps]
    return grad(of)(vector), onp.array(numeric)


def flat(gradient, n_rows=None):
    """A dict of arrays as one vector, or one for each row."""
    shape = (-1,) if n_rows is None else (n_rows, -1)
    return np.concatenate([np.reshape(g, shape) for g in gradient.values()], axis=-1)


def training(model, params, gradient, regressor, n_features, seed, **options):
    """What `fit` goes on with, at `params`."""
    z, _ = model.sample(params, 2, np.random.default_rng(seed))
    supports = latent_supports(model.latent_support, z)
    options = WakeSleepFitter(gradient=gradient, **options)
    return Training(model, params, supports, options, regressor, seed, n_features)
