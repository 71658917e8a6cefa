"""Tests of methods: their papers' numbers, their pieces, and each of them run whole."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas import data, gradient, networks, registry, spaces
from jnas.gradient import alternations, methods, resolve, segments
from jnas.studies import methods_table
from jnas.training import program

SPACE = spaces.CellSpace(
    "mini", ("cell",), 2, 2, ("none", "skip_connect", "nor_conv_1x1"), 2, (2, 3)
)
# one node, whose two edges are both kept: for what says nothing of a choice of edges
ONE_NODE = spaces.CellSpace(
    "one_node", ("cell",), 2, 1, ("none", "skip_connect", "nor_conv_1x1"), 2, (2,)
)
ROOT = pathlib.Path(__file__).parent.parent


def setting(**changes):
    """Eight and eight images of four rows, one channel, two classes."""
    made = gradient.Setting(
        networks.Size(12, 1, 2, channels=1), data.Augment((0.5,), (0.3,)), (8, 8)
    )
    return made._replace(**changes)


def splits(contrast=0.0):
    """Random images for both levels; those of class 1 have another left half."""
    labels, left = jnp.arange(8) % 2, jnp.arange(4)[:, None] < 2
    apart = contrast * labels[:, None, None, None] * left
    return tuple(
        (jax.random.uniform(jax.random.key(i), (8, 4, 4, 1)) + apart, labels)
        for i in range(2)
    )


# what a row needs to move its logits in six steps
SHORTER = {
    "zarts": {
        "alternation": functools.partial(alternations.every, steps=2),
        "logits_learning_rate": 1.0,
    },
}


def short(name, **changes):
    """A method with three epochs of batches of four, that moves its logits fast."""
    small = {"epochs": 3, "batch_size": 4, "features": 12, "layers": 1}
    rate = {"logits_learning_rate": 0.1, "watch_interval": 0}
    method = registry.METHODS[name]()
    tuning = {"projection_epochs": min(1, method.projection_epochs)}
    if set(method.hooks) & {"stop_early", "adaptive_decay"}:
        rate["watch_interval"] = 1
    own = SHORTER.get(name, {})
    if method.alternation == "never":
        del rate["logits_learning_rate"]
    return dataclasses.replace(method, **small | rate | tuning | own | changes)


def run_all(method, space=SPACE, seen=None, contrast=0.0, **changes):
    """Runs a method's segments; returns them and their last states.

    Appends to ``seen`` the parameters and logits at the start and after each epoch.
    """
    gradient.check(method, space)
    space = gradient.space_of(method, space)
    made, states = gradient.build_segments(method, space, setting(**changes)), []

    def observe(step, state, metrics, epoch_ended):
        if seen is not None:
            seen.append(jax.device_get((state.inner.params, state.inner.logits)))

    state = None
    for number, segment in enumerate(made):
        fresh = segment.program.init(jax.random.key(number))
        state = segment.carry(state, fresh) if states else fresh
        observe(0, state, {}, False)
        state, _ = program.run(
            segment.program, state, splits(contrast), observe=observe
        )
        last = number + 1 == len(made)  # the next segment donates the arrays
        states.append(state if last else jax.tree.map(jnp.copy, state))
    return made, states


def moved(old, new):
    """Returns how far each array has moved at most."""
    leaves = jax.tree.map(lambda a, b: np.abs(a - b).max(), old, new)
    return jax.tree.leaves(leaves)


def p_darts_takes_candidates_out_and_grows(made, states, seen):
    """Three candidates, then two, then one on each edge; deeper; those out stay out."""
    assert [segment.name for segment in made] == ["search_1", "search_2", "search_3"]
    # 3, round(15 / 8) and round(9 / 8) candidates; those that weighed most stay
    counts = [int(s.inner.mask[0].sum(-1)[0]) for s in states]
    assert counts == [3, 2, 1]
    for before, after in zip(states, states[1:], strict=False):
        assert not bool((after.inner.mask & ~before.inner.mask).any())
        weights = jax.nn.softmax(
            jnp.where(before.inner.mask, before.inner.logits, -jnp.inf), -1
        )
        kept = jnp.where(after.inner.mask, weights, jnp.inf).min(-1)
        gone = jnp.where(after.inner.mask, -jnp.inf, weights).max(-1)
        assert bool((kept >= gone).all())
    depth = [
        sum(count for _, count, m in segment.supernet.layers if m) for segment in made
    ]
    assert depth == [1, 2, 3]


def dr_nas_goes_on_wider(made, states, seen):
    """The second stage starts from the first one's weights, schedule and logits."""
    first = states[0]
    second = made[1].carry(first, made[1].program.init(jax.random.key(1)))
    wide, narrow = (
        jax.tree.leaves(s.inner.params["layers_00"]["nodes"]) for s in (second, first)
    )
    for old, new in zip(narrow, wide, strict=True):  # a sixth, then a quarter
        assert 2 * new.shape[-1] == 3 * old.shape[-1]
    here = tuple(slice(size) for size in narrow[0].shape)
    np.testing.assert_array_equal(wide[0][here], narrow[0])
    np.testing.assert_array_equal(second.inner.logits, first.inner.logits)
    counts = [int(s.inner.params_opt[3].count) for s in (first, second)]
    assert counts[0] == counts[1] == 2 * 2  # two epochs of two steps


