r"""
Whose gradient is right?
========================

A model of one number, small enough that the gradient of its log-likelihood is known:

.. math::
    z \sim N(0, I_2), \qquad
    x \,|\, z \sim N(\log(1 + \exp(b \cdot z)) - |b|^2, s^2) .

The posterior of z is a narrow ridge across the direction of b. Amortised learning
regresses the score of the sleep draws on x: the estimate is noisy, less so the more
draws there are. A variational autoencoder (VAE) replaces the posterior by a normal
distribution with a diagonal covariance. Its gradient has hardly any noise, and is wrong
however long the encoder is trained, unless b happens to point along an axis.
"""

# %%
# Needs a clone: the baseline is in ``examples/benchmarks``.
import sys
from pathlib import Path

import autograd.numpy as np
import matplotlib.pyplot as plt
from autograd import jacobian, value_and_grad
from scipy.optimize import minimize

sys.path.append(str(Path(__file__).parent / "benchmarks"))
from vae import VAE

from amortsk import AmortisedGradientRegressor, WakeSleepFitter
from amortsk.models import SoftplusGaussianModel
from amortsk.plotting import GradientDisplay

# %%
# Data at :math:`|b| = 1, s = 0.3`. Only the length of b can be learned, so gradients
# are compared along one direction, oblique to the axes.
model = SoftplusGaussianModel()
direction = np.array([1.0, 2.0]) / np.sqrt(5)


def make_params(length):
    return {
        "coefficients": length * direction,
        "log_scale": np.log([0.3]),
        "min_scale": np.zeros(1),
    }


X = model.sample(make_params(1.0), 500, np.random.default_rng(0))[1]
lengths = np.linspace(0.5, 1.5, 6)


def exact(length):
    step = 1e-4
    ahead, behind = (
        model.exact_log_likelihood(make_params(length + h), X).mean()
        for h in (step, -step)
    )
    return (ahead - behind) / (2 * step)


# %%
# Ours: draw from the model, regress the log-joint on x, differentiate the prediction at
# the data. The regressor's targets need only be like those it will be asked about, to
# choose bandwidth and ridge by: the log-joint itself will do.


def amortised(length, n_sleep, seed):
    params = make_params(length)
    z, x = model.sample(params, n_sleep, np.random.default_rng(seed))
    regressor = AmortisedGradientRegressor(trend="linear", random_state=seed)
    regressor.fit(x, model.log_joint(params, z, x))
    gradient = regressor.gradient(lambda p: model.log_joint(p, z, x), params, X)
    return gradient["coefficients"] @ direction


# %%
# The VAE's: at every b its encoder is trained until the bound is as tight as it gets.


def variational():
    encoder = None
    for length in lengths:
        vae = VAE(
            model, n_draws=5, max_iter=400 if encoder else 1000, train_decoder=False
        )
        encoder = vae.fit(X, make_params(length), encoder).encoder_
        yield vae.gradient(X, n_draws=200)["coefficients"] @ direction


truth = np.array([exact(length) for length in lengths])
sizes = 300, 1000, 3000
ours = {
    n: [[amortised(b, n, seed) for b in lengths] for seed in range(5)] for n in sizes
}
bound = np.array(list(variational()))
error = {n: np.sqrt(np.mean((ours[n] - truth) ** 2)) for n in sizes}
for n in sizes:
    print(f"Root mean square error, N={n}: {error[n]:.2f}")
print(f"VAE: {np.sqrt(np.mean((bound - truth) ** 2)):.2f}")


# %%
# What comes of it: b and s by the exact likelihood, by the wake-sleep fitter, and as a
# VAE whose decoder and encoder are trained together. The biased gradient drives a model
# towards posteriors that its encoder can express: the VAE turns b to an axis. Here that
# costs no likelihood, and so its fit is good after all.
def negative(vector):
    params = make_params(1.0)
    params = {**params, "coefficients": vector[:2], "log_scale": vector[2:]}
    return -np.mean(model.exact_log_likelihood(params, X))


best = minimize(value_and_grad(negative), np.append(direction, 0.0), jac=True).x
fitter = WakeSleepFitter(model=model, max_iter=600, random_state=0).fit(X)
vae = VAE(model, n_draws=5, max_iter=1500).fit(X)

found = {
    "maximum likelihood": {
        **make_params(1.0),
        "coefficients": best[:2],
        "log_scale": best[2:],
    },
    "WakeSleepFitter": fitter.params_,
    "VAE": vae.params_,
}
print("\nFit, with its exact log-likelihood in nats per row")
for name, params in found.items():
    b = params["coefficients"]
    scale = (params["min_scale"] + np.exp(params["log_scale"]))[0]
    score = model.exact_log_likelihood(params, X).mean()
    print(
        f"{name:20s} b = ({b[0]:5.2f}, {b[1]:5.2f}), |b| = {np.linalg.norm(b):.3f}, "
        f"s = {scale:.3f}, {score:.4f}"
    )

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.6))
left.axhline(0, color="0.8")
left.plot(lengths, truth, "k", label="exact")
left.errorbar(
    lengths,
    np.mean(ours[3000], axis=0),
    np.std(ours[3000], axis=0),
    fmt="o",
    capsize=3,
    label="amortised, N=3000",
)
left.plot(lengths, bound, "s--", color="C3", label="VAE, converged encoder")
left.set(xlabel="|b|", ylabel="gradient of the mean log-likelihood")
left.legend()
middle.loglog(sizes, list(error.values()), "o-", label="amortised")
middle.axhline(np.sqrt(np.mean((bound - truth) ** 2)), ls="--", color="C3", label="VAE")
middle.set(xlabel="sleep draws N", ylabel="root mean square error")
middle.set_xticks(sizes, sizes)
middle.set_yticks([0.2, 0.4, 0.6], [0.2, 0.4, 0.6])
middle.set_yticks([], minor=True)
middle.set_xticks([], minor=True)
middle.legend()
exact_rows = {
    name: jacobian(
        lambda value, name=name: model.exact_log_likelihood(
            {**fitter.params_, name: value}, X[:100]
        )
    )(fitter.params_[name])
    for name in ("coefficients", "log_scale")
}
GradientDisplay.from_estimator(fitter, X[:100], exact_rows, ax=right)
right.set(title="fitter.score_gradient, 100 rows")
figure.tight_layout()
plt.show()
