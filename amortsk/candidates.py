"""Candidates for the latents of rows of data, with the density they are drawn from."""

import numpy as np
from scipy.special import softmax

from amortsk.latents import concatenate, parts, take
from amortsk.model import provides
from amortsk.pairs import flatten, log_prior, log_weights

# Share of candidates drawn from the prior where its density is known.
PRIOR_WEIGHT = 0.1
# Draws that have to count in a small pilot, and how often it is tried.
PILOT_SIZE, MAX_PILOTS = 5, 10


class Candidates:
    r"""Draws by regressed moments, by moments corrected with a pilot, and of the prior.

    The pilot, of half as many draws, is weighted by
    :math:`(p_\theta(z,x)/q(z|x))^\beta`, with the largest :math:`\beta \le 1` at which
    its effective sample size is the root of its size, and at least five; its moments
    correct those of rows where the regression is wrong, and its spread the covariance
    that all rows share. Rows with :math:`\beta < 1` have another, around the moments
    corrected, up to ten in all. None of them is among the candidates: given the
    moments, their weights are those of plain importance sampling, by the density of the
    whole mixture (the balance heuristic). Fewer than twenty candidates have no pilot.

    Parameters
    ----------
    model : LatentVariableModel
    proposal : Proposal
        Fitted.
    params : dict of ndarray
        Parameters of the sleep set.
    z : latents
        The sleep set, draws from the prior.

    References
    ----------
    Cappé, Guillin, Marin and Robert, *Population Monte Carlo*, Journal of Computational
    and Graphical Statistics 13, 2004, doi:10.1198/106186004X12803.
    Veach and Guibas, *Optimally combining sampling techniques for Monte Carlo
    rendering*, SIGGRAPH 1995, doi:10.1145/218380.218498.
    """

    def __init__(self, model, proposal, params, z):
        self.model, self.proposal = model, proposal
        self.params, self.z = params, z

    def draw(self, params, x, moments, n_candidates, rngs):
        """Latents (m, K, ...) for m rows of x, and their log-density (m, K).

        One generator serves all rows, or each has its own.
        """
        bounded = self.proposal.bounded(moments)
        corrected = self.proposal.bounded(moments, far=True)
        if n_candidates < 4 * PILOT_SIZE:
            return self._mixture([(bounded, 1.0)], n_candidates, rngs)
        rows, spread = np.arange(len(x)), np.ones(len(x))
        for _ in range(MAX_PILOTS):
            own = [(bounded[rows], 1.0), (corrected[rows], spread[rows])]
            some = rngs if len(rngs) == 1 else [rngs[row] for row in rows]
            pilot, log_q = self._mixture(own, n_candidates // 2, some)
            log_w = log_weights(self.model, params, pilot, x[rows], log_q)
            weights, poor = tempered(log_w)
            T = self.proposal.targets(flatten(pilot)).reshape(*log_w.shape, -1)
            corrected[rows] = np.einsum("mk,mkt->mt", weights, T)
            spread[rows] = self.proposal.spread(corrected[rows], T, weights)
            rows = rows[poor]
            if not len(rows):
                break
        both = [(bounded, 1.0), (corrected, spread)]
        return self._mixture(both, n_candidates, rngs)

    def _mixture(self, components, n_draws, rngs):
        """Draws by pairs of moments and spread, in equal parts, and of the prior."""
        n_rows = len(components[0][0]) // len(rngs)
        has_prior = provides(self.model, "log_prior")
        n_prior = int(np.ceil(PRIOR_WEIGHT * n_draws)) if has_prior else 0
        ends = np.linspace(0, n_draws - n_prior, len(components) + 1).astype(int)
        own = [(*c, k) for c, k in zip(components, np.diff(ends), strict=True) if k]
        draws = [
            self.proposal.draw(moments, self._noise(rngs, n_rows, k), spread)
            for moments, spread, k in own
        ]
        if n_prior:
            n = len(parts(self.z)[0])
            index = [rng.integers(n, size=(n_rows, n_prior)) for rng in rngs]
            draws.append(take(self.z, np.concatenate(index)))
        z = concatenate(draws, axis=1)
        log_q = [
            np.log(k / n_draws) + self.proposal.log_density(moments, z, spread)
            for moments, spread, k in own
        ]
        if n_prior:
            log_p = log_prior(self.model, self.params, flatten(z))
            log_q.append(np.log(n_prior / n_draws) + log_p.reshape(log_q[0].shape))
        return z, np.logaddexp.reduce(log_q)

    def _noise(self, rngs, n_rows, n_draws):
        noise = [self.proposal.noise(rng, n_rows, n_draws) for rng in rngs]
        return [np.concatenate(rows) for rows in zip(*noise, strict=True)]


def tempered(log_weights):
    """Weights of every row to the largest power at which enough of them count.

    And whether that power is less than one, or nothing is possible.
    """
    size = max(PILOT_SIZE, np.sqrt(log_weights.shape[1]))
    nothing_possible = np.isneginf(log_weights).all(1)
    log_w = np.where(nothing_possible[:, np.newaxis], 0.0, log_weights)

    def weights(exponent):
        return softmax(2.0**exponent * log_w, axis=1)

    def enough(exponent):
        return 1 / np.sum(weights(exponent) ** 2, 1, keepdims=True) >= size

    low, high = np.full((len(log_w), 1), -60.0), np.zeros((len(log_w), 1))
    low = np.where(enough(high), high, low)
    for _ in range(12):
        middle = (low + high) / 2
        up = enough(middle)
        low, high = np.where(up, middle, low), np.where(up, high, middle)
    return weights(low), nothing_possible | (low[:, 0] < 0)