def dartspt_decides_every_edge(made, states, seen):
    """One edge is decided by the search; in the end two edges a node have one option.

    The rate of the tuning is constant, and the logits move in it.
    """
    assert [segment.name for segment in made] == ["search", "projection"]
    assert int((states[0].inner.mask.sum(-1) == 1).sum()) == 1
    assert made[1].program.num_steps == (5 + 1 - 1 + 1) * 2  # 5 edges, one node
    assert int(states[-1].inner.mask.sum()) == 4
    optimizer, w = made[1].pieces.params_optimizer, jnp.ones(())
    for step in (0, 11):
        kept = optax.tree.set(optimizer.init(w), count=jnp.int32(step))
        moves, _ = optimizer.update(0 * w, kept, w)
        np.testing.assert_allclose(moves, -0.025 / 10 * 3e-4, rtol=1e-5)
    encoding, _ = gradient.derive(made[-1].pieces, SPACE, states[-1])
    left = SPACE.weights(encoding) * ~states[-1].inner.mask
    none = states[-1].inner.mask[..., 0].sum()  # an operation stands for each
    assert int(left.sum()) == int(none)
    assert max(moved(states[0].inner.logits, states[-1].inner.logits)) > 1e-3


def pc_darts_waits(made, states, seen):
    """The logits, and those of its edges, wait for their epoch; the weights do not."""
    assert round(made[0].pieces.frozen_epochs) == 1
    start, frozen, *_, end = seen
    assert type(start[1]).__name__ == "ArchParams"
    jax.tree.map(np.testing.assert_array_equal, start[1], frozen[1])
    assert max(moved(start[0], frozen[0])) > 1e-3
    assert min(moved(frozen[1], end[1])) > 1e-3


MORE = {
    "pcdarts": pc_darts_waits,
    "pdarts": p_darts_takes_candidates_out_and_grows,
    "drnas_progressive": dr_nas_goes_on_wider,
    "darts_pt": dartspt_decides_every_edge,
}


@pytest.mark.parametrize("name", list(registry.METHODS))
def test_every_method_runs(name):
    """From first step to cell, all finite; the logits have moved; its own pieces."""
    # three networks, of which the third is three cells deep
    method, seen = short(name), []
    mini = ONE_NODE if name == "pdarts" else SPACE
    # a row that scores options by accuracy needs one that they change
    contrast = 3.0 if name == "shapley" else 0.0
    made, states = run_all(method, mini, seen, contrast)
    params, logits = seen[-1]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((params, logits)))
    space = gradient.space_of(method, mini)
    encoding, weights = gradient.derive(made[-1].pieces, space, states[-1])
    assert encoding.shape == (len(space.sizes),) and weights.shape == space.shape
    assert (np.asarray(weights) >= 0).all()
    moves = method.alternation != "never" or "shapley" in method.hooks
    assert (np.abs(gradient.mixing.split(logits)[0]).max() > 5e-3) == moves
    assert len(made) == len(method.stages) + bool(method.projection_epochs)
    MORE.get(name, lambda *_: None)(made, states, seen)


def test_numbers_of_the_papers():
    """What FACTS of each paper's released code say, by name."""
    said = {
        "darts": dict(features=16, layers=8, epochs=50, batch_size=64),
        "gdas": dict(epochs=250, weight_decay=5e-4, nesterov=True),
        "snas": dict(epochs=150),
        "pcdarts": dict(partial=4, batch_size=256, learning_rate=0.1),
        "pdarts": dict(layers=5, epochs=75, batch_size=96, max_skips=2),
        "drnas_progressive": dict(features=36, layers=20, epochs=50),
        "robust_darts": dict(hypergradient="unrolled", watch_interval=2),
        "robust_darts_ada": dict(hypergradient="unrolled", weight_decay=3e-4),
        "sdarts_rs": dict(perturbation="uniform", progress="by_epochs_done"),
        "sdarts_adv": dict(perturbation="adversarial", progress="by_epochs_done"),
        "fairdarts": dict(learning_rate=0.005, batch_size=128, logits_b1=0.9),
    }
    for name, numbers in said.items():
        method = registry.METHODS[name]()
        for field, value in numbers.items():
            assert getattr(method, field) == value, (name, field)
    # 15 of 50 epochs, 10 of each stage's 25
    for name, epochs, frozen in (("pcdarts", 50, 15), ("pdarts", 25, 10)):
        assert round(registry.METHODS[name]().frozen_rate * epochs) == frozen
    stages = registry.METHODS["pdarts"]().stages
    assert [round(5 * s.depth_rate) for s in stages] == [5, 11, 17]
    assert [round(8 * s.candidates_rate) for s in stages] == [8, 5, 3]
    kept = [round(7 * s.candidates_rate) for s in methods.drnas_progressive().stages]
    assert kept == [7, 4]


