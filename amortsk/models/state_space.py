"""Real states that move step by step, seen through noise."""

import warnings

import autograd.numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from amortsk.models._decoder import (
    ObservedModel,
    check_positive_int,
    hidden_sizes,
    init_network,
    network,
)
from amortsk.models._series import SeriesModel
from amortsk.observation import LOG_2PI, Gaussian, column_scale, noise_scale

# Smallest scale of the process noise: states are of order one.
MIN_PROCESS_SCALE = 1e-3
# Steps of past and of future that states start from.
MAX_LAGS = 3


class StateSpaceModel(SeriesModel, ObservedModel):
    r"""States that move by a network and are observed through another.

    .. math::
        z_1 \sim N(m, \mathrm{diag}(s_1^2)), \qquad
        z_t \,|\, z_{t-1} \sim N(f(z_{t-1}), \mathrm{diag}(s_z^2)), \qquad
        x_t \,|\, z_t \sim p(x_t \,|\, g(z_t))

    with multilayer perceptrons f, whose output is bounded by a tanh, and g. For other
    dynamics derive a class with its own ``init_dynamics(steps, rng)``,
    ``transition(params, z)`` and ``emission(params, z)``, of rows of z; everything else
    follows.

    Parameters
    ----------
    n_steps : int, default=10
        Length of the series; a row of X is one series.
    n_outputs : int, default=1
        Columns of X that belong to one step.
    latent_dim : int, default=2
        Length of a state.
    transition_hidden, emission_hidden : int or tuple of int, default=20
        Widths of the networks' hidden layers of tanh units.
    observation : str or Observation, default="gaussian"
        Distribution of x given the emission: ``"gaussian"`` (one noise scale for all
        outputs), ``"bernoulli"``, ``"poisson"`` or any other.
    half_width : int or None, default=2
        Each step's term of the log-joint is regressed on the window of so many steps on
        either side; the cost is then linear in the length. None regresses their sum on
        the whole series, for short ones.

    See Also
    --------
    LinearGaussianStateSpaceModel : Linear maps.
    HiddenMarkovModel : Discrete states.

    Notes
    -----
    The params are ``initial_mean`` and ``initial_log_scale``, ``process_log_scale``,
    all of shape (latent_dim,), the networks' ``transition_weights_i``,
    ``transition_biases_i``, ``emission_weights_i`` and ``emission_biases_i``, and those
    of the observation. The latents have shape (n, n_steps, latent_dim).

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.models import StateSpaceModel
    >>> model = StateSpaceModel(n_steps=5, n_outputs=3)
    >>> X = np.random.default_rng(0).standard_normal((8, 15))
    >>> params = model.init_params(X, np.random.default_rng(0))
    >>> z, x = model.sample(params, 4, np.random.default_rng(0))
    >>> z.shape, x.shape
    ((4, 5, 2), (4, 15))
    >>> int(np.isfinite(model.log_joint(params, z, x)).sum())
    20
    """

    latent_support = "real"

    def __init__(
        self,
        n_steps=10,
        n_outputs=1,
        latent_dim=2,
        transition_hidden=20,
        emission_hidden=20,
        observation="gaussian",
        half_width=2,
    ):
        self.n_steps = n_steps
        self.n_outputs = n_outputs
        self.latent_dim = latent_dim
        self.transition_hidden = transition_hidden
        self.emission_hidden = emission_hidden
        self.observation = observation
        self.half_width = half_width

    def init_params(self, X, rng):
        """Dynamics from the data, twice the noise that they leave."""
        check_positive_int("latent_dim", self.latent_dim)
        steps = self.steps(X)
        return {
            "initial_mean": np.zeros(self.latent_dim),
            "initial_log_scale": np.log(np.full(self.latent_dim, 0.5)),
            "process_log_scale": np.log(np.full(self.latent_dim, 0.3)),
            **self._observation.init_params(steps.reshape(-1, self.n_outputs)),
            **self.init_dynamics(steps, rng),
        }

    def init_dynamics(self, steps, rng):
        """Params of transition and emission for series (n, n_steps, n_outputs).

        Networks fitted to canonical variates of past and future, as in subspace
        identification.
        """
        k = self.latent_dim
        z, first = canonical_states(self._observation.to_real(steps), k, rng)
        seen = steps[:, first : first + z.shape[1]].reshape(-1, self.n_outputs)
        location, scale = self._observation.initial_output(seen)
        seen = self._observation.to_real(seen)
        output = location + scale * (seen - seen.mean(0)) / column_scale(seen)
        last, rows = z[:, :-1].reshape(-1, k), z.reshape(-1, k)
        moved = z[:, 1:].reshape(-1, k)
        inverse = np.arctanh(np.clip(moved, -0.95, 0.95))
        sizes = self.transition_hidden, self.emission_hidden
        params = {
            **regress_network(last, inverse, sizes[0], rng, "transition_"),
            **regress_network(rows, output, sizes[1], rng, "emission_"),
        }
        # Twice what is left: a start should cover the data.
        if len(last):
            error = column_scale(moved - self.transition(params, last))
            params["process_log_scale"] = np.log(2 * error)
        if isinstance(self._observation, Gaussian):
            error = output - self.emission(params, rows)
            noise = column_scale(error, self._observation.shared)
            params["log_scale"] = np.log(2 * noise)
        return params

    def transition(self, params, z):
        """Mean of the next state, for rows of states."""
        return np.tanh(network(params, z, "transition_"))

    def emission(self, params, z):
        """Output at rows of states, of shape (n, n_outputs)."""
        return network(params, z, "emission_")

    def sample(self, params, n_samples, rng):
        """Draw paths of states, (n, n_steps, latent_dim), and series."""
        scale, first_scale = self._scales(params)
        z = rng.standard_normal((n_samples, self.n_steps, self.latent_dim))
        z[:, 0] = params["initial_mean"] + first_scale * z[:, 0]
        for t in range(1, self.n_steps):
            z[:, t] = self.transition(params, z[:, t - 1]) + scale * z[:, t]
        output = self.emission(params, z.reshape(-1, self.latent_dim))
        x = self._observation.sample(params, output, rng)
        return z, x.reshape(n_samples, -1)

    def log_joint_terms(self, params, z, x):
        """Log-density of each step's state and observation, of shape (n, n_steps)."""
        output = self.emission(params, np.reshape(z, (-1, self.latent_dim)))
        steps = self.steps(x).reshape(-1, self.n_outputs)
        log_prob = self._observation.log_prob(params, output, steps)
        return self._log_moves(params, z) + np.reshape(log_prob, z.shape[:2])

    def _log_moves(self, params, z):
        scale, first_scale = self._scales(params)
        last = np.reshape(z[:, :-1], (-1, self.latent_dim))
        mean = np.reshape(self.transition(params, last), z[:, 1:].shape)
        first = (z[:, :1] - params["initial_mean"]) / first_scale
        later = (z[:, 1:] - mean) / scale
        squares = np.sum(np.concatenate([first, later], axis=1) ** 2, axis=2)
        log_det = np.sum(np.log(first_scale)) * (np.arange(self.n_steps) == 0)
        log_det = log_det + np.sum(np.log(scale)) * (np.arange(self.n_steps) > 0)
        return -0.5 * squares - log_det - 0.5 * self.latent_dim * LOG_2PI

    def _scales(self, params):
        names = ("process_log_scale", "initial_log_scale")
        return [MIN_PROCESS_SCALE + np.exp(params[name]) for name in names]


