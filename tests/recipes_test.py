"""Rows of recipes: chosen by space and images, never against what a user set."""

import dataclasses
import json

import forks
import numpy as np
import pytest

from jnas import data, spaces
from jnas.networks import stems
from jnas.spaces import genotype_text, published
from jnas.studies import recipe_rows, train_scratch

CELL = "|nor_conv_1x1~0|+|skip_connect~0|none~1|+|none~0|none~1|avg_pool_3x3~2|"
ONE, TWO = genotype_text.from_nasbench201(CELL), published.genotype("DARTS_V2")
SMALL = spaces.zoo.compact().genotype([2, 0, 2, 1, 0, 1])
DEFAULT = train_scratch.RetrainSettings()


@pytest.mark.parametrize(
    ("genotype", "side", "name"),
    [
        (TWO, 32, "darts"),
        (TWO, stems.LARGE - 1, "darts"),
        (TWO, stems.LARGE, "imagenet"),
        (ONE, 16, "nasbench201"),
        (ONE, 224, "nasbench201"),
        (SMALL, 16, "compact"),
        (SMALL, 224, "compact"),
    ],
)
def test_chosen_by_space_and_images(genotype, side, name):
    """By the cells' inputs first, then by the stem that the images get."""
    assert recipe_rows.name_of(genotype, (side, side, 3)) == name
    assert recipe_rows.name_of(genotype, (side, side, 3), recipe="darts") == "darts"


@pytest.mark.parametrize("name", list(recipe_rows.RECIPES))
def test_rows_are_settings_of_a_training(name):
    """Each is one that a training has, in its range, and differs from its default."""
    row = recipe_rows.RECIPES[name]()
    made, _ = recipe_rows.apply(DEFAULT, (), TWO, (32, 32, 3), recipe=name)
    changed = {
        field.name: getattr(made, field.name)
        for field in dataclasses.fields(made)
        if getattr(made, field.name) != getattr(DEFAULT, field.name)
    }
    assert changed == row


def test_numbers_of_the_papers():
    """Table 1 of arXiv:2001.00326; section 3.3 of arXiv:1806.09055; DARTS' own."""
    one, _ = recipe_rows.apply(DEFAULT, (), ONE, (32, 32, 3))
    assert (one.features, one.layers, one.epochs, one.batch_size) == (16, 5, 200, 256)
    assert (one.learning_rate, one.weight_decay, one.nesterov) == (0.1, 5e-4, True)
    assert (one.drop_path_rate, one.auxiliary, one.cutout) == (0.0, False, 0)
    assert one.optimizer == "momentum_sgd" and one.schedule == "cosine"
    large, _ = recipe_rows.apply(DEFAULT, (), TWO, (224, 224, 3))
    assert (large.features, large.layers, large.batch_size) == (48, 14, 128)
    assert (large.learning_rate, large.weight_decay) == (0.1, 3e-5)
    assert (large.epochs, large.label_smoothing) == (250, 0.1)
    assert (large.auxiliary, large.drop_path_rate) == (True, 0.0)
    assert recipe_rows.apply(DEFAULT, (), TWO, (32, 32, 3))[0] == DEFAULT


def test_what_is_given_stays():
    """Also where it is the default of the class; the line says so."""
    settings = dataclasses.replace(DEFAULT, epochs=3)
    given = {"epochs", "features", "data"}
    made, said = recipe_rows.apply(settings, given, ONE, (32, 32, 3))
    assert (made.epochs, made.features, made.layers) == (3, 36, 5)
    assert said.startswith("recipe: nasbench201, except epochs, features (layers 5, ba")
    assert "\n" not in said and "epochs 200" not in said
    assert recipe_rows.apply(DEFAULT, (), TWO, (32, 32, 3))[1] == "recipe: darts"


@pytest.mark.parametrize(("epochs", "warmup"), [(250, 5), (8, 4), (1, 0)])
def test_a_short_training_warms_up_for_half_of_it(epochs, warmup):
    """At most; the row's five epochs would be refused."""
    settings = dataclasses.replace(DEFAULT, epochs=epochs)
    made, said = recipe_rows.apply(settings, {"epochs"}, TWO, (224, 224, 3))
    assert made.warmup_epochs == warmup and f"warmup_epochs {warmup}" in said


def test_a_wrong_name_and_a_wrong_row():
    """The nearest is guessed; a row of the user's is checked."""
    with pytest.raises(KeyError, match="Did you mean 'nasbench201'"):
        recipe_rows.apply(DEFAULT, (), ONE, (8, 8, 1), recipe="nasbench")
    rows = recipe_rows.RECIPES
    rows.register(lambda: {"epoch": 3}, name="of_this_test")
    try:
        with pytest.raises(ValueError, match=r"got 'epoch'\. Did you mean 'epochs'"):
            recipe_rows.apply(DEFAULT, (), ONE, (8, 8, 1), recipe="of_this_test")
    finally:
        del rows._entries["of_this_test"]


def test_needed_follows_the_row():
    """digits has 1,397 training images; of 200, both batches are too large."""
    digits = data.load("digits")
    assert train_scratch.needed(digits, ONE) == {}
    few = dataclasses.replace(
        digits, x_train=digits.x_train[:200], y_train=digits.y_train[:200]
    )
    assert train_scratch.needed(few, ONE) == {"batch_size": 100}
    assert train_scratch.needed(few, TWO) == {}


@pytest.mark.slow
def test_retrain_by_the_row_of_the_space(tmp_path):
    """The run says which; flags win; run.json has what was trained with."""
    folder = tmp_path / "retrain"
    done = forks.launch(
        "retrain", f"--workdir={folder}", f"--genotype={CELL}", "--data=digits",
        "--features=2", "--layers=1", "--epochs=1", limit=600,
    )  # fmt: skip
    assert done.status == 0, done.err
    assert "recipe: nasbench201, except epochs, features, layers" in done.out + done.err
    kept = json.loads((folder / "run.json").read_text())["settings"]
    assert kept["nesterov"] is True and kept["weight_decay"] == 5e-4
    assert kept["batch_size"] == 256 and kept["epochs"] == 1


@pytest.mark.slow
def test_retrain_at_224_pixels(tmp_path):
    """Two steps of the ImageNet skeleton with its head; stem and recipe are said."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 224, 224, 3), np.uint8)
    labels = np.arange(4) % 2
    np.savez(
        tmp_path / "large.npz",
        x_train=images, y_train=labels, x_test=images, y_test=labels,
    )  # fmt: skip
    folder = tmp_path / "retrain"
    done = forks.launch(
        "retrain", f"--workdir={folder}", "--genotype=random", "--space=tiny",
        f"--data=npz:{tmp_path / 'large.npz'}", "--features=2", "--layers=3",
        "--epochs=1", "--batch_size=2", limit=600,
    )  # fmt: skip
    assert done.status == 0, done.err
    said = done.out + done.err
    assert "recipe: imagenet, except batch_size, epochs, features, layers (l" in said
    assert "stem: imagenet; the cells read 28x28 pixels of images of 224x224" in said
    result = json.loads((folder / "result.json").read_text())
    assert result["auxiliary_parameters"] > 128 * 768 * 4
    assert np.isfinite(result["train_loss"])
