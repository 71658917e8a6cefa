"""Tests of hooks, alternations and optimizers of a user's own, and of bundled ones."""

import dataclasses
import functools
import json
import pathlib

import forks
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, gradient, networks, registry, spaces
from jnas.gradient import (
    alternations,
    bilevel,
    hooks,
    methods,
    mixing,
    relaxations,
    search_pieces,
)
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.hooks import prune, robust, sgas
from jnas.training import program

MINI = spaces.CellSpace(
    "mini", ("cell",), 1, 2, ("none", "skip_connect", "nor_conv_1x1"), None, (2,)
)
PLAIN = data.Augment((0.5,), (0.25,))


def short(**changes):
    """Three epochs of four steps, whose logits move fast."""
    small = {"epochs": 3, "batch_size": 4, "features": 2, "layers": 1}
    fast = {"logits_learning_rate": 0.1, "watch_interval": 0}
    return dataclasses.replace(registry.METHODS["darts"](), **small | fast | changes)


def run(method, space=MINI, num_seeds=None):
    """Runs a method's only segment; returns it, its state, logits and metrics."""
    gradient.check(method, space)
    setting = gradient.Setting(
        networks.Size(2, 1, 2, channels=1), PLAIN, (16, 16), num_seeds
    )
    (segment,) = gradient.build_segments(method, space, setting)
    splits = tuple(
        (jax.random.uniform(jax.random.key(i), (16, 4, 4, 1)), jnp.arange(16) % 2)
        for i in range(2)
    )
    seen, metrics_of = [], []

    def observe(step, state, metrics, epoch_ended):
        seen.append(jax.tree.map(np.asarray, state.inner.logits))
        if epoch_ended:
            metrics_of.append({n: np.asarray(v) for n, v in metrics.items()})

    state = segment.program.init(jax.random.key(0))
    first = jax.tree.map(np.asarray, state.inner.logits)
    state, _ = program.run(
        segment.program, state, splits, suggest_steps=lambda: 1, observe=observe
    )
    return segment, state, [first, *seen], metrics_of


def moves(logits):
    """Which steps moved the logits."""
    return [
        any((a != b).any() for a, b in zip(*map(jax.tree.leaves, pair), strict=True))
        for pair in zip(logits, logits[1:], strict=False)
    ]


def clock(step, epoch=0, progress=0.0):
    """A position in a search."""
    return program.Clock(jnp.int32(epoch), jnp.float32(progress), jnp.int32(step))


