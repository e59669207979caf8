"""Kernel ridge regression whose predictions are weights: the amortising regressor."""

import numpy as np
from scipy import linalg
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.kernel_ridge import KernelRidge
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from amortsk.autodiff import pullback
from amortsk.design import Design, check_parameters, choose
from amortsk.features import FLOATS


class AmortisedGradientRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""Kernel ridge regression over random features, as a matrix of weights.

    Predictions are linear in the targets, :math:`\hat y_* = A y` with
    :math:`A = k(X_*, X)(K + \alpha I)^{-1}`. When the targets depend on parameters,
    :math:`y_\theta`, the gradient of a mean prediction is therefore one reverse-mode
    derivative of a weighted sum, :math:`\nabla_\theta \sum_n a_n y_{\theta, n}`, and no
    derivative of a solver: see :meth:`gradient`. With
    :math:`y_{\theta,n} = \log p_\theta(z_n, x_n)` on draws of a model it estimates
    :math:`\nabla_\theta \log p_\theta(x_*)`, which is what :class:`WakeSleepFitter`
    does in every iteration.

    Parameters
    ----------
    features : {"fourier", "nystroem"}, None or transformer, default="fourier"
        Feature map: random Fourier features, scikit-learn's Nystroem, the exact kernel
        (None), or any scikit-learn transformer, cloned and fitted on X. One with
        ``warm_start=True`` is fitted on X and the targets, of shape (n_samples,
        n_targets); a :class:`WakeSleepFitter`, which then needs
        ``gradient="importance"``, clones it once a fit and goes on fitting it to the
        latents of one sleep set after another.
    n_components : int, default=300
        Number of features. Set neither this nor `kernel`, `gamma` or `groups` beside a
        transformer, which has its own.
    kernel : {"rbf", "laplacian", "matern32", "matern52"}, default="rbf"
        As in :class:`RandomFourierFeatures`; Nystroem takes the first two.
    gamma : float, "loo", "median" or "scale", default="loo"
        Bandwidth. ``"loo"`` minimises the leave-one-out error over multiples of
        ``"median"``, one over twice the median squared distance of rows; ``"scale"`` is
        ``1 / (n_features * X.var())``.
    alpha : float or "loo", default="loo"
        Ridge, not multiplied by the number of rows. ``"loo"`` minimises the
        leave-one-out error over 1e-6, 1e-5, ..., 1e3, which costs no more than one fit.
    trend : {None, "constant", "linear", "quadratic"}, default="constant"
        Unpenalised polynomial beside the kernel. None neither centres nor shifts.
    groups : None, "columns", "nested" or list of integer arrays, default=None
        Columns of each part of an additive kernel. ``"nested"`` is for the regression
        of a :class:`WakeSleepFitter` alone: columns within 0, 1, 2, 4, ... steps of a
        local term's own, and all; as None where terms have no steps of their own.
    random_state : int, RandomState instance or None, default=None
        Draws frequencies or landmarks.

    Attributes
    ----------
    kernel_ridge_ : sklearn.kernel_ridge.KernelRidge
        Fitted to the targets less their trend: on at most n_components rows that have
        the same solution as all rows of features, or on the precomputed kernel in exact
        mode.
    features_ : transformer or None
        The fitted feature map of raw X; None in exact mode.
    gamma_ : float or None
        Bandwidth used; None with a transformer.
    alpha_ : float
        Ridge used.
    loo_error_ : float
        Mean over targets of squared leave-one-out error over target variance; NaN when
        nothing was chosen by leave-one-out or all targets are constant.
    n_features_in_ : int
        Number of columns seen by `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Defined only when the columns of X have names that are all strings.

    See Also
    --------
    WakeSleepFitter : Fits a generative model with this regressor.
    sklearn.kernel_ridge.KernelRidge : The regression it wraps.

    Notes
    -----
    With features F of shape (n, D) and trend P, one Cholesky factorisation of the
    (q + D) x (q + D) normal matrix serves all targets: O(n D^2), never an n x n matrix.
    ``KernelRidge(kernel="linear")`` on F would solve an n x n dual; with F = QR, fitted
    to R and Q'y it has the same solution.

    One (gamma, alpha) serves all targets: the mean over targets of squared
    leave-one-out error over target variance is minimised. (Of nearly equal errors
    :class:`WakeSleepFitter` takes the narrowest kernel for local terms.)

    References
    ----------
    Wenliang, Moskovitz, Kanagawa and Sahani, *Amortised learning by wake-sleep*, ICML
    2020 (arXiv 2002.09737), sections 2 and 3.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk import AmortisedGradientRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((400, 2))
    >>> y = np.sin(X[:, 0]) + X[:, 1] + 0.1 * rng.standard_normal(400)
    >>> regressor = AmortisedGradientRegressor(random_state=0).fit(X, y)
    >>> round(regressor.score(X, y), 2)
    0.99

    The gradient of the mean prediction when the targets are theta * y:

    >>> gradient = regressor.gradient(lambda p: p["theta"] * y, {"theta": 2.0}, X)
    >>> bool(np.isclose(gradient["theta"], y.mean()))
    True
    """

    def __init__(
        self,
        features="fourier",
        *,
        n_components=300,
        kernel="rbf",
        gamma="loo",
        alpha="loo",
        trend="constant",
        groups=None,
        random_state=None,
    ):
        self.features = features
        self.n_components = n_components
        self.kernel = kernel
        self.gamma = gamma
        self.alpha = alpha
        self.trend = trend
        self.groups = groups
        self.random_state = random_state

    def fit(self, X, y):
        """Fit the regression.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, float64 or float32; other dtypes become float64.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.

        Returns
        -------
        self : object
            The fitted regressor.
        """
        check_parameters(self)
        X, y = validate_data(
            self, X, y, multi_output=True, y_numeric=True, dtype=FLOATS
        )
        # The smallest ridges are below the rounding of float32: it is kept outside.
        self._dtype = X.dtype
        X, y = X.astype(np.float64), y.astype(np.float64, copy=False)
        Y = y.reshape(len(y), -1)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        self.gamma_, self.alpha_, errors = choose(self, X, Y, seed)
        known = errors[~np.isnan(errors)]
        self.loo_error_ = float(known.mean()) if len(known) else np.nan
        design = self._design = Design(self, self.gamma_, X, seed, Y)
        self.features_ = design.features
        columns = self._columns = design.columns(X)
        self._smoother = design.smoother(design.gram(columns), self.alpha_, columns)
        coef = self._smoother.coef(design.cross(columns, Y))
        self._trend_coef = coef[: design.n_trend].reshape(-1, *y.shape[1:])
        P, F = columns[:, : design.n_trend], columns[:, design.n_trend :]
        detrended = y - P @ self._trend_coef
        ridge = self.kernel_ridge_ = KernelRidge(alpha=self.alpha_)
        if self.features_ is None:
            ridge.set_params(kernel="precomputed").fit(F, detrended)
        else:
            # The same solution as on all rows of F, from a dual no larger than D x D.
            Q, R = linalg.qr(F, mode="economic", check_finite=False)
            ridge.fit(R, Q.T @ detrended)
        return self

    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Inputs.

        Returns
        -------
        y : ndarray of shape (n_queries,) or (n_queries, n_targets)
            Predictions.
        """
        X = self._validate(X)
        trend = self._design.trend.transform(X) @ self._trend_coef
        y = self.kernel_ridge_.predict(self._design.penalised(X)) + trend
        return y.astype(self._dtype, copy=False)

    def smoother_matrix(self, X):
        """The matrix A of the regression: ``smoother_matrix(X) @ y == predict(X)``.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Inputs.

        Returns
        -------
        A : ndarray of shape (n_queries, n_samples_fit)
            Weight of every training row in the prediction at every query.
        """
        X = self._validate(X)
        query = self._smoother.query(self._design.columns(X))
        return self._smoother.weights(self._columns, query).T.astype(self._dtype)

    def smoother_weights(self, X, sample_weight=None):
        """Weighted sum of the rows of the smoother matrix, without forming it.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Inputs.
        sample_weight : array-like of shape (n_queries,), default=None
            Weight of each row of the smoother matrix; None is their mean.

        Returns
        -------
        a : ndarray of shape (n_samples_fit,)
            ``sample_weight @ smoother_matrix(X)``.
        """
        X = self._validate(X)
        if sample_weight is None:
            w = np.full(len(X), 1 / len(X))
        else:
            w = check_array(sample_weight, dtype=np.float64, ensure_2d=False)
            if w.shape != (len(X),):
                raise ValueError(
                    f"sample_weight must have shape ({len(X)},), got {w.shape}"
                )
        query = self._smoother.query(w @ self._design.columns(X))
        return self._smoother.weights(self._columns, query).astype(self._dtype)

    def gradient(self, func, params, X, sample_weight=None):
        r"""Gradient at `params` of the mean prediction at X for targets of `params`.

        .. math::
            \nabla_\theta \sum_m w_m \hat f_\theta(x_m)
            = \nabla_\theta \sum_n a_n f_{\theta, n},\quad a = w^\top A.

        Parameters
        ----------
        func : callable
            Maps a dict like `params` to targets of shape (n_samples_fit,), written in
            ``autograd.numpy``.
        params : dict of float arrays
            Where to differentiate.
        X : array-like of shape (n_queries, n_features)
            Inputs.
        sample_weight : array-like of shape (n_queries,), default=None
            Weights of the predictions; None is their mean.

        Returns
        -------
        gradient : dict of ndarray
            Shaped like `params`.
        """
        a = self.smoother_weights(X, sample_weight)
        params = {name: np.asarray(v, dtype=np.float64) for name, v in params.items()}
        value, gradient = pullback(func, params)
        if not isinstance(value, np.ndarray) or value.shape != a.shape:
            raise ValueError(
                f"func must return an array with a target for each of the {len(a)} "
                f"training rows, shape {a.shape}, got {type(value).__name__} of shape "
                f"{np.shape(value)}"
            )
        return gradient(a)

    def _predict_targets(self, X, Y):
        """Predictions at X had the regression been fitted to Y, (n, n_targets)."""
        coef = self._smoother.coef(self._design.cross(self._columns, Y))
        return self._design.columns(X) @ coef

    def _validate(self, X):
        check_is_fitted(self, "kernel_ridge_")
        return validate_data(self, X, dtype=np.float64, reset=False)
