"""check_model and the dry run of a fit: planted mistakes, and none."""

import re
import warnings

import autograd.numpy as np
import numpy as onp
import pytest
from scipy.special import gammaln
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from toys import Chain, Shift, log_normal

from amortsk import WakeSleepFitter, check_model
from amortsk.checks import _nearby, dry_run
from amortsk.models import (
    BernoulliFactorModel,
    FactorAnalysisModel,
    GaussianMixtureModel,
    IndependentComponentsModel,
)
from amortsk.sleep import draw

SEED = onp.random.SeedSequence(0)
X = onp.random.default_rng(0).standard_normal((100, 3)) * [0.5, 1.0, 2.0]
SCORE = r"mean score of parameter '(\w+)' is ([\d.]+) standard errors from zero"
PRIOR = r"weights latents so that (the mean(?: square)?) of .* is off by ([\d.]+) stand"


def lost_prior(base):
    class LostPrior(base):
        natural_params = None

        def log_joint(self, params, z, x):
            return super().log_joint(params, z, x) - self.log_prior(params, z)

    return LostPrior


def wrong_sign(base, name):
    class WrongSign(base):
        natural_params = None

        def log_joint(self, params, z, x):
            return super().log_joint({**params, name: -params[name]}, z, x)

    return WrongSign


def other_noise(base):
    class OtherNoise(base):
        def sample(self, params, n_samples, rng):
            params = {**params, "log_scale": params["log_scale"] + onp.log(1.2)}
            return super().sample(params, n_samples, rng)

    return OtherNoise


class Weighted(GaussianMixtureModel):
    """Components of unlike shares, so that their prior matters."""

    def init_params(self, X, rng):
        return {**super().init_params(X, rng), "logits": np.array([1.0, -1.0])}


MISTAKES = [
    (lost_prior(FactorAnalysisModel)(1), PRIOR, "the mean square"),
    (lost_prior(Weighted)(2), PRIOR, None),
    (wrong_sign(FactorAnalysisModel, "mean")(1), SCORE, "mean"),
    (wrong_sign(GaussianMixtureModel, "means")(2), SCORE, None),
    (other_noise(FactorAnalysisModel)(1), SCORE, "log_scale"),
    (other_noise(GaussianMixtureModel)(2), SCORE, "log_scale"),
]


@pytest.mark.parametrize("model, message, where", MISTAKES)
@pytest.mark.parametrize("seed", range(3))
def test_planted_mistakes_are_found(model, message, where, seed):
    with pytest.raises(ValueError, match=message) as info:
        check_model(model, X, random_state=seed)
    found, errors = re.search(message, str(info.value)).groups()
    assert where in (None, found)
    assert float(errors) > 5
    name = type(model).__name__
    assert f"{name}.log_joint is not the log-density of what {name}.sample" in str(
        info.value
    )


RIGHT = [
    FactorAnalysisModel(1),
    FactorAnalysisModel(2),
    GaussianMixtureModel(2),
    Shift(),
    Chain(2, 4),
    Chain(2, 4, half_width=1),
]


def power(base, name, exponent):
    class Power(base):
        def log_joint(self, params, z, x):
            return super().log_joint({**params, name: params[name] ** exponent}, z, x)

    return Power


class Scaled(Shift):
    """A second column, of standard deviation s."""

    def init_params(self, X, rng):
        return {"mu": onp.zeros(()), "s": onp.ones(())}

    def sample(self, params, n_samples, rng):
        z, x = super().sample(params, n_samples, rng)
        return z, onp.hstack([x, params["s"] * rng.standard_normal((n_samples, 1))])

    def log_joint(self, params, z, x):
        own = log_normal(x[:, 1], 0.0, np.sqrt(params["s"] ** 2))
        return super().log_joint(params, z, x) + own


