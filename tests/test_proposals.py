"""Proposals: normalised densities, draws that follow them, moments, supports."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from amortsk.latents import map_parts, parts
from amortsk.proposals import (
    INFLATION,
    MARGIN,
    MIN_PROBABILITY,
    TAIL_DF,
    TAIL_WEIGHT,
    Proposal,
    latent_supports,
    normalise,
)

INTERVAL = ("interval", -1.0, 3.0)
each_tail = pytest.mark.parametrize(
    "with_prior", [True, False], ids=["normal", "tails"]
)


def sleep_latents(support, rng, n=50, k=1):
    """Latents that a sampler might return, whose values matter little."""
    if support == "unit":
        z = rng.standard_normal((n, k))
        return z / np.linalg.norm(z, axis=1, keepdims=True)
    if isinstance(support, tuple) and support[0] == "categorical":
        return rng.integers(support[1], size=(n, k))
    z = rng.random((n, k))
    return 3 * z if support == "positive" else 4 * z - 1


def proposal_and_draws(supports, k=1, *, n_draws=1000, with_prior=True, seed=0):
    """A proposal, moments of one query, and draws from it, arrays (1, n_draws, k)."""
    rng = np.random.default_rng(seed)
    z = tuple(sleep_latents(support, rng, k=k) for support in supports)
    proposal = Proposal(list(supports), z, with_prior)
    T = proposal.targets(z)
    moments = T[:1] * 0.3 + 0.2
    proposal.fit_residuals(len(T) * scatter(T.shape[1]), len(T), 0)
    noise = proposal.noise(rng, 1, n_draws)
    return proposal, moments, proposal.draw(moments, noise)


def scatter(k):
    """A covariance with correlations."""
    return 0.3 * np.eye(k) + 0.1


def covariance(k, n=50):
    """The same as a proposal shrinks and inflates it."""
    shrinkage = k / n
    off = 0.1 * (1 - shrinkage)
    return INFLATION * (off + (0.4 - off) * np.eye(k))


def density(proposal, moments, points):
    """Density of a proposal with one part at points (n, k)."""
    return np.exp(proposal.log_density(moments, (points[np.newaxis],))[0])


@each_tail
@pytest.mark.parametrize(
    ("support", "range_"),
    [("real", (-np.inf, np.inf)), ("positive", (0, np.inf)), (INTERVAL, (-1, 3))],
    ids=["real", "positive", "interval"],
)
def test_density_on_a_line_integrates_to_one(support, range_, with_prior):
    proposal, moments, _ = proposal_and_draws([support], with_prior=with_prior)
    total, error = integrate.quad(
        lambda v: density(proposal, moments, np.array([[v]]))[0], *range_, limit=200
    )
    assert error < 1e-6
    assert abs(total - 1) < 1e-6


@each_tail
@pytest.mark.parametrize("resultant", [0.0, 1e-6, 0.3, 0.9, 0.9999])
def test_density_on_the_circle_integrates_to_one(resultant, with_prior):
    proposal, _, _ = proposal_and_draws(["unit"], k=2, with_prior=with_prior)
    angles = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    points = np.column_stack([np.cos(angles), np.sin(angles)])
    moments = resultant * np.array([[0.6, -0.8]])
    mean = np.mean(density(proposal, moments, points))
    np.testing.assert_allclose(mean * 2 * np.pi, 1, rtol=1e-10)


@each_tail
@pytest.mark.parametrize("resultant", [0.0, 1e-6, 0.3, 0.9, 0.9999])
def test_density_on_the_sphere_integrates_to_one(resultant, with_prior):
    proposal, _, _ = proposal_and_draws(["unit"], k=3, with_prior=with_prior)
    # By surface measure height is uniform; the mean direction is the axis.
    height, weights = np.polynomial.legendre.leggauss(400)
    points = np.column_stack([np.sqrt(1 - height**2), 0 * height, height])
    moments = resultant * np.array([[0.0, 0.0, 1.0]])
    total = 2 * np.pi * weights @ density(proposal, moments, points)
    np.testing.assert_allclose(total, 1, rtol=1e-8)


@pytest.mark.parametrize("n", [1, 2, 5, 300])
def test_probabilities_of_categories_sum_to_one(n):
    proposal, moments, _ = proposal_and_draws([("categorical", n)])
    every = np.arange(n)[:, np.newaxis]
    np.testing.assert_allclose(density(proposal, moments, every).sum(), 1)
    beyond = np.array([[-1], [n]])
    np.testing.assert_array_equal(density(proposal, moments, beyond), 0)


@pytest.mark.parametrize("k", [1, 3])
def test_normal_density_is_that_of_scipy(k):
    proposal, moments, (z,) = proposal_and_draws(["real"], k)
    expected = stats.multivariate_normal(moments[0], covariance(k)).logpdf(z[0])
    np.testing.assert_allclose(proposal.log_density(moments, (z,))[0], expected)


@pytest.mark.parametrize("k", [1, 3])
def test_density_with_tails_is_that_of_scipy(k):
    proposal, moments, (z,) = proposal_and_draws(["real"], k, with_prior=False)
    normal = stats.multivariate_normal(moments[0], covariance(k)).pdf(z[0])
    tail = stats.multivariate_t(moments[0], covariance(k), df=TAIL_DF).pdf(z[0])
    expected = np.log((1 - TAIL_WEIGHT) * normal + TAIL_WEIGHT * tail)
    np.testing.assert_allclose(proposal.log_density(moments, (z,))[0], expected)


def test_share_of_tails_is_that_of_the_density():
    """By the squares of 20 000 draws, their mean that of the mixture."""
    proposal, moments, _ = proposal_and_draws(["real"], with_prior=False)
    noise = proposal.families[0].noise(np.random.default_rng(0), (1, 20_000))
    expected = 1 + TAIL_WEIGHT * (TAIL_DF / (TAIL_DF - 2) - 1)
    assert np.mean(noise**2) == pytest.approx(expected, abs=5 * np.std(noise**2) / 141)
    assert np.mean(np.abs(noise) > 6) > 0


def test_density_on_half_lines_and_intervals_is_that_of_scipy():
    proposal, moments, (z,) = proposal_and_draws(["positive"])
    scale = covariance(1)[0, 0] ** 0.5
    expected = stats.lognorm(scale, scale=np.exp(moments[0])).logpdf(z[0])[:, 0]
    np.testing.assert_allclose(proposal.log_density(moments, (z,))[0], expected)
    proposal, moments, (z,) = proposal_and_draws([INTERVAL])
    share = (z[0, :, 0] + 1) / 4
    expected = stats.norm(moments[0], scale).logpdf(special.logit(share))
    expected = expected - np.log(4 * share * (1 - share))
    np.testing.assert_allclose(proposal.log_density(moments, (z,))[0], expected)


def concentration(resultant, k):
    """Of a von Mises-Fisher proposal: Banerjee's approximation, deflated."""
    return resultant * (k - resultant**2) / (1 - resultant**2) / INFLATION


