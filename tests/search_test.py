"""Tests of the program, the two searches and the training, on the tiny space."""

import dataclasses
import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas import data, gradient, networks, spaces
from jnas.discrete import controllers, objectives, search
from jnas.gradient import bilevel, relaxations
from jnas.training import devices, optimizers, program, scratch

SHAPE = networks.Size(2, 1, 3, channels=1)
# one kind of cell, so that one layer is a network
SPACE = dataclasses.replace(spaces.zoo.tiny(), name="mini", cells=("cell",))


def splits(*sizes):
    """Makes splits of images uint8[N, 6, 6, 1] whose brightness is their class."""
    made = []
    for seed, size in enumerate(sizes):
        labels = np.arange(size) % 3
        rng = np.random.default_rng(seed)
        images = rng.integers(0, 60, (size, 6, 6, 1)) + 80 * labels[:, None, None, None]
        made.append((jnp.asarray(images, jnp.uint8), jnp.asarray(labels, jnp.int32)))
    return tuple(made)


@functools.lru_cache
def gradient_program(num_seeds=None, over_seeds=None):
    """Builds two epochs of a gradient search on the tiny space."""
    return gradient.gradient_search(
        networks.supernet(SPACE, SHAPE),
        gradient.Pieces(optimizers.momentum_sgd(0.05), optimizers.adam_l2(0.02)),
        augment=data.Augment((0.5,), (0.25,), crop_padding=1, flip=True, cutout=2),
        num_examples=(24, 16),
        batch_size=8,
        num_epochs=2,
        num_seeds=num_seeds,
        over_seeds=over_seeds,
    )


def run_all(prog, cut=None, key=0):
    """Runs a program in calls of at most ``cut`` steps; returns state and metrics."""
    steps = (lambda: cut) if cut else None
    state = prog.init(jax.random.key(key))
    return program.run(prog, state, splits(24, 16), suggest_steps=steps)


def same(a, b):
    """Asserts that two pytrees hold the same bits."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


@pytest.mark.optimised
def test_one_seed_gives_one_result_however_it_is_cut():
    """Whole epochs, single steps, or cut anywhere: the same bits, compiled once."""
    prog = gradient_program()
    whole, metrics = run_all(prog)
    size = prog.advance._cache_size()
    for cut in (1, 2):
        state, again = run_all(prog, cut)
        same(whole, state)
        same(metrics, again)
    assert prog.advance._cache_size() == size
    other, _ = run_all(prog, key=1)
    assert not np.array_equal(other.inner.logits, whole.inner.logits)


@pytest.mark.optimised
def test_a_search_learns_and_moves_its_logits():
    """Logits leave their start; the metrics are those of the last epoch."""
    state, metrics = run_all(gradient_program())
    start = gradient_program().init(jax.random.key(0))
    assert np.abs(state.inner.logits - start.inner.logits).max() > 0.02
    assert set(metrics) == set(gradient.METRICS)
    for name in gradient.METRICS:
        np.testing.assert_allclose(metrics[name], state.sums[name] / 3, rtol=1e-6)
    assert 0 < float(metrics["entropy"]) <= np.log(4) + 1e-6


@pytest.mark.optimised
@pytest.mark.parametrize("over_seeds", [devices.together, devices.in_turn])
def test_seeds_side_by_side_are_seeds_one_by_one(over_seeds):
    """Either mapping gives each seed's own numbers, in float64 to 1e-9."""
    with jax.enable_x64(True):
        many, metrics = run_all(gradient_program(2, over_seeds))
        assert metrics["train_loss"].shape == (2,)
        prog = gradient_program()
        for s, key in enumerate(jax.random.split(jax.random.key(0), 2)):
            alone, _ = program.run(prog, prog.init(key), splits(24, 16))
            mine = jax.tree.map(operator.itemgetter(s), many.inner.logits)
            np.testing.assert_allclose(mine, alone.inner.logits, atol=1e-9)


