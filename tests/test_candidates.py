"""Candidates of latents: their density, and what the pilot corrects."""

import numpy as np
import pytest
from scipy import stats
from toys import Shift, log_normal

from amortsk.candidates import PILOT_SIZE, Candidates, tempered
from amortsk.pairs import flatten, log_weights
from amortsk.proposals import INFLATION, SHARED_WEIGHT, Proposal, normalise


class Two(Shift):
    """z ~ N(0, 1) and an integer of three, x | z, k ~ N(z + k, 1)."""

    def sample(self, params, n_samples, rng):
        z, k = rng.standard_normal(n_samples), rng.integers(3, size=n_samples)
        return (z, k), (z + k + rng.standard_normal(n_samples))[:, None]

    def log_prior(self, params, z):
        return log_normal(z[0], 0.0, 1.0) - np.log(3) + 0 * z[1]

    def log_joint(self, params, z, x):
        return self.log_prior(params, z) + log_normal(x[:, 0], z[0] + z[1], 1.0)


class NoPrior(Two):
    log_prior = None

    def log_joint(self, params, z, x):
        return Two.log_prior(self, params, z) + log_normal(x[:, 0], z[0] + z[1], 1.0)


PARAMS = {"mu": np.zeros(())}
X = np.array([[-1.0], [0.5], [2.0], [3.0]])
# Of the real latent off, and of the integer like the prior's.
MOMENTS = np.tile([1 / 3, 1 / 3, 1 / 3, -1.5], (4, 1))


def candidates(model):
    # Prior draws are from these: few would be another prior.
    z = model.sample(PARAMS, 50_000, np.random.default_rng(0))[0]
    with_prior = model.log_prior is not None
    proposal = Proposal(["real", ("categorical", 3)], z, with_prior)
    scatter = np.diag([300 / 3] * 3 + [300 * 0.5])
    assert [s.stop - s.start for s in proposal.slices] == [3, 1]
    proposal.fit_residuals(scatter, 300, 0.0)
    return Candidates(model, proposal, PARAMS, z)


@pytest.mark.parametrize("model", [Two(), NoPrior()])
@pytest.mark.parametrize("n_rngs", [1, 4 * 4000])
def test_the_mean_weight_is_unbiased(model, n_rngs):
    """For the density of x, here in 4000 repeats, whatever moments the pilot finds."""
    rngs = [np.random.default_rng(seed) for seed in range(n_rngs)]
    x, moments = np.repeat(X, 4000, axis=0), np.repeat(MOMENTS, 4000, axis=0)
    z, log_q = candidates(model).draw(PARAMS, x, moments, 20, rngs)
    log_w = log_weights(model, PARAMS, z, x, log_q)
    means = np.exp(log_w).mean(1).reshape(4, 4000)
    exact = stats.norm.pdf(X - np.arange(3), scale=np.sqrt(2)).mean(1)
    errors = means.std(1) / np.sqrt(4000)
    assert np.all(errors < 0.2 * exact)
    np.testing.assert_array_less(np.abs(means.mean(1) - exact), 4 * errors)


@pytest.mark.parametrize("model", [Two(), NoPrior()])
def test_the_pilot_corrects_moments_that_are_wrong(model):
    """Over 20 seeds 28 to 42 of a hundred draws count, without the pilot 5 to 10."""
    made, rngs = candidates(model), [np.random.default_rng(0)]
    x, moments = np.repeat(X[2:], 40, axis=0), np.repeat(MOMENTS[2:], 40, axis=0)

    def size(z, log_q):
        return normalise(log_weights(made.model, PARAMS, z, x, log_q))[2].mean()

    corrected = size(*made.draw(PARAMS, x, moments, 100, rngs))
    plain = size(*made._mixture([(moments, 1.0)], 100, rngs))
    assert corrected > 3 * plain


def test_the_density_is_that_of_all_draws():
    # A tenth of eleven draws is two of them; the others are four and five.
    made, other = candidates(Two()), MOMENTS + [0.2, -0.1, -0.1, 2.0]
    spread = np.array([0.5, 1.0, 1.5, 2.0])
    components = [(MOMENTS, 1.0), (other, spread)]
    z, log_q = made._mixture(components, 11, [np.random.default_rng(0)])
    first = np.exp(made.proposal.log_density(MOMENTS, z))
    second = np.exp(made.proposal.log_density(other, z, spread))
    prior = np.exp(made.model.log_prior(PARAMS, flatten(z))).reshape(4, 11)
    expected = np.log(4 / 11 * first + 5 / 11 * second + 2 / 11 * prior)
    np.testing.assert_allclose(log_q, expected)


