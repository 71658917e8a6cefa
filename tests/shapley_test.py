"""Tests of Shapley-NAS: exact values by enumeration, plain loops, and when it acts."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, gradient, networks, registry, spaces, types
from jnas.gradient import hooks, mixing, relaxations
from jnas.gradient.hooks import shapley
from jnas.gradient.hooks import signal as signal_lib
from jnas.spaces import rows
from jnas.training import program

PLAIN = data.Augment((0.0,), (1.0,))
# one row of three options and two rows of two: seven players in two groups
SPACE = spaces.ChoiceSpace(
    "mine", {"a": ("p", "q", "r"), "b": (("x", "y"), ("x", "y"))}, "mine"
)
GROUPS = np.array([0, 0, 0, 1, 1, 1, 1])
BATCH = 4


def table(leaves):
    """The players' entries of weights or logits, in order."""
    return np.concatenate([np.ravel(leaves["a"]), np.ravel(leaves["b"])])


def worth(game):
    """The task whose signal is the mean of the outputs, and a supernet of a game.

    Args:
      game: (weights f32[7], images f32[B, ...]) -> f32[B].
    """
    task = data.Task(1, None, {"worth": lambda outputs, targets: outputs[:, 0]})

    def apply(params, images, weights, *, key=None, variant_inputs=None):
        flat = jnp.concatenate([weights["a"].ravel(), weights["b"].ravel()])
        return game(flat, images)[:, None] + params

    return task, networks.Supernet(None, apply, SPACE)


def hook_of(game, num_epochs=4, **numbers):
    """The hook on a game, its first state, and the images that it sees."""
    task, supernet = worth(game)
    search = hooks.Search(
        supernet, mixing.build_weights_of(SPACE, relaxations.softmax), None, PLAIN,
        BATCH, num_epochs, task=task,
    )  # fmt: skip
    hook = shapley.shapley(search, **numbers)
    keys = jax.random.split(jax.random.key(0), 3)
    a, b = jax.random.normal(keys[0], (1, 3)), jax.random.normal(keys[1], (2, 2))
    logits = {"a": a, "b": b}
    images = jax.random.uniform(keys[2], (20, 1, 1, 1))
    state = gradient.GradientState(jnp.float32(0), logits, (), (), None)
    return hook, state, (images, jnp.zeros(20, jnp.int32))


def clock(epoch):
    """The end of an epoch."""
    return program.Clock(jnp.int32(epoch), jnp.float32(0), jnp.int32(0))


def normalised(values):
    """Mean 0 and the deviation of a sample 1, group by group; equal ones to 0."""
    out = np.zeros(7)
    for group in (0, 1):
        own = values[GROUPS == group]
        spread = own.std(ddof=1)
        out[GROUPS == group] = (own - own.mean()) / spread if spread > 1e-6 else 0
    return out


COSTS = np.array([3.0, -1.0, 2.0, 0.5, 4.0, 1.0, 0.1])


def test_an_additive_game_gives_each_player_what_it_adds():
    """Whatever the orders; twice, with momentum, in NumPy; to float32's rounding."""
    hook, state, split = hook_of(
        lambda weights, images: jnp.full(len(images), 5.0) + weights @ COSTS,
        num_samples=3,
        threshold=0.0,
    )
    call, carry, momentum = jax.jit(hook.call), hook.init(state), np.zeros(7)
    for epoch in (1, 2):
        weights = mixing.build_weights_of(SPACE, relaxations.softmax)(state)
        momentum = 0.8 * momentum + 0.2 * normalised(table(weights) * COSTS)
        want = table(state.logits) + 0.1 * momentum
        key = jax.random.key(epoch)
        state, carry, values, stop = call(key, clock(epoch), state, carry, split)
        np.testing.assert_allclose(table(state.logits), want, atol=1e-5)
        np.testing.assert_allclose(carry, momentum, atol=1e-4)
        assert values == {} and stop is False or not stop


def test_options_that_are_removed_are_no_players():
    """The others' scores are normalised among themselves; its logit stays."""
    hook, state, split = hook_of(
        lambda weights, images: jnp.full(len(images), 5.0) + weights @ COSTS,
        num_samples=2,
        threshold=0.0,
    )
    state = state._replace(
        mask={"a": jnp.array([[True, False, True]]), "b": jnp.ones((2, 2), bool)}
    )
    left = np.array([1, 0, 1, 1, 1, 1, 1], bool)
    weights = table(mixing.build_weights_of(SPACE, relaxations.softmax)(state))
    assert weights[1] == 0
    want = np.zeros(7)
    for group in (0, 1):
        own = left & (GROUPS == group)
        values = (weights * COSTS)[own]
        want[own] = 0.02 * (values - values.mean()) / values.std(ddof=1)
    after, *_ = jax.jit(hook.call)(
        jax.random.key(1), clock(1), state, hook.init(state), split
    )
    moved = table(after.logits) - table(state.logits)
    np.testing.assert_allclose(moved, want, atol=1e-6)
    assert moved[1] == 0


