"""What the benchmarks compare with and by, where the likelihood is known."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.decomposition import PCA

from amortsk import AmortisedGradientRegressor, check_model
from amortsk.models import DecoderModel, FactorAnalysisModel


@pytest.fixture
def benchmarks(monkeypatch):
    """The benchmark of decoders, found like a script's own folder."""
    folder = Path(__file__).resolve().parents[1] / "examples" / "benchmarks"
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    import digits_decoder

    return digits_decoder


def test_bounds_of_a_linear_decoder(benchmarks):
    """Its posterior is normal and its mean linear: the bounds are nearly tight."""
    rng = np.random.default_rng(0)
    model = FactorAnalysisModel(1)
    params = model.init_params(rng.standard_normal((200, 4)), rng)
    loadings = params["loadings"] = rng.standard_normal((4, 1))
    X = model.sample(params, 200, rng)[1]
    vae = benchmarks.VAE(model, train_decoder=False, max_iter=600)
    vae.fit(X, params=params)
    exact = model.exact_log_likelihood(params, X).mean()
    lower = vae.bound(X, 200).mean()
    weighted = vae.bound(X, 200, importance=True).mean()
    assert exact - 0.1 < lower < weighted
    assert weighted == pytest.approx(exact, abs=0.005)

    noise = params["min_scale"] + np.exp(params["log_scale"])
    covariance = loadings @ loadings.T + np.diag(noise**2)
    gain = np.linalg.solve(covariance, loadings)
    mean = (X - params["mean"]) @ gain
    # Weights make up for draws that are off.
    vae.encoder_["encoder_biases_1"] = vae.encoder_["encoder_biases_1"] + [0.3, 0.0]
    first, second = vae.latent_moments(X, 200)
    np.testing.assert_allclose(first, mean.mean(0), atol=0.03)
    expected = mean.T @ mean / len(X) + 1 - loadings.T @ gain
    np.testing.assert_allclose(second, expected, atol=0.03)


def test_log_likelihood_of_principal_components(benchmarks):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 2)) @ rng.standard_normal((2, 5))
    X += 0.3 * rng.standard_normal(X.shape)
    model = DecoderModel(2, ())
    params, _ = benchmarks.principal_components(model, X, 0)
    value, size = benchmarks.log_likelihood(model, params, X[:20])
    exact = PCA(2).fit(X).score_samples(X[:20])
    np.testing.assert_allclose(value, exact, atol=0.03)
    assert size.min() > 1000


def test_em_step_maximises_over_the_latents_distribution(benchmarks):
    """Without noise, rows have the mean and covariance that the first layer takes."""
    rng = np.random.default_rng(0)
    params = {"weights_0": np.array([[1.0, 1.0], [0.0, 1.0]]), "biases_0": np.ones(2)}
    z = 2 + rng.standard_normal((50, 2)) @ rng.standard_normal((2, 2))
    rows = z @ params["weights_0"] + params["biases_0"]
    found = benchmarks.em_step(params, z.mean(0), z.T @ z / len(z))
    np.testing.assert_allclose(found["biases_0"], rows.mean(0))
    W = found["weights_0"]
    np.testing.assert_allclose(W.T @ W, np.cov(rows.T, bias=True))


def test_prior_and_power_enter_the_bound(benchmarks):
    """The prior's score is spread over all rows; a power multiplies log p(x | z)."""
    rng = np.random.default_rng(0)
    X = rng.integers(2, size=(50, 3)).astype(float)
    plain = DecoderModel(2, 4, "bernoulli")
    observation = benchmarks.PowerBernoulli(0.5)
    both = benchmarks.Shrunk(2, 4, observation, 3.0)
    power = DecoderModel(2, 4, observation)
    params = plain.init_params(X, np.random.default_rng(0))
    z = rng.standard_normal((50, 2))
    log_prior = plain.log_prior(params, z)
    np.testing.assert_allclose(
        power.log_joint(params, z, X) - log_prior,
        0.5 * (plain.log_joint(params, z, X) - log_prior),
    )

    weighted = (rng.random((50, 3)),), rng.random(50)
    np.testing.assert_allclose(
        power.weighted_log_likelihood(params, z, *weighted),
        0.5 * plain.weighted_log_likelihood(params, z, *weighted),
    )

    def gradient(model):
        vae = benchmarks.VAE(model, max_iter=1, learning_rate=0.0)
        return vae.fit(X, params=params).gradient(X[:20])

    without = gradient(power)
    for name, value in gradient(both).items():
        np.testing.assert_allclose(value - without[name], -3.0 * params[name] / 50)


def test_the_cost_benchmark_times_iterations_of_a_fit(benchmarks):
    import cost

    X = cost.make_data(0)
    run = cost.make_run(X, 0)
    assert cost.gradient_difference(run, X) < 1e-8
    cost.step(run, X)
    assert run.n_iter == 1


def test_likelihood_of_stochastic_volatility(benchmarks):
    """Of two steps, by the mean over states drawn from the prior."""
    import stochastic_volatility as sv

    rng, sampler = np.random.default_rng(0), sv.sampler_of(2)
    X, (h, _) = sampler(sv.TRUTH, 5, rng)[1], sampler(sv.TRUTH, 200_000, rng)
    log_p = norm.logpdf(X[:, np.newaxis], 0.0, np.exp((sv.TRUTH["mu"] + h) / 2))
    p = np.exp(log_p.sum(axis=2))
    error = np.mean(p.std(axis=1) / p.mean(axis=1)) / np.sqrt(len(h))
    expected = np.log(p.mean(axis=1)).mean()
    assert abs(sv.log_likelihood(sv.TRUTH, X) - expected) < 5 * error
    assert check_model(sv.fitter_of(X, 0, sv.START)).mean_score < 5
    assert 0 < sv.noise(X, sv.TRUTH) < np.inf
    # What the benchmark puts in the place of the package's choice has its arguments.
    options = AmortisedGradientRegressor(), X, X, 0, 1.0, True, True
    gamma, alpha, errors = sv.least_error(*options)
    assert errors.shape == (2,) and np.all(errors > 0)
    assert sv.error_unknown(*options)[0] >= gamma
    assert np.isnan(sv.error_unknown(*options)[2]).all()


def test_likelihood_of_random_slopes(benchmarks):
    import random_slopes as rs

    model, rng = rs.RandomSlopes(4), np.random.default_rng(0)
    X = model.sample(rs.TRUTH, 30, rng, rng.standard_normal((30, 4)))[1]
    expected = 0.0
    for row in X:
        design = np.column_stack([np.ones(4), row[4:]])
        scaled = design * np.exp(rs.TRUTH["log_tau"])
        covariance = scaled @ scaled.T + np.exp(2 * rs.TRUTH["log_s"]) * np.eye(4)
        normal = multivariate_normal(design @ rs.TRUTH["b"], covariance)
        expected += normal.logpdf(row[:4])
    assert rs.log_likelihood(rs.TRUTH, X) == pytest.approx(expected)
    assert rs.log_likelihood(rs.TRUTH, X) < rs.maximum(X)
    check_model(model, X, random_state=0)
    np.testing.assert_allclose(
        rs.with_lines(X)[:, 8:],
        [np.polyfit(row[4:], row[:4], 1) for row in X],
    )
