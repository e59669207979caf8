r"""Proposals: from regressed moments of the latents to draws and densities.

The regression predicts conditional moments :math:`E[T(z)|x]`. The proposal is the
member of a simple family with those moments, independent over kinds of latent: Gaussian
for real numbers, categorical for integers, von Mises-Fisher for unit vectors.
"""

import numpy as np
from scipy import linalg
from scipy.special import expit, gammaln, ive, logit, logsumexp

from amortsk.latents import as_columns, parts, rebuild

SUPPORTS = ("real", "positive", "interval", "categorical", "unit", "any")
INFLATION = 1.2
TAIL_DF = 5
# Share of heavy-tailed draws, or uniform ones, where the prior density is unknown.
TAIL_WEIGHT = 0.1
# Standard deviations beyond the sleep latents that a mean may lie: without them rows
# that the model explains well, by latents that are a little rare, would be mistreated.
MARGIN = 2.0
# Numbers that the covariance of all rows counts for against a row's own draws.
SHARED_WEIGHT = 20.0
MIN_PROBABILITY = 0.005
MAX_RESULTANT = 0.999
# Of neighbours, of which some suit posteriors of any width.
DISTANCES = 2.0 / 4 ** np.arange(4)
ANGLES = np.linspace(0, np.pi, 513)


def latent_supports(support, z):
    """The support of every part of z, inferred from draws where it is not given.

    Raises
    ------
    ValueError
        If `support` does not fit z.
    """
    arrays = parts(z)
    one = support is None or isinstance(support, str)
    if isinstance(support, tuple):
        one = support[:1] in (("categorical",), ("interval",))
    if isinstance(support, dict) and isinstance(z, dict) and set(support) == set(z):
        support = [support[name] for name in z]
    if not one and not isinstance(support, (list, tuple)):
        raise ValueError(
            "latent_support must be one support, or one for each part of the latents, "
            f"got {support!r}"
        )
    supports = [support] * len(arrays) if one else list(support)
    if len(supports) != len(arrays):
        raise ValueError(
            f"latent_support has {len(supports)} entries, but the latents have "
            f"{len(arrays)} parts"
        )
    return [
        _infer(part) if s is None else _check(s, part)
        for s, part in zip(supports, arrays, strict=True)
    ]


def _infer(part):
    columns = as_columns(part)
    if part.dtype.kind in "iu":
        return ("categorical", None)
    if columns.shape[1] > 1 and np.allclose(np.sum(columns**2, 1), 1, atol=1e-8):
        return "unit"
    if part.shape[-1] > 1 < part.ndim and np.allclose(np.sum(part, -1), 1, atol=1e-8):
        # Proportions have no density by the volume of their columns.
        return "any"
    if len(np.unique(part)) > 1 and np.all(part == np.round(part)):
        raise ValueError(
            f"latents that are whole numbers must be integers, got dtype {part.dtype}: "
            "let the sampler return z.astype(int), or declare latent_support='real'"
        )
    return "real"


def _check(support, part):
    name, *arguments = support if isinstance(support, tuple) else (support,)
    n_arguments = {"interval": 2, "categorical": 1}.get(name, 0)
    if name not in SUPPORTS or len(arguments) != n_arguments:
        raise ValueError(
            "latent_support must be 'real', 'positive', ('interval', a, b), "
            f"('categorical', n), 'unit' or 'any', got {support!r}"
        )
    columns, fits = as_columns(part), True
    if name == "categorical":
        fits = part.dtype.kind in "iu"
        if fits and arguments[0] is not None:
            fits = columns.min() >= 0 and columns.max() < arguments[0]
    elif name == "positive":
        fits = np.all(columns > 0)
    elif name == "interval":
        fits = np.all((columns >= arguments[0]) & (columns <= arguments[1]))
    elif name == "unit":
        norms = np.linalg.norm(columns, axis=1)
        fits = columns.shape[1] > 1 and np.allclose(norms, 1, atol=1e-6)
    if not fits:
        raise ValueError(
            f"latent_support {support!r} does not fit the sampler's latents, of dtype "
            f"{part.dtype} and shape {part.shape}, {part.min():g} to {part.max():g}"
        )
    return support


