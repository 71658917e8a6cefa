"""Tests of the watch over a search: its evaluations, early stopping and rolling back.

Eigenvalues are forced by a supernet whose Hessian is known, and the rule of RobustDARTS
is written again as its authors have it, with lists.
"""

import dataclasses
import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

from jnas import data, gradient, networks, spaces, types
from jnas.data import batches
from jnas.gradient import hooks, methods, mixing, relaxations, resolve
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.hooks import rise
from jnas.gradient.hooks import watch as watch_lib
from jnas.training import optimizers, program

MINI = spaces.CellSpace(
    "mini", ("cell",), 2, 1, ("none", "skip_connect", "nor_conv_1x1"), 2, (2,)
)
TINY = spaces.zoo.tiny()
PLAIN = data.Augment((0.5,), (0.25,))
NUM_EVALUATIONS = 24


def normal(seed, shape):
    """Draws standard normal numbers."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def state_of(params, arch, mask=None, params_opt=()):
    """A state of a search before its first evaluation."""
    return gradient.GradientState(params, arch, params_opt, (), mask)


def search_of(net, weights_of, batch_size, **more):
    """What a hook is built from."""
    strongest = spaces.CellSpace.strongest
    return hooks.Search(net, weights_of, strongest, PLAIN, batch_size, 1, **more)


def begun(state, hook):
    """The state of a search before its first epoch."""
    return state._replace(hooks=hook_lib.begin((hook,), state))


def end(hook):
    """Builds (key, clock, state, split) -> state, after an epoch."""
    call = hook_lib.at_epoch_end((hook,))
    return lambda key, clock, state, split: call(key, clock, state, (None, split))[0]


def clock_of(epoch):
    """The end of an epoch."""
    return program.Clock(jnp.int32(epoch), jnp.float32(1))


def picked(split, size, count):
    """The images of an evaluation, in a plain loop: evenly spread, also in a batch."""
    images, labels = split
    count = max(1, min(count, len(labels) // size))
    size = min(size, len(labels))
    numbers = [b + i * count for b in range(count) for i in range(size)]
    rows = [number * len(labels) // (count * size) for number in numbers]
    images = (np.asarray(images, np.float32)[rows] / 255 - 0.5) / 0.25
    return images, np.asarray(labels)[rows], size


# What an evaluation finds, in a real network and in one of a line.


def one_line():
    """outputs = x . tanh(sum weights P), for P f32[C, E, O, F, K]."""

    def apply(params, x, weights, *, key=None, variant_inputs=None):
        hidden = jnp.einsum("ceo,ceofk->fk", weights, params)
        return x.reshape(len(x), -1) @ jnp.tanh(hidden)

    return networks.Supernet(
        lambda key: jax.random.normal(key, (*TINY.shape, 16, 3)), apply, TINY
    )


def real():
    """A supernet of one cell."""
    return networks.supernet(MINI, networks.Size(2, 1, 3, channels=1))


def images_of(size, seed=0):
    """A split: images uint8[N, 4, 4, 1] and labels of three classes."""
    rng = np.random.default_rng(seed)
    images = jnp.asarray(rng.integers(0, 256, (size, 4, 4, 1)), jnp.uint8)
    return images, jnp.asarray(rng.integers(0, 3, size), jnp.int32)


@pytest.mark.parametrize("kind", ["real", "line", "masked edges"])
def test_an_evaluation_finds_the_hessian_the_accuracies_and_the_cell(kind):
    """Against eigvalsh of the whole Hessian, and networks that are run directly.

    As many iterations as there are logits: Lanczos is exact but for float32's rounding
    of second derivatives, a thousandth; accuracies are counts of few images.
    """
    net = real() if kind == "real" else one_line()
    space, split = net.space, images_of(37)
    arch, mask = normal(1, space.shape), None
    if kind == "masked edges":
        arch = types.ArchParams(arch, normal(2, space.shape[:2]))
        mask = jnp.ones(space.shape, bool).at[..., 1].set(False).at[0, 3].set(False)
    params = program.once(net.init)(jax.random.key(0))
    weights_of = mixing.build_weights_of(space, relaxations.softmax)
    count = space.lookups.choices.size * 5
    hook = watch_lib.watch(search_of(net, weights_of, 8), num_iterations=count)
    state = begun(state_of(params, arch, mask), hook)
    assert all(np.isnan(v) for v in state.hooks[0].values.values())
    evaluate = jax.jit(end(hook))
    found = evaluate(jax.random.key(0), clock_of(3), state, split).hooks[0]
    images, labels, size = picked(split, 8, 4)
    run = jax.jit(net.apply)

    def loss(arch):
        weights = gradient.eval_weights(space, relaxations.softmax, arch, mask)
        chances = jax.nn.log_softmax(net.apply(params, images[:size], weights))
        return -chances[jnp.arange(size), labels[:size]].mean()

    def accuracy(weights):
        right = 0
        for at in range(0, len(images), size):
            outputs = run(params, images[at : at + size], weights).argmax(-1)
            right += (outputs == labels[at : at + size]).sum()
        return right / len(images)

    flat, back = jax.flatten_util.ravel_pytree(arch)
    hessian = jax.jit(jax.hessian(lambda a: loss(back(a))))(flat)
    values = found.values
    top = np.linalg.eigvalsh(np.asarray(hessian, np.float64))[-1]
    assert top > 1e-3
    np.testing.assert_allclose(values["eigenvalue"], top, rtol=2e-3)
    weights = gradient.eval_weights(space, relaxations.softmax, arch, mask)
    cell = space.weights(space.strongest(weights))
    before, after = accuracy(weights), accuracy(cell)
    assert before != after  # the test can fail
    np.testing.assert_allclose(values["supernet_accuracy"], before, rtol=1e-6)
    np.testing.assert_allclose(values["one_hot_accuracy"], after, rtol=1e-6)
    np.testing.assert_allclose(values["discretization_gap"], before - after, atol=1e-6)
    edges = [
        e for _, c in space.genotype(found.carry.encodings[-1]).cells for e in c.edges
    ]
    for name in space.operations:
        count = sum(operation == name for *_, operation in edges)
        assert values[watch_lib.COUNT + name] == count
    assert set(values) == {
        *gradient.WATCHED,
        *(gradient.COUNT + name for name in space.operations),
    }
    # the same images each time, whatever the key; Lanczos begins elsewhere
    again = evaluate(jax.random.key(9), clock_of(4), state, split).hooks[0].values
    for name, value in values.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "num_batches", "shape"),
    [(23, 8, 4, (2, 8)), (64, 8, 4, (4, 8)), (5, 8, 4, (1, 5)), (64, 8, 1, (1, 8))],
)
def test_an_evaluation_takes_images_from_all_over(
    num_examples, batch_size, num_batches, shape
):
    """Against a loop; all different; no more than there are."""
    found = batches.spread(num_examples, batch_size, num_batches)
    count, size = shape
    numbers = [b + i * count for b in range(count) for i in range(size)]
    rows = [number * num_examples // (count * size) for number in numbers]
    assert found.shape == shape and len(set(rows)) == len(rows)
    np.testing.assert_array_equal(found.reshape(-1), rows)


def test_an_evaluation_has_no_dropout_and_a_cell_no_auxiliary_skip():
    """A network whose output is 0, or 1 with the skip, or 2 with dropout."""

    def apply(params, x, weights, *, key=None, variant_inputs):
        rows = jnp.stack(
            [
                0.1 + 0 * weights.sum(),
                variant_inputs.auxiliary_skip,
                variant_inputs[1] * 9,
            ]
        )
        return jnp.tile(rows, (len(x), 1))

    search = search_of(
        networks.Supernet(None, apply, TINY),
        mixing.build_weights_of(TINY, relaxations.softmax),
        4,
        variant_inputs=lambda clock: networks.VariantInputs(
            clock.epoch / 8, clock.epoch / 8
        ),
    )
    hook = watch_lib.watch(search)
    state = begun(state_of((), jnp.zeros(TINY.shape)), hook)
    images, _ = images_of(8)
    split = images, jnp.array([0, 1, 1, 1] * 2)
    after = end(hook)(jax.random.key(0), clock_of(4), state, split)
    values = after.hooks[0].values
    assert values["supernet_accuracy"] == 0.75 and values["one_hot_accuracy"] == 0.25
    assert values["discretization_gap"] == 0.5


# Forced eigenvalues: the Hessian of this network in its weights is a number times one.


def forced(space=TINY):
    """A supernet whose largest eigenvalue is ``variant_inputs.auxiliary_skip``.

    Its outputs are (z, 0) with z = -q (w - v)^2, v the value of w without derivative:
    z = 0 and the loss log(1 + e^-z) of label 0 has slope -1/2, so that its Hessian in w
    is q times the identity.
    """

    def apply(params, x, weights, *, key=None, variant_inputs):
        moved = weights - jax.lax.stop_gradient(weights)
        z = -variant_inputs.auxiliary_skip * (moved**2).sum()
        along = params.sum() * x.mean((1, 2, 3))  # no weight in it
        return jnp.stack([z + 0 * along, 0 * along], -1)

    return networks.Supernet(lambda key: jax.random.normal(key, (3,)), apply, space)


def bare(key, logits, progress):
    """Gives the logits themselves, so that eigenvalues in weights are those in them."""
    return logits


RISE = rise.Rise()
WEIGHTS_OF = mixing.build_weights_of(TINY, bare)


def watch_forced(table, decide, *, interval=1, rule=RISE, **settings):
    """Watches ``forced``, whose eigenvalue is table[epoch]."""
    search = search_of(
        forced(),
        WEIGHTS_OF,
        2,
        variant_inputs=lambda clock: networks.VariantInputs(table[clock.epoch]),
    )
    settings = {"num_iterations": 2} | settings
    return watch_lib.build(search, interval, rise=rule, decide=decide, **settings)


NOTHING = jnp.zeros((2, 1, 1, 1)), jnp.zeros(2, jnp.int32)
LOGITS = normal(
    5, (2 * NUM_EVALUATIONS, *TINY.shape)
)  # of each epoch: cells that differ


@functools.partial(jax.jit, static_argnames="interval")
def drive(eigenvalues, interval=1):
    """Ends of epochs, one after another: (Watched of the last, history of hooks)."""
    hook = watch_forced(eigenvalues, rise.stop_early(RISE), interval=interval)

    def one(kept, epoch):
        clock = program.Clock(epoch, jnp.float32(0))
        state = state_of(jnp.zeros(3), LOGITS[epoch])._replace(hooks=kept)
        kept = end(hook)(jax.random.key(0), clock, state, NOTHING).hooks
        return kept, kept[0]

    first = begun(state_of(jnp.zeros(3), LOGITS[0]), hook).hooks
    last, history = jax.lax.scan(one, first, jnp.arange(len(eigenvalues)))
    return last[0].carry, history


def rule(eigenvalues, epochs, *, window=5, delay=4, factor=1.3, first_epoch=10):
    """RobustDARTS' EVLocalAvg: (index of the one that stops, of the one gone to).

    Local averages are those of the last ``window`` eigenvalues, or of all while there
    are fewer, from half a window on; each belongs to the middle of its window.
    """
    averages = []
    for now in range(len(eigenvalues)):
        known = eigenvalues[: now + 1]
        if len(known) < -(-window // 2):
            continue
        last = known[-window:]
        averages.append(sum(last) / len(last))
        if len(averages) <= delay:
            continue
        back = now - window // 2 - delay
        if back < 0 or epochs[back] < first_epoch:
            continue
        if averages[-1] / averages[-1 - delay] > factor:
            return now, back
    return None


def is_a_tie(eigenvalues):
    """Whether float32 may decide either way: a ratio near 1.3, a mean near 0."""
    means = [
        np.mean(eigenvalues[max(0, i - 4) : i + 1]) for i in range(NUM_EVALUATIONS)
    ]
    earlier, later = np.array(means[:-4]), np.array(means[4:])
    return bool(
        (abs(earlier) < 1e-2).any() or (abs(later / earlier - 1.3) < 1e-3).any()
    )


def check_against_rule(eigenvalues, interval):
    """Compares a run with the rule, one by one; returns what the rule says."""
    table = np.repeat(np.asarray(eigenvalues, np.float32), interval)
    last, history = drive(jnp.asarray(table), interval=interval)
    epochs = [i * interval + interval - 1 for i in range(NUM_EVALUATIONS)]
    found = rule(list(eigenvalues), epochs)
    np.testing.assert_allclose(last.eigenvalues, eigenvalues[-9:], rtol=1e-5)
    np.testing.assert_array_equal(last.epochs, epochs[-9:])
    stopped = np.asarray(history.stop)
    np.testing.assert_array_equal(stopped, history.carry.stopped)
    if found is None:
        assert not stopped.any()
        assert not last.answer.any()
        return None
    now, back = found
    # stopped from that evaluation on; nothing changes afterwards
    want = np.arange(NUM_EVALUATIONS * interval) >= epochs[now]
    np.testing.assert_array_equal(stopped, want)
    cell = TINY.strongest(LOGITS[epochs[back]])
    for answer in np.asarray(history.carry.answer)[want]:
        np.testing.assert_array_equal(answer, cell)
    return found


@pytest.mark.parametrize("interval", [1, 2])
@pytest.mark.parametrize(
    ("eigenvalues", "found"),
    [
        ([1.0] * 24, None),
        ([1.0] * 18 + [10.0] * 6, (18, 12)),  # at once: (4 + 10) / 5 > 1.3
        ([1.0] * 18 + [2.4] * 6, (19, 13)),  # 1.28, then 1.56
        ([1.0] * 18 + [1.25] * 6, None),
        ([1.0] * 18 + [10.0] + [0.1] * 5, (18, 12)),
        ([-1.0] * 18 + [-3.0] * 6, (18, 12)),  # as released: a ratio, whatever the sign
    ],
)
def test_hand_made_rises(eigenvalues, found, interval):
    """Sums that can be done in the head; it rolls back six evaluations."""
    assert check_against_rule(eigenvalues, interval) == found


@pytest.mark.parametrize(
    ("interval", "found"),
    [
        (1, (16, 10)),
        (2, (11, 5)),
        (12, (6, 0)),  # the earlier mean is of three evaluations
    ],
)
def test_no_search_goes_back_before_the_tenth_epoch(interval, found):
    """Eigenvalues that double each time: the first evaluation that may stop does."""
    assert check_against_rule(list(2.0 ** np.arange(24)), interval) == found


@hypothesis.given(
    st.lists(st.integers(-16, 64), min_size=NUM_EVALUATIONS, max_size=NUM_EVALUATIONS),
    st.sampled_from([1, 2]),
    st.booleans(),
)
@hypothesis.settings(deadline=None, max_examples=100)
def test_random_eigenvalues_stop_where_the_rule_does(eighths, interval, rising):
    """Any sequence, of either sign; a steady rise is mixed in for half of them."""
    drift = 5 + 0.1 * np.arange(NUM_EVALUATIONS) ** 1.5 if rising else 0
    eigenvalues = np.array(eighths) / 8 + drift
    with np.errstate(all="ignore"):
        hypothesis.assume(not is_a_tie(eigenvalues))
    check_against_rule(eigenvalues.tolist(), interval)


def test_an_eigenvalue_that_is_no_number_stops_nothing():
    """A diverged evaluation is left out of the means; no search rolls back to it."""
    eigenvalues = np.ones(NUM_EVALUATIONS, np.float32)
    eigenvalues[14:] = 10
    eigenvalues[8] = np.nan
    _, history = drive(jnp.asarray(eigenvalues))
    # from evaluation 16 on, a search may roll back to evaluation 10
    np.testing.assert_array_equal(history.stop, np.arange(NUM_EVALUATIONS) >= 16)
    eigenvalues[10] = np.nan
    _, history = drive(jnp.asarray(eigenvalues))
    np.testing.assert_array_equal(history.stop, np.arange(NUM_EVALUATIONS) >= 17)


def test_an_interval_skips_epochs():
    """An evaluation at every second epoch's end; in between no result changes."""
    _, history = drive(jnp.arange(48.0) + 1, interval=2)
    for epoch in range(2, 48, 2):
        before, after = (
            jax.tree.map(lambda a, e=e: np.asarray(a)[e], history)
            for e in (epoch - 1, epoch)
        )
        jax.tree.map(np.testing.assert_array_equal, before, after)
    found = np.asarray(history.values["eigenvalue"])
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1::2], np.arange(2, 49, 2), rtol=1e-5)


