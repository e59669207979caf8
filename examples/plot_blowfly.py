r"""
Nicholson's blowflies: a delay that nobody told
===============================================

Adult flies of a laboratory population, counted every other day for a year, go through
cycles of some nineteen counts. In the model of Gurney, Nisbet and Blythe, with the
noises that Wood (2010) gave it,

.. math::
    x_t = \Big(P\, x_{t-\tau} e^{-x_{t-\tau} / N_0}\, e_t
          + x_{t-1} e^{-\delta \epsilon_t}\Big)\, \eta_t,

the cycles come from recruits, a delay after the eggs, of which there were fewer the
more adults competed. Claim: maximum likelihood, from a start that prefers no delay to
any other, finds the time that a blowfly takes to mature, some fifteen days, and
simulations of the fit cycle as the flies did.
"""

# %%
# Each row holds twenty counts and the next. The former are covariates: the model says
# how the next count arises from them, through latents that are an integer (the delay)
# and two positive numbers (the noises of recruits and of deaths). Beside the fit stand
# parameters published for two-day steps of Wood's form, in the R package pomp. They
# recruit less; the more a delay is spread, the less is left to noise.
import sys

import numpy as np

from amortsk import WakeSleepFitter
from amortsk.datasets import load_blowfly
from amortsk.models import BlowflyModel

counts = load_blowfly()
model = BlowflyModel(max_delay=20)
X = model.rows(counts)
fitter = WakeSleepFitter(
    model=model,
    gradient="importance",
    max_iter=300,
    learning_rate=0.03,
    random_state=0,
    verbose=1,
).fit(X)

P, capacity, death_rate, *_ = model.values(fitter.params_)
share = np.exp(model.log_share(fitter.params_))
days = 2 * np.arange(1, 21)
print(f"\nrecruits per adult, sparse   {P / 2:8.3f} a day   (published: 2.73)")
print(f"adults that recruit best     {capacity:8.0f}         (800)")
print(f"death rate                   {death_rate / 2:8.3f} a day   (0.174)")
print(f"mean delay                   {days @ share:8.1f} days    (16)")
print(f"weight of 12 to 16 days      {share[5:8].sum():8.2f}")

# %%
# Three simulations, from the first twenty counts onwards.
history = np.tile(counts[:20], (3, 1))
simulated = model.simulate(fitter.params_, history, 160, np.random.default_rng(1))

# %%
import matplotlib.pyplot as plt

figure = plt.figure(figsize=(9, 5.4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(2, 1))
day = 2 * np.arange(len(counts))
series = {"blowflies": counts[20:]}
series.update((f"simulation {i + 1}", path) for i, path in enumerate(simulated))
for (name, path), ax in zip(
    series.items(), left.subplots(4, 1, sharex=True), strict=True
):
    ax.plot(day[20:], path / 1000, color="k" if name == "blowflies" else "C0")
    ax.set_title(name, loc="left", fontsize=9)
ax.set_xlabel("day")
left.supylabel("adults (thousands)", fontsize=10)
top, bottom = right.subplots(2, 1)
top.bar(days, share, width=1.5)
top.set(title="distribution of the delay", xlabel="days")
for path, color in zip([*simulated, counts[20:]], ["C0"] * 3 + ["k"], strict=True):
    residual = path - path.mean()
    correlation = np.correlate(residual, residual, "full")[159:200] / residual.dot(
        residual
    )
    bottom.plot(2 * np.arange(41), correlation, color=color)
bottom.axhline(0, color="gray", linewidth=0.5)
bottom.set(title="autocorrelation", xlabel="days")
path = sys.argv[1] if len(sys.argv) > 1 else "blowfly.png"
figure.savefig(path, dpi=100)
print(f"Figure: {path}")
plt.show()
