"""Tests of IS-DARTS: scores candidate by candidate, decisions against plain loops."""

import dataclasses
import functools
import math
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, gradient, networks, ops, registry, spaces
from jnas.gradient import hooks, mixing, relaxations
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.hooks import shrink, signal
from jnas.networks import functional, mixture
from jnas.training import program

DARTS = spaces.zoo.darts()
NB201 = spaces.zoo.nasbench201()
ONE = spaces.CellSpace(
    "one", ("cell",), 1, 2, ("none", "skip_connect", "nor_conv_1x1"), None, (2,)
)
PLAIN = data.Augment((0.5,), (0.3,))


def authors_score(y):
    """The released shrink_metric.py on one output [B, H, W, F], in float64."""
    y = np.float64(y)
    total = 0.0
    for image in y:
        values = []
        for pixel in image.reshape(-1, image.shape[-1]):
            mean, std = pixel.mean(), pixel.std(ddof=1)
            for value in pixel:
                top = 3 * (value - mean) ** 2
                values.append(top / std**6 if std > 0 else math.inf)
        total += np.mean(values)
    return total / len(y)


def test_the_score_is_the_authors():
    """By loops over pixels; outputs of zeros are infinite, as their NaN becomes."""
    y = jax.random.normal(jax.random.key(0), (3, 4, 5, 6))
    np.testing.assert_allclose(shrink.fisher(y), authors_score(y), rtol=1e-5)
    assert shrink.fisher(jnp.zeros((2, 3, 3, 4))) == np.inf
    assert shrink.fisher(y.at[1, 2, 3].set(0.5)) == np.inf
    # scaled by s, information falls with the fourth power
    np.testing.assert_allclose(shrink.fisher(2 * y), shrink.fisher(y) / 16, rtol=1e-5)


class ByHand:
    """One kind of cell, with lists, as the authors' update_mask has it."""

    def __init__(self, space):
        """Begins with every option."""
        self.space, self.kept = space, space.num_kept
        count = space.shape[-1]
        self.left = [list(range(count)) for _ in space.edges]

    def shrink(self, scores, shrinks_left):
        """Removes the options of one shrink, worst first."""
        if self.kept is None:
            groups = [[e] for e in range(len(self.space.edges))]
        else:
            targets = dict.fromkeys(to for _, to in self.space.edges)
            groups = [
                [e for e, (_, to) in enumerate(self.space.edges) if to == node]
                for node in targets
            ]
        for group in groups:
            keep = self.kept or 1
            spare = sum(len(self.left[e]) for e in group) - keep
            for _ in range(math.ceil(spare / shrinks_left)):
                open_edges = sum(bool(self.left[e]) for e in group)
                options = [
                    (scores[e][o], -e, -o)
                    for e in group for o in self.left[e]
                    if len(self.left[e]) > 1 or open_edges > keep
                ]  # fmt: skip
                _, e, o = max(options)
                self.left[-e].remove(-o)


@pytest.mark.parametrize(("space", "shrinks"), [
    (NB201, 4), (NB201, 3), (DARTS, 7), (DARTS, 4),
])  # fmt: skip
def test_every_shrink_is_that_of_plain_loops(space, shrinks):
    """Down to one option a row, or two edges a node, with an option each."""
    rule = shrink._Rule(space)
    shrunk = jax.jit(rule.shrunk)
    rng = np.random.default_rng(0)
    mask = jnp.ones(space.shape, bool)
    cells = [ByHand(space) for _ in space.cells]
    for number in range(shrinks):
        scores = rng.exponential(size=space.shape).astype(np.float32)
        scores[..., 0] = np.inf  # none
        scores[:, 3, 2] = np.inf
        mask = shrunk(mask, jnp.asarray(scores), shrinks - number)
        for c, cell in enumerate(cells):
            cell.shrink(scores[c], shrinks - number)
            found = [np.flatnonzero(row).tolist() for row in np.asarray(mask[c])]
            assert found == cell.left
    left = np.asarray(mask).sum(-1)
    assert (left <= 1).all()
    kept = space.num_kept * space.num_nodes if space.num_kept else len(space.edges)
    assert (left.sum(-1) == kept).all()
    weights = relaxations.uniform(None, mixing.masked(jnp.zeros(space.shape), mask), 0)
    encoding = space.strongest(weights * mask)
    np.testing.assert_array_equal(space.weights(encoding) > 0, mask)


