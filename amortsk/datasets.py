"""Small data sets, generated."""

import numpy as np
from sklearn.utils import check_random_state

__all__ = ["gabor", "make_gabors"]

# Shape of a Gabor patch on the square [-1, 1] x [-1, 1].
WAVELENGTH, WIDTH, ASPECT = 1.0, 0.3, 0.8


def gabor(orientation, *, size=16):
    r"""Gabor patches of given orientations: a grating under a Gaussian window.

    .. math::
        \exp\Big(-\frac{u^2 + 0.8^2 w^2}{2 \cdot 0.3^2}\Big) \cos(2 \pi u),

    with u along the orientation and w across, on the square [-1, 1] x [-1, 1]. Patches
    repeat after half a turn.

    Parameters
    ----------
    orientation : array-like of shape (n_samples,)
        In radians, from the direction of rows.
    size : int, default=16
        Pixels a side.

    Returns
    -------
    X : ndarray of shape (n_samples, size ** 2)
        Images, row by row.

    Examples
    --------
    >>> from amortsk.datasets import gabor
    >>> round(float(gabor([0.0], size=5).max()), 3)
    1.0
    """
    side = np.linspace(-1, 1, size)
    vertical, horizontal = (a.ravel() for a in np.meshgrid(side, side, indexing="ij"))
    orientation = np.asarray(orientation, dtype=np.float64)[:, np.newaxis]
    cosine, sine = np.cos(orientation), np.sin(orientation)
    u = horizontal * cosine + vertical * sine
    w = vertical * cosine - horizontal * sine
    window = np.exp(-(u**2 + (ASPECT * w) ** 2) / (2 * WIDTH**2))
    return window * np.cos(2 * np.pi * u / WAVELENGTH)


def make_gabors(n_samples=1000, *, size=16, noise=0.0, random_state=None):
    """Images of Gabor patches of random orientation.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of images.
    size : int, default=16
        Pixels a side.
    noise : float, default=0.0
        Standard deviation of normal noise added to pixels.
    random_state : int, RandomState instance or None, default=None
        Draws orientations and noise.

    Returns
    -------
    X : ndarray of shape (n_samples, size ** 2)
        Images, row by row.
    orientation : ndarray of shape (n_samples,)
        Uniform between 0 and pi.

    See Also
    --------
    gabor : Patches of given orientations.

    Examples
    --------
    >>> from amortsk.datasets import make_gabors
    >>> X, orientation = make_gabors(100, random_state=0)
    >>> X.shape
    (100, 256)
    >>> round(float(orientation.max()), 2)
    3.11
    """
    rng = check_random_state(random_state)
    orientation = rng.uniform(0, np.pi, n_samples)
    X = gabor(orientation, size=size)
    return X + noise * rng.standard_normal(X.shape), orientation