def test_an_interval_of_zero_disables_the_watch():
    """And is refused by the hooks that follow its results."""
    search = search_of(forced(), WEIGHTS_OF, 2, interval=0)
    assert watch_lib.watch(search) is None
    assert hook_lib.build(("watch",), search) == ()
    for name in ("stop_early", "adaptive_decay"):
        with pytest.raises(ValueError, match=f"at least 1 with the hook {name}"):
            hook_lib.build((name,), search)
    assert watch_lib.watch(search, every=3).every == 3


def test_a_watch_and_its_hook_have_one_rule():
    """A hook whose windows are longer than what the watch holds is refused."""
    hook = watch_forced(jnp.ones(1), rise.stop_early(rise.Rise(delay=6)))
    state = begun(state_of(jnp.zeros(3), LOGITS[0]), hook)
    message = "watched must hold 11 evaluations, got 9. Give watch and its hook"
    with pytest.raises(ValueError, match=message):
        end(hook)(jax.random.key(0), clock_of(0), state, NOTHING)


def test_a_watch_holds_what_its_rule_needs():
    """Shorter windows: a buffer of three evaluations, the oldest dropped first."""
    short = rise.Rise(window=2, delay=1)
    hook = watch_forced(jnp.arange(5.0) + 1, rise.stop_early(short), rule=short)
    state = begun(state_of(jnp.zeros(3), LOGITS[0]), hook)
    for epoch in range(5):
        state = end(hook)(jax.random.key(0), clock_of(epoch), state, NOTHING)
    watched = state.hooks[0].carry
    np.testing.assert_allclose(watched.eigenvalues, [3, 4, 5], rtol=1e-5)
    np.testing.assert_array_equal(watched.epochs, [2, 3, 4])
    assert not watched.stopped  # 4.5 / 3.5 is 1.29


