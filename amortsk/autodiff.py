"""Reverse-mode derivatives with respect to a dict of parameters."""

import warnings

import numpy as np
from autograd import make_vjp


def pullback(function, params, fixed=()):
    """Value of ``function(params)`` and the map from its cotangents to gradients.

    One forward pass serves both: weights may be computed from the value before they
    are pulled back through the tape.

    Parameters
    ----------
    function : callable
        Takes a dict like `params`, returns an array.
    params : dict of ndarray
    fixed : collection of str
        Names held constant; they are absent from the gradient.

    Returns
    -------
    value : ndarray
    gradient : callable
        Maps an array shaped like `value` to a dict of arrays.
    """
    names = [name for name in params if name not in fixed]

    def of_leaves(*leaves):
        return function({**params, **dict(zip(names, leaves, strict=True))})

    with warnings.catch_warnings():
        # A function of some other argument alone has gradient zero, rightly.
        warnings.filterwarnings("ignore", message="Output seems independent")
        vjp, value = make_vjp(of_leaves, tuple(range(len(names))))(
            *(params[name] for name in names)
        )

    def gradient(cotangent):
        leaves = vjp(np.asarray(cotangent, dtype=np.float64).reshape(np.shape(value)))
        return dict(zip(names, leaves, strict=True))

    return value, gradient


def add(gradients):
    """Sum of a non-empty list of dicts of arrays."""
    return {name: sum(g[name] for g in gradients) for name in gradients[0]}
