"""Hodgkin-Huxley: the voltage of a neuron that fires, seen through noise."""

from numbers import Real

import autograd.numpy as np
from autograd.extend import defvjp, primitive

from amortsk.features import check_positive
from amortsk.model import LatentVariableModel
from amortsk.models._decoder import check_positive_int
from amortsk.observation import LOG_2PI

# In uF/cm2, mS/cm2 and mV.
NAMES = "capacitance g_leak e_leak g_na e_na g_k e_k threshold noise_v noise_x".split()
VALUES = (2.0, 0.2, -60.0, 40.0, 40.0, 3.0, -80.0, -50.0, 1.0, 30.0)
START = dict(zip(NAMES, VALUES, strict=True))
# Before the first step.
INITIAL_VOLTAGE, INITIAL_GATES = -70.0, np.array([[0.0], [0.8], [0.0]])
# Steps from each term's own to the observations and currents it is regressed on.
VOLTAGE_OFFSETS = np.r_[-90, -60, -45, -36, -30:26, 32]
CURRENT_OFFSETS = np.r_[-8:1]


class HodgkinHuxleyModel(LatentVariableModel):
    r"""A neuron's voltage, driven by a known current and seen through noise.

    .. math::
        V_t &= V_{t-1} + \frac{\Delta}{C} \big( I_t - g_l (V_{t-1} - E_l)
            - g_{Na} m^3 h (V_{t-1} - E_{Na}) - g_K n^4 (V_{t-1} - E_K) \big)
            + s_r \epsilon_t, \\
        x_t &= V_t + s_x \eta_t, \qquad
        g \leftarrow g + \Delta \big( a_g(v) (1 - g) - b_g(v) g \big),
        \quad v = V_{t-1} - V_T, \quad g = m, h, n

    with standard normal noises and the rates of Pospischil et al. Gates are functions
    of the voltages before, so that the path of the voltage is the only latent. Each
    step's term of the log-joint is regressed on the observations around it, from 90
    steps before to 32 after, and on the last currents.

    Parameters
    ----------
    n_steps : int, default=1000
        Length of the series.
    step : float, default=0.05
        Time step in ms.
    start : dict, default=None
        Physical values to start a fit from, by name; the others, and all with None, are
        2, 0.2, -60, 40, 40, 3, -80, -50, 1 and 30 in the order of the Notes.

    Attributes
    ----------
    covariate_columns : ndarray of shape (n_steps,)
        The second half of the columns: a row of X is n_steps observations, in mV, then
        the currents, in uA/cm2.
    term_columns : ndarray of shape (n_steps, 70)
        Columns that each step's term is regressed on; those beyond the ends are
        replaced by the ends.

    See Also
    --------
    StateSpaceModel : Dynamics by networks.

    Notes
    -----
    The params are scalars, logarithms of absolute values: ``log_capacitance`` C,
    ``log_g_leak``, ``log_e_leak``, ``log_g_na``, ``log_e_na``, ``log_g_k``,
    ``log_e_k``, ``log_threshold`` :math:`V_T`, ``log_noise_v`` :math:`s_r` and
    ``log_noise_x`` :math:`s_x`. :meth:`to_params` and :meth:`to_values` translate. The
    neuron starts at -70 mV, with gates 0, 0.8 and 0.

    What the data say of the noises is in squares of differences of neighbouring
    observations, which are far smaller than a spike, and what they say of a channel is
    in the few steps where it is open. A kernel on the columns sees neither: regress on
    products of their principal components, as in ``examples/plot_hodgkin_huxley.py``.

    References
    ----------
    M. Pospischil et al., "Minimal Hodgkin-Huxley type models for different classes of
    cortical and thalamic neurons", Biological Cybernetics 99, 2008,
    doi:10.1007/s00422-008-0263-8.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.models import HodgkinHuxleyModel
    >>> model = HodgkinHuxleyModel(n_steps=300)
    >>> params = model.to_params({"threshold": -60.0, "noise_v": 0.1})
    >>> current = np.full((2, 300), 10.0)
    >>> z, x = model.sample(params, 2, np.random.default_rng(0), current)
    >>> x.shape
    (2, 600)
    >>> round(float(model.log_joint(params, z, x).mean()), 1)
    -3.9
    """

    latent_support = "real"

    def __init__(self, n_steps=1000, step=0.05, start=None):
        self.n_steps = n_steps
        self.step = step
        self.start = start

    @property
    def covariate_columns(self):
        """Columns of the current."""
        return np.arange(self.n_steps, 2 * self.n_steps)

    @property
    def term_columns(self):
        """Columns of observations, then of currents, around each step."""
        steps, last = np.arange(self.n_steps)[:, np.newaxis], self.n_steps - 1
        voltages = np.clip(steps + VOLTAGE_OFFSETS, 0, last)
        currents = np.clip(steps + CURRENT_OFFSETS, 0, last) + self.n_steps
        return np.concatenate([voltages, currents], axis=1)

    def to_params(self, values):
        """Params of physical values, a dict; of those left out as at the start.

        Raises
        ------
        ValueError
            If a name is unknown, or a value zero or of the wrong sign.
        """
        for name, value in values.items():
            known = name in START and isinstance(value, Real)
            if not known or not value * START[name] > 0:
                raise ValueError(
                    f"values must be of {NAMES}, signed as {VALUES}, got "
                    f"{name}={value!r}"
                )
        values = {**START, **values}
        return {f"log_{name}": np.log(abs(value)) for name, value in values.items()}

    def to_values(self, params):
        """Physical values of params, a dict."""
        return {
            name: np.sign(start) * np.exp(params[f"log_{name}"])
            for name, start in START.items()
        }

    def init_params(self, X, rng):
        """The same start for all data."""
        check_positive_int("n_steps", self.n_steps)
        check_positive("step", self.step)
        if not isinstance(self.start, dict | None):
            raise ValueError(f"start must be a dict or None, got {self.start!r}")
        if X.shape[1] != 2 * self.n_steps:
            raise ValueError(
                f"X must have 2 * n_steps = {2 * self.n_steps} columns, observations "
                f"and then currents, got {X.shape[1]}"
            )
        return self.to_params(self.start or {})

    def sample(self, params, n_samples, rng, covariates):
        """Draw paths of the voltage, (n_samples, n_steps), and rows of X."""
        values = self.to_values(params)
        noise = rng.standard_normal((2, self.n_steps, n_samples))
        path = values["noise_v"] * noise[0]
        voltage = np.full(n_samples, INITIAL_VOLTAGE)
        gates = INITIAL_GATES
        for t, current in enumerate(covariates.T):
            opening, closing = _rates(voltage - values["threshold"])
            path[t] += self._move(values, voltage, gates, current)
            gates = gates + self.step * (opening * (1 - gates) - closing * gates)
            voltage = path[t]
        x = path + values["noise_x"] * noise[1]
        return path.T.copy(), np.concatenate([x.T, covariates], axis=1)

    def log_joint(self, params, z, x):
        """Log-density of each step's voltage and observation, of shape (n, n_steps)."""
        values = self.to_values(params)
        first = np.full((1, len(z)), INITIAL_VOLTAGE)
        last = np.concatenate([first, z.T[:-1]])
        opening, closing = _rates(last[:-1] - values["threshold"])
        kept = 1 - self.step * (opening + closing)
        gates = linear_recursion(INITIAL_GATES, kept, self.step * opening)
        current = x[:, self.n_steps :].T
        mean = self._move(values, last, np.swapaxes(gates, 0, 1), current)
        moves = (z - mean.T) / values["noise_v"]
        errors = (x[:, : self.n_steps] - z) / values["noise_x"]
        log_det = np.log(values["noise_v"] * values["noise_x"])
        return -0.5 * (moves**2 + errors**2) - log_det - LOG_2PI

    def _move(self, values, voltage, gates, current):
        """Mean of the next voltage."""
        m, h, n = gates
        ionic = (
            values["g_leak"] * (voltage - values["e_leak"])
            + values["g_na"] * m**3 * h * (voltage - values["e_na"])
            + values["g_k"] * n**4 * (voltage - values["e_k"])
        )
        return voltage + self.step / values["capacitance"] * (current - ionic)