# Adaptive weight decay rolls back.


@pytest.mark.parametrize("lacks", ["carried_decay", "schedule", "snapshots"])
def test_adaptive_decay_says_what_it_needs(lacks):
    """An optimizer without the decay or the schedule, a watch without snapshots."""
    rate = optimizers.cosine_by_epoch(start=1, end=0, num_epochs=9, steps_per_epoch=1)
    plain = {"decay": optax.add_decayed_weights}
    optimizer = optimizers.momentum_sgd(
        0.1 if lacks == "schedule" else rate,
        weight_decay=1e-3,
        **plain if lacks == "carried_decay" else {"decay": optimizers.carried_decay},
    )
    snapshots = lacks != "snapshots"
    hook = watch_forced(jnp.ones(1), rise.strengthen(RISE), snapshots=snapshots)
    params = jnp.zeros(3)
    state = state_of(params, LOGITS[0], params_opt=optimizer.init(params))
    state = begun(state, hook)
    with pytest.raises(ValueError, match="strengthen must be given a carried_decay"):
        end(hook)(jax.random.key(0), clock_of(0), state, NOTHING)


def rolled(num_epochs, rate):
    """Runs ends of epochs with snapshots; yields (epoch, state before, state after).

    Everything in the state before the end of epoch e tells e.
    """
    table = jnp.where(jnp.arange(num_epochs) < 18, 1.0, 10.0)
    optimizer = optimizers.momentum_sgd(
        optimizers.cosine_by_epoch(start=1.0, end=0.0, num_epochs=9, steps_per_epoch=1),
        weight_decay=rate,
        decay=optimizers.carried_decay,
    )
    rule = rise.strengthen(RISE)
    hook = watch_forced(table, rule, snapshots=True, metrics=("weight_decay",))

    @jax.jit
    def ended(state, epoch):
        clock = program.Clock(epoch, jnp.float32(0))
        return end(hook)(jax.random.key(0), clock, state, NOTHING)

    params = jnp.zeros(3)
    state = state_of(params, LOGITS[0], params_opt=optimizer.init(params))
    state = begun(state, hook)
    for epoch in range(num_epochs):
        state = state._replace(
            params=jnp.full(3, float(epoch)),
            logits=LOGITS[epoch],
            params_opt=optax.tree.set(
                state.params_opt, trace=jnp.full(3, -float(epoch)), count=epoch + 100
            ),
        )
        before, state = state, ended(state, jnp.int32(epoch))
        yield epoch, before, state


