"""Displays show the fit they were made from, where they were told to."""

import sys

import numpy as np
import pytest

from amortsk import WakeSleepFitter
from amortsk.models import FactorAnalysisModel
from amortsk.plotting import ConvergenceDisplay, GradientDisplay


@pytest.fixture
def pyplot():
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    yield plt
    plt.close("all")


@pytest.fixture(scope="module")
def fitter():
    X = np.random.default_rng(0).standard_normal((60, 3))
    model = FactorAnalysisModel(1)
    return WakeSleepFitter(model=model, max_iter=30, n_sleep=200, random_state=0).fit(X)


@pytest.mark.parametrize("quantity", ["objective", "gradient_norm"])
def test_history_is_plotted_iteration_by_iteration(pyplot, fitter, quantity):
    display = ConvergenceDisplay.from_estimator(fitter, quantity=quantity)
    iteration, values = display.points_.get_data()
    np.testing.assert_array_equal(iteration, np.arange(1, 31))
    np.testing.assert_array_equal(values, fitter.history_[quantity])
    np.testing.assert_array_equal(display.line_.get_xdata(), iteration)
    assert display.ax_.get_xlabel() == "iteration"
    assert display.ax_.get_ylabel() == quantity.replace("_", " ")
    assert display.figure_ is display.ax_.figure


def test_line_is_the_mean_of_finite_neighbours(pyplot):
    values = np.arange(60.0)
    values[10:20] = np.nan
    display = ConvergenceDisplay(values=values, quantity="objective").plot()
    line = display.line_.get_ydata()
    np.testing.assert_allclose(line[1:9], values[1:9])
    assert line[0] == 0.5 and line[59] == 58.5
    # Beside the gap what is known counts, within it nothing is.
    np.testing.assert_allclose(line[[9, 10, 19, 20]], [8.5, 9, 20, 20.5])
    assert np.isnan(line[11:19]).all()


def test_a_short_history_is_its_own_mean(pyplot):
    display = ConvergenceDisplay(values=np.arange(9.0), quantity="objective").plot()
    np.testing.assert_array_equal(display.line_.get_ydata(), np.arange(9.0))


def test_gradients_of_rows_are_plotted_by_parameter(pyplot, fitter):
    X = fitter.sample(4, random_state=0)
    estimated = fitter.score_gradient(X)
    exact = {name: value + 1.0 for name, value in estimated.items()}
    given = {**exact, "min_scale": np.zeros((4, 3))}
    display = GradientDisplay.from_estimator(fitter, X, given)
    assert set(display.lines_) == set(estimated)
    for name, line in display.lines_.items():
        np.testing.assert_array_equal(line.get_xdata(), exact[name].ravel())
        np.testing.assert_array_equal(line.get_ydata(), estimated[name].ravel())
    assert display.diagonal_.get_xy1() == (0, 0) and display.diagonal_.get_slope() == 1
    assert display.ax_.get_xlabel() == "exact gradient"
    assert display.ax_.get_ylabel() == "estimated gradient"
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == list(exact)


def test_axes_and_style_are_those_given(pyplot, fitter):
    _, ax = pyplot.subplots()
    style = {"color": "red", "ls": ":", "marker": "x"}
    options, gradient = {"ax": ax, "line_kwargs": style}, {"a": np.arange(3.0)}
    history = ConvergenceDisplay.from_estimator(fitter, **options)
    gradients = GradientDisplay.from_predictions(gradient, gradient, **options)
    assert history.ax_ is gradients.ax_ is ax
    for line in (history.line_, gradients.lines_["a"]):
        assert line.get_color() == "red"
        assert line.get_linestyle() == ":"
        assert line.get_marker() == "x"
    assert len(pyplot.get_fignums()) == 1


def test_unknown_quantity(fitter):
    with pytest.raises(ValueError, match="one of .*'objective'.*got 'loss'"):
        ConvergenceDisplay.from_estimator(fitter, quantity="loss")


def test_unequal_gradients():
    with pytest.raises(ValueError, match=r"equal shapes, got .*\(2,\).*\(3,\)"):
        GradientDisplay.from_predictions({"a": np.zeros(2)}, {"a": np.zeros(3)})


def test_matplotlib_is_needed_to_plot_alone(monkeypatch, fitter):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"amortsk\[plot\]"):
        ConvergenceDisplay.from_estimator(fitter)
