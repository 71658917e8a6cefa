"""Recalibrated supernets against running statistics that were set by hand."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, networks, ops, registry, run, spaces
from jnas.discrete import objectives
from jnas.studies import scoring, search_discrete
from jnas.training import program

CANDIDATES = "none", "skip_connect", "nor_conv_1x1", "avg_pool_3x3"
SPACES = {
    "one input": spaces.CellSpace("mini", ("cell",), 1, 2, CANDIDATES, None, (2,)),
    "two inputs": spaces.zoo.tiny(),
    "chain": registry.SPACES["tiny_chain"](),
}


def size_of(space):
    """The smallest network of a space."""
    return networks.Size(2, 3 if space.name == "tiny" else 1, 3, channels=1)


def images(count, seed, *, scale=1.0, shift=0.0):
    """Normal images of a mean and a deviation."""
    return shift + scale * jax.random.normal(jax.random.key(seed), (count, 8, 8, 1))


CALIBRATION = images(12, 0, scale=2.0, shift=1.0)  # unlike the images that are scored
SCORED = images(5, 1)
LABELS = jnp.array([0, 1, 2, 1, 0])


def encoding_of(space, number=1):
    """An encoding without zeros where genes have another value."""
    return np.minimum(number, np.array(space.sizes) - 1).astype(np.int32)


def built(space):
    """The one-shot network and its parameters, with norms' scales and biases moved."""
    net = networks.one_shot(space, size_of(space))
    params = program.once(net.init)(jax.random.key(2))
    keys = iter(jax.random.split(jax.random.key(3), 999))
    return net, jax.tree.map(
        lambda leaf: leaf + 0.1 * jax.random.normal(next(keys), leaf.shape), params
    )


def by_running_statistics(space, params, encoding):
    """Outputs of a network whose running statistics are those of CALIBRATION.

    One training pass moves them from old to 0.9 old + 0.1 new, which is solved for new.
    The images are repeated: a running variance has the factor n / (n - 1).
    """
    pools = {} if space.supernet == "chain" else {"normalise_pools": None}
    network = networks.switched(
        space,
        size_of(space),
        norm=ops.Norm(affine=False, running=True),
        stem_norm=ops.Norm(affine=True, running=True),
        **pools,
    )(space.weights(encoding))
    _, old = program.once(network.init)(jax.random.key(0))
    _, moved = jax.jit(lambda *a: network.apply(*a, train=True))(
        params, old, jnp.tile(CALIBRATION, (500, 1, 1, 1))
    )
    stats = jax.tree.map(lambda a, b: (b - 0.9 * a) / 0.1, old, moved)
    evaluate = jax.jit(lambda *a: network.apply(*a, train=False)[0][0])
    return evaluate(params, stats, SCORED)


@pytest.mark.parametrize("name", SPACES)
def test_it_is_the_network_whose_running_statistics_are_the_calibration_images(name):
    """In every kind of network."""
    space = SPACES[name]
    net, params = built(space)
    encoding = encoding_of(space)
    weights = space.weights(encoding)
    found = jax.jit(networks.recalibrated(net, CALIBRATION).apply)(
        params, SCORED, weights
    )
    wanted = by_running_statistics(space, params, encoding)
    # the solution magnifies the rounding of the statistics ten times
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["one input", "chain"])
def test_a_mixed_supernet_too(name):
    """By its own images it is itself; by others an image's outputs are its own."""
    space = SPACES[name]
    net = networks.supernet(space, size_of(space))
    params = program.once(net.init)(jax.random.key(0))
    weights = jax.tree.map(lambda row: jax.nn.softmax(row + jnp.arange(row.shape[-1])),
                           space.weights(encoding_of(space)))  # fmt: skip

    @jax.jit
    def outputs(calibration, x):
        return networks.recalibrated(net, calibration).apply(params, x, weights)

    both = jnp.concatenate([CALIBRATION[:5], SCORED])
    found = outputs(both, both)
    np.testing.assert_allclose(found, net.apply(params, both, weights), atol=1e-5)
    np.testing.assert_allclose(outputs(both, SCORED), found[5:], atol=1e-5)
    # the scored images' own statistics are far away
    assert np.abs(net.apply(params, SCORED, weights) - found[5:]).max() > 0.01
    # of one pixel one image is enough
    np.testing.assert_allclose(outputs(both, SCORED[:1])[0], found[5], atol=1e-5)