def opt_numbers(state):
    """(decay rate, trace, count) of the parameters' optimizer."""
    names = ("decay_rate", "trace", "count")
    return [np.asarray(optax.tree.get(state.params_opt, name)) for name in names]


def test_a_rise_goes_back_with_a_stronger_decay():
    """Evaluation 18 restores evaluation 12, with ten times the decay, and forgets."""
    for epoch, before, after in rolled(25, 1e-3):
        rate, trace, count = opt_numbers(after)
        assert count == epoch + 100  # the schedule continues
        if epoch == 18:
            np.testing.assert_array_equal(after.params, np.full(3, 12.0))
            np.testing.assert_array_equal(after.logits, LOGITS[12])
            np.testing.assert_array_equal(trace, np.full(3, -12.0))
            assert np.isnan(after.hooks[0].carry.eigenvalues).all()
        else:
            np.testing.assert_array_equal(after.params, before.params)
            np.testing.assert_array_equal(after.logits, before.logits)
            np.testing.assert_array_equal(trace, np.full(3, -float(epoch)))
        # with its past forgotten, ten after ten is no rise
        np.testing.assert_allclose(rate, 1e-3 if epoch < 18 else 1e-2, rtol=1e-6)
        own = after.hooks[0]
        np.testing.assert_array_equal(own.values["weight_decay"], rate)
        assert not own.stop
        kept = min(epoch, 17) + 1 if epoch < 18 else epoch - 18
        assert (~np.isnan(own.carry.eigenvalues)).sum() == min(9, kept)


