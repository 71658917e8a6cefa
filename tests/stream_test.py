"""Tests of streaming: chunks that are read ahead give the bits of the resident form."""

import dataclasses
import functools
import json
import os
import socket
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, gradient, networks, registry, spaces
from jnas.data import residence, source
from jnas.run import drive
from jnas.studies import search_gradient, setup, train_scratch
from jnas.training import chunks, feed, optimizers, program, scratch

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (103, 4, 4, 1), np.uint8)
LABELS = RNG.integers(0, 3, 103).astype(np.int32)
ROWS = RNG.permutation(103)
SPLITS = ROWS[:60], ROWS[60:]  # 12 and 8 steps of 5
HOW = dict(num_examples=(60, 43), batch_size=5, num_epochs=3)


def logits(weights, images):
    """A linear network."""
    return images.reshape(len(images), -1) / jnp.float32(255) @ weights


def loss(weights, images, labels):
    """Its cross-entropy."""
    return scratch.cross_entropy(logits(weights, images), labels)


def step(key, clock, weights, pair):
    """Descends on the first split, measures the second; draws and clock count too."""
    value, slope = jax.value_and_grad(loss)(weights, *pair[0])
    slope += 1e-3 * clock.progress * jax.random.normal(key, slope.shape)
    return weights - 0.1 * slope, {"loss": value, "valid": loss(weights, *pair[1])}


def init(key):
    """Small weights."""
    return 0.1 * jax.random.normal(key, (16, 3))


def made(**more):
    """The program, without or with what comes after an epoch."""
    return program.program(init, step, metrics=("loss", "valid"), **HOW | more)


def measured(**more):
    """The program, whose weights shrink by the second split's accuracy each epoch."""

    def measure(key, clock, weights, splits):
        images, labels = splits[1]
        return logits(weights, images).argmax(-1) == labels

    def at_epoch_end(key, clock, weights, right):
        accuracy = right.mean()
        return weights * accuracy, {"accuracy": accuracy}

    return made(measure=measure, at_epoch_end=at_epoch_end, **more)


def read(rows):
    """The images of some rows."""
    return IMAGES[rows]


def splits_of(*, resident):
    """Both splits, on the device or to be read."""
    images = IMAGES if resident else source.Read(lambda rows: read(rows), IMAGES.shape)
    return tuple(feed.split(images, LABELS, rows, resident=resident) for rows in SPLITS)


def bits(tree):
    """All arrays of a state."""
    keys = jax.dtypes.prng_key
    return [
        np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, keys) else x)
        for x in jax.tree.leaves(tree)
    ]


def last(prog, splits, *, chunk=None, place=lambda tree: tree, **how):
    """The last state's arrays and metrics."""
    with residence.over("no", chunk_steps=chunk):
        state, metrics = program.run(prog, prog.init(jax.random.key(1)), splits, **how)
    return bits(place((state, {name: metrics[name] for name in sorted(metrics)})))


def equal(found, wanted):
    """Checks arrays bit by bit."""
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("build", [made, measured])
@pytest.mark.parametrize("seeds", [None, 2])
def test_any_chunk_gives_the_bits_of_the_resident_form(build, seeds):
    """Chunks of 1, 5 (12 is no multiple) and all steps, and calls that cut them."""
    wanted = last(build(num_seeds=seeds), splits_of(resident=True))
    prog = build(num_seeds=seeds)
    for chunk in (1, 5, 12, 100):
        equal(last(prog, splits_of(resident=False), chunk=chunk), wanted)
    calls = functools.partial(next, iter([1, 3, 2] * 20))
    equal(last(prog, splits_of(resident=False), chunk=5, suggest_steps=calls), wanted)
    assert prog.advance._cache_size() == 0
    # one executable a size of chunk, of which the last two are one
    assert prog.stream.advance._cache_size() == 3


def test_a_run_resumes_at_any_step_with_other_chunks():
    """The state alone is enough: no loader has one."""
    prog = made()
    wanted = last(prog, splits_of(resident=True))

    class Killed(Exception):
        """Ends a run."""

    for stop, sizes in ((2, (5, 4)), (12, (1, 7)), (29, (12, 3))):

        def observe(at, state, metrics, ended, stop=stop):
            if at == stop:
                raise Killed(jax.tree.map(np.asarray, state._replace(key=None)))

        with (
            pytest.raises(Killed) as killed,
            residence.over("no", chunk_steps=sizes[0]),
        ):
            program.run(
                prog,
                prog.init(jax.random.key(1)),
                splits_of(resident=False),
                observe=observe,
                suggest_steps=lambda: 1,
            )
        (state,) = killed.value.args
        state = state._replace(key=prog.init(jax.random.key(1)).key)
        with residence.over("no", chunk_steps=sizes[1]):
            state, metrics = program.run(
                prog, state, splits_of(resident=False), first=stop
            )
        equal(bits((state, metrics)), wanted)


