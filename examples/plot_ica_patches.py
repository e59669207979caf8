r"""
Edges of photographs: independent components with noise
=======================================================

Claim: :math:`x = A z + \varepsilon` with :math:`z_k \sim \mathrm{Laplace}(0, 1)`,
fitted as a generative model, finds the filters that made the data as FastICA does. No
step of the fit is special to independent components; the data are projected and made
noisier first.
"""

# %%
# Filters that look like those of vision: FastICA on patches of two photographs. They
# are the truth from here on.
import sys

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA, FastICA
from sklearn.feature_extraction.image import extract_patches_2d

from amortsk import AmortisedGradientRegressor, WakeSleepFitter
from amortsk.models import IndependentComponentsModel

width, n_sources = 12, 16
patches = np.vstack(
    [
        extract_patches_2d(
            image.mean(axis=2), (width, width), max_patches=5000, random_state=0
        ).reshape(-1, width**2)
        for image in load_sample_images().images
    ]
)
patches /= 255
patches -= patches.mean(axis=1, keepdims=True)
patches /= np.maximum(patches.std(axis=1, keepdims=True), 0.01)
patches = (patches - patches.mean(axis=0)) / patches.std(axis=0)


def unit_norm(filters):
    return filters / np.linalg.norm(filters, axis=0)


def fast_ica(X):
    ica = FastICA(n_sources, whiten="unit-variance", max_iter=1000, random_state=0)
    return ica.fit(X).mixing_


truth = unit_norm(fast_ica(patches))

# %%
# The data: 20,000 mixtures of Laplace sources, every pixel standardised, and noise.
rng = np.random.default_rng(0)
X = rng.laplace(size=(20_000, n_sources)) @ truth.T
scale = X.std(axis=0)
X = X / scale + 0.1 * rng.standard_normal(X.shape)

# %%
# The fit. It sees principal components, twice as many as sources, so that the noise can
# be told from them; and the data with more noise than they have, which leaves the
# filters the same. At small noise the sources of a row are nearly known, and then the
# score says little about how to rotate them.
pca = PCA(2 * n_sources, random_state=0).fit(X)
projected = pca.transform(X)
projected += rng.standard_normal(projected.shape)
fitter = WakeSleepFitter(
    model=IndependentComponentsModel(n_sources),
    regressor=AmortisedGradientRegressor(n_components=20, trend="linear"),
    n_sleep=2000,
    max_iter=600,
    batch_size=200,
    learning_rate=0.03,
    random_state=0,
    verbose=1,
).fit(projected)


# %%
# Filters come in any order and of either sign: they are compared after the best
# matching, with the scales of pixels put back.
def matched(learned):
    """Columns and signs that fit the truth best, and their absolute cosines."""
    learned = unit_norm(scale[:, None] * learned)
    cosines = truth.T @ learned
    rows, columns = linear_sum_assignment(-np.abs(cosines))
    return learned[:, columns] * np.sign(cosines[rows, columns]), np.abs(
        cosines[rows, columns]
    )


filters, cosines = matched(pca.components_.T @ fitter.params_["mixing"])
print("\nMean absolute cosine of learned and true filters")
print(f"  generative model {cosines.mean():.4f}  (least {cosines.min():.4f})")
print(f"  FastICA          {matched(fast_ica(X))[1].mean():.4f}")

# %%
# True filters on the left, learned ones in the same places on the right.
import matplotlib.pyplot as plt

figure = plt.figure(figsize=(8, 4.2), layout="constrained")
titles = ("true filters", "learned filters, matched")
panels = figure.subfigures(1, 2)
for panel, title, columns in zip(panels, titles, (truth, filters), strict=True):
    panel.suptitle(title)
    for column, ax in zip(columns.T, panel.subplots(4, 4).flat, strict=True):
        largest = np.abs(column).max()
        ax.imshow(column.reshape(width, width), "RdBu", vmin=-largest, vmax=largest)
        ax.set(xticks=[], yticks=[])
path = sys.argv[1] if len(sys.argv) > 1 else "ica_patches.png"
figure.savefig(path, dpi=150)
print(f"Figure: {path}")
plt.show()
