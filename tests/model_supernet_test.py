"""Tests of saved supernets: what a search trained, applied to raw images."""

import dataclasses
import functools
import json
import types

import jax
import jax.numpy as jnp
import made_models
import numpy as np
import pytest

import jnas
from jnas import gradient, models, networks, registry, run, spaces
from jnas.studies import trained_supernet
from jnas.training import program

DIGITS = made_models.digits()
SIZE = networks.Size(2, 1, 10, 1)


@functools.cache
def supernet(edges=False):
    """A supernet over NAS-Bench-201's cells with random parameters."""
    space = spaces.zoo.nasbench201()
    about = models.Description(space, SIZE, normalise_pools=False)
    net, rng = about.build(), np.random.default_rng(0)
    like = jax.eval_shape(net.init, jax.random.key(0))
    logits = rng.normal(size=space.shape).astype(np.float32)
    return models.TrainedSupernet(
        about,
        jax.tree.map(lambda a: rng.normal(size=a.shape).astype(a.dtype), like),
        logits,
        rng.normal(size=space.shape[:2]).astype(np.float32) if edges else None,
        np.asarray(jax.nn.softmax(logits)),
        made_models.model().preprocessing,
        made_models.NAMES,
        {"valid_accuracy": 0.5},
    )


@pytest.mark.parametrize("edges", [False, True])
def test_a_loaded_supernet_is_the_saved_one(edges, tmp_path):
    """Arrays bit for bit, space, size, variant, names."""
    before = supernet(edges)
    models.save_supernet(tmp_path / "supernet", before)
    after = jnas.load_supernet(tmp_path)
    trees = [(one.params, one.logits, one.edge_logits, one.weights)
             for one in (before, after)]  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, *trees)
    assert after.description == before.description
    assert after.space == spaces.zoo.nasbench201()
    assert after.preprocessing == before.preprocessing
    assert after.class_names == made_models.NAMES
    assert after.figures == {"valid_accuracy": 0.5}


@pytest.mark.parametrize("changes", [{}, {"entangled": True, "lora_rank": 2}])
def test_later_fields_of_a_variant_are_in_files_that_need_them(changes, tmp_path):
    """Plain files are those of before; entangled kernels and factors come back."""
    one = supernet()
    about = dataclasses.replace(
        one.description, variant=networks.EdgeVariant(**changes)
    )
    params = program.once(about.build().init)(jax.random.key(0))
    before = dataclasses.replace(one, description=about, params=params)
    models.save_supernet(tmp_path / "supernet", before)
    content = json.loads((tmp_path / "supernet" / "supernet.json").read_text())
    first = {"partial", "auxiliary_skip", "skip_dropout", "skip_zeros"}
    assert content["variant"].keys() == first | changes.keys()
    after = jnas.load_supernet(tmp_path)
    assert after.description == about
    jax.tree.map(np.testing.assert_array_equal, before.params, after.params)


def test_it_computes_what_the_search_computed():
    """On one batch, mixed by its own weights, by others and by one encoding."""
    one, images = supernet(), DIGITS.x_test[:32]
    unit = DIGITS.x_train / 255
    x = jnp.asarray((images / 255 - unit.mean()) / unit.std(), jnp.float32)
    apply = jax.jit(networks.supernet(one.space, SIZE).apply)
    encoding = one.space.encode(made_models.genotype())
    for weights, found in [
        (one.weights, one.apply(images)),
        (np.roll(one.weights, 1, -1), one.apply(images, np.roll(one.weights, 1, -1))),
        (one.space.weights(encoding), one.apply(images, one.space.weights(encoding))),
    ]:
        wanted = apply(one.params, x, weights)
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
    logits = found.astype(np.float64)  # of the encoding
    found = one.predict(images, encoding)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    wanted = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-6)
    assert found.names[0] == made_models.NAMES[logits[0].argmax()]


def test_many_images_are_divided_evenly():
    """No batch is smaller than asked: its statistics normalise."""
    one, seen = supernet(), []

    def count(images, weights):
        seen.append(len(images))
        return np.zeros((len(images), 10), np.float32)

    counting = types.SimpleNamespace(
        preprocessing=one.preprocessing,
        space=one.space,
        class_names=(),
        apply=count,
        learned=one.learned,
    )
    for total, sizes in {300: [300], 600: [300, 300], 767: [384, 383], 2: [2]}.items():
        images = np.zeros((total, 4, 4, 1), np.uint8)
        models.TrainedSupernet.predict(counting, images)
        assert seen == sizes
        seen.clear()