def test_density_on_the_circle_is_that_of_scipy():
    proposal, _, (z,) = proposal_and_draws(["unit"], k=2)
    moments = 0.7 * np.array([[np.cos(2.0), np.sin(2.0)]])
    angles = np.arctan2(z[0, :, 1], z[0, :, 0])
    expected = stats.vonmises(concentration(0.7, 2), loc=2.0).logpdf(angles)
    np.testing.assert_allclose(proposal.log_density(moments, (z,))[0], expected)


LAWS = {
    "normal": ("real", True, None),
    "tails": ("real", False, None),
    "positive": ("positive", True, np.log),
    "interval": (INTERVAL, True, lambda v: special.logit((v + 1) / 4)),
}


def line_p_value(name, seed=0):
    """Of draws on a line, against the exact distribution function."""
    support, with_prior, to_line = LAWS[name]
    _, moments, (z,) = proposal_and_draws(
        [support], n_draws=20_000, with_prior=with_prior, seed=seed
    )
    scale, line = covariance(1)[0, 0] ** 0.5, z[0, :, 0]
    u = ((to_line(line) if to_line else line) - moments[0]) / scale
    share = 0 if with_prior else TAIL_WEIGHT

    def cdf(v):
        return (1 - share) * stats.norm.cdf(v) + share * stats.t(TAIL_DF).cdf(v)

    return stats.kstest(u, cdf).pvalue


@pytest.mark.parametrize("name", LAWS)
def test_draws_on_a_line_follow_the_density(name):
    assert line_p_value(name) > 1e-4


def sphere_p_value(k, resultant, with_prior, seed=0):
    """Of the cosine to the mean direction, by quadrature of the density."""
    proposal, _, _ = proposal_and_draws(["unit"], k, with_prior=with_prior)
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(k)
    direction /= np.linalg.norm(direction)
    moments = resultant * direction[np.newaxis]
    (z,) = proposal.draw(moments, proposal.noise(rng, 1, 20_000))
    np.testing.assert_allclose(np.linalg.norm(z, axis=2), 1)
    angle = np.linspace(0, np.pi, 20_001)
    log_law = concentration(resultant, k) * (np.cos(angle) - 1)
    laws = [np.exp(log_law), np.ones_like(angle)] * np.sin(angle) ** (k - 2)
    cdfs = integrate.cumulative_trapezoid(laws, angle, initial=0)
    share = 0 if with_prior else TAIL_WEIGHT
    cdf = np.array([1 - share, share]) @ (cdfs / cdfs[:, -1:])
    drawn = np.arccos(np.clip(z[0] @ direction, -1, 1))
    return stats.kstest(drawn, lambda v: np.interp(v, angle, cdf)).pvalue


