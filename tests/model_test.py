"""Tests of models: raw images in, classes out, whatever else is in the batch."""

import dataclasses

import jax
import jax.numpy as jnp
import made_models
import numpy as np
import pytest

from jnas import data, models, networks
from jnas.models import preprocessing as preprocessing_lib
from jnas.training import scratch

DIGITS = made_models.digits()


def softmax(logits):
    """The definition, in float64."""
    wide = np.exp(logits.astype(np.float64))
    return wide / wide.sum(1, keepdims=True)


def test_logits_are_those_of_the_network_on_normalised_images():
    """Normalised here in NumPy, from the training images themselves."""
    model, images = made_models.model(), DIGITS.x_test[:50]
    unit = DIGITS.x_train / 255
    x = (images / 255 - unit.mean()) / unit.std()
    network = model.architecture.network
    apply = jax.jit(lambda x: network.apply(model.params, model.stats, x, train=False))
    wanted = apply(jnp.asarray(x, jnp.float32))[0][0]
    found = model.logits(images)
    assert found.shape == (50, 10) and found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)  # one rounding more
    assert np.ptp(found, 0).min() > 0.01  # the images tell the outputs apart


def test_predictions_are_the_trainings_own():
    """As training's predict, probabilities as a NumPy softmax, names by number."""
    model = made_models.model()
    found = model.predict(DIGITS.x_test)
    mean, std = DIGITS.mean_std
    wanted = scratch.predict(
        jax.random.key(0),
        model.architecture.network,
        model.params,
        model.stats,
        jnp.asarray(DIGITS.x_test),
        augment=data.Augment(mean, std),
        batch_size=100,
    )
    np.testing.assert_array_equal(found.classes, wanted)
    assert len(set(found.classes.tolist())) > 1
    wanted = softmax(model.logits(DIGITS.x_test))
    np.testing.assert_allclose(found.probabilities, wanted, rtol=1e-5)
    assert found.names == tuple(made_models.NAMES[k] for k in found.classes)
    unnamed = dataclasses.replace(model, class_names=())
    assert unnamed.predict(DIGITS.x_test[:1]).names == (str(found.classes[0]),)


def test_neighbours_do_not_matter():
    """Bit for bit: the same image, in the same place, among other images."""
    model, images = made_models.model(), DIGITS.x_test[:64]
    before = model.logits(images)
    others = np.concatenate([images[:1], DIGITS.x_test[100:163]])
    assert np.array_equal(model.logits(others)[0], before[0])
    assert not np.array_equal(model.logits(others)[1], before[1])


def test_many_images_are_one_program():
    """Batches of 64 and what is left of them are computed by the same program."""
    model = dataclasses.replace(made_models.model())  # has compiled nothing yet
    found = model.logits(DIGITS.x_test[:150], batch_size=64)
    assert model._compiled._cache_size() == 1
    whole = model.logits(DIGITS.x_test[:150], batch_size=1000)
    assert model._compiled._cache_size() == 2
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)
    assert model.logits(DIGITS.x_test[:0]).shape == (0, 10)


def test_one_image_or_many():
    """With or without the axes of images and of one channel; integers and floats."""
    model, image = made_models.model(), DIGITS.x_test[0]
    wanted = model.logits(DIGITS.x_test[:1])
    for form in (image, image[..., 0], image[None, ..., 0]):
        for kind in (np.uint8, np.float32, np.float64, np.int64):
            assert np.array_equal(model.logits(form.astype(kind)), wanted)
    assert np.array_equal(model.logits(image.tolist()), wanted)


def test_images_of_the_data_sets_own_size():
    """Downscaled as the training images were, from integers and from floats."""
    model, full = made_models.model(), data.load("digits").x_test
    wanted = model.logits(DIGITS.x_test)
    for images in (full, full.astype(np.float32), full[..., 0]):
        assert np.array_equal(model.logits(images), wanted)


def test_the_function_is_pure():
    """Jittable and differentiable, with the weights inside, and of any batch."""
    model, images = made_models.model(), DIGITS.x_test[:3].astype(np.float32)
    function = model.function()
    found = jax.jit(function)(images)
    np.testing.assert_allclose(found, model.logits(images), rtol=1e-4, atol=1e-5)
    for count in (1, 7):
        x = jax.ShapeDtypeStruct((count, 4, 4, 1), jnp.float32)
        out = jax.eval_shape(function, x)
        assert (out.shape, out.dtype) == ((count, 10), jnp.float32)