@primitive
def linear_recursion(start, factor, drive):
    """The states g[0] = start, g[t + 1] = factor[t] g[t] + drive[t].

    Parameters
    ----------
    start : ndarray of shape (...)
        Broadcast if it is not differentiated.
    factor, drive : ndarray of shape (n, ...)

    Returns
    -------
    states : ndarray of shape (n + 1, ...)
    """
    states = np.empty((len(factor) + 1, *factor.shape[1:]))
    states[0] = start
    for t in range(len(factor)):
        states[t + 1] = factor[t] * states[t] + drive[t]
    return states


def _adjoint(cotangent, factor):
    """Derivatives with respect to each state, which the later ones depend on too."""
    return linear_recursion(cotangent[-1], factor[::-1], cotangent[-2::-1])[::-1]


defvjp(
    linear_recursion,
    lambda g, start, factor, drive: lambda c: _adjoint(c, factor)[0],
    lambda g, start, factor, drive: lambda c: _adjoint(c, factor)[1:] * g[:-1],
    lambda g, start, factor, drive: lambda c: _adjoint(c, factor)[1:],
)


def _rates(v):
    """Opening and closing rates of m, h and n, per ms, (..., 3, k) for v (..., k)."""
    opening = [
        1.28 * _linoid((13 - v) / 4),
        0.128 * np.exp((17 - v) / 18),
        0.16 * _linoid((15 - v) / 5),
    ]
    closing = [
        1.4 * _linoid((v - 40) / 5),
        4 / (np.exp((40 - v) / 5) + 1),
        0.5 * np.exp((10 - v) / 40),
    ]
    return np.stack(opening, axis=-2), np.stack(closing, axis=-2)


def _linoid(u):
    """u / (exp(u) - 1), also at zero."""
    u = np.where(u == 0, 1e-9, u)
    return u / np.expm1(u)