class Real:
    """All unconstrained, positive and bounded parts, jointly Gaussian.

    Positive and bounded numbers are proposed through log and logit. Their supports come
    as a dict, by index of the part.
    """

    def __init__(self, supports, columns, tail_weight):
        self.indices, self.supports = list(supports), list(supports.values())
        self.tail_weight = tail_weight
        columns = [columns[i] for i in self.indices]
        widths = [part.shape[1] for part in columns]
        self.edges = np.cumsum(widths)
        line = self.targets(columns)
        self.n_targets = line.shape[1]
        margin = MARGIN * line.std(0)
        low, high = self.range = line.min(0) - margin, line.max(0) + margin
        real = np.repeat([s == "real" for s in self.supports], widths)
        # Beyond, logarithms of positive numbers overflow when they are undone.
        self.far_range = np.where(real, -np.inf, low), np.where(real, np.inf, high)

    def targets(self, columns):
        pairs = zip(columns, self.supports, strict=True)
        return np.concatenate([_to_line(*pair) for pair in pairs], axis=-1)

    def neighbours(self, columns, scale, rng):
        line = self.targets(columns).astype(np.float64)
        rows = np.arange(len(line))
        j = rng.integers(self.n_targets, size=len(rows))
        eps = rng.choice(DISTANCES, len(rows)) * rng.standard_normal(len(rows))
        line[rows, j] += scale[j] * eps
        pairs = zip(np.split(line, self.edges[:-1], axis=1), self.supports, strict=True)
        moved = [_from_line(*pair) for pair in pairs]
        return moved, self.log_jacobian(columns) - self.log_jacobian(moved)

    def log_jacobian(self, columns):
        """log |d line / d value|, (...)."""
        pairs = zip(columns, self.supports, strict=True)
        return sum(_log_jacobian(*pair) for pair in pairs)

    def fit_residuals(self, scatter, n_samples, degrees_of_freedom):
        k = self.n_targets
        covariance = scatter / max(n_samples - degrees_of_freedom, 0.1 * n_samples)
        variance = np.maximum(np.diag(covariance), 1e-12)
        # Ledoit-Wolf in spirit: few draws for many latents, trust the diagonal more.
        shrinkage = min(1.0, k / max(n_samples, 1))
        covariance = (1 - shrinkage) * covariance + shrinkage * np.diag(variance)
        jitter = 1e-9 * np.diag(variance)
        self.root = linalg.cholesky(INFLATION * covariance + jitter, lower=True)
        self.log_det = np.sum(np.log(np.diag(self.root)))

    def noise(self, rng, shape):
        normal = rng.standard_normal((*shape, self.n_targets))
        if not self.tail_weight:
            return normal
        tail = rng.random((*shape, 1)) < self.tail_weight
        df = rng.chisquare(TAIL_DF, (*shape, 1))
        return normal * np.where(tail, np.sqrt(TAIL_DF / df), 1.0)

    def draw(self, moments, noise):
        line = moments[:, np.newaxis] + noise @ self.root.T
        pairs = zip(np.split(line, self.edges[:-1], axis=2), self.supports, strict=True)
        return [_from_line(*pair) for pair in pairs]

    def squares(self, moments, line):
        """Squared lengths of residuals, (m, K), in units of the root."""
        residual = line - moments[:, np.newaxis]
        whitened = linalg.solve_triangular(
            self.root, residual.reshape(-1, self.n_targets).T, lower=True
        )
        return np.sum(whitened**2, 0).reshape(residual.shape[:2])

    def spread(self, moments, line, weights):
        """Scale of every row's weighted latents over that of all, shrunk to one."""
        size = 1 / np.sum(weights**2, 1)
        squares = INFLATION * np.sum(weights * self.squares(moments, line), 1)
        # The moments are those of the draws themselves, and take one off their number.
        free = SHARED_WEIGHT + (size - 1) * self.n_targets
        return np.sqrt((SHARED_WEIGHT + size * squares) / free)

    def log_density(self, moments, columns, spread):
        spread = np.asarray(spread)[..., np.newaxis]
        squares = self.squares(moments, self.targets(columns)) / spread**2
        k = self.n_targets
        log_q = -0.5 * squares - 0.5 * k * np.log(2 * np.pi)
        if self.tail_weight:
            log_t = (
                gammaln((TAIL_DF + k) / 2)
                - gammaln(TAIL_DF / 2)
                - 0.5 * k * np.log(TAIL_DF * np.pi)
                - 0.5 * (TAIL_DF + k) * np.log1p(squares / TAIL_DF)
            )
            log_q = _mixture(log_q, self.tail_weight, log_t)
        log_det = self.log_det + k * np.log(spread)
        return log_q - log_det + self.log_jacobian(columns)


