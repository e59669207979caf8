"""scikit-learn's own checks of estimators, none of them expected to fail."""

from collections import Counter

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from amortsk import (
    AmortisedGradientRegressor,
    RandomFourierFeatures,
    WakeSleepFitter,
)
from amortsk.models import FactorAnalysisModel

ESTIMATORS = [
    AmortisedGradientRegressor(),
    RandomFourierFeatures(),
    WakeSleepFitter(
        model=FactorAnalysisModel(1),
        max_iter=12,
        n_sleep=60,
        n_proposals=10,
        random_state=0,
        regressor=AmortisedGradientRegressor(
            n_components=20, gamma="median", alpha=1.0
        ),
    ),
]
MARK = parametrize_with_checks(ESTIMATORS).mark
# A list: scikit-learn 1.6 gives a generator, which pytest 9 warns of.
NAMES, CHECKS = MARK.args[0], list(MARK.args[1])


@pytest.mark.parametrize(NAMES, CHECKS, **MARK.kwargs)
def test_check(estimator, check, monkeypatch):
    # Without it the check of array API input, since scikit-learn 1.9, skips itself.
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    check(estimator)


@pytest.mark.parametrize(
    ("name", "floor"),
    [
        ("AmortisedGradientRegressor", 53),
        ("RandomFourierFeatures", 47),
        ("WakeSleepFitter", 47),
    ],
)
def test_no_check_is_lost(name, floor):
    counts = Counter(type(estimator).__name__ for estimator, _ in CHECKS)
    assert counts[name] >= floor