@pytest.mark.parametrize("operation", ["noise", "skip_connect"])
def test_operations_that_draw_get_a_key(operation):
    """The others are traced without one: nothing of it is left in an export."""
    cell = made_models.genotype().cells[0][1]
    edges = tuple((a, b, operation if i == 1 else c) for i, (a, b, c) in
                  enumerate(cell.edges))  # fmt: skip
    genotype = made_models.genotype()
    genotype = dataclasses.replace(
        genotype, cells=(("cell", dataclasses.replace(cell, edges=edges)),)
    )
    made = models.of_genotype(genotype, networks.Size(2, 1, 10, 1))
    params, stats = jax.eval_shape(made.network.init, jax.random.key(0))
    params, stats = (made_models.drawn(0, tree) for tree in (params, stats))
    how = made_models.model().preprocessing
    function = models.Model(made, params, stats, how).function()
    text = str(jax.make_jaxpr(function)(np.zeros((2, 4, 4, 1), np.float32)))
    assert ("random_bits" in text) == (operation == "noise")


@pytest.mark.parametrize(
    ("images", "kind", "words"),
    [
        (np.zeros((3, 5, 4, 1), np.uint8), ValueError, "8x8 pixels with 1 channel, "),
        (np.zeros((3, 4, 4, 3), np.uint8), ValueError, "got shape (3, 4, 4, 3)"),
        (np.zeros((3, 1, 4, 4), np.uint8), ValueError, "x.transpose(0, 2, 3, 1)"),
        (np.zeros(16, np.uint8), ValueError, "got shape (16,)"),
        (DIGITS.x_test / 255, ValueError, "Write 255 * x"),
        (DIGITS.x_test / 255 - 0.5, ValueError, "Undo the normalisation"),
        (DIGITS.x_test * 2.0, ValueError, "got values from 0 to 510"),
        (np.full((2, 4, 4), np.nan), ValueError, "NaN or infinity in image 0"),
        (np.zeros((2, 4, 4), bool), TypeError, "uint8 or floats, got bool"),
        (np.zeros((2, 4, 4), complex), TypeError, "got complex"),
        ("a.png", TypeError, "uint8 or floats, got <U5"),
        (np.array([None]), TypeError, "got object"),
    ],
)
def test_images_that_do_not_fit_are_refused(images, kind, words):
    """In one line that says what was given and what to do."""
    with pytest.raises(kind) as error:
        made_models.model().predict(images)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_black_image_is_an_image():
    """0 is black in every unit; nothing can be wrong with it."""
    black = np.zeros((1, 4, 4, 1))
    model = made_models.model()
    assert np.array_equal(model.logits(black), model.logits(black.astype(np.uint8)))


def floats(low, high):
    """Preprocessing of float images between two values."""
    mean, std = (low + high) / 2, (high - low) / 4
    return preprocessing_lib.Preprocessing(
        (2, 2, 1), "float32", (mean,), (std,), low, high
    )


@pytest.mark.parametrize(
    ("low", "high", "value", "words"),
    [
        (0.0, 1.0, 255.0, "like the training images', 0 to 1, got values from 255"),
        (-2.0, 2.0, 128.0, "got values from 128 to 128"),
        (0.0, 255.0, 0.7, "such as by 255"),
        (0.0, 1.0, 1.5, ""),
        (-2.0, 2.0, -3.0, ""),
        (0.0, 255.0, 40.0, ""),
        (0.0, 255.0, 0.0, ""),
    ],
)
def test_float_images_of_another_unit_are_refused(low, high, value, words):
    """Far outside of the training images' range, or in 0..1 where that is in 0..255."""
    how, images = floats(low, high), np.full((3, 2, 2), value, np.float32)
    if not words:
        assert np.array_equal(how.check(images)[..., 0], images)
        return
    with pytest.raises(ValueError, match=words):
        how.check(images)


def test_integers_for_a_model_of_floats_are_refused():
    """Their unit is not known."""
    with pytest.raises(ValueError, match="must be floats like the training images"):
        floats(0.0, 1.0).check(np.zeros((3, 2, 2), np.uint8))


def test_parts_that_do_not_fit_make_no_model():
    """Names of other classes, images of other channels."""
    model = made_models.model()
    with pytest.raises(ValueError, match="must name each of the network's 10 classes"):
        dataclasses.replace(model, class_names=("a", "b"))
    colour = dataclasses.replace(
        model.preprocessing, image_shape=(4, 4, 3), mean=(0.0,) * 3, std=(1.0,) * 3
    )
    with pytest.raises(ValueError, match="must have the network's 1 channels"):
        dataclasses.replace(model, preprocessing=colour)