@pytest.mark.parametrize(
    ("rate", "want", "place"), [(0.01, 0.03, 12.0), (0.03, 0.03, 18.0), (1.0, 1.0, 18)]
)
def test_decay_is_capped_and_goes_back_no_more(rate, want, place):
    """A rate that is at the cap or above stays, and so does the state."""
    for epoch, _, after in rolled(19, rate):
        if epoch == 18:
            np.testing.assert_allclose(opt_numbers(after)[0], want, rtol=1e-6)
            np.testing.assert_array_equal(after.params, np.full(3, place))


# A whole search.

NUM_EPOCHS, STEPS = 22, 2
TABLE = jnp.where(jnp.arange(NUM_EPOCHS) < 13, 1.0, 3.0)
DRIFT = normal(7, TINY.shape)


@functools.lru_cache
def stopping_search(num_seeds=None):
    """A search whose eigenvalues rise at epoch 13, and whose logits drift steadily."""

    def inputs(clock):
        return networks.VariantInputs(TABLE[clock.epoch])

    def drift(logits, weights, progress):
        # steps of the logits at progress p, so that cells change during the search
        return (logits * DRIFT * jnp.cos(6 * progress)).sum()

    return gradient.gradient_search(
        forced(),
        gradient.Pieces(
            optax.sgd(0.1),
            optax.sgd(1.0),
            relaxation=bare,
            weights_of=WEIGHTS_OF,
            regularizers=(drift,),
            variant_inputs=inputs,
        ),
        augment=PLAIN,
        num_examples=(4, 4),
        batch_size=2,
        num_epochs=NUM_EPOCHS,
        hooks=(watch_forced(TABLE, rise.stop_early(RISE)),),
        num_seeds=num_seeds,
    )