@pytest.mark.parametrize(("epochs", "options", "want"), [
    (30, 5, [23, 25, 27, 29]),  # isdarts_nasbench.sh
    (50, 8, [31, 34, 37, 40, 43, 46, 49]),  # isdarts_darts.sh
    (6, 5, [2, 3, 4, 5]),
    (3, 5, [1, 2]),
    (1, 5, [1]),
    (9, 1, [8]),
])  # fmt: skip
def test_shrinks_are_those_of_the_released_scripts(epochs, options, want):
    """And fewer, or closer together, in fewer epochs."""
    plan = shrink.schedule(epochs, options, None, None)
    assert [plan.first + i * plan.every for i in range(plan.count)] == want


@pytest.mark.parametrize("given", [(4, 10), (0, None), (3, 0), (40, None)])
def test_shrinks_that_do_not_fit_are_refused(given):
    """Before anything runs."""
    with pytest.raises(ValueError, match="shrink must fit into the epochs but the"):
        shrink.schedule(30, 5, *given)


def scores_by_hand(net, params, weights, images, size):
    """Of the cells of the first stage, candidate by candidate."""
    stem = networks.cell_network.layers_lib.stem(1, size, ops.STEM)
    stats = jax.eval_shape(stem.init, jax.random.key(0))[1]
    x, found = stem.apply(params["stem"], stats, images)[0], []
    stage, count, one = net.layers[0]
    for number in range(count):
        own = params[stage]["nodes"]
        if count > 1:
            own = jax.tree.map(operator.itemgetter(number), own)
        nodes = one.apply(own, x[None], weights[0])
        states = [x, *nodes]
        table = np.zeros(net.space.shape[1:])
        for e, (source, target) in enumerate(net.space.edges):
            for o, name in enumerate(net.space.candidates_of(0, e)):
                y = jnp.zeros_like(x)
                if name != "none":
                    op = functional.operation(name, x.shape[-1], 1, norm=ops.SEARCH)
                    given = mixture.edge_params(one, own, source, target, name)
                    y = op.apply(given, {}, states[source])[0]
                table[e, o] = authors_score(y)
        found.append(table)
        x = nodes[-1]
    return found