@pytest.mark.parametrize(
    "model, name",
    [(wrong_sign(Shift, "mu")(), "mu"), (power(Scaled, "s", 3)(), "s")],
)
@pytest.mark.parametrize("seed", range(3))
def test_zeros_and_ones_of_a_start_hide_nothing(model, name, seed):
    with pytest.raises(ValueError, match=f"mean score of parameter '{name}'"):
        check_model(model, random_state=seed)


def test_parameters_nearby_leave_the_fixed_and_the_given_alone():
    class Fixed(Scaled):
        fixed_params = ("s",)

        def log_joint(self, params, z, x):
            far = np.sum(params["far"][:3] * x[0, 0])
            return super().log_joint(params, z, x) + far

    params = {"mu": onp.zeros(()), "s": onp.ones(())}
    params["far"] = onp.array([0.0, 100.0, 0.5, 0.0])
    draws = draw(Fixed(), params, 50, onp.random.SeedSequence(0))
    nearby = _nearby(Fixed(), params, draws, onp.random.SeedSequence(0))
    assert nearby["s"] == 1.0 and params["mu"] == 0.0 != nearby["mu"]
    moved = onp.abs(nearby["far"] - params["far"])
    # The last has no effect, and may have to be zero.
    onp.testing.assert_array_equal(moved != 0, [True, False, False, False])
    assert 0.1 < moved[0] < 20


@pytest.mark.parametrize("model", RIGHT)
def test_right_models_pass(model):
    data = X if not isinstance(model, Shift | Chain) else None
    checks = [check_model(model, data, random_state=seed) for seed in range(3)]
    assert all(0 < check.mean_score < 5 for check in checks)
    assert all(0 < check.conditional_importance < 5 for check in checks)
    assert all(check.gradient_error < 1e-2 for check in checks)
    onp.testing.assert_array_equal(check_model(model, data, random_state=0), checks[0])


@pytest.mark.parametrize(
    "model", [BernoulliFactorModel(1), IndependentComponentsModel(2)]
)
def test_ready_made_models_pass(model):
    data = (X > 0).astype(float) if isinstance(model, BernoulliFactorModel) else X
    assert check_model(model, data, random_state=0).conditional_importance < 5


class Walk(Shift):
    """A random walk of given steps, observed with noise; latents are many."""

    def __init__(self, length=100, step=1.0, has_prior=True):
        self.length, self.step, self.has_prior = length, step, has_prior

    log_prior = None

    def sample(self, params, n_samples, rng):
        noise = rng.standard_normal((2, n_samples, self.length))
        z = onp.cumsum(self.step * noise[0], axis=1)
        return z, params["mu"] + z + noise[1]

    def log_joint(self, params, z, x):
        likelihood = np.sum(log_normal(x, params["mu"] + z, 1.0), axis=1)
        steps = onp.diff(z, axis=1, prepend=0.0)
        prior = np.sum(log_normal(steps, 0.0, 1.0), axis=1)
        return likelihood + prior * self.has_prior


@pytest.mark.parametrize("length", [2, 20, 200])
def test_priors_of_long_paths_are_tested_too(length):
    """Over 20 seeds right ones are off by up to 3.8, wrong ones by 26 or more."""
    assert 0 < check_model(Walk(length), random_state=0).conditional_importance < 5
    for wrong in (Walk(length, has_prior=False), Walk(length, step=2.0)):
        with pytest.raises(ValueError, match="weights latents so that the"):
            check_model(wrong, random_state=0)


