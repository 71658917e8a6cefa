"""Tests of deriving a cell by what a supernet loses, against loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, gradient, networks, spaces
from jnas.gradient import hooks, mixing, relaxations
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.hooks import projection
from jnas.training import devices, program

PLAIN = data.Augment((0.5,), (0.25,))
ONE_INPUT = spaces.CellSpace(
    "one", ("cell",), 1, 3, ("none", "skip_connect", "nor_conv_1x1"), 1, (3,)
)
SPACES = {
    "tiny": spaces.zoo.tiny(),
    "darts": spaces.zoo.darts(),
    "nasbench201": spaces.zoo.nasbench201(),
    "s1": spaces.zoo.s1(),
    "one": ONE_INPUT,
}
# nodes with more inputs than they keep: the first of two inputs has none to drop
NUM_CHOOSING = {"tiny": 1, "darts": 3, "nasbench201": 0, "s1": 3, "one": 2}
NUM_IMAGES = 24


def normal(seed, shape):
    """Draws standard normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def stand_in(space):
    """outputs = x . tanh(sum weights P), for P f32[C, E, O, F, K]."""

    def apply(params, x, weights, *, key=None, variant_inputs=None):
        hidden = jnp.einsum("ceo,ceofk->fk", weights, params)
        return x.reshape(len(x), -1) @ jnp.tanh(hidden)

    return networks.Supernet(
        lambda key: jax.random.normal(key, (*space.shape, 4, 3)), apply, space
    )


def images_of(size):
    """A split: images uint8[N, 2, 2, 1] and labels of three classes."""
    images = np.random.default_rng(3).integers(0, 256, (size, 2, 2, 1))
    return jnp.asarray(images, jnp.uint8), jnp.arange(size) % 3


def accuracy_by_hand(params, weights, split):
    """The stand-in's accuracy on a split, in float64."""
    images, labels = (np.asarray(a) for a in split)
    x = ((images / 255 - 0.5) / 0.25).reshape(len(images), -1)
    hidden = np.einsum("ceo,ceofk->fk", weights, np.asarray(params, np.float64))
    return ((x @ np.tanh(hidden)).argmax(-1) == labels).mean()


def rows_by_hand(logits, mask):
    """Softmax over the candidates that are in; zeros where none is."""
    weights = np.zeros(logits.shape)
    for cell, edge in np.ndindex(*logits.shape[:2]):
        inside = np.flatnonzero(mask[cell, edge])
        if len(inside):
            powers = np.exp(np.float64(logits[cell, edge, inside]))
            weights[cell, edge, inside] = powers / powers.sum()
    return weights


def begun(space, seed=0, mask=None):
    """A state before the first decision."""
    mask = np.ones(space.shape, bool) if mask is None else mask
    params = jnp.asarray(normal(seed, (*space.shape, 4, 3)))
    logits = jnp.asarray(normal(seed + 1, space.shape))
    return gradient.GradientState(params, logits, (), (), jnp.asarray(mask))


def hook_of(space, net=None, interval=1, **settings):
    """Builds the compiled hook: (key, clock, state, split) -> state."""
    inputs = settings.pop("variant_inputs", lambda clock: networks.VariantInputs())
    search = hooks.Search(
        net or stand_in(space),
        mixing.build_weights_of(space, relaxations.softmax),
        spaces.CellSpace.strongest,
        PLAIN,
        8,
        1,
        variant_inputs=inputs,
    )
    built = projection.build(search, interval, **settings)

    @jax.jit
    def call(key, clock, state, split):
        full = state._replace(hooks=hook_lib.begin((built,), state))
        end = hook_lib.at_epoch_end((built._replace(stream=1),))
        return end(key, clock, full, (None, split))[0]._replace(hooks=())

    return call


def call(hook, state, epoch, split=None, seed=0):
    """Calls it at the end of an epoch."""
    key = jax.random.fold_in(jax.random.key(seed), epoch)
    clock = program.Clock(jnp.int32(epoch), jnp.float32(1))
    return hook(key, clock, state, images_of(NUM_IMAGES) if split is None else split)


