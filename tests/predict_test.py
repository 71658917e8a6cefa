"""Tests of `jnas predict`: pictures and arrays of users become a table."""

import csv
import dataclasses

import forks
import made_models
import numpy as np
import pytest
from PIL import Image

from jnas import models, networks
from jnas.models import pictures
from jnas.models import preprocessing as preprocessing_lib
from jnas.studies import predict

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (8, 8), np.uint8)
COLOUR = RNG.integers(0, 256, (8, 8, 3), np.uint8)


def how(channels, unit="uint8", **more):
    """Preprocessing of 8x8 images that were downscaled to 4x4."""
    return preprocessing_lib.Preprocessing(
        (4, 4, channels), unit, (0.5,) * channels, (0.2,) * channels, 0.0, 255.0,
        shrink=2, **more,
    )  # fmt: skip


def only(folder, pixels, about, name="a.png", **save):
    """Reads one picture that is written to a folder."""
    Image.fromarray(pixels).save(folder / name, **save)
    found, notes = pictures.read([folder / name], about)
    return found[0], notes


def test_pictures_are_read_as_the_models_own_were(tmp_path):
    """Grey and colours; grey as colours; colours that are grey as grey."""
    found, notes = only(tmp_path, GREY, how(1))
    assert np.array_equal(found[..., 0], GREY) and notes == []
    found, notes = only(tmp_path, COLOUR, how(3))
    assert np.array_equal(found, COLOUR) and notes == []
    found, notes = only(tmp_path, GREY, how(3))
    assert np.array_equal(found, np.dstack([GREY] * 3))
    assert notes == ["1 of 1 converted to colours, as the model's images are"]
    found, notes = only(tmp_path, np.dstack([GREY] * 3), how(1))
    assert np.array_equal(found[..., 0], GREY)
    assert notes == ["1 of 1 converted to grey, as the model's images are"]


def test_pictures_of_other_sizes_are_resized(tmp_path):
    """To the size before downscaling, as Pillow's bicubic filter does."""
    large = RNG.integers(0, 256, (20, 11), np.uint8)
    found, notes = only(tmp_path, large, how(1))
    wanted = Image.fromarray(large).resize((8, 8), Image.Resampling.BICUBIC)
    assert np.array_equal(found[..., 0], np.asarray(wanted))
    assert notes == ["1 of 1 resized to 8x8 pixels"]


@pytest.mark.parametrize(("background", "value"), [("white", 255), ("black", 0)])
def test_transparent_pixels_show_the_models_background(background, value, tmp_path):
    """As the model's folder was read."""
    pixels = np.dstack([COLOUR, np.full((8, 8), 255, np.uint8)])
    pixels[0, 0, 3] = 0
    found, notes = only(tmp_path, pixels, how(3, background=background))
    assert (found[0, 0] == value).all() and np.array_equal(found[1:], COLOUR[1:])
    assert notes == [f"1 of 1 with transparent pixels drawn on {background}"]


