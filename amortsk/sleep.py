"""Sleep: draws of latents and observations from the model, in chunks."""

from functools import cached_property

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils.parallel import Parallel, delayed

from amortsk.latents import as_columns, check_latents, concatenate, parts, take
from amortsk.model import call, name_of

# Rows of the regression in one chunk, whatever n_jobs, so that results are the same.
CHUNK_ROWS = 20_000
MAX_REDRAWN = 0.1


class Draws:
    """Paired draws: latents z, observations x of shape (n, n_features).

    Attributes
    ----------
    n_redrawn : int
        Non-finite draws that were replaced.
    columns : dict
        For each block of terms the design, and its columns at these rows.
    """

    def __init__(self, z, x, n_redrawn=0):
        self.z, self.x, self.n_redrawn = z, x, n_redrawn
        self.columns = {}


class Sleep:
    """`n_samples` draws at `params`, made when they are asked for.

    One chunk is kept. More chunks are drawn again, each from its own seed, at every
    pass, so that memory does not grow with `n_samples`.

    Parameters
    ----------
    model : LatentVariableModel
    params : dict of ndarray
    n_samples : int
    seed : numpy.random.SeedSequence
    chunk_rows : int
        Draws in one chunk.
    n_jobs : int or None
        Processes that share the chunks.
    pool : ndarray of shape (n_rows, n_covariates) or None
        Covariates to draw from, for a model that has them.
    """

    def __init__(
        self,
        model,
        params,
        n_samples,
        seed,
        *,
        chunk_rows=CHUNK_ROWS,
        n_jobs=None,
        pool=None,
    ):
        self.params, self.n_samples, self.n_jobs = params, n_samples, n_jobs
        starts = range(0, n_samples, chunk_rows)
        sizes = [min(chunk_rows, n_samples - start) for start in starts]
        pairs = zip(sizes, seed.spawn(len(sizes)), strict=True)
        # What `draw` takes.
        self.chunks = [(model, params, *pair, pool) for pair in pairs]
        self.n_redrawn = 0

    @cached_property
    def first(self):
        """The first chunk, kept."""
        first = draw(*self.chunks[0])
        self.n_redrawn = max(self.n_redrawn, first.n_redrawn)
        return first

    def map(self, function):
        """Apply `function` to every chunk of draws; an iterator of what it returns."""
        if len(self.chunks) == 1:
            yield function(self.first)
            return
        if effective_n_jobs(self.n_jobs) == 1:
            # One chunk at a time: what is summed need not be kept.
            results = (_apply(function, chunk) for chunk in self.chunks)
        else:
            tasks = (delayed(_apply)(function, chunk) for chunk in self.chunks)
            results = Parallel(n_jobs=self.n_jobs)(tasks)
        self.n_redrawn = 0
        for result, n_redrawn in results:
            self.n_redrawn += n_redrawn
            yield result


def _apply(function, chunk):
    # Where another process runs this, the caller's setting is not its own.
    with np.errstate(all="ignore"):
        draws = draw(*chunk)
        return function(draws), draws.n_redrawn


def draw(model, params, n_samples, seed, pool=None, *, covariates=None):
    """Finite draws from the model, given `covariates` or rows drawn from `pool`.

    Raises
    ------
    ValueError
        If the sampler raises, returns wrong shapes, or more than a tenth of its draws
        are not finite.
    """
    rng = np.random.default_rng(seed)
    if pool is not None:
        covariates = pool[rng.integers(len(pool), size=n_samples)]
    z, x = draw_once(model, params, n_samples, rng, covariates)
    n_redrawn = 0
    while True:
        arrays = (as_columns(part) for part in (x, *parts(z)))
        finite = np.all([np.isfinite(a).all(1) for a in arrays], axis=0)
        n_bad = int(np.sum(~finite))
        if not n_bad:
            return Draws(z, x, n_redrawn)
        n_redrawn += n_bad
        if n_redrawn > max(1, MAX_REDRAWN * n_samples):
            raise ValueError(
                f"{name_of(model, 'sample')} returned non-finite values in {n_redrawn} "
                f"of {n_samples} draws; at most {MAX_REDRAWN:.0%} can be redrawn"
            )
        given = None if covariates is None else covariates[~finite]
        z_new, x_new = draw_once(model, params, n_bad, rng, given)
        # Every draw keeps its place, beside its covariates.
        places = np.argsort(~finite, kind="stable").argsort()
        z = take(concatenate([take(z, finite), z_new]), places)
        x = np.concatenate([x[finite], x_new])[places]


def draw_once(model, params, n_samples, rng, covariates=None):
    """One call of the sampler, its shapes checked."""
    source = name_of(model, "sample")
    given = () if covariates is None else (covariates,)
    drawn = call(model, "sample", params, n_samples, rng, *given)
    if not isinstance(drawn, (tuple, list)) or len(drawn) != 2:
        raise ValueError(f"{source} must return a pair (z, x), got {type(drawn)}")
    z, x = check_latents(drawn[0], n_samples, source), np.asarray(drawn[1])
    if x.ndim != 2 or len(x) != n_samples or x.dtype.kind not in "fiub":
        raise ValueError(
            f"{source} must return x as real numbers of shape ({n_samples}, "
            f"n_features), got shape {x.shape} and dtype {x.dtype}"
        )
    if given:
        columns = np.asarray(model.covariate_columns)
        inside = columns.max() < x.shape[1]
        if not (inside and np.array_equal(x[:, columns], covariates)):
            raise ValueError(
                f"{source} must put the covariates back, unchanged, into columns "
                f"{columns} of x, which had shape {x.shape}"
            )
    return z, x.astype(np.float64)