def parsed_by_hand(space, rows):
    """The cell of decided rows as the released code reads it, as one-hot weights."""
    cells = np.zeros(rows.shape, np.float32)
    for cell in range(len(space.cells)):
        for node in dict.fromkeys(target for _, target in space.edges):
            own = [e for e, (_, target) in enumerate(space.edges) if target == node]
            names = {e: space.candidates_of(cell, e) for e in own}

            def strength(edge, cell=cell, names=names):
                pairs = zip(rows[cell, edge], names[edge], strict=True)
                return max(weight for weight, name in pairs if name != "none")

            for edge in sorted(own, key=lambda e, f=strength: -f(e))[: space.num_kept]:
                best = None
                for o, name in enumerate(names[edge]):
                    row = rows[cell, edge]
                    if name != "none" and (best is None or row[o] > row[best]):
                        best = o
                cells[cell, edge, best] = 1
    return cells


def kept_by_loop(space, accuracy, logits, mask, cell, edge):
    """The candidate without which accuracy is least; the first of equals.

    Its weight is taken out, and the others stay what they were.
    """
    best, least = None, None
    for o in range(space.shape[-1]):
        if not mask[cell, edge, o]:
            continue
        weights = rows_by_hand(logits, mask)
        weights[cell, edge, o] = 0
        found = accuracy(weights)
        if least is None or found < least:
            best, least = o, found
    return best


def edges_by_loop(space, accuracy, logits, mask, cell, node):
    """Drops edges into a node until num_kept are left; the last of equals goes."""
    mask = mask.copy()
    own = [e for e, (_, target) in enumerate(space.edges) if target == node]
    while sum(mask[cell, e].any() for e in own) > space.num_kept:
        most, worst = None, None
        for edge in own:
            if not mask[cell, edge].any():
                continue
            weights = rows_by_hand(logits, mask)
            weights[cell, edge] = 0
            found = accuracy(weights)
            if most is None or found >= most:
                most, worst = found, edge
        mask[cell, worst] = False
    return mask


def follow_edge(space, accuracy, logits, before, after, cell):
    """Checks one decision of an edge; returns the mask for the next cell."""
    changed = np.flatnonzero((before[cell] != after[cell]).any(-1))
    assert len(changed) == 1
    (edge,) = changed
    assert before[cell, edge].sum() > 1  # was undecided
    want = before.copy()
    want[cell, edge] = False
    best = kept_by_loop(space, accuracy, logits, before, cell, edge)
    want[cell, edge, best] = True
    np.testing.assert_array_equal(after[cell], want[cell])
    return want, edge


@pytest.mark.parametrize("name", SPACES)
def test_decisions_are_those_of_a_loop(name):
    """Every decision of a whole projection: edges, then nodes, cell after cell.

    At the end one cell is derived from the mask, as their code reads it.
    """
    space = SPACES[name]
    assert projection.num_decisions(space) == len(space.edges) + NUM_CHOOSING[name]
    hook, state = hook_of(space), begun(space)
    logits, split = np.asarray(state.logits), images_of(NUM_IMAGES)
    orders = [[] for _ in space.cells]

    def accuracy(weights):
        return accuracy_by_hand(state.params, weights, split)

    for epoch in range(projection.num_decisions(space)):
        before, new = np.asarray(state.mask), call(hook, state, epoch)
        after = np.asarray(new.mask)
        for cell in range(len(space.cells)):
            if epoch < len(space.edges):
                before, edge = follow_edge(space, accuracy, logits, before, after, cell)
                orders[cell].append(edge)
                continue
            gone = np.flatnonzero(before[cell].any(-1) & ~after[cell].any(-1))
            nodes = {space.edges[edge][1] for edge in gone}
            assert len(nodes) == 1
            before = edges_by_loop(space, accuracy, logits, before, cell, nodes.pop())
            np.testing.assert_array_equal(after[cell], before[cell])
        np.testing.assert_array_equal(new.params, state.params)
        np.testing.assert_array_equal(new.logits, state.logits)
        state = new
    for order in orders:
        assert sorted(order) == list(range(len(space.edges)))
        assert order != sorted(order)  # edges come in a random order
    weights = gradient.eval_weights(
        space, relaxations.softmax, state.logits, state.mask
    )
    one_hot, rows = space.weights(space.strongest(weights)), np.float32(state.mask)
    want = rows if space.num_kept is None else parsed_by_hand(space, rows)
    np.testing.assert_array_equal(one_hot, want)
    # called once more, nothing is left to decide
    again = call(hook, state, projection.num_decisions(space))
    np.testing.assert_array_equal(again.mask, state.mask)