def test_what_runs_once_may_be_a_part_of_something_else():
    """Under jit, vmap and eval_shape a program's init is an ordinary function.

    Optimised or not, values agree to float32's rounding.
    """
    prog, keys = gradient_program(), jax.random.split(jax.random.key(0), 2)
    alone = prog.init(keys[0])
    mapped = jax.jit(jax.vmap(prog.init))(keys)
    like = jax.eval_shape(prog.init, keys[0])
    jax.tree.map(lambda a, b: np.testing.assert_equal(a.shape, b.shape), alone, like)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b[0], rtol=5e-7),
        (alone.inner, alone.sums),
        (mapped.inner, mapped.sums),
    )


def test_unrolled_gradient_of_a_supernet():
    """Exact through depthwise candidates in a scan, against central differences.

    float64; the step of 1e-6 keeps clear of the kinks of ReLU and max-pooling.
    """
    with jax.enable_x64(True):
        names = ["none", "max_pool_3x3", "dil_conv_3x3"]
        space = SPACE.with_operations(names)
        net = networks.supernet(space, SHAPE)
        train_loss, valid_loss = gradient.build_losses(net, relaxations.softmax)
        optimizer = optax.chain(
            optax.add_decayed_weights(3e-4), optax.sgd(0.1, momentum=0.9)
        )
        keys = iter(jax.random.split(jax.random.key(0), 8))
        params = program.once(net.init)(next(keys))
        params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
        logits = jax.random.normal(next(keys), space.shape, jnp.float64)
        train, valid = (
            gradient.Batch(
                jax.random.normal(next(keys), (4, 5, 6, 1), jnp.float64),
                jnp.arange(4) % 3,
                jnp.zeros(()),
            )
            for _ in range(2)
        )
        key, state = next(keys), optimizer.init(params)

        def inner(logits):
            grads, _ = jax.grad(train_loss, 1, has_aux=True)(key, params, logits, train)
            updates, _ = optimizer.update(grads, state, params)
            moved = optax.apply_updates(params, updates)
            return valid_loss(key, moved, logits, valid)[0]

        rule = bilevel.unrolled(train_loss, valid_loss, optimizer)
        (_, _), d_logits = jax.jit(rule)(key, params, state, logits, train, valid)
        direction, step = jax.random.normal(next(keys), space.shape, jnp.float64), 1e-6
        value = jax.jit(inner)
        ahead, behind = (value(logits + s * direction) for s in (step, -step))
        slope = (ahead - behind) / (2 * step)
        np.testing.assert_allclose(np.vdot(d_logits, direction), slope, rtol=1e-6)
        (_, _), first = bilevel.first_order(train_loss, valid_loss, optimizer)(
            key, params, state, logits, train, valid
        )
        assert abs(np.vdot(first, direction) / slope - 1) > 1e-3  # the test can fail


def test_an_epoch_takes_each_example_once():
    """Orders are permutations, differ by epoch and split, and splits repeat."""

    def step(key, clock, state, picked):
        (x, _), (z, _) = picked
        state = state.at[clock.epoch, x[:, 0, 0, 0].astype(jnp.int32)].add(1)
        return state, {"sum": z.sum().astype(jnp.float32)}

    prog = program.program(
        lambda key: jnp.zeros((2, 24), jnp.int32),
        step,
        metrics=("sum",),
        num_examples=(24, 8),
        batch_size=8,
        num_epochs=2,
    )
    numbered = jnp.arange(24, dtype=jnp.uint8)[:, None, None, None]
    labels = jnp.zeros(24, jnp.int32)
    both = (numbered, labels), (numbered[:8], labels[:8])
    state, metrics = program.run(prog, prog.init(jax.random.key(0)), both)
    np.testing.assert_array_equal(state.inner, np.ones((2, 24)))
    # the second split is one batch, used at every step: 0 + 1 + ... + 7
    assert float(metrics["sum"]) == 28


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(num_epochs=0), "num_epochs must be at least 1, got 0"),
        (dict(num_seeds=-1), "num_seeds must be at least 1, got -1"),
        (dict(num_seeds=0), "num_seeds must be at least 1, got 0"),
        (dict(batch_size=25), "batch_size must be from 1 to the 24 examples"),
    ],
)
def test_settings_are_checked(settings, message):
    """Wrong sizes are refused before anything is compiled."""
    good = dict(num_examples=(24,), batch_size=8, num_epochs=1, metrics=())
    with pytest.raises(ValueError, match=message):
        program.program(lambda key: 0, lambda *a: (0, {}), **good | settings)