class Categorical:
    """One integer part: independent categoricals, one for each of its columns.

    Draws outside the support of a log-joint written for integers can be finite
    nonsense, so categories are those declared, or those seen in the sleep draws.
    """

    def __init__(self, index, support, z):
        self.indices, self.n_columns = [index], z.shape[1]
        self.low, n = 0, support[1]
        if n is None:
            self.low, n = int(z.min()), int(z.max()) - int(z.min()) + 1
        self.n_categories = int(n)
        self.n_targets = self.n_columns * self.n_categories

    def targets(self, columns):
        categories = self.low + np.arange(self.n_categories)
        return as_columns(columns[0][..., np.newaxis] == categories).astype(np.float64)

    def neighbours(self, columns, scale, rng):
        z, n = columns[0] - self.low, self.n_categories
        rows, j = np.arange(len(z)), rng.integers(self.n_columns, size=len(z))
        near, far = rng.choice([-1, 1], len(z)), rng.integers(1, max(n, 2), len(z))
        shift = np.where(rng.random(len(z)) < 0.5, near, far)
        z[rows, j] = (z[rows, j] + shift) % n
        return [self.low + z], 0.0

    def probabilities(self, moments):
        p = moments.reshape(len(moments), self.n_columns, self.n_categories)
        p = np.clip(p, min(MIN_PROBABILITY, 0.5 / self.n_categories), 1)
        return p / p.sum(2, keepdims=True)

    def noise(self, rng, shape):
        return rng.random((*shape, self.n_columns))

    def draw(self, moments, noise):
        cumulative = np.cumsum(self.probabilities(moments), 2)[:, np.newaxis, :, :-1]
        return [self.low + np.sum(noise[..., np.newaxis] > cumulative, -1)]

    def log_density(self, moments, columns):
        log_p = np.log(self.probabilities(moments))
        z = columns[0] - self.low
        inside = (z >= 0) & (z < self.n_categories)
        m, c = np.arange(len(z))[:, np.newaxis, np.newaxis], np.arange(self.n_columns)
        values = log_p[m, c, np.clip(z, 0, self.n_categories - 1)]
        return np.where(inside, values, -np.inf).sum(2)