@pytest.mark.parametrize("seed", range(4))
def test_equal_accuracies(seed):
    """A network without labels to hit: the first candidate stays, the last edges go.

    The first is ``none``; the cell then has the first operation after it, and the first
    inputs.
    """
    space = SPACES["tiny"]
    images, labels = images_of(NUM_IMAGES)
    hook, state = hook_of(space), begun(space)
    for epoch in range(projection.num_decisions(space)):
        state = call(hook, state, epoch, (images, labels + 5), seed)
    mask = np.asarray(state.mask)
    for cell, edge in np.ndindex(*space.shape[:2]):
        source, target = space.edges[edge]
        kept = target == 2 or source < 2
        want = np.zeros(space.shape[-1], bool)
        want[0] = kept
        np.testing.assert_array_equal(mask[cell, edge], want)
        cell_of = parsed_by_hand(space, np.float32(mask))
        np.testing.assert_array_equal(cell_of[cell, edge, 1], kept)  # max_pool_3x3
    found = space.weights(space.strongest(jnp.float32(mask)))
    np.testing.assert_array_equal(found, cell_of)


def test_what_is_out_stays_out():
    """A mask of an earlier stage: candidates that are out are neither judged nor kept.

    The first that is in is kept where all are equal.
    """
    space = SPACES["tiny"]
    mask = np.ones(space.shape, bool)
    mask[..., :2] = False
    mask[0, 2] = [False, False, False, True]  # one that is decided
    mask[1, 0] = False  # one that has been removed
    images, labels = images_of(NUM_IMAGES)
    hook, state = hook_of(space), begun(space, mask=mask)
    for epoch in range(len(space.edges) - 1):  # of each cell, as one is decided
        state = call(hook, state, epoch, (images, labels + 5))
    kept = np.asarray(state.mask)
    want = np.zeros(space.shape, bool)
    want[..., 2] = True
    want[0, 2], want[1, 0] = mask[0, 2], False
    np.testing.assert_array_equal(kept, want)


@pytest.mark.parametrize("interval", [2, 3])
def test_decisions_are_made_when_they_are_due(interval):
    """At the end of each interval of tuning, and never in between."""
    space = SPACES["tiny"]
    hook, state = hook_of(space, interval=interval), begun(space)
    for epoch in range(interval * projection.num_decisions(space)):
        new = call(hook, state, epoch)
        same = np.array_equal(new.mask, state.mask)
        assert same == ((epoch + 1) % interval != 0)
        state = new
    assert (state.mask.sum((1, 2)) == 4).all()


def test_none_is_kept_where_nothing_costs_accuracy():
    """Right wherever an edge adds nothing: ``none`` stays, and is no operation."""
    space = SPACES["tiny"]
    state, split = begun(space), images_of(NUM_IMAGES)
    state = state._replace(params=state.params.at[:, 1:].set(0))  # one edge matters
    hook, kept = hook_of(space), np.zeros(space.shape[1], int)
    for epoch in range(len(space.edges)):
        state = call(hook, state, epoch)
    kept = np.asarray(state.mask.argmax(-1))
    np.testing.assert_array_equal(kept[:, 1:], 0)
    weights = rows_by_hand(np.asarray(state.logits), np.asarray(state.mask))
    before = accuracy_by_hand(state.params, weights, split)
    weights[..., 0] = 0
    assert accuracy_by_hand(state.params, weights, split) == before
    assert kept[:, 0].any()