@each_tail
@pytest.mark.parametrize("k", [2, 3, 6])
@pytest.mark.parametrize("resultant", [0.0, 0.3, 0.98])
def test_draws_on_a_sphere_follow_the_density(k, resultant, with_prior):
    assert sphere_p_value(k, resultant, with_prior) > 1e-4


@pytest.mark.parametrize(
    "k, resultant",
    # The second is where the Bessel function is a denormal number.
    [(20, 0.1), (100, 2.82e-7), (1000, 0.005), (1000, 0.1), (1000, 0.4)],
)
def test_density_on_a_sphere_of_many_dimensions(k, resultant):
    """The Bessel function by its series."""
    proposal = Proposal(["unit"], np.eye(k)[:2], True)
    moments, across = resultant * np.eye(k)[:1], np.eye(k)[np.newaxis, 1:2]
    kappa, order, j = concentration(resultant, k), k / 2 - 1, np.arange(3000)
    terms = (2 * j + order) * np.log(kappa / 2)
    terms -= special.gammaln(j + 1) + special.gammaln(j + order + 1)
    log_norm = order * np.log(kappa) - (order + 1) * np.log(2 * np.pi)
    exact = log_norm - special.logsumexp(terms)
    log_q = proposal.log_density(moments, (across,))
    np.testing.assert_allclose(log_q, [[exact]], rtol=0, atol=2e-3)


def test_without_a_prior_weights_on_the_circle_are_bounded():
    proposal, _, _ = proposal_and_draws(["unit"], k=2, with_prior=False)
    behind = proposal.log_density(np.array([[0.9999, 0]]), (np.array([[[-1.0, 0]]]),))
    np.testing.assert_allclose(np.exp(behind), TAIL_WEIGHT / (2 * np.pi), rtol=1e-6)


@pytest.mark.parametrize("support", ["real", "positive", INTERVAL])
def test_means_are_brought_back_to_near_the_sleep_latents(support):
    proposal, moments, _ = proposal_and_draws([support], 2)
    line = proposal.targets((sleep_latents(support, np.random.default_rng(0), k=2),))
    edge = line.max(0, keepdims=True) + MARGIN * line.std(0)
    np.testing.assert_array_equal(proposal.bounded(moments + 1000), edge)
    np.testing.assert_array_equal(proposal.bounded(line), line)


@pytest.mark.parametrize("support", [("categorical", 3), "unit"])
def test_moments_of_integers_and_directions_have_no_bounds(support):
    proposal, moments, _ = proposal_and_draws([support], k=2)
    np.testing.assert_array_equal(proposal.bounded(moments + 1000), moments + 1000)


def mean_deviation(k, seed=0):
    """Largest error of the mean of draws on a sphere, in standard errors."""
    proposal, _, _ = proposal_and_draws(["unit"], k)
    rng = np.random.default_rng(seed)
    moments = rng.standard_normal((1, k))
    moments *= 0.5 / np.linalg.norm(moments)
    (z,) = proposal.draw(moments, proposal.noise(rng, 1, 20_000))
    kappa = concentration(0.5, k)
    length = special.iv(k / 2, kappa) / special.iv(k / 2 - 1, kappa)
    error = z[0].std(0) / np.sqrt(20_000)
    return np.max(np.abs(z[0].mean(0) - 2 * length * moments[0]) / error)


@pytest.mark.parametrize("k", [2, 3, 6])
def test_draws_on_a_sphere_have_the_mean_of_von_mises_and_fisher(k):
    assert mean_deviation(k) < 5


def frequency_deviation(seed=0):
    """Largest error of the frequency of a category, in standard errors."""
    rng = np.random.default_rng(seed)
    proposal = Proposal([("categorical", 3)], rng.integers(3, size=(50, 2)), True)
    moments = np.array([[0.2, 0.5, 0.3, -0.1, 1.2, 0.0]])
    z = proposal.draw(moments, proposal.noise(rng, 1, 20_000))
    # Clipped to [floor, 1], then normalised.
    second = np.array([MIN_PROBABILITY, 1, MIN_PROBABILITY])
    p = np.array([[0.2, 0.5, 0.3], second / second.sum()])
    frequency = np.mean(z[0, :, :, np.newaxis] == np.arange(3), axis=0)
    return np.max(np.abs(frequency - p) / np.sqrt(p * (1 - p) / 20_000))