class One(Shift):
    """One latent of a given distribution, that its column of data hardly tells."""

    log_prior = None

    def __init__(self, support):
        self.support = support

    @property
    def latent_support(self):
        return self.support

    def sample(self, params, n_samples, rng):
        z = {
            "positive": lambda: rng.gamma(2.0, 1.0, n_samples),
            ("interval", 0.0, 1.0): lambda: rng.beta(2.0, 1.0, n_samples),
            ("categorical", 3): lambda: rng.choice(3, n_samples, p=[0.6, 0.3, 0.1]),
            "unit": lambda: direction(rng.vonmises(0.0, 1.0, n_samples)),
        }[self.support]()
        first = z if z.ndim == 1 else z[:, 0]
        return z, (params["mu"] + first + rng.standard_normal(n_samples))[:, None]

    def log_joint(self, params, z, x):
        first = z if z.ndim == 1 else z[:, 0]
        prior = {
            "positive": lambda: onp.log(z) - z,
            ("interval", 0.0, 1.0): lambda: onp.log(2 * z),
            ("categorical", 3): lambda: onp.log([0.6, 0.3, 0.1])[z],
            "unit": lambda: z[:, 0],
        }[self.support]()
        return prior + log_normal(x[:, 0], params["mu"] + first, 1.0)


def direction(angle):
    return onp.column_stack([onp.cos(angle), onp.sin(angle)])


class Heads(Shift):
    """Heads of n fair coins and an offset: many values, some of them rare."""

    log_prior = None

    def __init__(self, n, offset, support=None):
        self.n, self.offset, self.support = n, offset, support

    @property
    def latent_support(self):
        return self.support

    def sample(self, params, n_samples, rng):
        z = rng.binomial(self.n, 0.5, n_samples) + self.offset
        return z, (params["mu"] + z + rng.standard_normal(n_samples))[:, None]

    def log_joint(self, params, z, x):
        n, k = self.n, z - self.offset
        prior = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) - n * onp.log(2)
        return prior + log_normal(x[:, 0], params["mu"] + z, 1.0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("model", [Heads(40, 0, ("categorical", 41)), Heads(300, 100)])
def test_rare_integers_are_no_mistake(model, seed):
    """Over 20 seeds they are off by up to 3.4."""
    assert check_model(model, random_state=seed).conditional_importance < 5


def test_integers_may_be_declared_real():
    check = check_model(Heads(40, 0, "real"), random_state=0)
    assert 0 < check.conditional_importance < 5


SUPPORTS = ["positive", ("interval", 0.0, 1.0), ("categorical", 3), "unit"]


@pytest.mark.parametrize("support", SUPPORTS, ids=str)
def test_latents_of_every_support_are_weighed_rightly(support):
    """Over 20 seeds right ones are off by up to 2.9, wrong ones by 8 or more."""
    assert 0 < check_model(One(support), random_state=0).conditional_importance < 5

    class Flat(One):
        def log_joint(self, params, z, x):
            first = z if z.ndim == 1 else z[:, 0]
            return log_normal(x[:, 0], params["mu"] + first, 1.0)

    with pytest.raises(ValueError, match="weights latents so that the"):
        check_model(Flat(support), random_state=0)


def test_integers_without_a_bound_are_checked():
    def sampler(params, n, rng):
        z = rng.poisson(onp.exp(params["log_rate"]), n)
        return z, (z + rng.standard_normal(n))[:, None]

    def log_joint(params, z, x):
        rate = params["log_rate"]
        return z * rate - np.exp(rate) - gammaln(z + 1) + log_normal(x[:, 0], z, 1.0)

    fitter = WakeSleepFitter(log_joint, sampler, {"log_rate": 0.7})
    checks = [check_model(fitter, random_state=seed) for seed in range(5)]
    assert all(0 < check.conditional_importance < 5 for check in checks)


def test_two_functions_are_checked_as_a_model_is():
    model = Chain(2, 4)
    start = model.init_params(None, None)
    options = {"latent_support": model.latent_support}
    fitter = WakeSleepFitter(model.log_joint, model.sample, start, **options)
    found = check_model(model, random_state=0)
    for other in (fitter, WakeSleepFitter(model=model)):
        onp.testing.assert_array_equal(check_model(other, random_state=0), found)
    assert not hasattr(fitter, "params_")

    def no_prior(params, z, x):
        scale = np.exp(params["log_scale"])
        return np.sum(log_normal(x, params["means"][z], scale), axis=1)

    fitter = clone(fitter).set_params(log_joint=no_prior)
    with pytest.raises(
        ValueError, match=r"log_joint does not depend on .*\['logits'\]"
    ):
        check_model(fitter)


def prior_errors(log_prior, support=None, seed=0):
    """What check_model finds of a log_prior for a normal latent."""
    model = Shift()
    fitter = WakeSleepFitter(
        model.log_joint,
        model.sample,
        model.init_params(None, None),
        log_prior=log_prior,
        latent_support=support,
    )
    return check_model(fitter, random_state=seed).log_prior


def normal_prior(params, z):
    return log_normal(z, 0.0, 1.0)


def test_a_right_prior_passes():
    assert 0 < prior_errors(normal_prior) < 5
    assert onp.isnan(prior_errors(normal_prior, "any"))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda params, z: -0.5 * z**2,
        lambda params, z: log_normal(z, 0.3, 1.0),
        lambda params, z: np.exp(log_normal(z, 0.0, 1.0)),
        lambda params, z: log_normal(z, 0.0, 1.0) - 1000,
        lambda params, z: log_normal(z, 0.0, 1.0) + 1000,
        lambda params, z: onp.full(len(z), -onp.inf),
        lambda params, z: onp.full(len(z), onp.nan),
    ],
)
def test_a_prior_is_checked_with_its_constant(wrong):
    with pytest.raises(ValueError, match="log_prior is not the log-density"):
        prior_errors(wrong)