def run_search(cut=None, num_seeds=None):
    """Runs it; returns (state, reported steps, metrics and logits of epochs)."""
    made, reported, epochs = stopping_search(num_seeds), [], []

    def observe(step, state, metrics, epoch_ended):
        reported.append(step)
        if epoch_ended:
            logits = np.asarray(state.inner.logits)
            epochs.append((jax.tree.map(np.asarray, metrics), logits))

    split = jnp.ones((4, 2, 2, 1)), jnp.zeros(4, jnp.int32)
    state, _ = program.run(
        made,
        made.init(jax.random.key(0)),
        (split, split),
        suggest_steps=(lambda: cut) if cut else None,
        observe=observe,
    )
    return state, reported, epochs


def test_a_search_that_collapses_ends_early():
    """program.run ends where the rule says, with the cell from before."""
    state, reported, epochs = run_search()
    eigenvalues = [float(metrics["eigenvalue"]) for metrics, _ in epochs]
    np.testing.assert_allclose(eigenvalues, TABLE[: len(epochs)], rtol=1e-5)
    now, back = rule([*eigenvalues, *TABLE[len(epochs) :].tolist()], range(NUM_EPOCHS))
    assert len(epochs) == now + 1 < NUM_EPOCHS and reported[-1] == (now + 1) * STEPS
    watched = state.inner.hooks[0].carry
    assert watched.stopped
    cell = TINY.strongest(jnp.asarray(epochs[back][1]))
    np.testing.assert_array_equal(watched.answer, cell)
    assert (TINY.strongest(state.inner.logits) != cell).any()  # the test can fail
    pieces = resolve.resolve(methods.robust_darts(), TINY, steps_per_epoch=1, epochs=1)
    hook = watch_forced(TABLE, rise.stop_early(RISE))
    pieces = dataclasses.replace(pieces, hooks=(hook,))
    encoding, _ = gradient.derive(pieces, TINY, state)
    np.testing.assert_array_equal(encoding, cell)
    # a run that has ended takes no step more
    _, metrics = program.run(
        stopping_search(), state, None, first=reported[-1], observe=pytest.fail
    )
    assert metrics == {}


def test_a_stopped_search_is_the_same_however_it_is_cut():
    """Single steps: the same bits, and the same end."""
    whole, reported, _ = run_search()
    cut, more, _ = run_search(cut=1)
    assert more[-1] == reported[-1] and len(more) == STEPS * len(reported)
    for a, b in zip(jax.tree.leaves(whole.inner), jax.tree.leaves(cut.inner),
                    strict=True):  # fmt: skip
        np.testing.assert_array_equal(a, b)


def test_seeds_stop_each_for_itself():
    """Side by side: one flag and one cell for each seed."""
    state, reported, epochs = run_search(num_seeds=2)
    watched = state.inner.hooks[0].carry
    assert watched.stopped.all() and reported[-1] < NUM_EPOCHS * STEPS
    now, back = rule([float(m["eigenvalue"][0]) for m, _ in epochs], range(NUM_EPOCHS))
    assert now == len(epochs) - 1
    for seed in range(2):
        cell = TINY.strongest(jnp.asarray(epochs[back][1][seed]))
        np.testing.assert_array_equal(watched.answer[seed], cell)