def test_the_radius_of_smooth_darts():
    """0.03 + 0.27 e / 50 in epoch e, and never 0.3: the largest move of 4,000 rows.

    A row [1/2, 1/2] moves furthest where its two noises are at opposite ends.
    """
    method = methods.sdarts_rs()
    pieces = resolve.resolve(method, SPACE, steps_per_epoch=4, epochs=method.epochs)
    weights = jnp.full((1, 4000, 2), 0.5)
    for epoch in (0, 25, 49):
        clock = program.Clock(jnp.int32(epoch), jnp.float32(0.999), 7)
        share = pieces.progress(clock, method.epochs)
        moved = pieces.perturbation(jax.random.key(0), weights, share, None)
        radius = 0.03 + 0.27 * epoch / 50
        furthest = np.abs(moved - 0.5).max()
        assert 0.95 * radius < furthest <= radius * (1 + 1e-6)


def test_seeds_are_searches_of_their_own():
    """Two seeds in two stages, one program: masks and logits of their own."""
    stages = methods.Stage(1 / 3), methods.Stage(2 / 3, candidates_rate=2 / 3)
    _, states = run_all(short("darts", stages=stages), ONE_NODE, num_seeds=2)
    masks, logits = states[-1].inner.mask, states[-1].inner.logits
    assert masks.shape == (2, *ONE_NODE.shape)
    for mask, before in zip(masks, states[0].inner.logits, strict=True):
        np.testing.assert_array_equal(
            mask, segments.strongest_candidates(jax.nn.softmax(before, -1), 2 / 3)
        )
    assert not np.array_equal(logits[0], logits[1])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (dict(relaxation="softmaks"), KeyError, "relaxation must be .*'softmax'"),
        (dict(selection="strong"), KeyError, "selection must be .*'strongest'"),
        (dict(regularizers=("zero",)), KeyError, "regularizer must be"),
        (dict(perturbation="unifrom"), KeyError, "perturbation must be .*'uniform'"),
        (dict(eval_relaxation="soft"), KeyError, "relaxation must be"),
        (dict(epochs=0), ValueError, "epochs must be at least 1, got 0"),
        (dict(frozen_rate=2), ValueError, "frozen_rate must be at most 1, got 2"),
        (dict(max_skips=-1), ValueError, "max_skips must be at least 0, got -1"),
        (
            dict(hooks=("stop_early", "adaptive_decay")),
            ValueError,
            "hooks must hold one of watch, stop_early, adaptive_decay at most",
        ),
        (
            dict(hooks=("stop_early",), watch_interval=0),
            ValueError,
            "watch_interval must be at least 1",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(changes, error, message):
    """Names and numbers are checked before anything runs."""
    with pytest.raises(error, match=message):
        gradient.check(dataclasses.replace(methods.darts(), **changes), SPACE)


def test_the_page_of_papers_is_that_of_the_registry():
    """Paper to pieces and numbers; README names every method and the page."""
    page = (ROOT / "jnas/gradient/papers/README.md").read_text()
    assert page == methods_table.page()
    readme = (ROOT / "README.md").read_text()
    assert "jnas/gradient/papers/README.md" in readme
    unnamed = [name for name in registry.METHODS if f"`{name}`" not in readme]
    assert not unnamed


def test_a_row_without_a_source_is_refused():
    """Each number of a row is somebody's."""

    def nobody():
        """Returns a method."""

    with pytest.raises(ValueError, match="method nobody must name its source"):
        methods_table.source_of(nobody)


def test_dropout_of_skips_follows_its_schedule():
    """p (E - e - 1) / E while frozen, then p exp(-.2 (e - 10)), for 25 epochs."""
    method = methods.pdarts()
    given = resolve.variant_inputs(method, method.stages[1], 25)
    for epoch, want in ((0, 0.4 * 24 / 25), (9, 0.4 * 15 / 25), (10, 0.4),
                        (15, 0.4 * np.exp(-1.0))):  # fmt: skip
        clock = program.Clock(jnp.int32(epoch), jnp.float32(epoch / 25))
        np.testing.assert_allclose(given(clock).skip_dropout, want, rtol=1e-6)
    given = resolve.variant_inputs(methods.darts_minus(), methods.Stage(), 50)
    for epoch in (0, 10, 49):
        clock = program.Clock(jnp.int32(epoch), jnp.float32(0))
        np.testing.assert_allclose(given(clock).auxiliary_skip, (50 - epoch) / 50)