def test_what_does_not_fit_is_refused():
    """Encodings, weights, a single image."""
    one, images = supernet(), DIGITS.x_test[:2]
    for call, words in [
        (lambda: one.predict(images, [0, 1]), "encoding must be 6 integers"),
        (lambda: one.predict(images, [0.0] * 6), "encoding must be 6 integers"),
        (lambda: one.predict(images, [9] * 6), "gene 0 from 0 to 4, got 9"),
        (lambda: one.apply(images, np.zeros((1, 6))), "the space's shape .1, 6, 5."),
        (lambda: one.apply(images[:1]), "must be at least two"),
        (lambda: one.apply(images / 255), "pixels from 0 to 255"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("space", "num_inputs"), 3, "num_inputs"),
        (("space", "candidates"), ["none", "mine"], "mine"),
        (("size", "features"), 0, "features must be from 1"),
        (("variant", "partial"), 0, "partial must be at least 1"),
        (("variant", "skip_zeros"), 1, "skip_zeros must be of type bool"),
        (("variant", "lora_rank"), True, "lora_rank must be of type int"),
        (("variant", "lora"), 1, "lora"),
        (("normalise_pools",), None, "normalise_pools must be of type bool"),
        (("dtype",), "float16", "dtype must be one of"),
        (("version",), 3, "up to 2, got 3"),
        (("format",), "jnas.model", "format 'jnas.supernet'"),
        (("size", "num_layers"), 2, "weights.safetensors must hold the"),
    ],
)
def test_a_changed_file_is_refused(path, value, words, tmp_path):
    """In one line that names the file."""
    models.save_supernet(tmp_path / "supernet", supernet())
    file = tmp_path / "supernet" / "supernet.json"
    content = at = json.loads(file.read_text())
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words) as error:
        models.load_supernet(tmp_path)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize("num_seeds", [None, 3])
def test_the_supernet_of_the_best_seed_is_saved(num_seeds, tmp_path):
    """Of a search's last state, without a search: arrays are numbered by seed."""
    space = spaces.zoo.nasbench201()
    method = registry.METHODS["pcdarts"]()
    size = networks.Size(4, 1, 10, 1)
    mean, std = DIGITS.mean_std
    augment = jnas.data.Augment(mean, std)
    setting = gradient.Setting(size, augment, (700, 697), num_seeds)
    (segment,) = gradient.build_segments(method, space, setting)
    like = jax.eval_shape(segment.program.init, jax.random.key(0)).inner
    seed = 1 if num_seeds else 0

    def numbered(leaf):
        if not num_seeds:
            return np.zeros(leaf.shape, np.float32)
        rows = np.arange(num_seeds, dtype=np.float32)
        return np.ones(leaf.shape, np.float32) * np.expand_dims(
            rows, tuple(range(1, leaf.ndim))
        )

    params, logits = jax.tree.map(numbered, (like.params, like.logits))
    state = types.SimpleNamespace(inner=like._replace(params=params, logits=logits))
    weights = [np.full(space.shape, i + 0.5).tolist() for i in range(num_seeds or 1)]
    result = {"weights": weights, "seeds": [{"seed": i} for i in range(num_seeds or 1)]}
    with run.open_run(tmp_path, settings={"data": "digits", "shrink": 2}) as opened:
        trained_supernet.save(
            tmp_path / "supernet", opened, DIGITS, space, segment, state, result,
            dtype="float32", seed=seed,
        )  # fmt: skip
    found = jnas.load_supernet(tmp_path)
    assert found.figures == {"seed": seed}
    assert found.description.variant == networks.EdgeVariant(partial=method.partial)
    assert found.description.size == size and not found.description.normalise_pools
    assert (found.weights == seed + 0.5).all()
    for leaf in jax.tree.leaves((found.params, found.logits, found.edge_logits)):
        assert (leaf == seed).all()
    assert found.preprocessing.full_shape == (8, 8, 1)