@pytest.mark.parametrize(
    "wrong", [lambda params, z: -1.0, lambda params, z: -0.5 * z[:, None] ** 2]
)
def test_the_shape_of_a_prior_is_checked(wrong):
    with pytest.raises(ValueError, match=r"log_prior must return shape \(200,\), got"):
        prior_errors(wrong)


def shifted_in_place(params):
    params["mu"] += 0.1


class Careless(Shift):
    """Changes its params, after it has used them."""

    def __init__(self, method, change):
        self.method, self.change = method, change

    def _changed(self, method, params, *arguments):
        result = getattr(super(), method)(params, *arguments)
        if method == self.method:
            self.change(params)
        return result

    def sample(self, params, n_samples, rng):
        return self._changed("sample", params, n_samples, rng)

    def log_prior(self, params, z):
        return self._changed("log_prior", params, z)

    def log_joint(self, params, z, x):
        return self._changed("log_joint", params, z, x)


METHODS = pytest.mark.parametrize("method", ["sample", "log_prior", "log_joint"])


@METHODS
@pytest.mark.parametrize(
    "change",
    [
        shifted_in_place,
        lambda params: params.pop("mu"),
        lambda params: params.update(mu=params["mu"] + 1.0),
        lambda params: params.update(cache=1.0),
    ],
)
def test_params_are_lent(method, change):
    options = {"max_iter": 3, "n_sleep": 50, "random_state": 0}
    x = Shift().sample({"mu": 1.0}, 50, onp.random.default_rng(0))[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        careful = WakeSleepFitter(model=Shift(), **options).fit(x)
        careless = WakeSleepFitter(model=Careless(method, change), **options).fit(x)
    careless.sample()
    assert careless.params_ == careful.params_


class Natural(Shift):
    """x | z ~ N(mu + z, 1), by natural parameters too."""

    def natural_params(self, params, z):
        return ((params["mu"] + z)[:, None],)

    def log_normalizer(self, params, z):
        return 0.5 * (params["mu"] + z)[:, None] ** 2

    def sufficient_statistics(self, x):
        return (x,)


class DoubleNormalizer(Natural):
    def log_normalizer(self, params, z):
        return 2 * super().log_normalizer(params, z)


class FlatNormalizer(Natural):
    def log_normalizer(self, params, z):
        return super().log_normalizer(params, z)[:, 0]


class OneStatisticMore(Natural):
    def sufficient_statistics(self, x):
        return (x, x**2)


class FlatStatistics(Natural):
    def sufficient_statistics(self, x):
        return (x[:, 0],)


def test_natural_parameters_agree_with_the_log_joint():
    dry_run(Natural(), {"mu": onp.ones(())}, 1, SEED)
    for wrong in (DoubleNormalizer, FlatNormalizer, OneStatisticMore, FlatStatistics):
        with pytest.raises(ValueError, match="natural_params and suff.* must give"):
            dry_run(wrong(), {"mu": onp.ones(())}, 1, SEED)


def test_natural_parameters_are_compared_at_data_that_are_possible():
    excluded = dry_run(Natural(), {"mu": onp.ones(())}, 1, SEED).x[2, 0]

    def excluding(base):
        class Excluding(base):
            def log_joint(self, params, z, x):
                value = super().log_joint(params, z, x)
                return np.where(x[:, 0] == excluded, -np.inf, value)

        return Excluding()

    dry_run(excluding(Natural), {"mu": onp.ones(())}, 1, SEED)
    with pytest.raises(ValueError, match="natural_params and suff.* must give"):
        dry_run(excluding(DoubleNormalizer), {"mu": onp.ones(())}, 1, SEED)


class Exact(Shift):
    def __init__(self, exact):
        self.exact = exact

    def exact_log_likelihood(self, params, X):
        return self.exact(log_normal(X[:, 0], params["mu"], onp.sqrt(2)))


@pytest.mark.parametrize(
    "wrong", [onp.sum, lambda p: p[:, None], lambda p: p[1:], lambda p: None]
)
def test_the_shape_of_an_exact_likelihood_is_checked(wrong):
    dry_run(Exact(lambda p: p), {"mu": onp.zeros(())}, 1, SEED)
    with pytest.raises(
        ValueError, match=r"exact_log_likelihood must return shape \(200"
    ):
        dry_run(Exact(wrong), {"mu": onp.zeros(())}, 1, SEED)


def test_data_are_not_the_models_to_change():
    class Writes(Exact):
        def init_params(self, X, rng):
            X[:] = 0
            return super().init_params(X, rng)

        def exact_log_likelihood(self, params, X):
            X -= params["mu"]
            return log_normal(X[:, 0], 0.0, onp.sqrt(2))

    x = onp.random.default_rng(0).standard_normal((50, 1))
    before = x.copy()
    model = Writes(lambda p: p)
    check_model(model, x, random_state=0)
    fitter = WakeSleepFitter(model=model, n_sleep=50, random_state=0)
    fitter.partial_fit(x).score(x)
    onp.testing.assert_array_equal(x, before)


def test_latents_of_any_kind_are_checked_by_scores_alone():
    model = WakeSleepFitter(model=Shift(), latent_support="any")
    check = check_model(model, random_state=0)
    assert onp.isnan(check.conditional_importance)
    assert 0 < check.mean_score < 5


@pytest.mark.parametrize("share", [0.5, 0.05])
def test_a_gradient_that_autograd_cannot_see(share):
    class Hidden(Shift):
        def log_joint(self, params, z, x):
            mu = params["mu"]
            hidden = getattr(mu, "_value", mu)
            mu = (1 - share) * mu + share * hidden
            return super().log_joint({"mu": mu}, z, x)

    with pytest.raises(ValueError, match="'mu' is .* where finite differences give"):
        check_model(Hidden(), random_state=0)


def test_only_fitters_and_models_are_checked():
    with pytest.raises(ValueError, match="takes a WakeSleepFitter or a Latent"):
        check_model(lambda params, z, x: x)


class Changed(Shift):
    """One method is not as it should be."""

    def __init__(self, method=None, change=None):
        self.method, self.change = method, change

    def sample(self, params, n_samples, rng):
        value = super().sample(params, n_samples, rng)
        return self.change(*value) if self.method == "sample" else value

    def log_joint(self, params, z, x):
        value = super().log_joint(params, z, x)
        return self.change(value, params) if self.method == "log_joint" else value


@pytest.mark.parametrize(
    "method, change, message",
    [
        ("sample", lambda z, x: x, "Changed.sample must return a pair"),
        ("sample", lambda z, x: (z[1:], x), "latents with 200 rows"),
        ("sample", lambda z, x: (z, onp.hstack([x, x])), "x with 1 columns"),
        ("log_joint", lambda v, p: v[1:], r"Changed.log_joint must return shape"),
        ("log_joint", lambda v, p: v * 1j, "must return real numbers"),
        ("log_joint", lambda v, p: v / 0, r"not finite at 200 of 200.*{'mu': '\(\), "),
        ("log_joint", lambda v, p: v._value, r"does not depend on .*\['mu'\]"),
        ("log_joint", lambda v, p: v - v, r"does not depend on .*\['mu'\]"),
        ("log_joint", lambda v, p: v * float(p["mu"]), "TypeError.*import autograd"),
    ],
)
def test_dry_run(method, change, message):
    model, params = Changed(method, change), Shift().init_params(None, None)
    with pytest.raises(ValueError, match=message), onp.errstate(all="ignore"):
        dry_run(model, params, 1, onp.random.SeedSequence(0))


def test_dry_run_draws():
    draws = dry_run(Shift(), {"mu": onp.zeros(())}, 1, onp.random.SeedSequence(0))
    assert draws.x.shape == (200, 1) and draws.z.shape == (200,)


def test_a_start_may_be_a_saddle():
    """The gradient is zero there, and nowhere else."""

    class Squared(Shift):
        def log_joint(self, params, z, x):
            return super().log_joint({"mu": params["mu"] ** 2}, z, x)

    draws = dry_run(Squared(), {"mu": onp.zeros(())}, 1, onp.random.SeedSequence(0))
    assert len(draws.x) == 200


@pytest.mark.parametrize("fixed", [("mu",), ("nu",)])
def test_fixed_params_must_make_sense(fixed):
    class Fixed(Shift):
        fixed_params = fixed

    with pytest.raises(ValueError, match="fixed_params must leave a parameter free"):
        dry_run(Fixed(), {"mu": onp.zeros(())}, 1, onp.random.SeedSequence(0))


def truncated(lowest):
    class Truncated(Shift):
        def log_joint(self, params, z, x):
            return np.where(z > lowest, super().log_joint(params, z, x), -np.inf)

    return dry_run(Truncated(), {"mu": onp.zeros(())}, 1, onp.random.SeedSequence(0))


def test_a_log_joint_may_be_minus_infinity_here_and_there():
    assert (truncated(-1.5).z <= -1.5).any()


def test_a_log_joint_that_is_minus_infinity_at_a_third_of_draws_is_an_error():
    with pytest.raises(ValueError, match=r"not finite at \d\d of 200"):
        truncated(-0.5)


def test_a_log_joint_may_be_nan_where_latents_never_are():
    """Normal proposals for a positive latent: weights there are zero."""

    class Positive(Shift):
        latent_support = "real"
        log_prior = None

        def sample(self, params, n_samples, rng):
            z = rng.gamma(2.0, 1.0, n_samples)
            noise = rng.standard_normal(n_samples)
            return z, (params["mu"] + z + noise)[:, None]

        def log_joint(self, params, z, x):
            return np.log(z) - z + log_normal(x[:, 0], params["mu"] + z, 1.0)

    assert 0 < check_model(Positive(), random_state=0).conditional_importance < 5


def test_a_latent_that_is_constant_has_no_neighbours():
    def sampler(params, n, rng):
        return onp.zeros((n, 1)), params["mu"] + rng.standard_normal((n, 1))

    def log_joint(params, z, x):
        return log_normal(x[:, 0], params["mu"] + z[:, 0], 1.0)

    options = {"latent_support": "real"}
    fitter = WakeSleepFitter(log_joint, sampler, {"mu": onp.array(0.3)}, **options)
    assert onp.isnan(check_model(fitter, random_state=0).conditional_importance)
