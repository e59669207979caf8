"""The variational baseline of the benchmarks, where the likelihood is known."""

import sys
from pathlib import Path

import numpy as np
import pytest

from amortsk.models import FactorAnalysisModel


@pytest.fixture
def VAE(monkeypatch):
    folder = Path(__file__).resolve().parents[1] / "examples" / "benchmarks"
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    from vae import VAE

    return VAE


def test_bounds_of_a_linear_decoder(VAE):
    """Its posterior is normal and its mean linear: the bounds are nearly tight."""
    rng = np.random.default_rng(0)
    model = FactorAnalysisModel(1)
    params = model.init_params(rng.standard_normal((200, 4)), rng)
    params["loadings"] = rng.standard_normal((4, 1))
    X = model.sample(params, 200, rng)[1]
    vae = VAE(model, train_decoder=False, max_iter=600).fit(X, params=params)
    exact = model.exact_log_likelihood(params, X).mean()
    lower = vae.bound(X, 200).mean()
    weighted = vae.bound(X, 200, importance=True).mean()
    assert exact - 0.1 < lower < weighted
    assert weighted == pytest.approx(exact, abs=0.005)