def test_categories_are_drawn_with_the_regressed_probabilities():
    assert frequency_deviation() < 5


def moment_deviation(seed=0):
    """Largest error of mean and covariance of normal draws, in standard errors."""
    n = 20_000
    _, moments, (z,) = proposal_and_draws(["real"], 3, n_draws=n, seed=seed)
    residual = z[0] - moments[0]
    products = np.einsum("ni,nj->nij", residual, residual)
    errors = [
        residual.mean(0) / residual.std(0),
        (products.mean(0) - covariance(3)) / products.std(0),
    ]
    return np.sqrt(n) * max(np.abs(error).max() for error in errors)


def test_normal_draws_have_the_regressed_moments():
    assert moment_deviation() < 5


def test_residual_covariance_counts_degrees_of_freedom():
    z = np.zeros((100, 1))
    proposal = Proposal(["real"], z, True)
    for df, divisor in ((0, 100), (40, 60), (99, 10)):
        proposal.fit_residuals(np.array([[5.0]]), 100, df)
        scale = np.sqrt(INFLATION * 5 / divisor)
        noise = [np.ones((1, 1, 1))]
        np.testing.assert_allclose(proposal.draw(np.zeros((1, 1)), noise), scale)


def test_constant_latents_have_a_proposal():
    proposal = Proposal(["real"], np.ones((100, 2)), True)
    proposal.fit_residuals(np.zeros((2, 2)), 100, 1)
    moments = np.ones((1, 2))
    z = proposal.draw(moments, proposal.noise(np.random.default_rng(0), 1, 10))
    np.testing.assert_allclose(z, 1, atol=1e-5)
    assert np.isfinite(proposal.log_density(moments, z)).all()


def mixed_latents(n=60):
    rng = np.random.default_rng(0)
    return {
        "rate": sleep_latents("positive", rng, n),
        "angle": sleep_latents("unit", rng, n, k=2),
        "state": rng.integers(-1, 3, size=(n, 4)),
        "path": rng.standard_normal((n, 2, 3)),
        "label": rng.integers(5, size=n),
        "height": rng.standard_normal(n),
    }


SUPPORT = {
    "rate": "positive",
    "angle": "unit",
    "state": ("categorical", None),
    "path": "real",
    "label": ("categorical", 6),
    "height": "real",
}


@pytest.mark.parametrize("kind", [dict, tuple])
@each_tail
def test_latents_of_many_parts(kind, with_prior):
    z, support = mixed_latents(), SUPPORT
    if kind is tuple:
        z, support = tuple(z.values()), list(support.values())
    supports = latent_supports(support, z)
    proposal = Proposal(supports, z, with_prior)
    T, rng = proposal.targets(z), np.random.default_rng(1)
    # Angle; four columns of four states; six labels; rate, path and height.
    assert T.shape == (60, 2 + 16 + 6 + 8)
    residuals = T - T.mean(0)
    proposal.fit_residuals(residuals.T @ residuals, 60, 1)
    drawn = proposal.draw(T[:7], proposal.noise(rng, 1, 9))
    assert type(drawn) is kind
    for part, sleep in zip(parts(drawn), parts(z), strict=True):
        assert part.shape == (7, 9, *sleep.shape[1:])
        assert part.dtype == sleep.dtype
    if kind is dict:
        assert list(drawn) == list(z)
    density = proposal.log_density(T[:7], drawn)
    assert density.shape == (7, 9)
    # A query and a candidate do not depend on their neighbours.
    one = map_parts(lambda part: part[3:4, 4:5], drawn)
    np.testing.assert_allclose(proposal.log_density(T[3:4], one), density[3:4, 4:5])


def test_draws_without_noise_are_where_the_moments_say():
    z = {name: mixed_latents()[name] for name in ("rate", "path", "height")}
    proposal = Proposal([SUPPORT[name] for name in z], z, True)
    proposal.fit_residuals(np.eye(8), 60, 0)
    drawn = proposal.draw(proposal.targets(z), [np.zeros((60, 1, 8))])
    for name in z:
        np.testing.assert_allclose(drawn[name][:, 0], z[name])


@pytest.mark.parametrize(
    ("support", "low", "high"),
    [("positive", 0, np.inf), (INTERVAL, -1, 3)],
    ids=["positive", "interval"],
)
def test_draws_far_out_are_inside_the_support(support, low, high):
    proposal, _, _ = proposal_and_draws([support])
    (z,) = proposal.draw(np.array([[-1e4], [1e4]]), [np.zeros((2, 1, 1))])
    assert np.all((low < z) & (z < high))


