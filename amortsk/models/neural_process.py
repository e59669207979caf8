"""Distributions over functions, given a few of their values."""

import autograd.numpy as np

from amortsk.model import LatentVariableModel
from amortsk.models._decoder import (
    check_positive_int,
    hidden_sizes,
    init_network,
    network,
)
from amortsk.observation import LOG_2PI

MIN_SCALE = 0.01


class NeuralProcessModel(LatentVariableModel):
    r"""Distribution of a function's values, given some others: a neural process.

    From a context C of pairs (position, value) it predicts the values at target
    positions,

    .. math::
        p(y \,|\, t, C) = \int N(z; m(C), s(C)^2) \prod_j
        N\big(y_j; \mu(t_j, z), \sigma(t_j, z)^2\big)\, dz,

    where m and s are networks of the mean over the context of a network of its pairs,
    and :math:`\mu, \sigma` are another. Contexts and positions are covariates: one fit
    serves contexts of all sizes and at all places.

    Parameters
    ----------
    n_context, n_target : int, default=8
        Slots for context pairs and targets in a row of X; a row need not fill them.
    n_latent : int, default=8
        Number of latents.
    hidden : int or tuple of int, default=(32, 32)
        Widths of the hidden layers of each of the three networks.

    Attributes
    ----------
    covariate_columns : ndarray of shape (3 * n_context + 2 * n_target,)
        All columns of a row but the values of its targets.

    See Also
    --------
    DecoderModel : One network, without covariates.
    amortsk.datasets.make_sine_functions : Functions to fit.

    Notes
    -----
    The columns of X are in this order: context positions, context values, context mask
    (1 where a slot is filled, else 0), target positions, target mask, target values.
    Empty slots are zero and contribute nothing; :meth:`pack` arranges lists of sets so.

    The latents are :math:`e = (z - m(C)) / s(C)`, a priori standard normal whatever the
    context. The marginal likelihood is the same, and what a regression fails to see of
    an unusual context costs little: proposals fall back to the prior given that
    context.

    Nothing in the params depends on the number of slots: a model with more of them
    takes the same ones.

    References
    ----------
    M. Garnelo et al., "Neural processes", ICML 2018 workshop on theoretical foundations
    and applications of deep generative models (arXiv 1807.01622).

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.models import NeuralProcessModel
    >>> model = NeuralProcessModel(n_context=3, n_target=2, n_latent=2, hidden=4)
    >>> X = model.pack([[(0.0, 1.0), (0.5, 2.0)]], [[(1.0, 3.0)]])
    >>> X.shape
    (1, 15)
    >>> rng = np.random.default_rng(0)
    >>> params = model.init_params(X, rng)
    >>> z, x = model.sample(params, 1, rng, X[:, model.covariate_columns])
    >>> [round(float(y), 2) for y in x[0, -2:]]
    [2.8, 0.0]
    """

    latent_support = "real"

    def __init__(self, n_context=8, n_target=8, n_latent=8, hidden=(32, 32)):
        self.n_context = n_context
        self.n_target = n_target
        self.n_latent = n_latent
        self.hidden = hidden

    @property
    def covariate_columns(self):
        """All columns but the values of the targets."""
        return np.arange(3 * self.n_context + 2 * self.n_target)

    def pack(self, contexts, targets):
        """Arrange sets of (position, value) pairs as rows of X.

        Parameters
        ----------
        contexts, targets : sequences of array-likes of shape (n_pairs, 2)
            One context and one set of targets for each row; sizes may differ.

        Returns
        -------
        X : ndarray of shape (n_rows, 3 * n_context + 3 * n_target)
            Rows.

        Raises
        ------
        ValueError
            If a set has more pairs than there are slots or is no set of pairs, or there
            are more contexts than targets or fewer.
        """
        if len(contexts) != len(targets):
            raise ValueError(
                "contexts and targets must be of equal length, got "
                f"{len(contexts)} and {len(targets)}"
            )
        cx, cy, c_filled = _slots(contexts, self.n_context, "context")
        tx, ty, t_filled = _slots(targets, self.n_target, "target")
        return np.hstack([cx, cy, c_filled, tx, t_filled, ty])

    def unpack(self, X):
        """Undo :meth:`pack`, with empty slots.

        Returns
        -------
        contexts, targets : tuples of ndarray
            Positions, values and masks, of shape (n_rows, n_context) and (n_rows,
            n_target).
        """
        C, T = self.n_context, self.n_target
        edges = np.cumsum([C, C, C, T, T])
        cx, cy, c_filled, tx, t_filled, ty = np.split(X, edges, axis=1)
        return (cx, cy, c_filled), (tx, ty, t_filled)

    def init_params(self, X, rng):
        """Random weights, biases of the output at the mean and scale of the targets."""
        for name in ("n_context", "n_target", "n_latent"):
            check_positive_int(name, getattr(self, name))
        columns = 3 * (self.n_context + self.n_target)
        if X.shape[1] != columns:
            raise ValueError(
                f"X must have {columns} columns, as pack makes them, got {X.shape[1]}"
            )
        (_, _, given), (_, y, filled) = self.unpack(X)
        masks = np.hstack([given, filled])
        if not np.isin(masks, (0, 1)).all() or not filled.any():
            raise ValueError(
                "X must have masks of 0 and 1, as pack makes them, and some target"
            )
        y = y[filled > 0]
        sizes = hidden_sizes(self.hidden)
        width = sizes[-1] if sizes else 2
        params = {}
        for name, n_in, n_out in (
            ("pair", 2, width),
            ("set", width, 2 * self.n_latent),
            ("value", 1 + self.n_latent, 2),
        ):
            params.update(init_network((n_in, *sizes, n_out), rng, f"{name}_"))
        last = f"value_biases_{len(sizes)}"
        scale = max(y.std(), 0.1)
        params[last] = np.array([y.mean(), np.log(np.expm1(scale))])
        return params

    def encode(self, params, contexts):
        """Mean and standard deviation of the latents given contexts.

        Parameters
        ----------
        params : dict of ndarray
        contexts : tuple of ndarray of shape (n, n_pairs)
            Positions, values and mask.

        Returns
        -------
        mean, scale : ndarray of shape (n, n_latent)
        """
        x, y, filled = contexts
        pairs = np.stack([x.ravel(), y.ravel()], axis=1)
        features = np.reshape(network(params, pairs, "pair_"), (*x.shape, -1))
        share = filled / np.maximum(filled.sum(axis=1, keepdims=True), 1)
        pooled = np.sum(features * share[:, :, None], axis=1)
        output = network(params, np.tanh(pooled), "set_")
        mean, raw = output[:, : self.n_latent], output[:, self.n_latent :]
        return mean, 0.1 + 0.9 / (1 + np.exp(-raw))

    def decode(self, params, z, x):
        """Mean and standard deviation of values at positions, of shape (n, n_target).

        Parameters
        ----------
        params : dict of ndarray
        z : ndarray of shape (n, n_latent)
            Latents as the networks see them, m(C) + s(C) e.
        x : ndarray of shape (n, n_target)
            Positions.
        """
        tiled = np.repeat(z, x.shape[1], axis=0)
        inputs = np.concatenate([x.reshape(-1, 1), tiled], axis=1)
        output = np.reshape(network(params, inputs, "value_"), (*x.shape, 2))
        return output[:, :, 0], MIN_SCALE + np.logaddexp(0.0, output[:, :, 1])

    def predict_values(self, params, e, x):
        """Mean and standard deviation of the values of the targets of rows of X."""
        contexts, (positions, _, _) = self.unpack(x)
        # Importance weights repeat every row of data: a context is encoded once.
        new = np.append(True, np.any(x[1:] != x[:-1], axis=1))
        first, index = np.flatnonzero(new), np.cumsum(new) - 1
        mean, scale = self.encode(params, [array[first] for array in contexts])
        return self.decode(params, mean[index] + scale[index] * e, positions)

    def sample(self, params, n_samples, rng, covariates):
        """Draw latents e and rows of X, given all of a row but its targets' values."""
        e = rng.standard_normal((n_samples, self.n_latent))
        x = np.hstack([covariates, np.zeros((n_samples, self.n_target))])
        mean, scale = self.predict_values(params, e, x)
        _, (_, _, filled) = self.unpack(x)
        y = filled * (mean + scale * rng.standard_normal(mean.shape))
        return e, np.hstack([covariates, y])

    def log_prior(self, params, e):
        """Log-density of the latents, of shape (n,)."""
        return -0.5 * (np.sum(np.square(e), axis=1) + e.shape[1] * LOG_2PI)

    def log_joint(self, params, e, x):
        """Log-density of latents and targets given the rest, of shape (n,)."""
        mean, scale = self.predict_values(params, e, x)
        _, (_, y, filled) = self.unpack(x)
        log_prob = -0.5 * (np.square((y - mean) / scale) + LOG_2PI) - np.log(scale)
        return self.log_prior(params, e) + np.sum(filled * log_prob, axis=1)


def _slots(sets, n_slots, name):
    """Positions, values and mask of sets of pairs, each of shape (n_rows, n_slots)."""
    slots = np.zeros((3, len(sets), n_slots))
    for row, pairs in enumerate(sets):
        pairs = np.asarray(pairs, dtype=np.float64)
        if not pairs.size:
            continue
        if pairs.shape[1:] != (2,) or len(pairs) > n_slots:
            raise ValueError(
                f"a {name} must have shape (n_pairs, 2) and at most n_{name}={n_slots} "
                f"pairs, got shape {pairs.shape}"
            )
        slots[:, row, : len(pairs)] = *pairs.T, np.ones(len(pairs))
    return slots
