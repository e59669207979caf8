"""Displays: how a fit went, and its gradients against exact ones."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from amortsk.model import shapes_of

__all__ = ["ConvergenceDisplay", "GradientDisplay"]

# Share of all iterations that the line is a running mean of.
SMOOTHING = 0.05


class ConvergenceDisplay:
    """A quantity of a fit's history at every iteration, and its running mean.

    Usually made by :meth:`from_estimator`.

    Parameters
    ----------
    values : ndarray of shape (n_iter,)
        One number an iteration, NaN where a step was skipped.
    quantity : str
        What they are.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes drawn on.
    figure_ : matplotlib Figure
        Its figure.
    points_ : matplotlib Line2D
        The values.
    line_ : matplotlib Line2D
        Their mean over a twentieth of all iterations.

    See Also
    --------
    GradientDisplay : Whether the gradients of a fit are right.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk import WakeSleepFitter
    >>> from amortsk.models import FactorAnalysisModel
    >>> from amortsk.plotting import ConvergenceDisplay
    >>> X = np.random.default_rng(0).standard_normal((100, 3))
    >>> model = FactorAnalysisModel(1)
    >>> fitter = WakeSleepFitter(model=model, max_iter=100, random_state=0).fit(X)
    >>> display = ConvergenceDisplay.from_estimator(fitter)
    >>> len(display.line_.get_ydata())
    100
    """

    def __init__(self, *, values, quantity):
        self.values, self.quantity = values, quantity

    @classmethod
    def from_estimator(
        cls, estimator, *, quantity="objective", ax=None, line_kwargs=None
    ):
        """Plot the history of a fit.

        Parameters
        ----------
        estimator : WakeSleepFitter
            Fitted.
        quantity : str, default="objective"
            A key of its `history_`.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        line_kwargs : dict, default=None
            Style of the running mean, as in ``matplotlib.pyplot.plot``.

        Returns
        -------
        display : ConvergenceDisplay
            With the plot.
        """
        check_is_fitted(estimator)
        history = estimator.history_
        if quantity not in history:
            raise ValueError(
                f"quantity must be a key of history_, one of {sorted(history)}, got "
                f"{quantity!r}"
            )
        display = cls(values=history[quantity], quantity=quantity)
        return display.plot(ax=ax, line_kwargs=line_kwargs)

    def plot(self, *, ax=None, line_kwargs=None):
        """Plot the values.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        line_kwargs : dict, default=None
            Style of the running mean.

        Returns
        -------
        self : ConvergenceDisplay
            With the plot.
        """
        self.ax_ = _axes(ax)
        self.figure_ = self.ax_.figure
        iteration = np.arange(1, len(self.values) + 1)
        (self.points_,) = self.ax_.plot(iteration, self.values, ".", color="0.8", ms=2)
        mean = _running_mean(self.values, max(1, round(SMOOTHING * len(iteration))))
        (self.line_,) = self.ax_.plot(iteration, mean)
        self.line_.set(**(line_kwargs or {}))
        self.ax_.set(xlabel="iteration", ylabel=self.quantity.replace("_", " "))
        return self


class GradientDisplay:
    """Estimated against exact gradients, entry by entry, a colour for each parameter.

    Usually made by :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    exact, estimated : dict of array-like
        Gradients by the name of the parameter, in equal shapes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes drawn on.
    figure_ : matplotlib Figure
        Its figure.
    lines_ : dict of matplotlib Line2D
        The points of each parameter.
    diagonal_ : matplotlib AxLine
        Where they should be.

    See Also
    --------
    ConvergenceDisplay : How a fit went.
    amortsk.WakeSleepFitter : Its `score_gradient` gives the estimates.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.plotting import GradientDisplay
    >>> exact = {"mean": np.array([0.1, 0.4]), "scale": np.array([1.0, -1.0])}
    >>> estimated = {"mean": np.array([0.2, 0.3]), "scale": np.array([1.1, -0.8])}
    >>> display = GradientDisplay.from_predictions(exact, estimated)
    >>> len(display.lines_)
    2
    """

    def __init__(self, *, exact, estimated):
        self.exact, self.estimated = exact, estimated

    @classmethod
    def from_estimator(cls, estimator, X, exact, *, ax=None, line_kwargs=None):
        """Plot the gradients that a fitter gives of rows against exact ones.

        Parameters
        ----------
        estimator : WakeSleepFitter
            Fitted.
        X : array-like of shape (n_samples, n_features)
            Rows.
        exact : dict of array-like of shape (n_samples, ...)
            Gradients of log p(x) at its `params_`; those of fixed ones are left out.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        line_kwargs : dict, default=None
            Style of the points, as in ``matplotlib.pyplot.plot``.

        Returns
        -------
        display : GradientDisplay
            With the plot.
        """
        estimated = estimator.score_gradient(X)
        fixed = estimator.model_.fixed_params
        exact = {name: g for name, g in exact.items() if name not in fixed}
        return cls.from_predictions(exact, estimated, ax=ax, line_kwargs=line_kwargs)

    @classmethod
    def from_predictions(cls, exact, estimated, *, ax=None, line_kwargs=None):
        """Plot estimated against exact gradients.

        Parameters
        ----------
        exact, estimated : dict of array-like
            Gradients by the name of the parameter, in equal shapes.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        line_kwargs : dict, default=None
            Style of the points.

        Returns
        -------
        display : GradientDisplay
            With the plot.
        """
        shapes = shapes_of(exact), shapes_of(estimated)
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"exact and estimated must be dicts of arrays of equal shapes, got "
                f"{shapes[0]} and {shapes[1]}"
            )
        display = cls(exact=exact, estimated=estimated)
        return display.plot(ax=ax, line_kwargs=line_kwargs)

    def plot(self, *, ax=None, line_kwargs=None):
        """Plot the gradients.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        line_kwargs : dict, default=None
            Style of the points.

        Returns
        -------
        self : GradientDisplay
            With the plot.
        """
        self.ax_ = _axes(ax)
        self.figure_ = self.ax_.figure
        self.diagonal_ = self.ax_.axline((0, 0), slope=1, color="0.7", zorder=1)
        self.lines_ = {}
        for name, exact in self.exact.items():
            points = np.ravel(exact), np.ravel(self.estimated[name])
            (self.lines_[name],) = self.ax_.plot(*points, ".", label=name)
            self.lines_[name].set(**(line_kwargs or {}))
        self.ax_.set(xlabel="exact gradient", ylabel="estimated gradient")
        self.ax_.legend()
        return self


def _axes(ax):
    """The axes given, or those of a new figure."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "displays need matplotlib, which comes with the extra amortsk[plot]"
        ) from error
    return plt.figure().subplots() if ax is None else ax


def _running_mean(values, width):
    """Mean of the finite values within half a width of each; NaN where none is."""
    finite, kernel = np.isfinite(values), np.ones(width)
    total = np.convolve(np.where(finite, values, 0.0), kernel, "same")
    count = np.convolve(finite, kernel, "same")
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