def test_indicators_of_categories_begin_at_the_lowest():
    z = np.array([[1], [-1], [0], [2]])
    targets = Proposal([("categorical", None)], z, True).targets(z)
    np.testing.assert_array_equal(targets, z == [-1, 0, 1, 2])


def test_density_of_many_parts_is_the_sum_over_independent_families():
    z = mixed_latents()
    names = ["angle", "state", "height"]
    singles = [
        Proposal(latent_supports(SUPPORT[name], z[name]), z[name], True)
        for name in names
    ]
    joint_z = {name: z[name] for name in names}
    joint = Proposal(latent_supports(None, joint_z), joint_z, True)
    total, candidates = 0.0, map_parts(lambda part: part[np.newaxis], joint_z)
    for proposal in (*singles, joint):
        proposal.fit_residuals(np.eye(proposal.slices[-1].stop), 60, 0)
        proposal.noise(np.random.default_rng(0), 1, 60)
    for name, proposal in zip(names, singles, strict=True):
        moments = 0.5 * proposal.targets(z[name])[:1]
        total = total + proposal.log_density(moments, candidates[name])
    moments = 0.5 * joint.targets(joint_z)[:1]
    np.testing.assert_allclose(joint.log_density(moments, candidates), total)


def test_supports_are_inferred_where_that_is_safe():
    z = mixed_latents()
    expected = ["real", "unit", ("categorical", None), "real", ("categorical", None)]
    assert latent_supports(None, z) == [*expected, "real"]
    given = [None, None, None, "any", None, None]
    assert latent_supports(given, z)[3] == "any"
    # A column of ones and minus ones is no direction.
    assert latent_supports(None, np.ones((5, 1))) == ["real"]
    proportions = np.random.default_rng(0).dirichlet(np.ones(3), 5)
    assert latent_supports(None, proportions) == ["any"]
    assert latent_supports(None, 2 * proportions) == ["real"]


def test_whole_numbers_are_integers():
    z = np.random.default_rng(0).integers(3, size=(50, 2))
    for dtype in ("float64", "float32"):
        with pytest.raises(ValueError, match=f"must be integers, got dtype {dtype}"):
            latent_supports(None, z.astype(dtype))
    assert latent_supports("real", z.astype(float)) == ["real"]
    # All draws alike may be those of a scale that starts at zero.
    assert latent_supports(None, np.zeros((50, 2))) == ["real"]


def test_one_support_serves_all_parts():
    z = (np.ones((5, 1)), np.ones(5))
    assert latent_supports("positive", z) == ["positive"] * 2
    assert latent_supports(INTERVAL, z) == [INTERVAL] * 2


def test_supports_of_a_dict_go_by_name():
    z = {"b": np.ones(5), "a": np.ones(5)}
    assert latent_supports({"a": "real", "b": "positive"}, z) == ["positive", "real"]


@pytest.mark.parametrize(
    "support",
    [
        "complex",
        "categorical",
        ("interval", 0.0),
        ("categorical", 2),
        ["real", "real"],
        {"b": "real"},
        7,
    ],
    ids=str,
)
def test_a_bad_support_is_named(support):
    with pytest.raises(ValueError, match="latent_support"):
        latent_supports(support, {"a": np.zeros((5, 2))})


@pytest.mark.parametrize(
    ("support", "z"),
    [
        ("positive", [0.0, 1.0, 2.0]),
        (("categorical", 3), [0, 3]),
        (("categorical", 3), [-1, 2]),
    ],
    ids=str,
)
def test_a_support_that_latents_leave_is_an_error(support, z):
    with pytest.raises(ValueError, match="does not fit"):
        latent_supports(support, np.array(z))


def test_weights_are_normalised():
    log_weights = np.log([[1.0, 3.0], [2.0, 2.0]])
    log_weights[0] += 1e4
    weights, log_mean, size = normalise(np.hstack([log_weights, [[-np.inf]] * 2]))
    np.testing.assert_allclose(weights, [[0.25, 0.75, 0], [0.5, 0.5, 0]])
    np.testing.assert_allclose(log_mean, [1e4 + np.log(4 / 3), np.log(4 / 3)])
    np.testing.assert_allclose(size, [1.6, 2])


@pytest.mark.parametrize("row", [[-np.inf, -np.inf], [np.nan, 0.0], [np.inf, 0.0]])
def test_weights_that_are_not_finite_are_an_error(row):
    with pytest.raises(FloatingPointError, match="importance weights"):
        normalise(np.array([[0.0, 0.0], row]))