ALTERNATING = {
    "every_step": ("every_step", {}, [True] * 12),
    "every third": (
        functools.partial(alternations.every, steps=3), {},
        [False, False, True] * 4,
    ),
    "after a half": (
        functools.partial(alternations.after, share=0.5), {}, [False] * 6 + [True] * 6,
    ),
    "beside frozen epochs": (
        functools.partial(alternations.every, steps=3), {"frozen_rate": 1 / 3},
        [False] * 4 + [False, True, False, False, True, False, False, True],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ALTERNATING)
def test_alternations_move_the_logits_in_their_steps(name):
    """And in no other; the parameters move in every step."""
    piece, more, want = ALTERNATING[name]
    _, _, logits, _ = run(short(alternation=piece, **more))
    assert moves(logits) == want


def test_the_hypergradient_is_not_computed_where_logits_rest():
    """A rule that counts its own executions: one in three steps."""
    counted = []

    def rule(train_loss, valid_loss, optimizer):
        own = bilevel.first_order(train_loss, valid_loss, optimizer)

        def gradient_of(*given):
            jax.debug.callback(lambda: counted.append(1))
            return own(*given)

        return gradient_of

    piece = functools.partial(alternations.every, steps=3)
    run(short(alternation=piece, hypergradient=rule))
    jax.effects_barrier()
    assert len(counted) == 4


def counting(search, *, every=1, limit=None):
    """A hook that counts its calls, reports the clock, and may end the search."""

    def call(key, clock, state, carry, split):
        count = carry + 1
        stop = False if limit is None else count >= limit
        values = {"calls": count, "seen_step": clock.step}
        return state, count, values, stop

    return hooks.Hook(
        every, lambda state: jnp.int32(0), call, metrics=("calls", "seen_step")
    )


@pytest.mark.parametrize(("every", "calls"), [(1, [1, 2, 3]), (2, [np.nan, 1, 1])])
def test_a_hook_has_a_carry_and_is_called_when_due(every, calls):
    """Its metrics are reported after each epoch; NaN before the first call."""
    piece = functools.partial(counting, every=every)
    _, state, _, metrics = run(short(hooks=(piece,)))
    np.testing.assert_array_equal([m["calls"] for m in metrics], calls)
    assert metrics[1]["seen_step"] == 8
    assert state.inner.hooks[0].carry == calls[-1]


def test_a_hook_ends_the_search():
    """After its second call; of several seeds, once all have been ended."""
    piece = functools.partial(counting, limit=2)
    _, _, logits, metrics = run(short(hooks=(piece,)))
    assert len(metrics) == 2 and len(logits) == 1 + 8

    def by_seed(search):
        """Ends the seed whose first logit is negative after one call, others at two."""

        def call(key, clock, state, carry, split):
            late = (carry[1] > 0).astype(jnp.int32)
            stop = carry[0] >= late
            return state, (carry[0] + 1, carry[1]), {"stops": stop}, stop

        def init(state):
            return jnp.int32(0), state.logits[0, 0, 0]

        return hooks.Hook(1, init, call, ("stops",))

    _, state, _, metrics = run(short(hooks=(by_seed,)), num_seeds=4)
    first = np.asarray(state.inner.hooks[0].carry[1])
    assert (first < 0).any() and (first > 0).any()  # the test can fail
    np.testing.assert_array_equal(metrics[0]["stops"], first < 0)
    assert len(metrics) == 2
    np.testing.assert_array_equal(state.inner.hooks[0].stop, [True] * 4)


def doubling(search):
    """A hook that changes the state for the next one."""

    def call(key, clock, state, carry, split):
        return state._replace(logits=2 * state.logits), carry, {}, False

    return hooks.Hook(1, lambda state: (), call)


def reading(search):
    """A hook that reports what it finds."""

    def call(key, clock, state, carry, split):
        values = {"largest": jnp.abs(state.logits).max(), "left": state.mask.sum()}
        return state, carry, values, False

    return hooks.Hook(1, lambda state: (), call, ("largest", "left"), removes=True)


def test_hooks_are_called_in_order():
    """The second sees what the first has left, and one that removes gives a mask."""
    one = short(hooks=(doubling, reading), logits_learning_rate=0.0)
    _, state, logits, metrics = run(one)
    first = np.abs(logits[0]).max()
    np.testing.assert_allclose(
        [m["largest"] for m in metrics], [first * 2, first * 4, first * 8], rtol=1e-6
    )
    assert state.inner.mask.shape == MINI.shape
    assert [m["left"] for m in metrics] == [9, 9, 9]


def test_values_that_were_not_named_are_refused():
    """A hook names its metrics before the search, which holds their values."""

    def wrong(search):
        def call(key, clock, state, carry, split):
            return state, carry, {"more": 1.0}, False

        return hooks.Hook(1, lambda state: (), call)

    with pytest.raises(
        ValueError, match="a hook must give the values that its metrics"
    ):
        run(short(hooks=(wrong,)))


def test_a_hook_may_choose_the_cell():
    """``found`` replaces the derived encoding, where it says so."""

    def choosing(search):
        def call(key, clock, state, carry, split):
            return state, carry + 1, {}, False

        found = lambda carry: (carry > 2, jnp.array([2, 2, 2]))  # noqa: E731
        return hooks.Hook(1, lambda state: jnp.int32(0), call, found=found)

    for epochs, same in ((2, False), (3, True)):
        segment, state, _, _ = run(short(hooks=(choosing,), epochs=epochs))
        encoding, weights = gradient.derive(segment.pieces, MINI, state)
        derived = MINI.strongest(weights)
        want = [2, 2, 2] if same else derived
        np.testing.assert_array_equal(encoding, want)


def test_none_is_spared_where_nodes_choose_their_inputs():
    """It is no option of a derived cell: the best other one stays in every row."""
    darts = spaces.zoo.darts()
    logits = jnp.zeros(darts.shape).at[..., 0].set(6.0).at[..., 4].set(2.0)
    search = hooks.Search(
        networks.Supernet(None, None, darts),
        mixing.build_weights_of(darts, relaxations.softmax),
        spaces.CellSpace.strongest, PLAIN, 4, 1,
    )  # fmt: skip
    hook = prune.prune(search, every=1, threshold=0.9)
    mask = jnp.ones(darts.shape, bool)
    state = gradient.GradientState((), logits, (), (), mask)
    state = state._replace(hooks=hook_lib.begin((hook,), state))
    after, _ = hook_lib.at_epoch_end((hook,))(
        jax.random.key(0), clock(4), state, (None, None)
    )
    left = np.asarray(after.mask)
    assert left[..., 4].all() and left[..., 0].all()
    assert (left.sum(-1) == 2).all()


def test_pruning_by_hand():
    """Below 0.4 / K of a row's sum an option goes, K those that are left."""
    logits = jnp.log(jnp.array([[[0.05, 0.15, 0.8], [0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]]))
    net = networks.Supernet(None, None, MINI)
    search = hooks.Search(
        net,
        mixing.build_weights_of(MINI, relaxations.softmax),
        spaces.CellSpace.strongest,
        PLAIN,
        4,
        1,
    )
    hook = prune.prune(search, every=1)
    mask = jnp.ones(MINI.shape, bool).at[0, 2, 1].set(False)
    state = gradient.GradientState((), logits, (), (), mask)
    state = state._replace(hooks=hook_lib.begin((hook,), state))
    end = hook_lib.at_epoch_end((hook,))
    after, values = end(jax.random.key(0), clock(4), state, (None, None))
    # thresholds: .4 / 3 = .133, .133, and .4 / 2 = .2 of the .1, .8 that sum to .9
    want = [[False, True, True], [True, True, True], [False, False, True]]
    np.testing.assert_array_equal(after.mask[0], want)
    assert values["options_left"] == 6
    again, _ = end(jax.random.key(0), clock(8), after, (None, None))
    want[0] = [False, False, True]  # .15 / .95 = .158 is below .4 / 2
    np.testing.assert_array_equal(again.mask[0], want)


@pytest.mark.parametrize("name", ["prune", "decide_edges"])
def test_hooks_that_remove_work_in_every_kind_of_space(name):
    """In a chain of unequal rows and in cells: what is found is what is left."""
    for space in (MINI, spaces.zoo_chains.tiny_chain()):
        piece = registry.HOOKS[name]
        bound = functools.partial(piece, every=1)
        if name == "decide_edges":
            bound = functools.partial(bound, warm_up=0)
        segment, state, _, metrics = run(short(hooks=(bound,)), space)
        encoding, _ = gradient.derive(segment.pieces, space, state)
        weights = space.weights(encoding)
        for one_hot, mask in zip(
            jax.tree.leaves(weights), jax.tree.leaves(state.inner.mask), strict=True
        ):
            assert not (np.asarray(one_hot) > np.asarray(mask)).any()
        if name == "decide_edges":
            count = len(space.sizes)
            assert [m["undecided_rows"] for m in metrics] == [
                count - 1, count - 2, count - 3,
            ]  # fmt: skip


REFUSED = {
    "hook must be one of .* Did you mean 'watch'": dict(hooks=("wach",)),
    "alternation must be one of .*'every_step'": dict(alternation="every_stop"),
    "optimizer of logits must be one of .*'exponentiated'": dict(
        logits_optimizer="exponential"
    ),
    "optimizer must be one of .*'adam'": dict(optimizer="adum"),
    "hooks must hold one of watch, stop_early, adaptive_decay": dict(
        hooks=("watch", "stop_early"), watch_interval=1
    ),
    "at least 1 with the hook stop_early, got 0": dict(hooks=("stop_early",)),
    "optimizer must be one whose weight decay can change": dict(
        hooks=("adaptive_decay",), watch_interval=1, optimizer="lion"
    ),
    "relaxation must be simplex or .* with logits_optimizer exponentiated": dict(
        logits_optimizer="exponentiated"
    ),
    "logits_b1 must be left out with logits_optimizer momentum_sgd": dict(
        logits_optimizer="momentum_sgd", logits_b1=0.3
    ),
    "adaptive_decay must be the only hook, as it rolls": dict(
        hooks=("adaptive_decay", "prune"), watch_interval=1
    ),
    "edge_weights must be off with regularizer expected_cost": dict(
        regularizers=("expected_cost",), edge_weights=True
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_wrong_pieces_of_a_schedule(message):
    """Before anything runs, with the nearest name."""
    with pytest.raises((KeyError, ValueError), match=message):
        gradient.check(short(**REFUSED[message]), MINI)


REFUSED_IN_TIME = {
    "hook prune must be called once at least, got every 5 in 3": dict(hooks=("prune",)),
    "hook prune must have every at least 1, got 0": dict(
        hooks=(functools.partial(prune.prune, every=0),)
    ),
    "alternation.steps must be at least 1, got 0": dict(
        alternation=functools.partial(alternations.every, steps=0)
    ),
    "decide_edges must have every at least 1 and warm_up": dict(
        hooks=(functools.partial(sgas.decide_edges, every=0),)
    ),
    "metrics of hooks must have names of their own, got 'calls'": dict(
        hooks=(counting, counting)
    ),
    "hooks that remove options must be left out with a method of": dict(
        hooks=(functools.partial(prune.prune, every=1),),
        stages=(methods.Stage(0.5), methods.Stage(0.5)),
    ),
}


@pytest.mark.parametrize("message", REFUSED_IN_TIME)
def test_numbers_that_make_no_schedule(message):
    """When the programs are built, before anything is compiled."""
    with pytest.raises(ValueError, match=message):
        run(short(**REFUSED_IN_TIME[message]))


def test_a_carry_keeps_its_types():
    """An init of integers and a call of floats are refused, with both."""

    def wrong(search):
        def call(key, clock, state, carry, split):
            return state, carry + 0.5, {}, False

        return hooks.Hook(1, lambda state: jnp.int32(0), call)

    with pytest.raises(ValueError, match="keep the shapes and types of its carry"):
        run(short(hooks=(wrong,)))


def test_a_bound_interval_stands_for_the_watch_s():
    """``every`` of a hook replaces the method's number."""
    piece = functools.partial(robust.stop_early, every=2)
    gradient.check(short(hooks=(piece,), watch_interval=0), MINI)


def test_half_of_the_moving_steps():
    """Frozen epochs and rests do not count; two thousand million steps take no time."""
    third = functools.partial(alternations.every, steps=3)
    late = functools.partial(alternations.after, share=0.5)
    for changes, want in (
        ({}, (12, 6)),
        ({"frozen_rate": 1 / 3}, (8, 8)),
        ({"alternation": third}, (4, 6)),  # the third and the sixth of twelve
        ({"alternation": late}, (6, 9)),
        ({"frozen_rate": 1.0}, (0, 12)),
    ):
        setting = gradient.Setting(
            networks.Size(2, 1, 2, channels=1), PLAIN, (16, 16), None
        )
        (one,) = gradient.build_segments(short(**changes), MINI, setting)
        assert search_pieces.moving_steps(one.pieces, 3, 4) == want, changes
    count, half = search_pieces.moving_steps(one.pieces, 2**31 - 1, 1)
    assert count == 2**31 - 1 - one.pieces.frozen_epochs
    pieces = dataclasses.replace(one.pieces, frozen_epochs=0, alternation=third)
    count, half = search_pieces.moving_steps(pieces, 30_000_000, 50)
    assert abs(count / 1.5e9 - 1 / 3) < 1e-2 and abs(half / 1.5e9 - 0.5) < 1e-2


@pytest.mark.parametrize("optimizer", ["adam", "lion", "momentum_sgd"])
def test_optimizers_of_both_levels(optimizer):
    """Any registered one trains the parameters, and moves the logits."""
    one = short(optimizer=optimizer, logits_optimizer=optimizer, learning_rate=0.01)
    _, state, logits, metrics = run(one)
    assert all(moves(logits))
    assert np.isfinite([m["train_loss"] for m in metrics]).all()


PLUGIN = """
import jax, jax.numpy as jnp
from jnas import registry
from jnas.gradient import hooks

@registry.HOOKS.register
def halve(search, *, every=1):
    def call(key, clock, state, carry, split):
        def of_row(weights, mask):
            ranks = jnp.argsort(jnp.argsort(-weights, -1), -1)
            return mask & (ranks < jnp.maximum(mask.sum(-1, keepdims=True) // 2, 1))
        mask = jax.tree.map(of_row, search.weights_of(state), state.mask)
        left = sum(leaf.sum() for leaf in jax.tree.leaves(mask))
        return state._replace(mask=mask), carry, {"left": left}, False
    return hooks.Hook(every, lambda state: (), call, ("left",), removes=True)

@registry.ALTERNATIONS.register
def third(clock):
    return clock.step % 3 == 2

@registry.OBSERVERS.register
def lines(workdir):
    file = (workdir / "seen.txt").open("a")
    return lambda line: print(line["step"], line["left"], file=file, flush=True)

@registry.OBSERVERS.register
def broken(workdir):
    return lambda line: 1 / 0
"""


def test_a_plug_in_of_hook_alternation_and_observers(tmp_path):
    """By flags and options, from the command line; a broken observer ends nothing."""
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    line = (
        "search", f"--workdir={tmp_path / 'run'}", "--data=digits", "--shrink=2",
        "--space=tiny_chain", "--features=4", "--epochs=2", "--batch_size=256",
        f"--plugins={path}", "--hooks=halve", "--alternation=third",
        "--options=hook.halve.every=1", "--observers=broken,lines",
    )  # fmt: skip
    done = forks.launch(*line, limit=200)
    assert not done.status, done.err
    rows = (tmp_path / "run" / "seen.txt").read_text().split()
    assert rows[-1] == "4.0"  # one option of each of four rows is left
    assert "observer broken is left out from now on: ZeroDivisionError" in done.err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["settings"]["method"]["alternation"] == {"name": "third"}
    wrong = forks.launch(*line[:-1], "--observers=linse")
    assert wrong.status and "Did you mean 'lines'" in wrong.err


def test_the_shipped_observers_write_csv(tmp_path):
    """A row a value; the file is the one that README names."""
    root = pathlib.Path(__file__).parent.parent
    done = forks.launch(
        "search", f"--workdir={tmp_path / 'run'}", "--data=digits", "--shrink=2",
        "--space=tiny_chain", "--features=4", "--epochs=1", "--batch_size=256",
        "--watch_interval=0", f"--plugins={root / 'experiments/plugins/observers.py'}",
        "--observers=csv", limit=200,
    )  # fmt: skip
    assert not done.status, done.err
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert any(
        row.startswith(("2,search,train_loss,", "3,search,train_loss,")) for row in rows
    ), rows  # noqa: E501