def test_the_hook_scores_a_split_and_removes_the_worst(monkeypatch):
    """The mean over batches and cells; only in the epochs of the schedule."""
    size = networks.Size(3, 2, 2, channels=1)
    net = networks.supernet(ONE, size)
    params = jax.jit(net.init)(jax.random.key(0))
    search = hooks.Search(
        net, mixing.build_weights_of(ONE, relaxations.uniform),
        spaces.CellSpace.strongest, PLAIN, 4, 6,
    )  # fmt: skip
    hook = shrink.shrink(search, every=2)  # after epochs 3 and 5 of six
    seen = []
    inner = shrink._Rule.shrunk

    def recorded(self, mask, scores, left):
        jax.debug.callback(lambda s: seen.append(np.array(s)), scores)
        return inner(self, mask, scores, left)

    monkeypatch.setattr(shrink._Rule, "shrunk", recorded)
    call = jax.jit(hook_lib.at_epoch_end((hook,)))
    images = jax.random.uniform(jax.random.key(1), (8, 4, 4, 1))
    mask = jnp.ones(ONE.shape, bool).at[0, 1, 1].set(False)
    state = gradient.GradientState(params, jnp.zeros(ONE.shape), (), (), mask)
    state = state._replace(hooks=hook_lib.begin((hook,), state))
    weights = search.weights_of(state)
    np.testing.assert_allclose(weights[0, 1], [1 / 3, 0, 1 / 3], rtol=1e-6)
    left = []
    for epoch in range(6):
        clock = program.Clock(jnp.int32(epoch), jnp.float32(0), jnp.int32(0))
        splits = None, (images, jnp.zeros(8, jnp.int32))
        state, values = call(jax.random.key(2), clock, state, splits)
        left.append(int(values["options_left"]))
    jax.effects_barrier()
    # eight options of three rows, each of which loses one, then one if it has two
    assert left == [8, 8, 5, 5, 3, 3] and len(seen) == 2
    batches, _ = signal.fixed_batches(splits[1], PLAIN, 4)
    assert batches.shape[0] == 2
    by_hand = np.mean(
        [scores_by_hand(net, params, weights, one, size) for one in batches], 0
    )
    # the first two of six cells; the mean of all six is what is seen
    found = jnp.stack([
        jax.jit(functools.partial(net.inside.statistics, statistic=shrink.fisher))(
            params, one, weights
        )
        for one in batches
    ]).mean(0)  # fmt: skip
    # the sixth power of a small std makes much of float32's rounding
    np.testing.assert_allclose(found[:2], by_hand, rtol=1e-2)
    np.testing.assert_allclose(seen[0][0], found.mean(0), rtol=1e-3)
    assert np.isinf(seen[0][0, :, 0]).all()  # none goes first
    want = np.ones(ONE.shape, bool)
    want[..., 0] = False
    want[0, 1, 1] = False
    finite = seen[1][0]
    for e in (0, 2):
        want[0, e, 1 + int(np.argmax(finite[e, 1:]))] = False
    np.testing.assert_array_equal(state.mask, want)


def test_a_space_without_cells_is_refused():
    """Before anything runs."""
    space = spaces.zoo_chains.tiny_chain()
    method = registry.METHODS["is_darts"]()
    setting = gradient.Setting(networks.Size(4, 1, 2), PLAIN, (8, 8))
    with pytest.raises(ValueError, match="leave shrink out for space tiny_chain"):
        gradient.check(method, space)
    with pytest.raises(ValueError, match="shrink out for space tiny_chain"):
        gradient.build_segments(dataclasses.replace(method, epochs=5), space, setting)


def test_logits_rest_and_removed_options_weigh_nothing():
    """A search of one shrink ends with one option a row, whose weight is 1 / O."""
    method = dataclasses.replace(
        registry.METHODS["is_darts"](), epochs=3, batch_size=4, features=2, layers=1,
        hooks=(functools.partial(shrink.shrink, shrinks=1),),
    )  # fmt: skip
    gradient.check(method, ONE)
    setting = gradient.Setting(networks.Size(2, 1, 2, channels=1), PLAIN, (8, 8))
    (segment,) = gradient.build_segments(method, ONE, setting)
    splits = tuple(
        (jax.random.uniform(jax.random.key(i), (8, 4, 4, 1)), jnp.arange(8) % 2)
        for i in range(2)
    )
    state = segment.program.init(jax.random.key(0))
    state, _ = program.run(segment.program, state, splits)
    assert not state.inner.logits.any()
    mask = np.asarray(state.inner.mask)
    assert (mask.sum(-1) == 1).all() and not mask[..., 0].any()
    encoding, weights = gradient.derive(segment.pieces, ONE, state)
    np.testing.assert_allclose(weights, mask / 3, rtol=1e-6)
    np.testing.assert_array_equal(ONE.weights(encoding), mask)


def test_the_row_has_its_programs_numbers():
    """30 epochs of 16 features, 5 cells a stage, Nesterov."""
    row = registry.METHODS["is_darts"]()
    assert (row.epochs, row.features, row.layers, row.batch_size) == (30, 16, 5, 64)
    assert row.nesterov and (row.learning_rate, row.weight_decay) == (0.025, 3e-4)
    assert not registry.ALTERNATIONS["never"](program.Clock(0, 0.0, 0))
    assert not registry.ALTERNATIONS["never"](program.Clock(9, 0.9, 1000))