@pytest.mark.parametrize("support", ["real", "positive", ("interval", 0.0, 1.0)])
def test_only_real_latents_are_tried_far_out(support):
    """A logarithm of 1000 is the largest number after another."""
    z = np.random.default_rng(0).beta(2, 2, 500)
    proposal = Proposal([support], z, True)
    far = np.full((1, 1), 1e3)
    edge, tried = proposal.bounded(far), proposal.bounded(far, far=True)
    assert edge < 20
    assert tried == (1e3 if support == "real" else edge)


def test_each_latent_has_the_bounds_of_its_own_support():
    z = np.random.default_rng(0).beta(2, 2, (500, 1))
    proposal = Proposal(["real", "positive"], (z, z), True)
    far = np.full((1, 2), 1e3)
    edge = proposal.bounded(far)[0, 1]
    np.testing.assert_array_equal(proposal.bounded(far, far=True), [[1e3, edge]])


@pytest.mark.parametrize("n", [4 * PILOT_SIZE - 1, 4 * PILOT_SIZE])
def test_moments_far_out_are_tried_in_a_pilot_alone(n):
    made, tried = candidates(Two()), []
    mixture = made._mixture

    def watched(components, *arguments):
        tried.append([moments.copy() for moments, _ in components])
        return mixture(components, *arguments)

    made._mixture = watched
    far = MOMENTS + [0, 0, 0, 1e3]
    made.draw(PARAMS, X, far, n, [np.random.default_rng(0)])
    bounded = made.proposal.bounded(far)
    first = [bounded] if n < 4 * PILOT_SIZE else [bounded, far]
    np.testing.assert_array_equal(tried[0], first)
    np.testing.assert_array_equal(tried[-1][0], bounded)


def test_a_row_draws_by_its_own_generator():
    made = candidates(Two())

    def draw(rows):
        rngs = [np.random.default_rng(row) for row in rows]
        return made.draw(PARAMS, X[rows], MOMENTS[rows], 30, rngs)

    (z, k), log_q = draw([0, 1, 2, 3])
    (z_alone, k_alone), log_q_alone = draw([2])
    np.testing.assert_allclose(z_alone[0], z[2])
    np.testing.assert_array_equal(k_alone[0], k[2])
    np.testing.assert_allclose(log_q_alone[0], log_q[2])


@pytest.mark.parametrize("n_candidates", [2, 3])
def test_few_candidates(n_candidates):
    for model in (Two(), NoPrior()):
        rngs = [np.random.default_rng(0)]
        z, log_q = candidates(model).draw(PARAMS, X, MOMENTS, n_candidates, rngs)
        assert z[0].shape == z[1].shape == log_q.shape == (4, n_candidates)
        assert np.isfinite(log_q).all()


