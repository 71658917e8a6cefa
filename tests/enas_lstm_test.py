"""ENAS' controller against an LSTM in NumPy, float64, over all encodings of a space."""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jnas.discrete import controllers, search
from jnas.discrete.controllers import rewards

SIZES = (3, 1, 4, 2)
CELLS = np.array(list(itertools.product(*map(range, SIZES))), np.int32)
SCORES = np.random.default_rng(0).uniform(0, 1, len(CELLS)).astype(np.float32)
SMALL = dict(num_units=4, clip_norm=1e9)


def sigmoid(x):
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def log_p(params, encoding):
    """Log-probability of an encoding, gene by gene, and the genes' entropies."""
    kinds = sorted(set(SIZES))
    layers, units = len(params["gate_bias"]), len(params["first"])
    h, c = np.zeros((2, layers, units))
    x, total = params["first"], 0.0
    for size, value in zip(SIZES, encoding, strict=True):
        for layer in range(layers):
            gates = (
                x @ params["from_input"][layer]
                + h[layer] @ (params["from_hidden"][layer])
            )
            i, f, g, o = np.split(gates + params["gate_bias"][layer], 4)
            c[layer] = sigmoid(f) * c[layer] + sigmoid(i) * np.tanh(g)
            h[layer] = x = sigmoid(o) * np.tanh(c[layer])
        kind = kinds.index(size)
        y = x @ params["outputs"][kind] + params["output_bias"][kind]
        logits = 2.5 * np.tanh(y[:size] / 5)
        total += logits[value] - np.log(np.exp(logits).sum())
        x = params["embeddings"][kind, value]
    return total


def objective(params, weight):
    """Mean score and weighted entropy of the policy, summed over all encodings."""
    each = np.array([log_p(params, cell) for cell in CELLS])
    return (np.exp(each) * (SCORES - weight * each)).sum()


def wide(state, factor=6.0):
    """A state whose policy is far from uniform, and its parameters in float64."""
    state = state._replace(params=jax.tree.map(lambda x: factor * x, state.params))
    return state, jax.tree.map(lambda x: np.asarray(x, np.float64), state.params)


def gradients(controller, state, scores):
    """The gradient of a step on each encoding by itself: Adam's mean, as b1 is 0."""

    def one(cell, score):
        told = controller.tell(state, cell[None], score[None, None])
        return told.opt_state[1][0].mu

    return jax.jit(jax.vmap(one))(jnp.asarray(CELLS), jnp.asarray(scores))


@pytest.mark.parametrize("entropy_weight", [0.0, 0.3])
def test_the_expected_step_is_the_gradient_of_the_expected_reward(entropy_weight):
    """Each parameter by float64 differences; without a bias from the baseline."""
    controller = controllers.enas_lstm(SIZES, entropy_weight=entropy_weight, **SMALL)
    state, params = wide(controller.init(jax.random.key(0)))
    state = state._replace(baseline=(jnp.float32(0.12), jnp.float32(0.3)))
    chances = np.exp([log_p(params, cell) for cell in CELLS])
    assert chances.max() > 3 * chances.min()
    grads = jax.tree.map(
        lambda g: np.tensordot(chances, np.asarray(g, np.float64), 1),
        gradients(controller, state, SCORES),
    )
    rng = np.random.default_rng(1)
    for name, leaf in params.items():
        way = rng.normal(size=leaf.shape)
        ahead, behind = (
            objective(params | {name: leaf + step * way}, entropy_weight)
            for step in (1e-5, -1e-5)
        )
        wanted = (ahead - behind) / 2e-5
        found = -(grads[name] * way).sum()
        assert found == pytest.approx(wanted, rel=2e-4, abs=1e-6), name
        assert abs(wanted) > 1e-4, name


def test_probabilities_sum_to_one_over_all_encodings():
    """NumPy's do, and so do the controller's: of equal rewards nothing is learned."""
    controller = controllers.enas_lstm(SIZES, entropy_weight=0.0, **SMALL)
    state, params = wide(controller.init(jax.random.key(2)))
    state = state._replace(baseline=(jnp.float32(0.1), jnp.float32(1.0)))
    chances = np.exp([log_p(params, cell) for cell in CELLS])
    assert chances.sum() == pytest.approx(1, abs=1e-12)
    for leaf in jax.tree.leaves(gradients(controller, state, np.ones(24, np.float32))):
        leaf = np.asarray(leaf, np.float64)
        # the derivative of the sum of p over all encodings
        total = np.tensordot(chances, leaf, 1)
        assert np.abs(total).max() < 1e-5 * max(1, np.abs(leaf).max())
    asked = jax.jit(jax.vmap(controller.ask, (0, None)))(
        jax.random.split(jax.random.key(3), 500), state
    ).reshape(-1, 4)
    counts = np.bincount(np.ravel_multi_index(np.array(asked.T), SIZES), minlength=24)
    assert stats.chisquare(counts, 10_000 * chances).pvalue > 1e-4