def test_a_tuning_decides_before_its_first_epoch_and_its_last():
    """81 epochs in the DARTS space; decisions 2 to 17 after every fifth; the rest."""
    space = SPACES["darts"]
    epochs, hook = projection.segment(space, 5)
    search = hooks.Search(
        stand_in(space),
        mixing.build_weights_of(space, relaxations.softmax),
        spaces.CellSpace.strongest,
        PLAIN,
        8,
        epochs,
    )
    due = [e for e in range(epochs) if hook(search).due(e)]
    assert epochs == 81 and due == [*range(4, 80, 5), 80]
    assert len(due) + 1 == projection.num_decisions(space) + 1


def test_one_key_gives_one_order():
    """The same key decides the same edge, and others decide others."""
    space = SPACES["darts"]
    hook, state = hook_of(space), begun(space)
    masks = [np.asarray(call(hook, state, 0, seed=s).mask) for s in (0, 0, 1, 2, 3)]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert any((masks[0] != mask).any() for mask in masks[2:])


@pytest.mark.parametrize(("size", "num_batches"), [(31, None), (31, 2), (5, None)])
def test_the_images_that_judge(size, num_batches):
    """Whole batches of 8 from all over, or all of a split that is smaller than one."""
    space, shapes = SPACES["tiny"], []
    net = stand_in(space)

    def apply(params, x, weights, **given):
        shapes.append(x.shape)
        return net.apply(params, x, weights, **given)

    split, state = images_of(size), begun(space)
    count = min(max(1, size // 8), num_batches or 9)
    rows = np.arange(count * min(8, size)) * size // (count * min(8, size))
    judges = tuple(a[rows] for a in split)
    hook = hook_of(space, net._replace(apply=apply), num_batches=num_batches)
    after = np.asarray(call(hook, state, 0, split).mask)
    before = np.asarray(state.mask)
    for cell in range(2):
        before, _ = follow_edge(
            space,
            lambda weights: accuracy_by_hand(state.params, weights, judges),
            np.asarray(state.logits),
            before,
            after,
            cell,
        )
    assert {shape[0] for shape in shapes} == {min(8, size)}


def test_members_together_are_members_in_turn():
    """Either mapping makes the same decisions."""
    space = SPACES["tiny"]
    masks = []
    for variant in (devices.together, devices.in_turn):
        hook, state = hook_of(space, over_members=variant), begun(space)
        for epoch in range(projection.num_decisions(space)):
            state = call(hook, state, epoch)
        masks.append(np.asarray(state.mask))
    np.testing.assert_array_equal(*masks)


def test_a_real_supernet_is_judged_alike():
    """Untrained, with its batches' own statistics: one edge against a plain loop."""
    net = networks.supernet(ONE_INPUT, networks.Size(2, 1, 3, channels=1))
    state = begun(ONE_INPUT)._replace(params=program.once(net.init)(jax.random.key(0)))
    images = np.random.default_rng(4).integers(0, 256, (40, 4, 4, 1))
    split = jnp.asarray(images, jnp.uint8), jnp.arange(40) % 3
    run = jax.jit(net.apply)

    def accuracy(weights):
        right = 0
        for at in range(5):  # each batch from all over
            x = data.normalise(split[0][at::5], PLAIN)
            found = run(state.params, x, jnp.float32(weights)).argmax(-1)
            right += (found == split[1][at::5]).sum()
        return int(right)

    hook, moved = hook_of(ONE_INPUT, net), 0
    for seed in range(3):
        after = np.asarray(call(hook, state, 0, split, seed).mask)
        _, edge = follow_edge(
            ONE_INPUT,
            accuracy,
            np.asarray(state.logits),
            np.asarray(state.mask),
            after,
            0,
        )
        moved += after[0, edge, 2]
    assert moved  # not always the first candidate, which ties would keep
