"""The variational baseline: a decoder trained with an amortised Gaussian encoder.

The evidence lower bound, reparameterised (Kingma and Welling, *Auto-encoding
variational Bayes*, ICLR 2014), or its importance-weighted form (Burda, Grosse and
Salakhutdinov, *Importance weighted autoencoders*, ICLR 2016), by the package's own
Adam, learning-rate decay and averaging, so that a comparison with WakeSleepFitter is
one of gradients alone.
"""

import autograd.numpy as np
import numpy as onp
from autograd.scipy.special import logsumexp

from amortsk.autodiff import pullback
from amortsk.model import provides
from amortsk.models._decoder import init_network, network
from amortsk.observation import LOG_2PI
from amortsk.optimizers import Adam, Window, decay

PREFIX = "encoder_"


class VAE:
    """Fit a model with real latents by its evidence lower bound.

    Parameters
    ----------
    model : LatentVariableModel
        Its latents have shape (n, k). A prior of its parameters, log_prior_params, is
        maximised with the bound.
    hidden : tuple of int
        Widths of the encoder's tanh layers; the output is a mean and a log standard
        deviation for every latent.
    standardise : bool
        Whether the encoder sees columns in units of their standard deviation, which
        blows up rare pixels.
    n_draws : int
        Reparameterised draws for each row.
    importance : bool
        Maximise the log of the draws' mean weight, not the mean of their log-weights.
    batch_size, max_iter, learning_rate
        As in WakeSleepFitter.
    averaging : bool
        Decay over the second half, average over the last quarter, as WakeSleepFitter.
    train_decoder : bool
        Otherwise only the encoder moves: the tightest bound at the given parameters.
    random_state : int

    Attributes
    ----------
    params_ : dict of ndarray
        Of the model.
    encoder_ : dict of ndarray
    history_ : ndarray
        The bound with the prior, in nats per row, at every iteration.
    """

    def __init__(
        self,
        model,
        hidden=(64,),
        standardise=True,
        n_draws=1,
        importance=False,
        batch_size=100,
        max_iter=1000,
        learning_rate=0.01,
        averaging=True,
        train_decoder=True,
        random_state=0,
    ):
        self.model, self.hidden, self.n_draws = model, tuple(hidden), n_draws
        self.importance, self.standardise = importance, standardise
        self.batch_size, self.max_iter = batch_size, max_iter
        self.learning_rate, self.averaging = learning_rate, averaging
        self.train_decoder, self.random_state = train_decoder, random_state

    # The derivative of a saturated tanh is the inverse of what overflows: zero.
    @onp.errstate(over="ignore")
    def fit(self, X, params=None, encoder=None):
        """Maximise the bound, from the model's own start or from the one given."""
        rng = self.rng = onp.random.default_rng(self.random_state)
        params = params or self.model.init_params(X, rng)
        self.center, self.scale = X.mean(0), X.std(0)
        if not self.standardise:
            self.scale = onp.ones(X.shape[1])
        self.scale = onp.where(self.scale > 0, self.scale, 1.0)
        self.n_rows = len(X)
        encoder = encoder or self._init_encoder(X, params, rng)
        both = {**params, **encoder}
        frozen = self.model.fixed_params if self.train_decoder else tuple(params)
        adam, window = Adam(self.learning_rate), Window(self.max_iter // 4)
        order, self.history_ = [], onp.empty(self.max_iter)
        for i in range(self.max_iter):
            if len(order) < min(self.batch_size, len(X)):
                order = rng.permutation(len(X))
            rows, order = order[: self.batch_size], order[self.batch_size :]
            bound, gradient = self._gradient(both, X[rows], self.n_draws, frozen)
            self.history_[i] = bound
            factor = decay(i, self.max_iter) if self.averaging else 1.0
            both = adam.step(both, gradient, factor)
            window.update(both, adam.precondition(gradient))
        if self.averaging:
            both = window.mean_params()
        self.params_ = {name: both[name] for name in params}
        self.encoder_ = {name: both[name] for name in encoder}
        return self

    def encode(self, X, encoder=None):
        """Mean and log standard deviation of q(z | x), each of shape (n, k)."""
        encoder = self.encoder_ if encoder is None else encoder
        layers = {name.removeprefix(PREFIX): w for name, w in encoder.items()}
        rows = (X - self.center) / self.scale
        output = network(layers, rows)
        k = output.shape[1] // 2
        return output[:, :k], output[:, k:]

    def gradient(self, X, n_draws=100):
        """Gradient of the bound with respect to the model's parameters."""
        both = {**self.params_, **self.encoder_}
        fixed = (*self.model.fixed_params, *self.encoder_)
        return self._gradient(both, X, n_draws, fixed)[1]

    def bound(self, X, n_draws=1, importance=False):
        """Lower bound on log p(x) of every row, importance-weighted if asked for."""
        _, log_w = self._weighted(X, n_draws)
        if importance:
            return logsumexp(log_w, axis=0) - onp.log(n_draws)
        return log_w.mean(0)

    def latent_moments(self, X, n_draws=50):
        """First and second moments of the latents, means over the rows of X."""
        z, log_w = self._weighted(X, n_draws)
        weights = onp.exp(log_w - logsumexp(log_w, axis=0)).ravel() / len(X)
        z = z.reshape(len(weights), -1)
        return weights @ z, (weights * z.T) @ z

    def _weighted(self, X, n_draws):
        """Draws of q(z | x), of shape (n_draws, n, k), and their log-weights."""
        mean, log_scale = self.encode(X)
        noise = self.rng.standard_normal((n_draws, *mean.shape))
        z = mean + onp.exp(log_scale) * noise
        log_q = -onp.sum(0.5 * noise**2 + log_scale + 0.5 * LOG_2PI, axis=2)
        log_joint = [self.model.log_joint(self.params_, draw, X) for draw in z]
        return z, log_joint - log_q

    def _init_encoder(self, X, params, rng):
        k = self.model.sample(params, 2, rng)[0].shape[1]
        layers = init_network((X.shape[1], *self.hidden, 2 * k), rng)
        # Start at the prior: the last layer is nearly zero.
        layers[f"weights_{len(self.hidden)}"] *= 0.1
        return {PREFIX + name: w for name, w in layers.items()}

    def _gradient(self, both, x, n_draws, fixed):
        """The bound of a batch with the prior, in nats per row, and its gradient."""
        x_draws = onp.tile(x, (n_draws, 1))
        k = both[f"{PREFIX}biases_{len(self.hidden)}"].size // 2
        noise = self.rng.standard_normal((n_draws, len(x), k))

        def bound(p):
            encoder = {name: w for name, w in p.items() if name.startswith(PREFIX)}
            mean, log_scale = self.encode(x, encoder)
            z = np.reshape(mean + np.exp(log_scale) * noise, (-1, k))
            log_joint = self.model.log_joint(p, z, x_draws)
            if not self.importance:
                entropy = np.sum(log_scale) / len(x) + 0.5 * k * (LOG_2PI + 1)
                return np.mean(log_joint) + entropy
            log_q = -np.sum(0.5 * noise**2 + log_scale + 0.5 * LOG_2PI, axis=2)
            log_w = np.reshape(log_joint, (n_draws, -1)) - log_q
            return np.mean(logsumexp(log_w, axis=0)) - np.log(n_draws)

        def objective(p):
            if not provides(self.model, "log_prior_params"):
                return bound(p)
            return bound(p) + self.model.log_prior_params(p) / self.n_rows

        value, pull = pullback(objective, both, fixed)
        return float(value), pull(1.0)