def test_a_round_is_the_mean_of_its_finite_scores():
    """Rows that are not finite do not count; a round of them changes nothing at all."""
    controller = controllers.enas_lstm(SIZES, **SMALL)
    tell = jax.jit(controller.tell)
    state = tell(
        controller.init(jax.random.key(0)),
        jnp.asarray(CELLS[:4]),
        jnp.asarray(SCORES[:4, None]),
    )
    bad = jnp.array([jnp.nan, -jnp.inf, 0.2, 0.9])[:, None]
    mixed = tell(state, jnp.asarray(CELLS[4:8]), bad)
    known = tell(state, jnp.asarray(CELLS[6:8]), bad[2:])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        mixed,
        known,
    )
    none = tell(state, jnp.asarray(CELLS[4:6]), bad[:2])
    jax.tree.map(np.testing.assert_array_equal, none, state)


def test_the_baseline_is_that_of_earlier_rounds():
    """Its closed form; a first round has its own mean, so that one score is nothing."""
    controller = controllers.enas_lstm(SIZES, entropy_weight=0.0, **SMALL)
    start = controller.init(jax.random.key(0))
    one = controller.tell(start, jnp.asarray(CELLS[:1]), jnp.array([[0.7]]))
    jax.tree.map(np.testing.assert_array_equal, one.params, start.params)
    assert float(rewards.mean(one.baseline)) == pytest.approx(0.7)
    two = controller.tell(one, jnp.asarray(CELLS[:3]), jnp.array([[0.1], [0.2], [0.6]]))
    old, new = 0.01 * 0.99**3, 1 - 0.99**3
    wanted = (old * 0.7 + new * 0.3) / (old + new)
    assert float(rewards.mean(two.baseline)) == pytest.approx(wanted, rel=1e-5)
    same = controller.tell(one, jnp.asarray(CELLS[:1]), jnp.array([[0.7]]))
    for leaf in jax.tree.leaves(same.opt_state[1][0].mu):
        np.testing.assert_allclose(leaf, 0, atol=1e-7)  # the reward is the baseline


def test_margins_are_penalties():
    """Of two constraints: the step of the scores that REINFORCE's penalties give."""
    controller = controllers.enas_lstm(SIZES, num_constraints=2, **SMALL)
    plain = controllers.enas_lstm(SIZES, **SMALL)
    scores = jnp.array(
        [[0.5, 1, 0, 9], [0.9, -1, 2, 9], [0.3, 0, 0, 9], [0.8, -1, -2, 9]]
    )
    state, cells = controller.init(jax.random.key(0)), jnp.asarray(CELLS[:4])
    found = jax.jit(controller.tell)(state, cells, scores)
    # lowest 0.3 and highest 0.5 are feasible; violations 1 and 3 lose 1/2 and 3/4
    values = jnp.array([0.5, 0.3 - 0.2 / 2, 0.3, 0.3 - 0.2 * 3 / 4])
    wanted = jax.jit(plain.tell)(state._replace(seen=None), cells, values[:, None])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        found._replace(seen=None),
        wanted,
    )
    np.testing.assert_allclose(found.seen, [0.3, 0.5])


def test_it_finds_the_best_where_random_search_does_not():
    """Of 16,875 ragged cells in 1,000 evaluations, in 19 of 20 runs and more."""
    sizes, target = (5, 3, 5, 3, 5, 3, 5), jnp.array([2, 0, 2, 0, 2, 0, 2])

    def score(key, encodings):
        return (encodings == target).mean(-1, keepdims=True).astype(jnp.float32)

    def best(controller):
        def one(key):
            found = search.discrete_search(key, controller, score, num_rounds=50)[1]
            return found.scores.max(), found.scores[-1].mean()

        keys = jax.random.split(jax.random.key(0), 20)
        return np.asarray(jax.jit(jax.vmap(one))(keys))

    learned, last = best(controllers.enas_lstm(sizes, learning_rate=0.01))
    drawn, _ = best(controllers.random_search(sizes, num_proposals=20))
    # a run of random search finds it with probability 1 - (1 - 1/16875)^1000 = 0.06
    assert (drawn == 1).mean() < 0.3
    assert (learned == 1).mean() >= 0.95
    assert last.mean() > 0.8  # of a uniform policy (4/5 + 3/3) / 7 = 0.26


def test_its_numbers_are_the_papers():
    """Those of NAS-Bench-201's released ENAS."""
    options = inspect.signature(controllers.enas_lstm).parameters
    wanted = dict(
        num_proposals=20, learning_rate=1e-3, baseline_decay=0.99, entropy_weight=1e-4,
        num_units=32, num_layers=2, tanh_constant=2.5, temperature=5.0, clip_norm=5.0,
    )  # fmt: skip
    assert {name: options[name].default for name in wanted} == wanted
    params = controllers.enas_lstm((5,) * 6).init(jax.random.key(0)).params
    assert all(float(jnp.abs(leaf).max()) <= 0.1 for leaf in params.values())
    assert sum(leaf.size for leaf in params.values()) == (
        32 + 2 * (32 + 32 + 1) * 128 + 5 * 32 + 32 * 5 + 5
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(temperature=0), "temperature must be above 0, got 0"),
        (dict(num_units=0), "num_units must be an integer from 1"),
        (dict(clip_norm=-1), "clip_norm must be from 0 to inf, got -1"),
        (dict(baseline_decay=2), "baseline_decay must be from 0 to 1, got 2"),
    ],
)
def test_settings_have_their_message(settings, message):
    """Refused before anything runs."""
    with pytest.raises(ValueError, match=message):
        controllers.enas_lstm(SIZES, **settings)
