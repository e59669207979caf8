"""Latents: an array, or a tuple or dict of arrays that share their leading axis."""

import numpy as np


def parts(z):
    """The arrays that make up z, in order."""
    if isinstance(z, dict):
        return list(z.values())
    return list(z) if isinstance(z, (tuple, list)) else [z]


def rebuild(like, arrays):
    """Arrange `arrays` as the latents `like` are arranged."""
    if isinstance(like, dict):
        return dict(zip(like, arrays, strict=True))
    if hasattr(like, "_fields"):
        return type(like)(*arrays)
    return tuple(arrays) if isinstance(like, (tuple, list)) else arrays[0]


def map_parts(function, z):
    """Apply `function` to every array of z."""
    return rebuild(z, [function(part) for part in parts(z)])


def take(z, index):
    """Rows of z."""
    return map_parts(lambda part: part[index], z)


def repeat(z, n):
    """Every row of z n times."""
    return map_parts(lambda part: np.repeat(part, n, axis=0), z)


def concatenate(draws, axis=0):
    """Join a list of latents along one axis of all their arrays."""
    columns = zip(*(parts(z) for z in draws), strict=True)
    return rebuild(draws[0], [np.concatenate(column, axis) for column in columns])


def as_columns(part, n_leading=1):
    """A part with all but its leading axes flattened, shape (n, k) or (m, K, k)."""
    return part.reshape(*part.shape[:n_leading], -1)


def check_latents(z, n_samples, source):
    """Copies of arrays with `n_samples` rows, as the sampler must return them.

    Raises
    ------
    ValueError
        Naming the function and what came back.
    """
    z = map_parts(np.array, z)
    if not parts(z):
        raise ValueError(f"{source} returned no latents: {z!r}")
    for part in parts(z):
        if part.dtype.kind not in "fiub" or part.shape[:1] != (n_samples,):
            raise ValueError(
                f"{source} must return real or integer latents with {n_samples} rows, "
                f"got an array of shape {part.shape} and dtype {part.dtype}"
            )
    return map_parts(lambda p: p.astype(int) if p.dtype.kind in "bu" else p, z)