def crossed(weights, images):
    """A game in which players need each other, that images change."""
    pairs = weights[0] * weights[3] + 2 * weights[2] * weights[6] + weights[1] ** 2
    return (pairs + weights[4] * weights[5]) * (0.5 + images.mean((1, 2, 3)))


def by_hand(key, state, split, num_samples, num_batches, threshold):
    """The authors' loops, with the orders and the images of the same keys."""
    scores = np.zeros((7, num_samples))
    whole = table(mixing.build_weights_of(SPACE, relaxations.softmax)(state))
    stopped = 0
    for sample, own in enumerate(jax.random.split(key, num_samples)):
        order_key, batch_key, _ = jax.random.split(own, 3)
        images, _ = signal_lib.drawn_batches(
            batch_key, split, PLAIN, BATCH, num_batches
        )
        images = np.float64(images).reshape(-1, 1, 1, 1)
        weights = np.float64(whole)
        first = now = crossed(weights, images).mean()
        for player in np.asarray(jax.random.permutation(order_key, 7)):
            weights[player] = 0
            after = crossed(weights, images).mean()
            scores[player, sample] = now - after
            now = after
            if now < threshold * first:
                stopped += weights.any()
                break
    return scores.mean(1) - scores.std(1), stopped


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9])
def test_the_update_is_that_of_plain_loops(threshold):
    """Orders that end early too.

    Signals of about .1 are differences of float32, 1e-8 off, over a spread of .001.
    """
    numbers = dict(num_samples=6, num_batches=2, threshold=threshold)
    hook, state, split = hook_of(crossed, **numbers)
    given = jax.random.key(5), clock(2), state, hook.init(state), split
    after, carry, _, _ = jax.jit(hook.call)(*given)
    scores, stopped = by_hand(given[0], state, split, **numbers)
    assert bool(stopped) == (threshold > 0)
    want = 0.2 * normalised(scores)
    np.testing.assert_allclose(carry, want, atol=1e-4)
    moved = table(after.logits) - table(state.logits)
    np.testing.assert_allclose(moved, 0.1 * want, atol=1e-5)


def random_game(num_players=4):
    """The worth of each set, from .1 to 1, and the game as a function of kept."""
    worths = np.random.default_rng(0).uniform(0.1, 1, 2**num_players)
    bits = jnp.asarray(2 ** np.arange(num_players), jnp.float32)
    stored = jnp.asarray(worths, jnp.float32)
    return worths, lambda kept: stored[(kept @ bits).astype(jnp.int32)]


def exact(worths, num_players=4):
    """Shapley's formula: a weighted sum over the sets without a player."""
    found = np.zeros(num_players)
    for player in range(num_players):
        for members in range(2**num_players):
            if members >> player & 1:
                continue
            size = members.bit_count()
            share = math.factorial(size) * math.factorial(num_players - size - 1)
            gain = worths[members | 1 << player] - worths[members]
            found[player] += share / math.factorial(num_players) * gain
    return found


def test_the_mean_over_all_orders_is_the_shapley_value():
    """Of four players and 24 orders: exactly, to float32's rounding."""
    worths, game = random_game()
    orders = jnp.asarray(list(itertools.permutations(range(4))))
    each = jax.vmap(lambda order: shapley.contributions(game, order, 0.0))(orders)
    np.testing.assert_allclose(each.mean(0), exact(worths), atol=1e-6)


def test_the_mean_over_random_orders_is_close_to_it():
    """Hoeffding: 2,000 of [-.9, .9] err by .11 with probability 4e-6 for four."""
    worths, game = random_game()

    def sample(key):
        return shapley.contributions(game, jax.random.permutation(key, 4), 0.0)

    each = jax.vmap(sample)(jax.random.split(jax.random.key(0), 2000))
    bound = 0.9 * math.sqrt(2 * math.log(2 * 4 / 4e-6) / 2000)
    assert bound < 0.11
    np.testing.assert_allclose(each.mean(0), exact(worths), atol=bound)


