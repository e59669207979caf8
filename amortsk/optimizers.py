"""Stochastic ascent: Adam, its schedule, a guard of steps, averages of iterates."""

from collections import deque

import numpy as np


class Adam:
    """Adam for maximisation, with its state.

    Parameters
    ----------
    learning_rate : float
        Step size at the start of the schedule.
    decay_rates : tuple of float
        Of the first and second moments of the gradient.

    References
    ----------
    Kingma and Ba, *Adam: a method for stochastic optimization*, ICLR 2015.
    """

    def __init__(self, learning_rate, decay_rates=(0.9, 0.999)):
        self.learning_rate = learning_rate
        self.decay_rates = decay_rates
        self.n_steps = 0
        self.first, self.second, self.scale = {}, {}, {}

    def step(self, params, gradient, factor=1.0):
        """New parameters; the arrays given are not changed."""
        self.n_steps += 1
        b1, b2 = self.decay_rates
        stepped = dict(params)
        for name, g in gradient.items():
            first = b1 * self.first.get(name, 0.0) + (1 - b1) * g
            second = b2 * self.second.get(name, 0.0) + (1 - b2) * g**2
            self.first[name], self.second[name] = first, second
            scale = np.sqrt(second / (1 - b2**self.n_steps)) + 1e-8
            rate = factor * self.learning_rate / (1 - b1**self.n_steps)
            stepped[name] = params[name] + rate * first / scale
            self.scale[name] = scale
        return stepped

    def precondition(self, gradient):
        """The gradient in units of its own recent size, one flat vector."""
        return np.concatenate(
            [np.ravel(g / self.scale[name]) for name, g in gradient.items()]
        )


def decay(iteration, n_iterations):
    """Learning-rate factor: one for the first half, then a cosine down to nearly zero.

    Without decay (and averaging) the noise of the gradient, not its mean, decides where
    the iterates end.
    """
    progress = max(0.0, 2 * iteration / n_iterations - 1)
    return 0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * progress))


class StepGuard:
    """Shortens gradients that are far longer than usual, and says which are no use.

    Parameters
    ----------
    factor : float
        Longest gradient let through, in units of the running mean of lengths.
    """

    def __init__(self, factor=5.0):
        self.factor = factor
        self.usual = None

    def __call__(self, gradient):
        """The gradient, shortened if need be, and its own length.

        Raises
        ------
        FloatingPointError
            If an entry is not finite.
        """
        norm = np.sqrt(sum(np.sum(g**2) for g in gradient.values()))
        if not np.isfinite(norm):
            raise FloatingPointError("the gradient is not finite")
        if self.usual is None:
            self.usual = norm
        limit = self.factor * self.usual
        if norm > limit > 0:
            gradient = {name: g * (limit / norm) for name, g in gradient.items()}
        self.usual = 0.95 * self.usual + 0.05 * min(norm, limit or norm)
        return gradient, norm


class Window:
    r"""The last iterations: their mean parameters, and whether they still drift.

    Iterates and gradients are averaged over batches of successive iterations, of which
    the last twenty are kept. The drift compares batches' gradients :math:`g_b` with
    each other, :math:`\sum_{b<c} g_b^\top g_c` over its standard error: zero in the
    mean at a stationary point, whatever the gradients' covariance, and at most
    :math:`\sqrt{190} = 13.8`, when all of them are alike.

    Parameters
    ----------
    size : int
        Number of iterations.

    References
    ----------
    Chen and Qin, *A two-sample test for high-dimensional data with applications to
    gene-set testing*, Annals of Statistics 38, 2010, doi:10.1214/09-AOS716.
    """

    N_BATCHES = 20

    def __init__(self, size):
        self.per_batch = max(1, size // self.N_BATCHES)
        self.gradients = deque(maxlen=self.N_BATCHES)
        # Fewer iterations than batches: no more of them than `size`.
        self.params = deque(maxlen=max(1, min(size, self.N_BATCHES)))
        self.n = 0

    def update(self, params, gradient):
        """Add the parameters and the gradient, one flat vector, of an iteration."""
        share = self.n % self.per_batch + 1
        if share == 1:
            self.gradients.append(gradient)
            self.params.append(params)
        else:
            self.gradients[-1] = _running(self.gradients[-1], gradient, share)
            self.params[-1] = {
                name: _running(mean, params[name], share)
                for name, mean in self.params[-1].items()
            }
        self.n += 1

    def mean_params(self):
        """Parameters averaged over the window; none before the first step."""
        return {
            name: np.mean([params[name] for params in self.params], axis=0)
            for name in (self.params[0] if self.params else ())
        }

    def drift(self):
        """Mean product of batches' gradients, in standard errors; NaN at first."""
        full = len(self.gradients) == self.N_BATCHES
        return drift(list(self.gradients)) if full else np.nan


def drift(gradients):
    """Sum of products of different vectors over its standard error."""
    G = np.array(gradients)
    products = (G @ G.T)[np.triu_indices(len(G), 1)]
    error = np.sqrt(np.sum(products**2))
    return float(products.sum() / error) if error > 0 else 0.0


def _running(mean, value, n):
    return mean + (value - mean) / n
