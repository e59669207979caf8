"""SoftplusGaussianModel: density, quadrature, start."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from scipy import integrate, stats
from toys import Curved

from amortsk import check_model
from amortsk.models import SoftplusGaussianModel


def make_params(b, scale):
    return {
        "coefficients": np.asarray(b, dtype=float),
        "log_scale": np.log([scale]),
        "min_scale": np.zeros(1),
    }


def test_log_joint_is_that_of_scipy():
    model, params = SoftplusGaussianModel(3), make_params([0.5, 1.0, -2.0], 0.4)
    z, x = model.sample(params, 10, np.random.default_rng(0))
    mean = np.log1p(np.exp(z @ params["coefficients"])) - 5.25
    expected = stats.norm.logpdf(z).sum(axis=1) + stats.norm.logpdf(x[:, 0], mean, 0.4)
    np.testing.assert_allclose(model.log_joint(params, z, x), expected)


@pytest.mark.parametrize("scale", [0.02, 0.3, 4.0])
@pytest.mark.parametrize("length", [0.01, 1.0, 3.0])
def test_exact_log_likelihood_is_the_integral(length, scale):
    params = make_params([0.6 * length, -0.8 * length], scale)
    x = SoftplusGaussianModel().sample(params, 3, np.random.default_rng(0))[1]

    def density(v, x):
        mean = np.logaddexp(0, length * v) - length**2
        return stats.norm.pdf(v) * stats.norm.pdf(x, mean, scale)

    grid = np.linspace(-9, 9, 60)
    expected = [
        np.log(integrate.quad(density, -12, 12, args=(row,), points=grid, limit=500)[0])
        for row in x[:, 0]
    ]
    exact = SoftplusGaussianModel().exact_log_likelihood(params, x)
    np.testing.assert_allclose(exact, expected, atol=1e-6)


def test_exact_gradient_is_that_of_the_toy():
    params, X = make_params([0.5, 1.0], Curved.scale), np.array([[-1.0], [0.2], [2.0]])

    def total(model, name):
        return lambda b: anp.sum(
            model.exact_log_likelihood({**params, name: b}, X) * np.array([1, -2, 3.0])
        )

    b = params["coefficients"]
    ours = grad(total(SoftplusGaussianModel(), "coefficients"))(b)
    np.testing.assert_allclose(ours, grad(total(Curved(), "b"))(b), rtol=1e-6)


def test_no_coefficients_are_stationary():
    def total(b):
        params = {**make_params([0.0, 0.0], 0.5), "coefficients": b}
        model = SoftplusGaussianModel()
        return anp.sum(model.exact_log_likelihood(params, np.ones((2, 1))))

    np.testing.assert_array_equal(grad(total)(np.zeros(2)), 0)


def test_model_passes_its_check():
    X = np.random.default_rng(0).normal(size=(50, 1))
    check_model(SoftplusGaussianModel(), X, random_state=0)


def test_two_columns_are_refused():
    with pytest.raises(ValueError, match="one column, got 2"):
        SoftplusGaussianModel().init_params(np.eye(2), np.random.default_rng(0))
