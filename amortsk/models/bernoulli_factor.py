"""Factor analysis of binary data."""

from amortsk.models._decoder import LinearDecoderModel
from amortsk.observation import Bernoulli


class BernoulliFactorModel(LinearDecoderModel):
    r"""Factor analysis of binary data: normal latents, log-odds linear in them.

    .. math::
        z \sim N(0, I), \qquad
        P(x_d = 1 \,|\, z) = \frac{1}{1 + \exp(-w_d \cdot z - b_d)}

    Known as a multidimensional item response or latent trait model. Neither posterior
    nor likelihood has a closed form.

    Parameters
    ----------
    n_components : int, default=2
        Number of factors.

    See Also
    --------
    FactorAnalysisModel : The same for real data.

    Notes
    -----
    The params are ``loadings`` W of shape (n_features, n_components) and ``intercept``
    b of shape (n_features,), which starts at the log-odds of each column.

    References
    ----------
    D. J. Bartholomew, M. Knott and I. Moustaki, "Latent Variable Models and Factor
    Analysis", 3rd edition, Wiley, 2011, chapter 4.

    Examples
    --------
    >>> import numpy as np
    >>> from amortsk.models import BernoulliFactorModel
    >>> model = BernoulliFactorModel(n_components=1)
    >>> X = np.array([[0.0, 1.0], [1.0, 1.0]])
    >>> params = model.init_params(X, np.random.default_rng(0))
    >>> round(float(model.log_joint(params, np.zeros((2, 1)), X).mean()), 3)
    -1.9
    """

    observation = Bernoulli()
    offset = "intercept"