class Unit:
    """One part whose rows have unit norm: von Mises-Fisher, by surface measure.

    In part uniform where the prior density is unknown, which bounds the weights.
    """

    def __init__(self, index, z, uniform_weight):
        self.indices, self.n_targets = [index], z.shape[1]
        self.uniform_weight = uniform_weight

    def targets(self, columns):
        return columns[0]

    def neighbours(self, columns, scale, rng):
        (z,) = columns
        z = z + rng.choice(DISTANCES, (len(z), 1)) * rng.standard_normal(z.shape)
        return [z / np.linalg.norm(z, axis=1, keepdims=True)], 0.0

    def _direction_and_concentration(self, moments):
        k = self.n_targets
        resultant = np.linalg.norm(moments, axis=1, keepdims=True)
        direction = np.where(resultant > 0, moments / np.maximum(resultant, 1e-300), 0)
        direction[resultant[:, 0] == 0, 0] = 1.0
        r = np.clip(resultant[:, 0], 0, MAX_RESULTANT)
        return direction, r * (k - r**2) / (1 - r**2) / INFLATION

    def noise(self, rng, shape):
        tangent = rng.standard_normal((*shape, self.n_targets))
        return np.concatenate([rng.random((*shape, 1)), tangent], axis=-1)

    def draw(self, moments, noise):
        direction, kappa = self._direction_and_concentration(moments)
        noise = np.broadcast_to(noise, (len(moments), *noise.shape[1:]))
        # The angle to the mean direction, by inversion of its distribution function.
        cdf = (1 - self.uniform_weight) * self._angle_distribution(kappa)
        cdf += self.uniform_weight * self._angle_distribution(np.zeros(1))
        pairs = zip(noise[..., 0], cdf, strict=True)
        angle = np.array([np.interp(u, c, ANGLES) for u, c in pairs])[..., np.newaxis]
        mean = direction[:, np.newaxis]
        tangent = noise[..., 1:]
        tangent = tangent - np.sum(tangent * mean, 2, keepdims=True) * mean
        tangent = tangent / np.linalg.norm(tangent, axis=2, keepdims=True)
        return [np.cos(angle) * mean + np.sin(angle) * tangent]

    def _angle_distribution(self, kappa):
        log_density = kappa[:, np.newaxis] * (np.cos(ANGLES) - 1)
        density = np.exp(log_density) * np.sin(ANGLES) ** (self.n_targets - 2)
        cdf = np.cumsum(0.5 * (density[:, 1:] + density[:, :-1]), 1)
        return np.hstack([np.zeros((len(cdf), 1)), cdf / cdf[:, -1:]])

    def log_density(self, moments, columns):
        direction, kappa = self._direction_and_concentration(moments)
        kappa = np.maximum(kappa, 1e-8)
        order = self.n_targets / 2 - 1
        uniform = gammaln(order + 1) - np.log(2) - (order + 1) * np.log(np.pi)
        log_norm = (
            order * np.log(kappa)
            - (order + 1) * np.log(2 * np.pi)
            - _log_ive(order, kappa)
        )
        cosine = np.einsum("mkd,md->mk", columns[0], direction)
        log_q = log_norm[:, np.newaxis] + kappa[:, np.newaxis] * (cosine - 1)
        return _mixture(log_q, self.uniform_weight, uniform)


class Proposal:
    """Moment-matched proposals for latents of any kinds.

    Parameters
    ----------
    supports : list
        As given by :func:`latent_supports`, none of them ``"any"``.
    z : latents
        Sleep draws: shapes, and the range of integers.
    with_prior : bool
        Whether draws will be mixed with the prior, which then bounds the weights.
    """

    def __init__(self, supports, z, with_prior):
        columns = [as_columns(part) for part in parts(z)]
        tail_weight = 0.0 if with_prior else TAIL_WEIGHT
        self.like, self.families = z, []
        real = {}
        for i, support in enumerate(supports):
            if support == "unit":
                self.families.append(Unit(i, columns[i], tail_weight))
            elif support[0] == "categorical":
                self.families.append(Categorical(i, support, columns[i]))
            else:
                real[i] = support
        if real:
            self.families.append(Real(real, columns, tail_weight))
        edges = np.cumsum([0, *(family.n_targets for family in self.families)])
        self.slices = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]

    def targets(self, z):
        """Statistics T(z) whose conditional means are regressed, (n, n_targets)."""
        columns = [as_columns(part) for part in parts(z)]
        return np.hstack(
            [f.targets([columns[i] for i in f.indices]) for f in self.families]
        )

    def fit_residuals(self, scatter, n_samples, degrees_of_freedom):
        """Residual covariance of real latents, from the residuals' scatter matrix."""
        for family, s in zip(self.families, self.slices, strict=True):
            if isinstance(family, Real):
                family.fit_residuals(scatter[s, s], n_samples, degrees_of_freedom)

    def bounded(self, moments, *, far=False):
        """Moments whose means of real latents are near those of sleep.

        A regression that extrapolates far beyond them can put all candidates of a row
        where its weights, and the batch's gradient, are absurd. With `far` those of
        positive and bounded numbers alone.
        """
        moments = moments.copy()
        for family, s in zip(self.families, self.slices, strict=True):
            if isinstance(family, Real):
                within = family.far_range if far else family.range
                moments[:, s] = np.clip(moments[:, s], *within)
        return moments

    def noise(self, rng, n_rows, n_draws):
        """Base noise of `n_draws` draws for each of `n_rows` queries, or for all: 1."""
        return [family.noise(rng, (n_rows, n_draws)) for family in self.families]

    def neighbours(self, z, scale, rng):
        """For every family, latents that differ in one coordinate of it in each row.

        They are as likely drawn from z as z from them, but for the factor whose
        logarithm comes with them.
        """
        columns = [as_columns(part) for part in parts(z)]
        for family, s in zip(self.families, self.slices, strict=True):
            own, arrays = [columns[i] for i in family.indices], parts(z)
            moved, log_ratio = family.neighbours(own, scale[s], rng)
            for i, part in zip(family.indices, moved, strict=True):
                arrays[i] = part.reshape(arrays[i].shape)
            yield rebuild(z, arrays), log_ratio

    def spread(self, moments, targets, weights):
        """Scale of every row's real latents, in units of that of the residuals, (m,).

        From weighted targets (m, K, n_targets) about their moments.
        """
        for family, s in zip(self.families, self.slices, strict=True):
            if isinstance(family, Real):
                return family.spread(moments[:, s], targets[..., s], weights)
        return np.ones(len(moments))

    def draw(self, moments, noise, spread=1.0):
        """Latents whose arrays have shape (n_queries, n_draws, ...)."""
        arrays = parts(self.like)
        for family, s, eps in zip(self.families, self.slices, noise, strict=True):
            if isinstance(family, Real):
                eps = np.asarray(spread)[..., np.newaxis, np.newaxis] * eps
            drawn = family.draw(moments[:, s], eps)
            for i, z in zip(family.indices, drawn, strict=True):
                arrays[i] = z.reshape(*z.shape[:2], *arrays[i].shape[1:])
        return rebuild(self.like, arrays)

    def log_density(self, moments, z, spread=1.0):
        """log q(z | x) of latents with arrays (n_queries, n_draws, ...)."""
        columns, log_q = [as_columns(part, 2) for part in parts(z)], 0.0
        for family, s in zip(self.families, self.slices, strict=True):
            own = moments[:, s], [columns[i] for i in family.indices]
            scale = (spread,) if isinstance(family, Real) else ()
            log_q = log_q + family.log_density(*own, *scale)
        return log_q