def test_a_signal_below_zero_may_fall_by_half_its_size():
    """From -2 to -3 and on to -4, where it ends; -3 itself does not end it."""
    order = jnp.array([2, 0, 3, 1])
    found = shapley.contributions(lambda kept: kept.sum() - 6, order, 0.5)
    np.testing.assert_array_equal(found, [1, 0, 1, 0])


def test_it_acts_before_each_epoch_of_the_second_half():
    """Of eight: at the ends of 3 to 6, which come before 4 to 7."""
    hook, state, split = hook_of(crossed, num_epochs=8, threshold=0.0)
    call, carry, moved = jax.jit(hook.call), hook.init(state), []
    for epoch in range(8):
        before = table(state.logits)
        state, carry, _, _ = call(jax.random.key(0), clock(epoch), state, carry, split)
        moved.append((table(state.logits) != before).any())
    assert moved == [False] * 3 + [True] * 4 + [False]


def test_options_of_equal_worth_do_not_move():
    """Zeros, and no NaN, where a group has no spread; the other group moves."""
    hook, state, split = hook_of(
        lambda weights, images: jnp.full(len(images), 3.0) + weights[:3] @ COSTS[:3]
    )
    after, *_ = jax.jit(hook.call)(
        jax.random.key(0), clock(2), state, hook.init(state), split
    )
    np.testing.assert_array_equal(after.logits["b"], state.logits["b"])
    assert (np.abs(after.logits["a"] - state.logits["a"]) > 1e-4).any()


def test_images_of_a_sample_are_drawn_without_repeats():
    """Two batches of four of twenty, others for another key; of three, all of them."""
    images = jnp.arange(20.0).reshape(20, 1, 1, 1)
    split = images, jnp.arange(20)
    found = [
        signal_lib.drawn_batches(jax.random.key(i), split, PLAIN, BATCH, 2)
        for i in range(2)
    ]
    for inputs, targets in found:
        assert inputs.shape == (2, 4, 1, 1, 1) and len(np.unique(targets)) == 8
        np.testing.assert_array_equal(inputs[..., 0, 0, 0], targets)
    assert (found[0][1] != found[1][1]).any()
    few = images[:3], jnp.arange(3)
    _, targets = signal_lib.drawn_batches(jax.random.key(0), few, PLAIN, BATCH, 2)
    assert sorted(targets.ravel().tolist()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "edges"), [("tiny", False), ("tiny", True), ("tiny_chain", False)]
)
def test_it_fits_every_space(name, edges):
    """Shapes alone, of real supernets; weights of edges stay as they are."""
    space = registry.SPACES[name]()
    supernet = networks.supernet(space, networks.Size(8, 3, 2, channels=1))
    search = hooks.Search(
        supernet, mixing.build_weights_of(space, relaxations.softmax), None,
        data.Augment((0.5,), (0.3,)), BATCH, 4,
    )  # fmt: skip
    hook = shapley.shapley(search, num_samples=2)

    def after(key):
        logits = rows.full(space, 0.0)
        if edges:
            logits = types.ArchParams(logits, jnp.ones(space.shape[:2]))
        state = gradient.GradientState(supernet.init(key), logits, (), (), None)
        split = jnp.zeros((9, 8, 8, 1)), jnp.zeros(9, jnp.int32)
        made = hook.call(key, clock(2), state, hook.init(state), split)
        return state.logits, made[0].logits

    before, moved = jax.eval_shape(after, jax.random.key(0))
    assert jax.tree.structure(before) == jax.tree.structure(moved)
    assert jax.tree.map(jnp.shape, before) == jax.tree.map(jnp.shape, moved)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"num_epochs": 1}, "epochs must be at least 2 with the hook shapley, got 1"),
        ({"start": 1.0}, "start must be from 0 to below 1 .* got 1.0"),
        ({"num_samples": 0}, "num_samples must be at least 1 .* got 0"),
        ({"num_batches": 0}, "num_batches must be at least 1 .* got 0"),
    ],
)
def test_numbers_are_checked(numbers, message):
    """Where the hook is built."""
    with pytest.raises(ValueError, match=message):
        hook_of(crossed, **numbers)


def test_the_row_has_its_codes_numbers():
    """PC-DARTS' batches, rate and features; no gradient moves the logits."""
    row = registry.METHODS["shapley"]()
    assert (row.batch_size, row.learning_rate, row.final_learning_rate) == (256, 0.1, 0)
    assert (row.partial, row.edge_weights, row.epochs) == (4, False, 50)
    assert row.hooks == ("watch", "shapley") and row.drop_none
    never = registry.ALTERNATIONS[row.alternation]
    steps = program.Clock(0, 0.0, jnp.arange(50))
    assert not np.asarray(never(steps)).any()
