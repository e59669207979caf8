"""
A generative model as a step of a pipeline
==========================================

:class:`amortsk.WakeSleepFitter` is a transformer, its output the posterior means of
the latents, and a density estimator, its score a log-likelihood. So the number of
latents, the bandwidth of the regression, or any other setting, can be chosen by
whatever comes after it, or by the data's own likelihood: both are a grid search.
"""

# %%
# Images of handwritten digits, reduced to a few factors, classified by logistic
# regression. Settings of the model and of the regressor are reached by ``__``, as
# everywhere in scikit-learn. Few iterations keep the example short; more would raise
# the log-likelihoods.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from amortsk import AmortisedGradientRegressor, WakeSleepFitter
from amortsk.models import FactorAnalysisModel

X, y = load_digits(return_X_y=True)
cv = StratifiedKFold(2, shuffle=True, random_state=0)
sizes, bandwidths = [4, 16], ["median", 1.0, "loo"]

fitter = WakeSleepFitter(
    model=FactorAnalysisModel(),
    regressor=AmortisedGradientRegressor(n_components=100),
    n_sleep=500,
    max_iter=80,
    learning_rate=0.05,
    random_state=0,
)
classifier = LogisticRegression(max_iter=1000)
pipeline = Pipeline(
    [("scale", StandardScaler()), ("factors", fitter), ("classify", classifier)]
)
search = GridSearchCV(
    pipeline,
    {
        "factors__model__n_components": sizes,
        "factors__regressor__gamma": bandwidths,
    },
    cv=cv,
    refit=False,
).fit(X, y)
accuracy = search.cv_results_["mean_test_score"].reshape(len(sizes), len(bandwidths))

# %%
# The yardsticks: principal components of the same number, and all pixels.
pca = [
    cross_val_score(make_pipeline(StandardScaler(), PCA(k), classifier), X, y, cv=cv)
    for k in sizes
]
pixels = cross_val_score(make_pipeline(StandardScaler(), classifier), X, y, cv=cv)

print("Cross-validated accuracy of logistic regression")
for k, row, of_pca in zip(sizes, accuracy, pca, strict=True):
    print(f"  {k:2} principal components     {of_pca.mean():.3f}")
    for bandwidth, value in zip(bandwidths, row, strict=True):
        print(f"  {k:2} factors, gamma={bandwidth!s:10}{value:.3f}")
print(f"  all {X.shape[1]} pixels              {pixels.mean():.3f}")

# %%
# Without labels, the same search runs on the log-likelihood of held-out images. For
# factor analysis it is exact, whatever the regression.
density = GridSearchCV(
    pipeline[:-1], {"factors__model__n_components": sizes}, cv=cv.split(X, y)
).fit(X)
log_likelihood = density.cv_results_["mean_test_score"]

print("\nHeld-out log-likelihood, nats per image in units of the scaled pixels")
for k, value in zip(sizes, log_likelihood, strict=True):
    print(f"  {k:2} factors  {value:.2f}")

# %%
# Both settings matter to the classifier: more latents help, and at sixteen a bandwidth
# far too narrow costs accuracy, and its fits may warn that they have not converged.
# Leave-one-out, which chooses it by the regression's error on draws left out, needs no
# guess and is as good as the median. Principal components are better than factors at
# four and equal at sixteen, and all pixels are better still: what factors add is a
# density.
figure, (left, right) = plt.subplots(
    1, 2, figsize=(9, 3.6), width_ratios=[3, 1], layout="constrained"
)
groups = np.arange(len(sizes))
bars = {f"gamma={b}": accuracy[:, i] for i, b in enumerate(bandwidths)}
bars["principal components"] = [scores.mean() for scores in pca]
for i, (label, height) in enumerate(bars.items()):
    left.bar(groups + 0.2 * (i - 1.5), height, width=0.18, label=label)
left.axhline(pixels.mean(), color="k", linestyle=":", label="all pixels")
left.set(ylim=(0.5, 1), ylabel="accuracy", title="Chosen by the classifier")
left.set_xticks(groups, [f"{k} latents" for k in sizes])
left.legend(loc="upper left", fontsize="small")
right.plot(groups, log_likelihood, "o-")
right.set(ylabel="held-out log-likelihood (nats)", title="Chosen by the density")
right.set_xticks(groups, [f"{k} latents" for k in sizes])
right.margins(x=0.3)
plt.show()