@pytest.mark.optimised
def test_training_learns_and_is_evaluated_once_per_image():
    """A trained network tells three brightnesses apart; evaluate counts by hand."""
    cell = SPACE.genotype(np.zeros(len(SPACE.sizes), int))
    net = networks.derived(cell, networks.Size(4, 1, 3, channels=1))
    settings = data.Augment((0.5,), (0.25,))
    prog = scratch.training(
        net,
        optimizer=optimizers.momentum_sgd(0.1),
        augment=settings,
        num_examples=24,
        batch_size=8,
        num_epochs=20,
        drop_path_rate=0.1,
    )
    state, metrics = program.run(prog, prog.init(jax.random.key(0)), splits(24))
    assert float(metrics["train_accuracy"]) > 0.7
    (x, y) = splits(23)[0]
    accuracy = functools.partial(
        scratch.evaluate, jax.random.key(0), net, augment=settings, batch_size=5
    )
    found = jax.jit(accuracy)(state.inner.params, state.inner.stats, x, y)
    normal = data.normalise(x, settings)
    (outputs, _), _ = net.apply(
        state.inner.params, state.inner.stats, normal, train=False
    )
    np.testing.assert_allclose(found, (outputs.argmax(-1) == y).mean(), atol=1e-6)


def test_drop_path_rate_is_checked():
    """A probability of one would drop everything."""
    with pytest.raises(ValueError, match=r"drop_path_rate must be in \[0, 1\), got 1"):
        scratch.training(
            None,
            optimizer=optax.sgd(0.1),
            augment=None,
            num_examples=8,
            batch_size=8,
            num_epochs=1,
            drop_path_rate=1,
        )


def test_discrete_search_finds_the_best_of_what_it_saw():
    """Against a known objective; NaN never wins."""
    sizes = (3, 4)

    def objective(key, encodings):
        score = encodings.sum(-1, keepdims=True).astype(jnp.float32)
        return jnp.where(score == 5, jnp.nan, score)

    controller = controllers.random_search(sizes, num_proposals=4)
    run = functools.partial(
        search.discrete_search, controller=controller, objective=objective
    )
    count, history = jax.jit(lambda key: run(key, num_rounds=50))(jax.random.key(0))
    assert int(count) == 200 and history.encodings.shape == (50, 4, 2)
    encoding, score = search.best(history)
    # 5 is NaN, so 4 is the best; 200 draws of 12 miss it with probability 1e-15
    assert int(encoding.sum()) == 4 and float(score) == 4


def test_one_shot_objective_is_the_supernet():
    """Scores are accuracies with one-hot weights."""
    space, net = SPACE, networks.supernet(SPACE, SHAPE)
    params = program.once(net.init)(jax.random.key(0))
    (x, y) = splits(12)[0]
    x = data.normalise(x, data.Augment((0.5,), (0.25,)))
    objective = objectives.one_shot_accuracy(space, net, params, x, y)
    keys = jax.random.split(jax.random.key(1), 2)
    drawn = jnp.stack([spaces.encoding.sample(k, space.sizes) for k in keys])
    scores = jax.jit(objective)(keys[0], drawn)
    run = jax.jit(net.apply)
    for encoding, score in zip(drawn, scores, strict=True):
        outputs = run(params, x, space.weights(encoding))
        np.testing.assert_allclose(score[0], (outputs.argmax(-1) == y).mean())