def test_pictures_that_cannot_be_classified_are_refused_by_name(tmp_path):
    """Colours for a grey model, no picture, a model of other images."""
    with pytest.raises(ValueError, match="grey, as the model's are, got .*a.png"):
        only(tmp_path, COLOUR, how(1))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(ValueError, match="must be readable, got .*b.png"):
        pictures.read([tmp_path / "a.png", tmp_path / "b.png"], how(3))
    with pytest.raises(ValueError, match="npz file for this model, .* float32 .N, 8"):
        only(tmp_path, GREY, how(1, unit="float32"))
    with pytest.raises(ValueError, match="uint8 .N, 8, 8, 4."):
        only(tmp_path, GREY, how(4))


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """Pictures of ten digits at two depths, and other files."""
    folder = tmp_path_factory.mktemp("album")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for i, image in enumerate(made_models.digits(1).x_test[:10, ..., 0]):
        at = folder if i < 6 else folder / "deep" / "er"
        Image.fromarray(image).save(at / f"{i},{i}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def table(path):
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_the_table_of_a_folder(album, tmp_path):
    """Names, classes and probabilities are the model's own, row by row."""
    model = made_models.model(names=('a,"b"', *made_models.NAMES[1:]))
    read = predict.read(str(album), model)
    assert read.notes == ("left out 1 .txt, 1 hidden",)
    assert read.names == (*(f"{i},{i}.png" for i in range(6)),
                          *(f"deep/er/{i},{i}.png" for i in range(6, 10)))  # fmt: skip
    wanted = model.predict(made_models.digits().x_test[:10])
    predict.write(tmp_path / "out.csv", read.names, model.predict(read.pixels), model)
    header, *rows = table(tmp_path / "out.csv")
    assert header == ["image", "class", "probability", *model.class_names]
    assert [row[0] for row in rows] == list(read.names)
    assert [row[1] for row in rows] == list(wanted.names)
    values = np.array([row[2:] for row in rows], float)
    np.testing.assert_allclose(values[:, 1:], wanted.probabilities, rtol=1e-5)
    np.testing.assert_allclose(values[:, 0], wanted.probabilities.max(1), rtol=1e-5)


def test_files_and_globs(album, monkeypatch):
    """A name with a comma, several, patterns; what is no picture is left out."""
    monkeypatch.chdir(album)
    model = made_models.model()
    for text, names in {
        "0,0.png": ["0,0.png"],
        "deep/er/*.png,notes.txt*": [f"deep/er/{i},{i}.png" for i in range(6, 10)],
        "[1-2]*": ["1,1.png", "2,2.png"],
        "[1-2]*.png,[12]*": ["1,1.png", "2,2.png"],
    }.items():
        read = predict.read(text, model)
        assert list(read.names) == names
        assert len(read.pixels) == len(names)
    assert predict.read("*", model).notes == ("left out 1 .txt",)


@pytest.mark.parametrize("key", ["x", "images", "x_test"])
def test_npz(key, tmp_path):
    """The first array of these names; the others are named."""
    model, images = made_models.model(), made_models.digits().x_test[:5]
    np.savez(tmp_path / "a.npz", **{key: images[..., 0]}, y=np.zeros(5))
    read = predict.read(f"npz:{tmp_path / 'a.npz'}", model)  # as --data names it
    assert np.array_equal(read.pixels, images)
    read = predict.read(str(tmp_path / "a.npz"), model)
    assert np.array_equal(read.pixels, images)
    assert read.names == tuple("01234")
    assert read.notes == (f"{key} is read, y left out",)


def test_what_holds_no_images_is_refused(tmp_path):
    """With what it holds."""
    model = made_models.model()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").write_text("")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "torn.npz").write_bytes(b"PK torn")
    np.savez(tmp_path / "objects.npz", x=np.array([None]))
    np.savez(tmp_path / "unit.npz", x=made_models.digits().x_test / 255)
    for name, words in {
        "empty": "without pictures but 1 .txt. Check",
        "other.npz": "must hold an array x, images, x_test, got .* with a. Rename",
        "torn.npz": "must be a readable npz",
        "objects.npz": "must be a readable npz",
        "unit.npz": "Write 255 . x",
        "none": "which does not exist",
        "*.jpg": "which does not exist",
        "empty/*": "without pictures but 1 .txt",
    }.items():
        with pytest.raises(ValueError, match=words):
            predict.read(str(tmp_path / name), model)
    for text in ("", " ", "a\0"):
        with pytest.raises(ValueError, match="Name some"):
            predict.read(text, model)


def test_the_summary_counts_classes():
    """Most frequent first, with the mean of the largest probabilities."""
    each = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], np.float32)
    found = models.Prediction(np.array([0, 1, 1]), ("a", "b", "b"), each)
    lines = predict.summary(found, None).splitlines()
    assert lines[2:] == ["| b     |      2 |           0.7000 |",
                         "| a     |      1 |           0.9000 |"]  # fmt: skip


@pytest.mark.slow
def test_the_command(album, tmp_path):
    """As a user runs it, and with what is wrong."""
    model = made_models.model()
    models.save(tmp_path / "run" / "model", model)
    line = ["predict", f"--model={tmp_path / 'run'}"]
    done = forks.launch(*line, f"--images={album}", cwd=tmp_path, limit=60)
    assert done.status == 0, done.err
    assert done.out.startswith("10 images\nleft out 1 .txt, 1 hidden\n| class")
    assert done.out.endswith(f"{tmp_path / 'predictions.csv'}\n")
    rows = table(tmp_path / "predictions.csv")[1:]
    wanted = model.predict(made_models.digits().x_test[:10]).names
    assert [row[1] for row in rows] == list(wanted)
    wide = dataclasses.replace(model.preprocessing, image_shape=(2, 2, 1), shrink=1)
    size = networks.Size(4, 1, 10, 1)
    other = models.of_genotype(made_models.genotype(), size)
    small = models.Model(other, model.params, model.stats, wide)
    models.save(tmp_path / "small", small)
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 4, 4), np.uint8))
    given = f"--images={album}"
    lines = {
        "no model": (["predict", given], "--model must be given"),
        "no images": (line, "--images must be given"),
        "wrong flag": ([*line, "--imgs=a"], "Did you mean --images?"),
        "no folder": ([*line, given, "--out=none/a.csv"], "an existing folder"),
        "no run": (["predict", "--model=none", given], "which does not exist"),
        "size": (["predict", "--model=small", "--images=a.npz"], "2x2 pixels"),
        "plugin": ([*line, given, "--plugins=none.py"], "existing .py files"),
    }
    assert forks.faults(lines, tmp_path) == {}