def test_a_score_does_not_depend_on_the_images_that_are_scored_together():
    """Of single images, and of all with their mean; by batches it does depend."""
    space = SPACES["one input"]
    net, params = built(space)
    cells = jnp.stack([encoding_of(space), encoding_of(space, 2)])

    def scores(rows, calibration):
        given = params, SCORED[rows], LABELS[rows]
        made = objectives.one_shot_accuracy(space, net, *given, calibration=calibration)
        return made(jax.random.key(0), cells)[:, 0]

    whole = scores(jnp.arange(5), CALIBRATION)
    single = [scores(jnp.array([i]), CALIBRATION) for i in range(5)]
    np.testing.assert_allclose(np.mean(single, 0), whole, atol=1e-6)
    outputs = networks.recalibrated(net, CALIBRATION).apply(
        params, SCORED, space.weights(cells[1])
    )
    assert float(whole[1]) == pytest.approx(
        float((outputs.argmax(-1) == LABELS).mean())
    )


def test_the_norm_takes_the_first_images_alone():
    """Mean 0 and deviation 1 of the first, NumPy's numbers of the rest; a gradient."""
    x = np.asarray(images(7, 4, scale=3.0, shift=-2.0), np.float64)
    mean, variance = x[:4].mean(), x[:4].var()
    wanted = (x - mean) / np.sqrt(variance + 1e-5)
    found = ops.norm.standardise_by_first(jnp.asarray(x, jnp.float32), 4)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    half = ops.norm.standardise_by_first(jnp.asarray(x, jnp.bfloat16), 4)
    assert half.dtype == jnp.bfloat16
    with pytest.raises(ValueError, match="batch_size must be at least 2"):
        ops.norm.standardise_by_first(jnp.ones((3, 1, 1, 2)), 1)
    with pytest.raises(
        ValueError, match="calibrated must be 0 for a norm with running"
    ):
        dataclasses.replace(ops.TRAINING, calibrated=3)


def test_what_cannot_be_recalibrated_is_refused(monkeypatch):
    """A network without norms as options, and one that was not built by its space."""
    for name in ("SPACES", "SUPERNETS", "DERIVED"):
        one = getattr(registry, name)
        monkeypatch.setattr(one, "_entries", dict(one))
    registry.load_plugins([str(pathlib.Path(__file__).parent / "own_mlp.py")])
    net = networks.one_shot(registry.SPACES["mlp"](), networks.Size(2, 1, 3))
    with pytest.raises(
        ValueError, match="recalibration must have a network that takes"
    ):
        networks.recalibrated(net, CALIBRATION)
    with pytest.raises(ValueError, match="supernet must be built by networks.supernet"):
        networks.recalibrated(net._replace(calibrated=None), CALIBRATION)


SETTINGS = search_discrete.DiscreteSettings(
    controller="random_search", num_evaluations=2, num_proposals=2, features=2,
    layers=1, epochs=1, batch_size=256, recalibrate=2,
)  # fmt: skip


def test_a_search_scores_with_training_images(monkeypatch):
    """The objective of a search gets so many batches, without augmentation."""
    given = {}

    def spy(space, supernet, params, images, labels, *, calibration, task):
        given.update(images=np.asarray(images), calibration=np.asarray(calibration))
        return objectives.declared(lambda key, encodings: None, objectives.ONE_SHOT)

    monkeypatch.setattr(objectives, "one_shot_accuracy", spy)
    digits = data.shrink(data.load("digits"), 2)
    augment = data.Augment((0.25,), (0.5,), crop_padding=1, flip=True)
    source, *_ = scoring.on_images(
        digits, SPACES["one input"], SETTINGS, augment, seed=0, costs={}
    )
    source.objective(())
    (train, _), (valid, _) = source.splits
    every = {row.tobytes() for row in np.asarray(data.normalise(train, augment))}
    assert given["calibration"].shape == (512, *digits.image_shape)
    assert {row.tobytes() for row in given["calibration"]} <= every
    np.testing.assert_array_equal(given["images"], data.normalise(valid, augment))


def test_a_recalibrated_search_runs(tmp_path):
    """End to end; too many batches, or none that scores by them, are refused."""
    digits, space = data.shrink(data.load("digits"), 2), SPACES["one input"]
    with run.open_run(tmp_path / "own") as r:
        found = search_discrete.search_cells(r, space, SETTINGS, dataset=digits)
    assert 0 < found.result["one_shot_accuracy"] <= 1
    many = dataclasses.replace(SETTINGS, recalibrate=99)
    with (
        run.open_run(tmp_path / "many") as r,
        pytest.raises(ValueError, match="recalibrate must be at most 2 batches of 256"),
    ):
        search_discrete.search_cells(r, space, many, dataset=digits)
    scratch = dataclasses.replace(SETTINGS, objective="scratch")
    with pytest.raises(ValueError, match="recalibrate must be 0 without the objective"):
        search_discrete.check(scratch)