def test_only_a_few_chunks_are_read_ahead():
    """The thread waits for the device: memory does not grow with the data set."""
    asked = []

    def slow(rows):
        asked.append(len(rows))
        return IMAGES[rows]

    images = source.Read(slow, IMAGES.shape)
    splits = tuple(feed.split(images, LABELS, r, resident=False) for r in SPLITS)
    most = []

    def observe(at, *_):
        taken = -(-at // 2)  # chunks of two steps
        most.append(len(asked) / 2 - taken)  # two splits a chunk

    last(made(), splits, chunk=2, observe=observe)
    assert max(most) <= 2 and sum(asked) == 3 * 12 * 5 * 2


def test_each_row_is_read_once_an_epoch():
    """Chunks have about one size, and what fills up the last is not read."""
    asked = []

    def counted(rows):
        asked.extend(rows)
        return IMAGES[rows]

    images = source.Read(counted, IMAGES.shape)
    split = feed.split(images, LABELS, SPLITS[0], resident=False)

    def step(key, clock, weights, pair):
        return weights, {"loss": loss(weights, *pair[0])}

    prog = program.program(
        init, step, metrics=("loss",), num_examples=(60,), batch_size=5, num_epochs=1
    )
    for chunk, size in ((11, 6), (5, 4), (7, 6), (1, 1)):
        asked.clear()
        with residence.over("no", chunk_steps=chunk):
            assert feed.chunk_steps(prog, (split,)) == size
        last(prog, (split,), chunk=chunk)
        assert sorted(asked) == sorted(SPLITS[0])


def test_a_source_may_reuse_its_memory_and_its_file():
    """Calls come one at a time, and what they return is copied."""
    buffer, busy = np.empty_like(IMAGES), []

    def reused(rows):
        assert not busy
        busy.append(1)
        buffer[: len(rows)] = IMAGES[rows]
        busy.clear()
        return buffer[: len(rows)]

    wanted = last(measured(), splits_of(resident=True))
    images = source.Read(reused, IMAGES.shape)
    splits = tuple(feed.split(images, LABELS, r, resident=False) for r in SPLITS)
    equal(last(measured(), splits, chunk=3), wanted)


def test_an_error_of_reading_ends_the_run_and_the_thread():
    """It is raised where the images are needed."""

    def broken(rows):
        if len(broken.calls) > 4:
            raise OSError("the disk is gone")
        broken.calls.append(rows)
        return IMAGES[rows]

    broken.calls = []
    images = source.Read(broken, IMAGES.shape)
    splits = tuple(feed.split(images, LABELS, r, resident=False) for r in SPLITS)
    before = threading.active_count()
    with pytest.raises(OSError, match="the disk is gone"):
        last(made(), splits, chunk=2)
    assert threading.active_count() == before


def test_what_comes_after_an_epoch_gets_the_rows_it_reads():
    """The same bits where it names them, and no other image is read."""
    rows = np.array([3, 11, 40])

    def at_epoch_end(key, clock, weights, splits):
        images, labels = splits[1]
        if len(labels) > len(rows):
            images, labels = images[rows], labels[rows]
        return weights - loss(weights, images, labels), {}

    build = functools.partial(made, at_epoch_end=at_epoch_end, reads=rows)
    wanted = last(build(), splits_of(resident=True))
    equal(last(build(), splits_of(resident=False), chunk=12), wanted)


def test_what_comes_after_an_epoch_of_one_split_reads_no_image():
    """It gets no split that streams but the second."""

    def at_epoch_end(key, clock, weights, splits):
        assert len(splits) == 1
        return weights / 2, {}

    def one(key, clock, weights, pair):
        return step(key, clock, weights, (pair[0], pair[0]))

    prog = program.program(
        init,
        one,
        metrics=("loss", "valid"),
        num_examples=(60,),
        batch_size=5,
        num_epochs=2,
        at_epoch_end=at_epoch_end,
    )
    wanted = last(prog, splits_of(resident=True)[:1])
    equal(last(prog, splits_of(resident=False)[:1], chunk=5), wanted)


def test_pieces_are_the_whole():
    """Of any size; the repeated last image is left out."""
    want = IMAGES.sum((1, 2, 3)) + LABELS
    for size in (1, 16, 103, 500):
        found = chunks.in_chunks(
            lambda x, y: {"sum": x.sum((1, 2, 3), np.int32) + y},
            source.Read(read, IMAGES.shape),
            LABELS,
            batch_size=size,
        )
        np.testing.assert_array_equal(found["sum"], want)


def test_a_program_without_a_stream_refuses_it():
    """In one line that says what to do."""
    prog = made()._replace(stream=None)
    with pytest.raises(ValueError, match="images must be on the devices .* --resident"):
        last(prog, splits_of(resident=False))


def test_images_that_do_not_fit_are_refused_where_they_must(monkeypatch):
    """By a command that cannot read them when needed."""
    few = data.Dataset("few", IMAGES, LABELS, IMAGES[:3], LABELS[:3], 3)
    monkeypatch.setattr(feed, "device_bytes", lambda: 1 << 10)
    with pytest.raises(ValueError, match="must fit in the 0 MiB of a device"):
        setup.two_splits(few, 0.5, seed=0)
    splits = setup.two_splits(few, 0.5, seed=0, streams=True)
    assert feed.is_streamed(splits)  # a quarter of it is less than 1,696 bytes


def test_finalists_are_refused_before_the_search(monkeypatch):
    """Their images do not stream; the line says what to leave out."""
    few = data.Dataset("few", IMAGES, LABELS, IMAGES[:3], LABELS[:3], 3)
    monkeypatch.setattr(feed, "device_bytes", lambda: 1 << 10)
    search = search_gradient.SearchSettings(registry.METHODS["darts"](), finalists=2)
    with pytest.raises(ValueError, match="for the finalists .* Add --finalists=0"):
        search_gradient._check_images(few, search)
    search = search_gradient.SearchSettings(registry.METHODS["darts_pt"]())
    with pytest.raises(ValueError, match="for a method with a projection"):
        search_gradient._check_images(few, search)
    search = search_gradient.SearchSettings(registry.METHODS["darts"]())
    search_gradient._check_images(few, search)


@pytest.fixture
def few():
    """A data set of three classes on a disk."""
    images = np.uint8(IMAGES // 4 + 60 * LABELS[:, None, None, None])
    lazy = source.Read(images.__getitem__, images.shape)
    held = data.Dataset("few", images, LABELS, images[:20], LABELS[:20], 3)
    return held, dataclasses.replace(held, x_train=lazy, x_test=lazy[:20])


SIZE = networks.Size(2, 1, 3, channels=1)
SPACE = dataclasses.replace(spaces.zoo.tiny(), name="mini", cells=("cell",))


def test_a_watched_search_streams(few):
    """A supernet's search with a watch: all of the state is the resident form's."""
    method = dataclasses.replace(
        registry.METHODS["darts"](),
        epochs=2,
        batch_size=8,
        features=2,
        layers=1,
        watch_interval=1,
    )
    augment = data.Augment((0.5,), (0.25,), crop_padding=1, flip=True)
    found = []
    for resident, one in (("yes", few[0]), ("no", few[1])):
        with residence.over(resident, chunk_steps=3):
            splits = setup.two_splits(one, 0.3, seed=0, streams=True)
            sizes = tuple(len(y) for _, y in splits)
            setting = gradient.Setting(SIZE, augment, sizes, None)
            (segment,) = gradient.build_segments(method, SPACE, setting)
            state = segment.program.init(jax.random.key(3))
            found.append(bits(program.run(segment.program, state, splits)[0]))
        assert feed.is_streamed(splits) == (resident == "no")
    equal(*found)


def test_a_training_and_its_test_stream(few):
    """Validation after each epoch, and the accuracies on the test split at the end."""
    cell = SPACE.genotype(np.zeros(len(SPACE.sizes), np.int32))
    network = networks.derived(cell, SIZE)
    found = []
    for resident, one in (("yes", few[0]), ("no", few[1])):
        with residence.over(resident, chunk_steps=2):
            splits = setup.two_splits(one, 0.3, seed=0, streams=True)
            how = dict(augment=data.Augment((0.5,), (0.25,)), batch_size=8)
            prog = scratch.training(
                network,
                optimizer=optimizers.momentum_sgd(lambda step: 0.05),
                num_examples=len(splits[0][1]),
                num_epochs=2,
                validates=True,
                num_seeds=2,
                **how,
            )
            state, metrics = program.run(prog, prog.init(jax.random.key(0)), splits)
            plan = train_scratch.train_plan.Plan(
                network, prog, None, how["augment"], splits
            )
            tested = train_scratch._test(jax.random.key(1), plan, state.inner, one, 8)
            found.append(bits((state, tested, drive._over_seeds(prog, metrics))))
    equal(*found)


@pytest.mark.optimised
@pytest.mark.parametrize("mixup", [0.0, 0.2])
def test_batches_from_a_chunk_are_rounded_alike(few, mixup):
    """XLA must not fuse where a batch comes from into what is done with it."""
    cell = SPACE.genotype(np.zeros(len(SPACE.sizes), np.int32))
    prog = scratch.training(
        networks.derived(cell, SIZE),
        optimizer=optimizers.momentum_sgd(lambda step: 0.05),
        augment=data.Augment((0.3,), (0.35,)),
        num_examples=103,
        batch_size=16,
        num_epochs=3,
        mixup=mixup,
    )
    found = []
    for one in few:
        resident = isinstance(one.x_train, np.ndarray)
        splits = (feed.split(one.x_train, one.y_train, resident=resident),)
        found.append(last(prog, splits, chunk=4))
    equal(*found)


MESHES = """
import json, sys
sys.path.insert(0, {tests!r})
import jax, numpy as np
import stream_test as t
from jnas.training import placement

def whole(tree):
    return t.bits(placement.local(tree))

found = {{}}
for seeds, group in ((None, "global"), (2, "global"), (3, "global"), (None, "device")):
    with placement.over(norm_group=group):
        build = lambda: t.measured(num_seeds=seeds, batch_size=4)
        resident = t.last(build(), t.splits_of(resident=True))
        streamed = t.last(build(), t.splits_of(resident=False), chunk=4)
        found[str((seeds, group))] = [
            placement.layout(seeds),
            all((a == b).all() for a, b in zip(resident, streamed, strict=True)),
        ]
print(json.dumps(found))
"""


def test_streams_on_meshes():
    """Each device gets its part of a batch; the bits are those of resident images."""
    code = MESHES.format(tests=os.path.dirname(__file__))
    flags = "--xla_force_host_platform_device_count=4"
    environment = os.environ | {"XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {flags}"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert all(same for _, same in found.values())
    assert found["(None, 'global')"][0] == {"seeds": 1, "data": 4}
    assert found["(2, 'global')"][0] == {"seeds": 2, "data": 2}
    assert found["(3, 'global')"][0] == {"seeds": 1, "data": 4}
    assert found["(None, 'device')"][0] == {"seeds": 1, "norm": 4, "data": 1}


PROCESSES = """
import json, sys
sys.path.insert(0, {tests!r})
import jax
jax.distributed.initialize("127.0.0.1:" + sys.argv[1], 2, int(sys.argv[2]))
import stream_test as t
from jnas.training import placement

read = []

def counted(rows):
    read.append(len(rows))
    return t.IMAGES[rows]

t.read = counted
found = []
for seeds in (None, 2):
    build = lambda: t.made(num_seeds=seeds, batch_size=4)
    resident = t.last(build(), t.splits_of(resident=True), place=placement.local)
    read.clear()
    streamed = t.last(
        build(), t.splits_of(resident=False), chunk=4, place=placement.local
    )
    same = all((a == b).all() for a, b in zip(resident, streamed, strict=True))
    found.append([placement.layout(seeds), same, sum(read)])
print(json.dumps(found), flush=True)
jax.distributed.shutdown()
"""


@pytest.mark.slow
def test_streams_over_processes():
    """Each process reads the images of its own devices alone: half of them."""
    code = PROCESSES.format(tests=os.path.dirname(__file__))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    flags = "--xla_force_host_platform_device_count=2"
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {flags}",
        "JAX_PLATFORMS": "cpu",
    }
    line = [sys.executable, "-W", "ignore", "-c", code, port]
    both = [
        subprocess.Popen(
            [*line, number], env=environment, stdout=subprocess.PIPE, text=True
        )
        for number in "01"
    ]
    said = [one.communicate()[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    for text in said:
        one, two = json.loads(text.splitlines()[-1])
        assert one[0] == {"seeds": 1, "data": 4} and two[0] == {"seeds": 2, "data": 2}
        assert one[1] and two[1]
        # three epochs of 15 batches of four, of two splits, by half of the devices
        assert one[2] == 3 * 15 * 4 * 2 / 2 and two[2] <= 3 * 15 * 4 * 2
