"""Nicholson's blowflies: a population that regulates itself with a delay."""

import autograd.numpy as np
from autograd.scipy.special import gammaln, logsumexp
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import gamma

from amortsk.features import are_indices
from amortsk.model import LatentVariableModel
from amortsk.models._decoder import check_positive_int
from amortsk.observation import LOG_2PI

RATES = ("log_recruitment", "log_capacity", "log_death_rate")
NOISES = ("log_recruitment_noise", "log_death_noise", "log_noise")
# Smallest noise.
MIN_NOISE = 0.01
# Quantiles of each noise in the exact likelihood.
N_QUANTILES = 100


class BlowflyModel(LatentVariableModel):
    r"""Nicholson's blowflies: recruits after a delay, survivors, noise in each.

    Given the last values of a series, the next one is

    .. math::
        \tau \sim \mathrm{Cat}(\pi), \qquad
        e \sim \mathrm{Gamma}(1, s_p^2), \qquad
        \epsilon \sim \mathrm{Gamma}(1, s_d^2), \\
        \bar x_t = P x_{t-\tau} e^{-x_{t-\tau} / N_0} e + x_{t-1} e^{-\delta \epsilon},
        \qquad x_t \sim \mathrm{LogNormal}(\log \bar x_t, s_r)

    where Gamma has a mean and a variance. Flies are recruited from eggs laid a delay
    ago, fewer where the adults then were many, and join those that survive. There is no
    observation noise: the past is a covariate, and every step a row of its own.

    Parameters
    ----------
    max_delay : int, default=20
        Length of the past.
    delays : tuple of int or None, default=None
        The possible delays; None is 1, ..., max_delay.

    Attributes
    ----------
    covariate_columns : ndarray of shape (max_delay,)
        All columns but the last.

    See Also
    --------
    amortsk.datasets.load_blowfly : The data.

    Notes
    -----
    The params are ``log_recruitment`` P, ``log_capacity`` :math:`N_0`,
    ``log_death_rate`` :math:`\delta`, and ``log_recruitment_noise`` :math:`s_p`,
    ``log_death_noise`` :math:`s_d`, ``log_noise`` :math:`s_r`, whose exponential is
    added to a floor of 0.01, all scalars, and ``delay_logits``, one for each delay
    unless there is a single one. The latents are the index of the delay, e and
    :math:`\epsilon`, of shape (n,) each.

    The capacity matters where a fit starts: where it is far above the data, density
    does not regulate, recruits of one whole cycle ago take its place, and a fit ends
    with a long delay and no capacity at all. It starts at a third of the data's mean.

    References
    ----------
    S. N. Wood, "Statistical inference for noisy nonlinear ecological dynamic systems",
    Nature 466, 2010, doi:10.1038/nature09319.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.datasets import load_blowfly
    >>> from amortsk.models import BlowflyModel
    >>> model = BlowflyModel()
    >>> X = model.rows(load_blowfly())
    >>> X.shape
    (160, 21)
    >>> params = model.init_params(X, np.random.default_rng(0))
    >>> round(float(model.exact_log_likelihood(params, X).mean()), 2)
    -8.12
    """

    def __init__(self, max_delay=20, delays=None):
        self.max_delay = max_delay
        self.delays = delays

    @property
    def latent_support(self):
        """A delay, two positive noises."""
        return [("categorical", len(self._delays)), "positive", "positive"]

    @property
    def covariate_columns(self):
        """All columns but the last."""
        return np.arange(self.max_delay)

    def rows(self, series):
        """Every stretch of max_delay + 1 values of a series, one a row.

        Parameters
        ----------
        series : array-like of shape (n_steps,)

        Returns
        -------
        X : ndarray of shape (n_steps - max_delay, max_delay + 1)
        """
        series = np.asarray(series, dtype=float)
        if series.ndim != 1 or len(series) <= self.max_delay:
            raise ValueError(
                f"series must have one axis and more than max_delay={self.max_delay} "
                f"values, got shape {series.shape}"
            )
        return sliding_window_view(series, self.max_delay + 1).copy()

    def init_params(self, X, rng):
        """Balanced at the data's mean: a third of it the capacity, any delay."""
        check_positive_int("max_delay", self.max_delay)
        delays = self._delays
        possible = are_indices(delays, self.max_delay + 1, lowest=1)
        if not possible or len(set(delays)) < len(delays):
            raise ValueError(
                "delays must be different integers from 1 to max_delay="
                f"{self.max_delay}, got {self.delays!r}"
            )
        if X.shape[1] != self.max_delay + 1 or X.min() <= 0:
            raise ValueError(
                f"X must have max_delay + 1 = {self.max_delay + 1} columns of positive "
                f"numbers, got {X.shape[1]} and the smallest {X.min():g}"
            )
        params = {
            "log_recruitment": 3 + np.log(-np.expm1(-0.5)),
            "log_capacity": np.log(X.mean() / 3),
            "log_death_rate": np.log(0.5),
            **{name: np.log(0.3) for name in NOISES},
        }
        # What cannot have an effect is left out.
        if len(delays) > 1:
            params["delay_logits"] = np.zeros(len(delays))
        return params

    def sample(self, params, n_samples, rng, covariates):
        """Draw delays and noises, and the next value of each row of covariates."""
        *_, s_p, s_d, s_r = self.values(params)
        share = np.exp(self.log_share(params))
        delay = rng.choice(len(share), size=n_samples, p=share / share.sum())
        e = rng.gamma(s_p**-2, s_p**2, n_samples)
        eps = rng.gamma(s_d**-2, s_d**2, n_samples)
        log_mean = self._log_mean(params, (delay, e, eps), covariates)
        x = np.exp(log_mean + s_r * rng.standard_normal(n_samples))
        return (delay, e, eps), np.column_stack([covariates, x])

    def simulate(self, params, history, n_steps, rng):
        """Let series run on from their history, each value drawn from those before.

        Parameters
        ----------
        params : dict of ndarray
        history : array-like of shape (n_series, max_delay)
        n_steps : int
        rng : numpy.random.Generator

        Returns
        -------
        series : ndarray of shape (n_series, n_steps)
        """
        check_positive_int("n_steps", n_steps)
        path = np.asarray(history, dtype=float)
        if path.ndim != 2 or path.shape[1] < self.max_delay or path.min() <= 0:
            raise ValueError(
                f"history must hold rows of at least max_delay={self.max_delay} "
                f"positive numbers, got shape {path.shape}"
            )
        for _ in range(n_steps):
            last = path[:, -self.max_delay :]
            x = self.sample(params, len(path), rng, last)[1]
            path = np.concatenate([path, x[:, -1:]], axis=1)
        return path[:, path.shape[1] - n_steps :]

    def log_joint(self, params, z, x):
        """Log-density of latents and last columns, of shape (n,)."""
        return self.log_prior(params, z) + self._log_likelihood(params, z, x)

    def log_prior(self, params, z):
        """Log-density of the latents, of shape (n,)."""
        delay, *noises = z
        log_prob = self.log_share(params)[delay]
        for scale, noise in zip(self.values(params)[3:], noises, strict=False):
            shape = scale**-2
            log_prob = log_prob + (shape - 1) * np.log(noise) - shape * noise
            log_prob = log_prob + shape * np.log(shape) - gammaln(shape)
        return log_prob

    def exact_log_likelihood(self, params, X):
        """Log-density of last columns given the others, of shape (n,).

        By a sum over a hundred quantiles of each noise: too low for a row that is far
        in their tails.
        """
        levels = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
        *_, s_p, s_d, _ = self.values(params)
        e, eps = (gamma.ppf(levels, s**-2, scale=s**2) for s in (s_p, s_d))
        grid = np.meshgrid(np.arange(len(self._delays)), e, eps, indexing="ij")
        z = [part.ravel() for part in grid]
        log_share = self.log_share(params)[z[0]] - 2 * np.log(N_QUANTILES)
        rows = np.zeros((len(z[0]), 1))
        terms = (log_share + self._log_likelihood(params, z, rows + x) for x in X)
        return np.array([logsumexp(row) for row in terms])

    @property
    def _delays(self):
        delays = range(1, self.max_delay + 1) if self.delays is None else self.delays
        return np.array(delays)

    def log_share(self, params):
        """Log-probability of each delay."""
        logits = params.get("delay_logits", np.zeros(1))
        return logits - logsumexp(logits)

    def values(self, params):
        """P, capacity, death rate, and the noises of recruits, deaths and the rest."""
        rates = [np.exp(params[name]) for name in RATES]
        return rates + [MIN_NOISE + np.exp(params[name]) for name in NOISES]

    def _log_mean(self, params, z, past):
        P, N, death_rate, *_ = self.values(params)
        delay, e, eps = z
        parents = past[np.arange(len(past)), self.max_delay - self._delays[delay]]
        recruits = P * parents * np.exp(-parents / N) * e
        return np.log(recruits + past[:, -1] * np.exp(-death_rate * eps))

    def _log_likelihood(self, params, z, x):
        s_r = self.values(params)[-1]
        possible = x[:, -1] > 0
        log_x = np.log(np.where(possible, x[:, -1], 1.0))
        residual = (log_x - self._log_mean(params, z, x[:, :-1])) / s_r
        log_prob = -0.5 * residual**2 - np.log(s_r) - log_x - 0.5 * LOG_2PI
        return np.where(possible, log_prob, -np.inf)
