"""NeuralProcessModel: layout of rows, networks, predictive density; sine functions."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.base import clone

from amortsk import WakeSleepFitter, check_model
from amortsk.datasets import make_sine_functions
from amortsk.models import NeuralProcessModel


def small(**options):
    sizes = {"n_context": 3, "n_target": 2, "n_latent": 2, "hidden": (4, 3)}
    return NeuralProcessModel(**{**sizes, **options})


def rows(model, n_samples=30, seed=0, **options):
    sizes = {"n_context": (0, model.n_context), "n_target": (1, model.n_target)}
    contexts, targets, _ = make_sine_functions(
        n_samples, random_state=seed, **{**sizes, **options}
    )
    return model.pack(contexts, targets)


def start(model, seed=0, n_samples=30):
    X = rows(model, n_samples)
    params = model.init_params(X, np.random.default_rng(seed))
    return X, params


def draw(model, params, X, seed=0):
    covariates = X[:, model.covariate_columns]
    return model.sample(params, len(X), np.random.default_rng(seed), covariates)


def test_pack_fills_slots_from_the_first_and_unpack_takes_them_out():
    model = NeuralProcessModel(n_context=2, n_target=3)
    X = model.pack([[(1, 2)], []], [[(3, 4), (5, 6)], [(7, 8), (9, 10), (11, 12)]])
    expected = [
        [1, 0, 2, 0, 1, 0, 3, 5, 0, 1, 1, 0, 4, 6, 0],
        [0, 0, 0, 0, 0, 0, 7, 9, 11, 1, 1, 1, 8, 10, 12],
    ]
    np.testing.assert_array_equal(X, expected)
    (cx, cy, c_filled), (tx, ty, t_filled) = model.unpack(X)
    np.testing.assert_array_equal(cx[0], [1, 0])
    np.testing.assert_array_equal(cy[0], [2, 0])
    np.testing.assert_array_equal(c_filled[:, 0], [1, 0])
    np.testing.assert_array_equal(tx[1], [7, 9, 11])
    np.testing.assert_array_equal(ty[0], [4, 6, 0])
    np.testing.assert_array_equal(t_filled[0], [1, 1, 0])
    covariates = np.delete(X, [12, 13, 14], axis=1)
    np.testing.assert_array_equal(X[:, model.covariate_columns], covariates)


@pytest.mark.parametrize("name", ["context", "target"])
def test_pack_names_the_set_that_has_no_room(name):
    sets = {"contexts": [[]], "targets": [[]], f"{name}s": [np.zeros((4, 2))]}
    with pytest.raises(ValueError, match=f"n_{name}={3 if name == 'context' else 2}"):
        small().pack(**sets)


def test_log_joint_is_the_one_written_out():
    model = small()
    X, params = start(model)
    e, x = draw(model, params, X, seed=1)

    def net(name, row, n_layers=3):
        for i in range(n_layers):
            row = row @ params[f"{name}_weights_{i}"] + params[f"{name}_biases_{i}"]
            row = np.tanh(row) if i < n_layers - 1 else row
        return row

    (cx, cy, c_filled), (tx, ty, t_filled) = model.unpack(x)
    expected = stats.norm.logpdf(e).sum(axis=1)
    for n in range(len(x)):
        pairs = [
            net("pair", np.array([cx[n, i], cy[n, i]]))
            for i in np.flatnonzero(c_filled[n])
        ]
        output = net("set", np.tanh(np.mean(pairs, axis=0) if pairs else np.zeros(3)))
        z = output[:2] + (0.1 + 0.9 / (1 + np.exp(-output[2:]))) * e[n]
        for j in np.flatnonzero(t_filled[n]):
            mean, raw = net("value", np.array([tx[n, j], *z]))
            scale = 0.01 + np.log1p(np.exp(raw))
            expected[n] += stats.norm.logpdf(ty[n, j], mean, scale)
    np.testing.assert_allclose(model.log_joint(params, e, x), expected)


def test_neither_order_nor_empty_slots_matter():
    model = small()
    contexts, targets, _ = make_sine_functions(
        20, n_context=(1, 3), n_target=(1, 2), random_state=0
    )
    X, params = model.pack(contexts, targets), start(model)[1]
    e = np.random.default_rng(0).standard_normal((20, 2))
    expected = model.log_joint(params, e, X)
    turned = model.pack([c[::-1] for c in contexts], [t[::-1] for t in targets])
    np.testing.assert_allclose(model.log_joint(params, e, turned), expected)
    # A model with more slots takes the same parameters.
    larger = small(n_context=5, n_target=4)
    found = larger.log_joint(params, e, larger.pack(contexts, targets))
    np.testing.assert_allclose(found, expected)
    # The order of contexts is that of pairs, not of their positions alone.
    swapped = X.copy()
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    full = X[:, 7] == 1
    assert np.all(model.log_joint(params, e, swapped)[full] != expected[full])


def test_repeated_rows_are_as_rows_on_their_own():
    model = small()
    X, params = start(model)
    X = X[[0, 1, 1, 1, 0, 2, 2]]
    e = np.random.default_rng(0).standard_normal((7, 2))
    alone = [model.log_joint(params, e[i : i + 1], X[i : i + 1])[0] for i in range(7)]
    np.testing.assert_allclose(model.log_joint(params, e, X), alone)


def test_samples_have_the_moments_of_the_decoder_and_empty_slots_are_zero():
    model = small()
    X, params = start(model)
    e, x = draw(model, params, np.repeat(X[:3], 20_000, axis=0))
    mean, scale = model.predict_values(params, e, x)
    _, (_, y, filled) = model.unpack(x)
    assert 0 < filled[::20_000].sum() < 6
    assert not y[filled == 0].any()
    residual = ((y - mean) / scale)[filled == 1]
    assert stats.kstest(residual, "norm").pvalue > 0.01
    np.testing.assert_allclose(e.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(np.cov(e.T), np.eye(2), atol=0.03)


@pytest.mark.parametrize("hidden", [5, (), (6, 4)])
def test_model_passes_its_check(hidden):
    model = small(hidden=hidden)
    check_model(model, rows(model, 100), random_state=0)


def test_score_is_the_predictive_log_likelihood():
    model = small(n_latent=1)
    X, _ = start(model)
    fitter = WakeSleepFitter(model=model, max_iter=2, random_state=0).fit(X)
    e, width = np.linspace(-8, 8, 401, retstep=True)
    tiled = np.repeat(X, len(e), axis=0)
    grid = np.tile(e, len(X))[:, None]
    log_joint = model.log_joint(fitter.params_, grid, tiled).reshape(len(X), -1)
    expected = logsumexp(log_joint, axis=1) + np.log(width)
    np.testing.assert_allclose(fitter.score_samples(X), expected, atol=0.03)


def test_fit_learns_to_use_its_contexts():
    model = NeuralProcessModel(n_context=4, n_target=4, n_latent=2, hidden=(16,))
    options = {"n_context": (4, 4), "n_target": (4, 4), "noise": 0.05}
    X, new = (rows(model, n, seed=n, **options) for n in (500, 200))
    fitter = WakeSleepFitter(
        model=model,
        gradient="importance",
        n_sleep=300,
        n_proposals=20,
        max_iter=200,
        learning_rate=0.02,
        random_state=0,
    ).fit(X)
    covariates = new[:, model.covariate_columns]
    shuffled = new.copy()
    shuffled[:, :12] = np.roll(new[:, :12], 1, axis=0)
    # Without use of contexts the first would be equal, the correlation about 0.25.
    assert fitter.score(new) > fitter.score(shuffled) + 0.3
    drawn = fitter.sample(200, random_state=0, covariates=covariates)
    np.testing.assert_array_equal(drawn[:, model.covariate_columns], covariates)
    assert np.corrcoef(drawn[:, -4:].ravel(), new[:, -4:].ravel())[0, 1] > 0.35


def test_parameters_can_be_cloned():
    model = clone(small())
    assert model.get_params() == small().get_params()
    assert len(model.covariate_columns) == 13


@pytest.mark.parametrize("name", ["n_context", "n_target", "n_latent"])
def test_bad_sizes_are_named(name):
    with pytest.raises(ValueError, match=f"{name} must be"):
        small(**{name: 0}).init_params(np.zeros((5, 15)), np.random.default_rng(0))


def test_bad_hidden_and_columns_are_named():
    X, _ = start(small())
    with pytest.raises(ValueError, match="hidden must be"):
        start(small(hidden=0))
    with pytest.raises(ValueError, match="have 15 columns.*got 14"):
        small().init_params(X[:, :-1], np.random.default_rng(0))


@pytest.mark.parametrize(
    ("contexts", "targets", "message"),
    [
        ([np.zeros((2, 3))], [[(0.0, 1.0)]], "a context must have shape"),
        ([[(0.0, 1.0)]], [[(0.0, 1.0)]] * 2, "contexts and targets must be of equal"),
    ],
)
def test_sets_that_are_no_pairs_are_named(contexts, targets, message):
    with pytest.raises(ValueError, match=message):
        small().pack(contexts, targets)


@pytest.mark.parametrize("mask", [0.5, -1.0, 0.0])
def test_masks_are_zero_and_one_and_some_target_is_there(mask):
    model = small()
    X, _ = start(model)
    C, T = model.n_context, model.n_target
    X[:, 3 * C + T : 3 * C + 2 * T] = mask
    with pytest.raises(ValueError, match="X must have masks of 0 and 1"):
        model.init_params(X, np.random.default_rng(0))


def test_sine_functions_are_what_they_say():
    contexts, targets, coefficients = make_sine_functions(
        2000, n_context=(0, 2), n_target=(1, 3), random_state=0
    )
    assert {len(c) for c in contexts} == {0, 1, 2}
    assert {len(t) for t in targets} == {1, 2, 3}
    a, b = coefficients.T
    assert stats.kstest((a + 0.5) / 1.5, "uniform").pvalue > 0.01
    assert stats.kstest(b + 0.5, "uniform").pvalue > 0.01
    for sets in (contexts, targets):
        t, y = np.concatenate(sets).T
        sizes = [len(pairs) for pairs in sets]
        noise = y - np.repeat(a, sizes) * np.sin(t - np.repeat(b, sizes))
        assert stats.kstest(noise / 0.1, "norm").pvalue > 0.01
        assert stats.kstest(t / (2 * np.pi) + 0.5, "uniform").pvalue > 0.01
    again = make_sine_functions(2000, n_context=(0, 2), n_target=(1, 3), random_state=0)
    np.testing.assert_array_equal(np.concatenate(again[1]), np.concatenate(targets))
