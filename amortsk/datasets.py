"""Small data sets, generated or bundled."""

from importlib import resources

import numpy as np
from sklearn.utils import check_random_state

__all__ = [
    "gabor",
    "load_blowfly",
    "make_gabors",
    "make_limit_cycle",
    "make_pinwheel",
    "make_sine_functions",
]

# Shape of a Gabor patch on the square [-1, 1] x [-1, 1].
WAVELENGTH, WIDTH, ASPECT = 1.0, 0.3, 0.8
# Of a pinwheel's arm.
LENGTH, BREADTH, TWIST = 0.3, 0.1, 0.2


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


def make_pinwheel(n_samples=2500, *, n_arms=5, random_state=None):
    r"""Points of a pinwheel: normal clouds round a circle, bent into arms.

    .. math::
        r \sim N(1, 0.3^2), \quad t \sim N(0, 0.1^2), \qquad
        x = R\Big(\frac{2 \pi c}{n} + 0.2\, e^r\Big) \binom{r}{t},

    with R(a) the clockwise rotation by an angle a and c one of n arms. The columns are
    then centred.

    Parameters
    ----------
    n_samples : int, default=2500
        Number of points, shared by the arms as evenly as can be.
    n_arms : int, default=5
        Number of arms.
    random_state : int, RandomState instance or None, default=None
        Draws the points and their order.

    Returns
    -------
    X : ndarray of shape (n_samples, 2)
        Points, in random order.
    arm : ndarray of shape (n_samples,)
        Integers from 0 to n_arms - 1.

    References
    ----------
    Johnson, Duvenaud, Wiltschko, Datta and Adams, *Composing graphical models with
    neural networks for structured representations and fast inference*, NIPS 2016.

    Examples
    --------
    >>> from amortsk.datasets import make_pinwheel
    >>> X, arm = make_pinwheel(random_state=0)
    >>> X.shape
    (2500, 2)
    >>> int((arm == 0).sum())
    500
    """
    rng = check_random_state(random_state)
    arm = rng.permutation(np.arange(n_samples) % n_arms)
    r = 1 + LENGTH * rng.standard_normal(n_samples)
    t = BREADTH * rng.standard_normal(n_samples)
    angle = 2 * np.pi * arm / n_arms + TWIST * np.exp(r)
    cosine, sine = np.cos(angle), np.sin(angle)
    X = np.stack([r * cosine + t * sine, t * cosine - r * sine], axis=1)
    return X - X.mean(axis=0), arm


def make_sine_functions(
    n_samples=1000, *, n_context=(4, 8), n_target=(4, 8), noise=0.1, random_state=None
):
    r"""Noisy values of random sine functions, split into contexts and targets.

    .. math::
        y = a \sin(t - b) + \epsilon, \qquad a \sim U(-0.5, 1), \quad
        b \sim U(-0.5, 0.5), \quad \epsilon \sim N(0, 0.1^2),

    at positions t uniform between -pi and pi.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of functions.
    n_context, n_target : tuple of int, default=(4, 8)
        Smallest and largest number of pairs in a context and in a set of targets.
    noise : float, default=0.1
        Standard deviation of the noise.
    random_state : int, RandomState instance or None, default=None
        Draws functions, sizes, positions and noise.

    Returns
    -------
    contexts, targets : list of ndarray of shape (n_pairs, 2)
        Positions and values, for :meth:`amortsk.models.NeuralProcessModel.pack`.
    coefficients : ndarray of shape (n_samples, 2)
        Amplitude a and shift b of every function.

    Examples
    --------
    >>> from amortsk.datasets import make_sine_functions
    >>> contexts, targets, coefficients = make_sine_functions(5, random_state=0)
    >>> [len(context) for context in contexts]
    [4, 5, 5, 4, 5]
    """
    rng = check_random_state(random_state)
    coefficients = rng.uniform([-0.5, -0.5], [1.0, 0.5], (n_samples, 2))
    sets = []
    for smallest, largest in (n_context, n_target):
        sizes = rng.randint(smallest, largest + 1, n_samples)
        sets.append([])
        for (amplitude, shift), size in zip(coefficients, sizes, strict=True):
            t = rng.uniform(-np.pi, np.pi, size)
            y = amplitude * np.sin(t - shift) + noise * rng.standard_normal(size)
            sets[-1].append(np.stack([t, y], axis=1))
    return *sets, coefficients


def load_blowfly():
    """Nicholson's blowflies: 180 counts of adult flies, one every other day.

    Returns
    -------
    counts : ndarray of shape (180,), dtype=float64
        Numbers of flies, from 60 to 8921.

    References
    ----------
    A. J. Nicholson, "The self-adjustment of populations to change", Cold Spring Harbor
    Symposia on Quantitative Biology 22, 1957, doi:10.1101/SQB.1957.022.01.017.

    Examples
    --------
    >>> from amortsk.datasets import load_blowfly
    >>> round(float(load_blowfly().mean()), 2)
    2480.94
    """
    with (resources.files("amortsk") / "data" / "blowfly.csv").open() as file:
        return np.loadtxt(file)


def make_limit_cycle(n_samples=3, n_steps=30, *, noise=0.05, random_state=None):
    r"""A noisy limit cycle of period 12, seen by units with tuning curves.

    .. math::
        z_t = \frac{R z_{t-1}}{r (1 + e^{-4 (r - 0.3)})} + 0.1 \epsilon_t, \qquad
        x_{ti} = e^{-(z_{t1} - c_i)^2 / (2 \cdot 0.3^2)} + s \eta_{ti},

    where r is the length of :math:`z_{t-1}`, R a turn by thirty degrees, and twenty
    centres :math:`c_i` lie evenly between -1.5 and 1.5. Series start from (0.8, 0).

    Parameters
    ----------
    n_samples : int, default=3
        Number of series.
    n_steps : int, default=30
        Their length.
    noise : float, default=0.05
        Standard deviation s of the observations.
    random_state : int, RandomState instance or None, default=None
        Draws the noises.

    Returns
    -------
    X : ndarray of shape (n_samples, n_steps * 20)
        Series, step by step.
    z : ndarray of shape (n_samples, n_steps, 2)
        States.

    Examples
    --------
    >>> from amortsk.datasets import make_limit_cycle
    >>> X, z = make_limit_cycle(random_state=0)
    >>> X.shape
    (3, 600)
    >>> round(float((z**2).sum(axis=2).mean() ** 0.5), 1)
    0.9
    """
    rng = check_random_state(random_state)
    turn = np.array([[np.cos(np.pi / 6), -0.5], [0.5, np.cos(np.pi / 6)]])
    states = np.empty((n_samples, n_steps, 2))
    z = np.tile([0.8, 0.0], (n_samples, 1))
    for t in range(n_steps):
        radius = np.linalg.norm(z, axis=1, keepdims=True)
        pulled = z @ turn.T / (radius * (1 + np.exp(-4 * (radius - 0.3))))
        states[:, t] = z = pulled + 0.1 * rng.standard_normal(z.shape)
    centres = np.linspace(-1.5, 1.5, 20)
    X = np.exp(-((states[:, :, :1] - centres) ** 2) / (2 * 0.3**2))
    X = X + noise * rng.standard_normal(X.shape)
    return X.reshape(n_samples, -1), states