def normalise(log_weights):
    """Self-normalised weights of every row, log of their mean, effective sample size.

    Raises
    ------
    FloatingPointError
        If a row has no candidate of positive weight, or a weight is NaN or infinite.
    """
    total = logsumexp(log_weights, axis=1)
    if not np.isfinite(total).all():
        raise FloatingPointError("importance weights are not finite")
    weights = np.exp(log_weights - total[:, np.newaxis])
    return weights, total - np.log(log_weights.shape[1]), 1 / np.sum(weights**2, 1)


def _mixture(log_q, share, log_p):
    """Log of the density (1 - share) q + share p."""
    if not share:
        return log_q
    return np.logaddexp(np.log1p(-share) + log_q, np.log(share) + log_p)


def _log_ive(order, x):
    """Log of the scaled Bessel function, by its limit of high orders at underflow.

    Abramowitz and Stegun, *Handbook of mathematical functions*, 9.7.7.
    """
    value = ive(order, x)
    n = max(order, 1.0)
    root = np.hypot(1, x / n)
    limit = n * (root + np.log(x / n / (1 + root))) - x
    limit = limit - 0.5 * np.log(2 * np.pi * n * root)
    return np.where(value > 1e-300, np.log(np.maximum(value, 1e-300)), limit)


def _to_line(values, support):
    if support == "positive":
        return np.log(np.maximum(values, 1e-300))
    if support != "real":
        _, a, b = support
        return logit(np.clip((values - a) / (b - a), 1e-12, 1 - 1e-12))
    return values


def _from_line(line, support):
    if support == "positive":
        return np.exp(np.clip(line, -690, 690))
    if support != "real":
        _, a, b = support
        return a + (b - a) * np.clip(expit(line), 1e-12, 1 - 1e-12)
    return line


def _log_jacobian(values, support):
    """log |d line / d value|, summed over the columns of a part."""
    if support == "positive":
        return -np.sum(np.log(np.maximum(values, 1e-300)), -1)
    if support != "real":
        _, a, b = support
        s = np.clip((values - a) / (b - a), 1e-12, 1 - 1e-12)
        return -np.sum(np.log(b - a) + np.log(s) + np.log1p(-s), -1)
    return 0.0