@pytest.mark.parametrize("n, enough", [(20, 5), (400, 20)])
def test_weights_are_tempered_until_enough_count(n, enough):
    """The root of their number, at least five."""
    log_w = np.random.default_rng(0).standard_normal((3, n))
    log_w = log_w * [[0.1], [30.0], [30.0]]
    log_w[2, : n // 2] = -np.inf
    weights, poor = tempered(log_w)
    np.testing.assert_array_equal(poor, [False, True, True])
    np.testing.assert_allclose(weights[0], normalise(log_w[:1])[0][0])
    sizes = 1 / np.sum(weights**2, axis=1)
    np.testing.assert_allclose(sizes[1:], enough, rtol=0.05)
    np.testing.assert_array_equal(np.argsort(weights[1]), np.argsort(log_w[1]))
    assert np.all(weights[2, : n // 2] == 0)
    # However far apart they are.
    for spread in (1e4, 1e9):
        normal = np.random.default_rng(0).standard_normal((9, n))
        weights, _ = tempered(spread * normal)
        np.testing.assert_allclose(1 / np.sum(weights**2, axis=1), enough, rtol=0.1)


def test_infinite_weights_are_an_error():
    class Infinite(Two):
        def log_joint(self, params, z, x):
            return 1 / np.zeros(len(x))

    z, log_q = (np.zeros((1, 3)), np.zeros((1, 3), dtype=int)), np.zeros((1, 3))
    with pytest.raises(FloatingPointError, match="Infinite.log_joint is plus infinity"):
        log_weights(Infinite(), PARAMS, z, X[:1], log_q)


@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0])
def test_spread_is_that_of_a_row_shrunk_to_that_of_all(scale):
    """As by twenty numbers; of 20 draws, about their own mean, 19 are free."""
    proposal = candidates(Two()).proposal
    real = proposal.families[1]
    # Of the given scale, in units of the residuals.
    line = scale * np.tile([-1.0, 1.0], 10) * real.root[0, 0] / np.sqrt(INFLATION)
    T = np.concatenate([np.zeros((1, 20, 3)), line[np.newaxis, :, np.newaxis]], axis=2)
    found = proposal.spread(np.zeros((1, 4)), T, np.full((1, 20), 1 / 20))
    assert SHARED_WEIGHT == 20
    np.testing.assert_allclose(found, np.sqrt((20 + 20 * scale**2) / (20 + 19)))
    # One possible draw says nothing.
    alone = proposal.spread(T[:, 0], T, np.eye(1, 20))
    np.testing.assert_allclose(alone, 1)


class Sure(Shift):
    """Eight standard normal latents, each observed with noise of a fifth."""

    log_prior = None

    def log_joint(self, params, z, x):
        pairs = log_normal(z, 0.0, 1.0) + log_normal(x, z, 0.2)
        return np.sum(pairs, axis=1)


def test_rows_that_are_surer_than_others_have_narrow_candidates():
    """Over 20 seeds 7 to 10 draws count, by a shared covariance 2 to 3."""
    z, x = np.random.default_rng(0).standard_normal((2, 50, 8))
    proposal = Proposal(["real"], z, False)
    # As if most rows left half of the variance unexplained.
    proposal.fit_residuals(0.5 * 300 * np.eye(8), 300, 0.0)
    made, rngs = Candidates(Sure(), proposal, PARAMS, z), [np.random.default_rng(0)]
    moments = x / (1 + 0.2**2)

    def size(z, log_q):
        return np.median(normalise(log_weights(made.model, PARAMS, z, x, log_q))[2])

    own = size(*made.draw(PARAMS, x, moments, 1000, rngs))
    shared = size(*made._mixture([(moments, 1.0)], 1000, rngs))
    assert own > 2 * shared


def test_few_candidates_have_no_pilot():
    made = candidates(Two())
    few, many = 4 * PILOT_SIZE - 1, 4 * PILOT_SIZE
    for n, same in (few, True), (many, False):
        found = made.draw(PARAMS, X, MOMENTS, n, [np.random.default_rng(0)])
        plain = made._mixture([(MOMENTS, 1.0)], n, [np.random.default_rng(0)])
        assert np.array_equal(found[1], plain[1]) == same


def test_a_pilot_without_a_possible_draw_keeps_all_of_them():
    weights, poor = tempered(np.full((2, 10), -np.inf))
    np.testing.assert_allclose(weights, 0.1)
    assert poor.all()


class Counting(NoPrior):
    """Remembers of how many pairs it was asked."""

    def __init__(self):
        self.asked = []

    def log_joint(self, params, z, x):
        self.asked.append(len(x))
        return super().log_joint(params, z, x)


class Remembering(Two):
    """Remembers at which parameters it was asked."""

    def __init__(self):
        self.asked = set()

    def log_prior(self, params, z):
        self.asked.add(("log_prior", float(params["mu"])))
        return super().log_prior(params, z)

    def log_joint(self, params, z, x):
        self.asked.add(("log_joint", float(params["mu"])))
        return Two.log_joint(Two(), params, z, x)


def test_pilots_are_weighted_at_the_parameters_of_now():
    """Prior draws have the density of those that the sleep set was drawn at."""
    made = candidates(Remembering())
    made.draw({"mu": 1.0}, X, MOMENTS, 20, [np.random.default_rng(0)])
    assert made.model.asked == {("log_prior", 0.0), ("log_joint", 1.0)}


def test_rows_whose_pilot_is_poor_have_more_of_them():
    """At most ten, and the others one."""
    made = candidates(Counting())
    x, moments = np.array([[1.0], [1e4]]), MOMENTS[:2]
    made.draw(PARAMS, x, moments, 40, [np.random.default_rng(0)])
    assert made.model.asked == [2 * 20, *[1 * 20] * 9]


@pytest.mark.parametrize("model", [Two(), NoPrior()])
@pytest.mark.parametrize("start", ["far", "near"])
def test_latents_far_beyond_those_of_sleep_are_found(model, start):
    """By a regression that extrapolates rightly, else by pilot after pilot.

    Over 20 seeds the log-density is off by less than 0.1, and 38 to 50 draws count.
    """
    made = candidates(model)
    x = np.full((200, 1), 20.0)
    # Given k the mean is (x - k) / 2.
    mean = 9.5 if start == "far" else 5.0
    moments = np.tile([1 / 3, 1 / 3, 1 / 3, mean], (200, 1))
    z, log_q = made.draw(PARAMS, x, moments, 100, [np.random.default_rng(0)])
    _, bound, sizes = normalise(log_weights(model, PARAMS, z, x, log_q))
    exact = stats.norm.logpdf(20 - np.arange(3), scale=np.sqrt(2))
    assert abs(bound.mean() - np.logaddexp.reduce(exact) + np.log(3)) < 0.2
    assert np.median(sizes) > 20
