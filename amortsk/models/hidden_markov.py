"""A discrete chain, seen through normal noise."""

import autograd.numpy as np
from autograd.scipy.special import logsumexp
from sklearn.cluster import KMeans

from amortsk.models._decoder import check_positive_int
from amortsk.models._series import SeriesModel
from amortsk.observation import (
    LOG_2PI,
    MIN_SCALE,
    column_scale,
    noise_scale,
    scale_params,
)


class HiddenMarkovModel(SeriesModel):
    r"""A Markov chain of states, and normal observations given the state.

    .. math::
        z_1 \sim \mathrm{Cat}(\pi), \qquad z_t \,|\, z_{t-1} \sim
        \mathrm{Cat}(\Pi_{z_{t-1}}), \qquad
        x_t \,|\, z_t \sim N(\mu_{z_t}, \mathrm{diag}(s_{z_t}^2))

    Parameters
    ----------
    n_states : int, default=2
        Number of states.
    n_steps : int, default=10
        Length of the series; a row of X is one series.
    n_outputs : int, default=1
        Columns of X that belong to one step.
    half_width : int or None, default=2
        Each step's term of the log-joint is regressed on the window of so many steps on
        either side; the cost is then linear in the length. None regresses their sum on
        the whole series, for short ones.

    See Also
    --------
    GaussianMixtureModel : States without a chain.
    StateSpaceModel : Real states.

    Notes
    -----
    The params are ``initial_logits`` of shape (K,), ``transition_logits`` (K, K), from
    row to column, ``means`` and ``log_scale`` (K, n_outputs), and ``min_scale``
    (n_outputs,). The latents are integers of shape (n, n_steps).

    References
    ----------
    L. R. Rabiner, "A tutorial on hidden Markov models", Proceedings of the IEEE 77,
    1989, doi:10.1109/5.18626.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.models import HiddenMarkovModel
    >>> model = HiddenMarkovModel(n_states=2, n_steps=3)
    >>> X = np.array([[0.0, 0.1, 4.0], [4.1, 4.0, 0.0]])
    >>> params = model.init_params(X, np.random.default_rng(0))
    >>> round(float(model.exact_log_likelihood(params, X).mean()), 2)
    1.94
    """

    @property
    def fixed_params(self):
        """One state has no chain to fit, one step no transitions."""
        initial = ("initial_logits",) if self.n_states == 1 else ()
        moves = ("transition_logits",) if 1 in (self.n_states, self.n_steps) else ()
        return (*initial, *moves, "min_scale")

    def __init__(self, n_states=2, n_steps=10, n_outputs=1, half_width=2):
        self.n_states = n_states
        self.n_steps = n_steps
        self.n_outputs = n_outputs
        self.half_width = half_width

    @property
    def latent_support(self):
        """Integers from 0 to n_states - 1."""
        return ("categorical", self.n_states)

    def init_params(self, X, rng):
        """Clusters of the data by k-means, states that tend to stay."""
        check_positive_int("n_states", self.n_states)
        rows = self.steps(X).reshape(-1, self.n_outputs)
        scale = column_scale(rows)
        if len(rows) < self.n_states:
            rows = rows[rng.integers(len(rows), size=self.n_states)]
        # States that start equal, as with repeated rows, would stay equal.
        rows = rows / scale + 1e-3 * rng.standard_normal(rows.shape)
        seed = int(rng.integers(2**31))
        clusters = KMeans(self.n_states, n_init=10, random_state=seed).fit(rows)
        spread = np.sqrt(clusters.inertia_ / rows.size) + 2 * MIN_SCALE
        noise = scale_params(spread * scale, MIN_SCALE * scale)
        return {
            "initial_logits": np.zeros(self.n_states),
            "transition_logits": 2.0 * np.eye(self.n_states),
            "means": clusters.cluster_centers_ * scale,
            "log_scale": np.tile(noise["log_scale"], (self.n_states, 1)),
            "min_scale": noise["min_scale"],
        }

    def sample(self, params, n_samples, rng):
        """Draw paths of states, (n, n_steps), and series."""
        initial, transition = (np.exp(log_p) for log_p in self._log_chain(params))
        edges = np.cumsum(transition, axis=1)[:, :-1]
        z = np.empty((n_samples, self.n_steps), dtype=int)
        z[:, 0] = rng.choice(self.n_states, n_samples, p=initial / initial.sum())
        for t in range(1, self.n_steps):
            z[:, t] = np.sum(rng.random((n_samples, 1)) > edges[z[:, t - 1]], axis=1)
        noise = rng.standard_normal((*z.shape, self.n_outputs))
        x = params["means"][z] + noise_scale(params)[z] * noise
        return z, x.reshape(n_samples, -1)

    def log_joint_terms(self, params, z, x):
        """Log-density of each step's state and observation, of shape (n, n_steps)."""
        return self._log_moves(params, z) + self._log_emission(params, self.steps(x), z)

    def exact_log_likelihood(self, params, X):
        """Log-likelihood of each series by the forward algorithm, of shape (n,)."""
        log_initial, log_transition = self._log_chain(params)
        steps, states = self.steps(X)[:, :, np.newaxis], np.arange(self.n_states)
        emitted = self._log_emission(params, steps, states)
        forward = log_initial + emitted[:, 0]
        for t in range(1, self.n_steps):
            paths = forward[:, :, np.newaxis] + log_transition
            forward = logsumexp(paths, axis=1) + emitted[:, t]
        return logsumexp(forward, axis=1)

    def _log_chain(self, params):
        logits = params["initial_logits"], params["transition_logits"]
        return [a - logsumexp(a, axis=-1, keepdims=True) for a in logits]

    def _log_moves(self, params, z):
        log_initial, log_transition = self._log_chain(params)
        moves = log_transition[z[:, :-1], z[:, 1:]]
        return np.concatenate([log_initial[z[:, :1]], moves], axis=1)

    def _log_emission(self, params, x, z):
        """Log-density of steps x, (..., n_outputs), in states z."""
        scale = noise_scale(params)
        residual = (x - params["means"][z]) / scale[z]
        log_scale = np.sum(np.log(scale), axis=1) + 0.5 * self.n_outputs * LOG_2PI
        return -0.5 * np.sum(residual**2, axis=-1) - log_scale[z]