def canonical_states(steps, latent_dim, rng):
    """States that past and future have in common, where they agree most.

    Parameters
    ----------
    steps : ndarray of shape (n, n_steps, n_outputs)
    latent_dim : int
    rng : numpy.random.Generator

    Returns
    -------
    z : ndarray of shape (n, n_states, latent_dim)
        Of standard deviation one half.
    first : int
        The step of the first state.

    References
    ----------
    W. E. Larimore, "Canonical variate analysis in identification, filtering, and
    adaptive control", CDC 1990, doi:10.1109/CDC.1990.203665.
    """
    n, n_steps, _ = steps.shape
    lags = max(1, min(MAX_LAGS, n_steps // 3))
    n_states = n_steps - 2 * lags + 1
    if n_states < 2:
        return 0.5 * rng.standard_normal((n, n_steps, latent_dim)), 0

    def windows_from(t):
        parts = [steps[:, t + lag : t + lag + n_states] for lag in range(lags)]
        return np.concatenate(parts, axis=2).reshape(n * n_states, -1)

    sides = []
    for rows in (windows_from(0), windows_from(lags)):
        # Few enough components that noise alone does not correlate.
        n_kept = min(*rows.shape, max(latent_dim, len(rows) // 10))
        seed = int(rng.integers(2**31))
        pca = PCA(n_kept, whiten=True, svd_solver="full", random_state=seed)
        # Of constant rows the share of each component is not defined.
        with np.errstate(invalid="ignore"):
            sides.append(pca.fit_transform(rows))
    past, future = sides
    left, _, right = np.linalg.svd(np.dot(past.T, future))
    k = min(latent_dim, left.shape[1], right.shape[1])
    z = np.dot(past, left[:, :k]) + np.dot(future, right[:k].T)
    more = rng.standard_normal((len(z), latent_dim - k))
    z = np.concatenate([z / column_scale(z), more], axis=1)
    return 0.5 * z.reshape(n, n_states, latent_dim), lags - 1


def regress_network(inputs, targets, hidden, rng, prefix):
    """Params of a network fitted to pairs of rows."""
    sizes = hidden_sizes(hidden, f"{prefix}hidden")
    if not len(inputs):
        return init_network((inputs.shape[1], *sizes, targets.shape[1]), rng, prefix)
    center, scale = targets.mean(0), column_scale(targets)
    white = (targets - center) / scale
    perceptron = MLPRegressor(
        hidden_layer_sizes=sizes,
        activation="tanh",
        solver="lbfgs",
        alpha=0.01,
        random_state=int(rng.integers(2**31)),
    )
    with warnings.catch_warnings():
        # It is but a start.
        warnings.simplefilter("ignore", ConvergenceWarning)
        perceptron.fit(inputs, white if white.shape[1] > 1 else white.ravel())
    weights, biases = perceptron.coefs_, perceptron.intercepts_
    weights[-1], biases[-1] = weights[-1] * scale, biases[-1] * scale + center
    params = {f"{prefix}weights_{i}": value for i, value in enumerate(weights)}
    return {**params, **{f"{prefix}biases_{i}": b for i, b in enumerate(biases)}}


class LinearGaussianStateSpaceModel(StateSpaceModel):
    r"""Linear dynamics with normal noise, whose likelihood is exact.

    .. math::
        z_1 \sim N(m, \mathrm{diag}(s_1^2)), \qquad
        z_t \sim N(A z_{t-1}, \mathrm{diag}(s_z^2)), \qquad
        x_t \sim N(C z_t + b, \mathrm{diag}(s_x^2))

    Parameters
    ----------
    n_steps : int, default=10
        Length of the series; a row of X is one series.
    n_outputs : int, default=1
        Columns of X that belong to one step.
    latent_dim : int, default=2
        Length of a state.
    half_width : int or None, default=2
        Each step's term of the log-joint is regressed on the window of so many steps on
        either side. None regresses their sum on the whole series.

    See Also
    --------
    StateSpaceModel : Networks.
    FactorAnalysisModel : A single step.

    Notes
    -----
    The params are ``initial_mean``, ``initial_log_scale``, ``process_log_scale`` of
    shape (latent_dim,), ``transition_matrix`` A, ``emission_matrix`` C of shape
    (n_outputs, latent_dim), ``emission_offset`` b, ``log_scale`` and ``min_scale``
    (n_outputs,). Scales and rotations of the states leave the likelihood as it is.

    References
    ----------
    R. E. Kalman, "A new approach to linear filtering and prediction problems", Journal
    of Basic Engineering 82, 1960, doi:10.1115/1.3662552.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.models import LinearGaussianStateSpaceModel
    >>> model = LinearGaussianStateSpaceModel(n_steps=5, latent_dim=1)
    >>> X = np.random.default_rng(0).standard_normal((8, 5))
    >>> params = model.init_params(X, np.random.default_rng(0))
    >>> round(float(model.exact_log_likelihood(params, X).mean()), 2)
    -5.9
    """

    observation = Gaussian()

    def __init__(self, n_steps=10, n_outputs=1, latent_dim=2, half_width=2):
        self.n_steps = n_steps
        self.n_outputs = n_outputs
        self.latent_dim = latent_dim
        self.half_width = half_width

    def init_dynamics(self, steps, rng):
        """States that decay by 0.8 a step, a small random emission matrix."""
        rows = steps.reshape(-1, self.n_outputs)
        location, scale = self._observation.initial_output(rows)
        emission = rng.standard_normal((len(scale), self.latent_dim))
        return {
            "transition_matrix": 0.8 * np.eye(self.latent_dim),
            "emission_matrix": 0.5 * scale[:, np.newaxis] * emission,
            "emission_offset": location,
        }

    def transition(self, params, z):
        """Mean of the next state, for rows of states."""
        return np.dot(z, params["transition_matrix"].T)

    def emission(self, params, z):
        """Output at rows of states, of shape (n, n_outputs)."""
        return np.dot(z, params["emission_matrix"].T) + params["emission_offset"]

    def exact_log_likelihood(self, params, X):
        """Log-likelihood of each series by the Kalman filter, of shape (n,)."""
        A, C = params["transition_matrix"], params["emission_matrix"]
        scale, first_scale = self._scales(params)
        R = np.diag(noise_scale(params) ** 2)
        mean = np.tile(params["initial_mean"], (len(X), 1))
        covariance, total = np.diag(first_scale**2), 0.0
        for x in np.swapaxes(self.steps(X), 0, 1):
            residual = x - self.emission(params, mean)
            S = np.dot(np.dot(C, covariance), C.T) + R
            gain = np.linalg.solve(S, np.dot(C, covariance)).T
            squares = np.sum(residual * np.linalg.solve(S, residual.T).T, axis=1)
            log_det = np.linalg.slogdet(2 * np.pi * S)[1]
            total = total - 0.5 * (squares + log_det)
            mean = self.transition(params, mean + np.dot(residual, gain.T))
            covariance = covariance - np.dot(gain, np.dot(C, covariance))
            covariance = np.dot(np.dot(A, covariance), A.T) + np.diag(scale**2)
        return total
