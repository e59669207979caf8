"""Hodgkin-Huxley: parameters of a neuron from one noisy trace of 1000 steps.

Errors of the fitted parameters are relative to those of the start, which is far from
the truth. The baseline knows that the path is nearly normal given the data: from the
same start it maximises the likelihood of an extended Kalman filter of the voltage and
the gates, by L-BFGS with numerical gradients.
"""

import warnings

import numpy as np
from _report import parser, report, row
from gated_features import GatedFeatures
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from amortsk import AmortisedGradientRegressor, WakeSleepFitter
from amortsk.models import HodgkinHuxleyModel
from amortsk.models.hodgkin_huxley import INITIAL_GATES, INITIAL_VOLTAGE, _rates

TRUTH = {
    "capacitance": 1.0,
    "g_leak": 0.1,
    "e_leak": -70.42,
    "g_na": 50.0,
    "e_na": 50.0,
    "g_k": 5.0,
    "e_k": -90.0,
    "threshold": -60.0,
    "noise_v": 0.1,
    "noise_x": 1.0,
}
BIOPHYSICAL = list(TRUTH)[:8]
N_TRACES = 20


def make_trace(model, rng):
    """A trace of the true model, driven but for the first and last tenth.

    Returns
    -------
    z : ndarray of shape (1, n_steps)
        Path of the voltage.
    x : ndarray of shape (1, 2 * n_steps)
        Observations and currents.
    """
    T = model.n_steps
    current = rng.normal(0, 2, (1, T))
    current[:, T // 10 : T - T // 10] += 10
    return model.sample(model.to_params(TRUTH), 1, rng, current)


def make_fitter(model, max_iter, features, seed):
    """The fitter: gated features, or the default regression."""
    gated = AmortisedGradientRegressor(GatedFeatures(), alpha=1.0)
    return WakeSleepFitter(
        model=model,
        regressor=gated if features == "gated" else None,
        n_sleep=20,
        max_iter=max_iter,
        learning_rate=0.04,
        random_state=seed,
    )


def relative_errors(model, params):
    """Errors of the biophysical parameters, relative to those of the start."""
    values, start = model.to_values(params), model.to_values(model.to_params({}))
    return np.array(
        [abs((values[n] - TRUTH[n]) / (start[n] - TRUTH[n])) for n in BIOPHYSICAL]
    )


def count_spikes(z):
    """How often each path of the voltage rises above -20 mV."""
    above = z > -20
    return np.sum(above[:, 1:] & ~above[:, :-1], axis=1)


def simulated_counts(model, params, X):
    """Spikes in traces simulated with the current of the data."""
    current = np.repeat(X[:, model.n_steps :], N_TRACES, axis=0)
    z, _ = model.sample(params, N_TRACES, np.random.default_rng(0), current)
    return count_spikes(z)


def filtered_log_likelihood(model, params, X):
    """Log-likelihood of one trace by the extended Kalman filter, (n_params,).

    `params` hold arrays of shape (n_params,), for as many filters at once.
    """
    q = model.to_values(params)
    B, T = len(q["noise_x"]), model.n_steps
    k, eps, total = model.step / q["capacitance"], 1e-5, 0.0
    state = np.tile(np.vstack([INITIAL_VOLTAGE, INITIAL_GATES]), B)
    P = np.zeros((B, 4, 4))
    for x, current in zip(X[0, :T], X[0, T:], strict=True):
        V, (m, h, n) = state[0], state[1:]
        gates = state[1:]
        v = V - q["threshold"]
        a, b = _rates(v)
        a_v, b_v = ((r - s) / eps for r, s in zip(_rates(v + eps), (a, b), strict=True))
        J = np.zeros((B, 4, 4))
        conductance = q["g_leak"] + q["g_na"] * m**3 * h + q["g_k"] * n**4
        J[:, 0, 0] = 1 - k * conductance
        J[:, 0, 1] = -k * q["g_na"] * 3 * m**2 * h * (V - q["e_na"])
        J[:, 0, 2] = -k * q["g_na"] * m**3 * (V - q["e_na"])
        J[:, 0, 3] = -k * q["g_k"] * 4 * n**3 * (V - q["e_k"])
        for i in range(3):
            J[:, i + 1, i + 1] = 1 - model.step * (a[i] + b[i])
            J[:, i + 1, 0] = model.step * (a_v[i] * (1 - gates[i]) - b_v[i] * gates[i])
        state = np.concatenate(
            [
                [model._move(q, V, gates, current)],
                gates + model.step * (a * (1 - gates) - b * gates),
            ]
        )
        P = J @ P @ np.swapaxes(J, 1, 2)
        P[:, 0, 0] += q["noise_v"] ** 2
        S, error = P[:, 0, 0] + q["noise_x"] ** 2, x - state[0]
        total = total - 0.5 * (np.log(2 * np.pi * S) + error**2 / S)
        gain = P[:, :, 0] / S[:, np.newaxis]
        state = state + gain.T * error
        P = P - gain[:, :, np.newaxis] * P[:, np.newaxis, 0]
    return total


def fit_filtered(model, X, start):
    """Params that maximise the filtered log-likelihood, and that maximum."""
    names = list(start)
    shifts = np.vstack(
        [np.zeros(len(names)), *(1e-4 * s * np.eye(10) for s in (1, -1))]
    )

    def loss(point):
        values = filtered_log_likelihood(
            model, dict(zip(names, (point + shifts).T, strict=True)), X
        )
        return -values[0], (values[11:] - values[1:11]) / 2e-4

    first = np.array([start[name] for name in names])
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return dict(zip(names, found.x, strict=True)), -found.fun


def main(n_seeds, max_iter, features):
    model = HodgkinHuxleyModel()
    ours, filtered, counts, levels, values = [], [], [], [], []
    for seed in range(n_seeds):
        z, X = make_trace(model, np.random.default_rng(seed))
        fitter = make_fitter(model, max_iter, features, seed).fit(X)
        params, level = fit_filtered(model, X, model.to_params({}))
        ours.append(relative_errors(model, fitter.params_))
        filtered.append(relative_errors(model, params))
        values.append(list(model.to_values(fitter.params_).values()))
        spikes = count_spikes(z)[0]
        counts.append(
            [
                abs(simulated_counts(model, p, X) - spikes).max()
                for p in (fitter.params_, model.to_params(TRUTH))
            ]
        )
        levels.append(
            [
                level
                - filtered_log_likelihood(
                    model, {name: np.array([v]) for name, v in p.items()}, X
                )[0]
                for p in (fitter.params_, model.to_params(TRUTH), model.to_params({}))
            ]
        )
    ours, filtered, values = np.array(ours), np.array(filtered), np.array(values)
    for i, name in enumerate(BIOPHYSICAL):
        row(
            f"{name}: relative error over that of the start",
            ours[:, i],
            at_most=0.5,
            digits=2,
            baseline=f"{np.median(filtered[:, i]):.2f}, "
            f"worst {np.max(filtered[:, i]):.2f}",
        )
    counts, levels = np.array(counts), np.array(levels)
    row(
        f"spikes of {N_TRACES} simulated traces: largest difference from the data's",
        counts[:, 0],
        at_most=1,
        digits=0,
        baseline=f"true parameters: {np.median(counts[:, 1]):.0f}, "
        f"worst {counts[:, 1].max():.0f}",
    )
    row(
        "maximum of the filtered log-likelihood less that of the fit",
        levels[:, 0],
        digits=1,
        baseline=f"true parameters: {np.median(levels[:, 1]):.1f}, start: "
        f"{np.median(levels[:, 2]):.1f}",
    )
    for i, name in ((8, "noise_v"), (9, "noise_x")):
        row(f"{name}, true {TRUTH[name]}", values[:, i], digits=2)


if __name__ == "__main__":
    options = parser(__doc__, seeds=3)
    options.add_argument("--max-iter", type=int, default=300, metavar="N")
    options.add_argument("--features", choices=("gated", "default"), default="gated")
    arguments = options.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    with report():
        main(arguments.seeds, arguments.max_iter, arguments.features)
