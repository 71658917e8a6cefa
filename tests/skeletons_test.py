"""The skeleton mobile: its layers by hand, and one network in all its forms."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jnas import data, networks, ops, registry, run, spaces
from jnas.models import architecture
from jnas.networks import heads, skeletons
from jnas.spaces import genotype_text
from jnas.studies import train_scratch

COMPACT = registry.SPACES["compact"]()
SIZE = networks.Size(4, 1, 3, channels=1, image_size=(8, 8))
# 0-1 convolution, 0-2 none, 1-2 inverted residual, 0-3 skip, 1-3 pool, 2-3 skip
CELL = [2, 0, 3, 1, 4, 1]


@pytest.mark.parametrize(
    ("image", "stages"),
    [
        ((8, 8), [(8, 8), (4, 4)]),
        ((14, 14), [(14, 14), (7, 7)]),
        ((16, 20), [(16, 20), (8, 10)]),
        ((17, 17), [(17, 17), (9, 9), (5, 5)]),
        ((1, 9), [(1, 9)]),
        ((200, 300), [(200, 300), (100, 150), (50, 75), (25, 38)]),
    ],
)
def test_stages_follow_the_images(image, stages):
    """Halved until 8 pixels or fewer are left, at least once, at most three times."""
    size = dataclasses.replace(SIZE, image_size=image)
    assert skeletons.stage_pixels(size) == stages


def test_a_stem_that_halves_counts():
    """The ImageNet stem leaves an eighth of 224 pixels."""
    size = dataclasses.replace(SIZE, image_size=(224, 224), stem="imagenet")
    assert skeletons.stage_pixels(size) == [(28, 28), (14, 14), (7, 7)]


def by_hand(features, channels, num_classes, stages):
    """Counts the parameters of CELL's network: stem, cells, reductions, head."""

    def norm(n):
        return 2 * n

    def inverted(before, after):
        inside = 3 * before
        wide = before * inside + norm(inside) + 9 * inside + norm(inside)
        return wide + inside * after + norm(after)

    total = 9 * channels * features + norm(features)
    for number, (rows, columns) in enumerate(stages):
        own = features * 2**number
        total += inverted(own // 2, own) if number else 0
        total += 9 * own * own + norm(own) + inverted(own, own)
        if number == len(stages) - 1:
            total += 2 * norm(own) + rows * columns * own
            total += own * num_classes + num_classes
    return total


@pytest.mark.parametrize(
    ("image", "stages"),
    [((8, 8), [(8, 8), (4, 4)]), ((17, 9), [(17, 9), (9, 5)])],
)
def test_parameters_by_hand(image, stages):
    """Every layer of the network counts, and the costs of edges add up to them."""
    size = dataclasses.replace(SIZE, image_size=image)
    network = networks.derived(COMPACT.genotype(CELL), size)
    found = networks.measure(network, (*image, 1))["parameters"]
    assert found == by_hand(4, 1, 3, stages)
    costs = networks.option_costs(COMPACT, size, (*image, 1))
    weights = COMPACT.weights(jnp.array(CELL))
    assert float(costs["parameters"].of(weights)) == found


def test_forms_of_one_network_agree():
    """Supernet at one-hot weights, switched and one-shot network, derived network."""
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    weights = COMPACT.weights(jnp.array(CELL))
    supernet = networks.supernet(COMPACT, SIZE)
    params = supernet.init(jax.random.key(0))
    derived = networks.derived(
        COMPACT.genotype(CELL), SIZE, norm=ops.SEARCH, stem_norm=ops.STEM
    )
    own = networks.inherit(supernet, params, COMPACT.genotype(CELL), SIZE)
    _, stats = derived.init(jax.random.key(0))
    (wanted, _), _ = derived.apply(own, stats, x, train=True)
    np.testing.assert_allclose(supernet.apply(params, x, weights), wanted, atol=1e-5)
    one_shot = networks.one_shot(COMPACT, SIZE)
    shapes = jax.eval_shape(one_shot.init, jax.random.key(0))
    out = jax.eval_shape(one_shot.apply, shapes, x, weights)
    assert out.shape == wanted.shape


def test_a_saved_description_builds_the_same_network():
    """Of the genotype's text and the size as JSON values."""
    made = architecture.of_genotype(COMPACT.genotype(CELL), SIZE)
    again = architecture.read(json.loads(json.dumps(made.description)))
    shapes = [
        jax.eval_shape(one.network.init, jax.random.key(0)) for one in (made, again)
    ]
    assert jax.tree.map(lambda a: a.shape, shapes[0]) == jax.tree.map(
        lambda a: a.shape, shapes[1]
    )
    names = {str(one) for own in made.names(shapes[0][0]) for one in own.flat}
    assert {"reduction_01.layers_0.kernel", "classifier.pooling.kernel"} <= names


def test_a_description_without_image_size():
    """Files of before have none; their networks need none."""
    size = networks.Size(2, 1, 3)
    text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|"
    made = architecture.of_genotype(genotype_text.parse(text), size)
    old = json.loads(json.dumps(made.description))
    del old["size"]["image_size"]
    assert architecture.read(old).description == made.description


@pytest.mark.parametrize(
    "bad", ["8", 8, {}, [8], [8, 0], [8.0, 8], [True, 8], [8, 10**9]]
)
def test_a_wrong_image_size_is_refused(bad):
    """By its name, in one line."""
    made = architecture.of_genotype(COMPACT.genotype(CELL), SIZE)
    values = json.loads(json.dumps(made.description))
    values["size"]["image_size"] = bad
    with pytest.raises(ValueError, match="image_size must be"):
        architecture.read(values)


def test_the_weighted_sum_starts_as_an_average():
    """So that an untrained head is that of the papers, and it has a gradient."""
    head = heads.GlobalDepthwise((2, 3), 4, norm=_no_norm, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (5, 2, 3, 4))
    np.testing.assert_allclose(head(x), x.mean((1, 2)), atol=1e-6)


def test_the_inverted_residual_by_hand():
    """At one pixel its depthwise convolution is the middle tap."""
    branch = ops.inverted_branch(
        2, 2, kernel=3, expansion=3, norm=_no_norm, rngs=nnx.Rngs(0)
    )
    block = ops.InvertedResidual(branch)
    x = jax.random.normal(jax.random.key(0), (5, 1, 1, 2))
    first, depthwise, last = (
        np.asarray(branch.layers[i].kernel[...]) for i in (0, 3, 6)
    )
    inside = np.clip(np.asarray(x)[:, 0, 0] @ first[0, 0], 0, 6)
    inside = np.clip(inside * depthwise[1, 1], 0, 6)
    wanted = np.asarray(x)[:, 0, 0] + inside @ last[0, 0]
    np.testing.assert_allclose(block(x)[:, 0, 0], wanted, atol=1e-6)


def _no_norm(features, *, rngs):
    """Builds the identity in the place of a norm."""
    del features, rngs
    return ops.Identity()


def test_cells_of_two_inputs_are_refused():
    """DARTS' reductions are cells, for which the skeleton has no place."""
    space = dataclasses.replace(spaces.zoo.tiny(), name="two", skeleton="mobile")
    message = "num_inputs must be 1 for the skeleton mobile, got 2."
    with pytest.raises(ValueError, match=re.escape(message)):
        networks.supernet(space, networks.Size(2, 3, 3, image_size=(8, 8)))


def test_a_size_without_images_is_refused():
    """The head's weights are one for each pixel."""
    with pytest.raises(ValueError, match="image_size must be rows and columns"):
        networks.derived(COMPACT.genotype(CELL), networks.Size(2, 1, 3))


def test_an_unknown_skeleton_is_refused():
    """The nearest name is guessed."""
    space = dataclasses.replace(COMPACT, name="mine", skeleton="mobil")
    with pytest.raises(KeyError, match="mobile"):
        networks.supernet(space, SIZE)


def test_an_unregistered_space_keeps_its_skeleton():
    """In the genotypes that it makes, as it keeps its number of inputs."""
    space = dataclasses.replace(COMPACT, name="mine")
    assert space.genotype(CELL).skeleton == "mobile"
    assert spaces.zoo.nasbench201().genotype([0] * 6).skeleton == "papers"


def test_a_training_says_which_skeleton_an_unknown_space_has(
    tmp_path, capsys, monkeypatch
):
    """Where its file names none; of a newer file or in Python nothing is to be said."""
    space = dataclasses.replace(COMPACT, name="mine")
    newer = genotype_text.to_json(space.genotype(CELL))
    assert json.loads(newer)["skeleton"] == "mobile"
    older = {k: v for k, v in json.loads(newer).items() if k != "skeleton"}
    given = genotype_text.from_json(json.dumps(older))
    digits = data.shrink(data.load("digits"), 2)
    settings = train_scratch.RetrainSettings(
        features=2, layers=1, epochs=1, batch_size=256, auxiliary=False, cutout=0
    )
    with run.open_run(tmp_path, settings={}, data_digest="") as one:
        train_scratch.retrain_cell(one, "retrain", given, digits, settings)
    assert "space 'mine' is not registered" in capsys.readouterr().err
    notes = []
    monkeypatch.setattr(
        train_scratch, "train_network", lambda *_, **how: notes.append(how["notes"])
    )
    named = genotype_text.from_json(newer)
    for genotype in (given, space.genotype(CELL), named):
        train_scratch.retrain_cell(None, "retrain", genotype, digits, settings)
    assert "'mine' is not registered" in notes[0][0] and notes[1:] == [(), ()]
