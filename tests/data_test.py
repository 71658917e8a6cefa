"""Tests of the data: bundled sets, refusals, splits."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jnas import data, registry
from jnas.data import residence, source, tfds, validate


def arrays(**changes):
    """Returns sound arrays of two classes, with changes."""
    x = np.zeros((4, 3, 3, 1), np.uint8)
    x[2] = 9
    sound = dict(
        x_train=x,
        y_train=np.array([0, 1, 0, 1]),
        x_test=np.zeros((2, 3, 3, 1), np.uint8),
        y_test=np.array([0, 1]),
    )
    return sound | changes


NAN = np.zeros((4, 3, 3, 1), np.float32)
NAN[2, 1, 1, 0] = np.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            dict(y_train=np.array([0, 1, -1, 1])),
            "y_train of mine must be class numbers from 0 to 99999, got -1 at index 2. "
            "Correct the label.",
        ),
        (
            dict(y_test=np.array([0, 7])),
            "y_test of mine must be in [0, 2), the training split's classes, got 7 at "
            "index 1. Correct the label.",
        ),
        (
            dict(y_train=np.array([0, 3, 1, 1])),
            "y_train of mine must hold every class from 0 to 3, got none of class 2. "
            "Number the classes without gaps, or use --task=regression for numbers.",
        ),
        (
            dict(y_train=np.zeros(4, int), y_test=np.zeros(2, int)),
            "y_train of mine must hold at least 2 classes, got 1. Add another.",
        ),
        (
            dict(y_train=np.array([0.0, 1, 0, 1])),
            "y_train of mine must be integers [N], got float64 of shape (4,). "
            "Use integer class numbers from 0, or --task=regression or multilabel.",
        ),
        (
            dict(y_train=np.array([0, 1])),
            "y_train of mine must have one label for each of 4 images, got 2. "
            "Add or remove labels.",
        ),
        (
            dict(x_train=NAN),
            "x_train of mine must be finite, got nan in image 2. Remove the image.",
        ),
        (
            dict(x_train=np.zeros((4, 3, 3, 1))),
            "x_train of mine must be uint8 or float32, got float64. "
            "Write x.astype(np.float32).",
        ),
        (
            dict(x_train=np.zeros((4, 3, 3, 1), np.uint16)),  # astype(uint8) would wrap
            "x_train of mine must be uint8 or float32, got uint16. "
            "Write x.astype(np.float32).",
        ),
        (
            dict(x_train=np.zeros((4, 3, 3, 1), np.uint8)),
            "x_train of mine must hold images that differ, got 4 equal ones. Check how "
            "the file was written.",
        ),
        (
            dict(x_train=np.full((4, 3, 3, 1), 2e38, np.float32)),
            "x_train of mine must be below 1e+38, got 2e+38 in image 0. Scale the "
            "images.",
        ),
        (
            dict(class_names=("cat",)),
            "class_names of mine must name each of 2 classes, got 1 names. Add or "
            "remove names.",
        ),
        (
            dict(class_names=("cat", "dog", "eel")),
            "y_train of mine must hold every class from 0 to 2, got none of class "
            "'eel'. Remove its name, or add images.",
        ),
        (
            dict(x_test=np.zeros((2, 4, 3, 1), np.uint8)),
            "x_test of mine must match x_train, uint8 (3, 3, 1), got uint8 "
            "(4, 3, 1). Convert one of them.",
        ),
        (
            dict(x_train=np.zeros((0, 3, 3, 1), np.uint8), y_train=np.zeros(0, int)),
            "x_train of mine must hold at least one image and pixel, got shape "
            "(0, 3, 3, 1). Add images.",
        ),
    ],
)
def test_bad_arrays_are_refused(changes, message):
    """One line, with array, index, value and rule."""
    with pytest.raises(ValueError) as error:
        validate.validate(**arrays(**changes), name="mine")
    assert str(error.value) == message


def test_fashion():
    """Balanced, as described; MIT notice beside it."""
    fashion = data.load("fashion")
    assert fashion.image_shape == (28, 28, 1) and fashion.num_classes == 10
    assert np.bincount(fashion.y_train).tolist() == [400] * 10
    assert np.bincount(fashion.y_test).tolist() == [100] * 10


def test_digits():
    """The class counts that UCI publishes for its test split; sixteen grey levels."""
    digits = data.load("digits")
    both = np.concatenate([digits.y_train, digits.y_test])
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(both).tolist() == counts
    assert set(np.unique(digits.x_train)) == {round(v * 255 / 16) for v in range(17)}
    assert digits.image_shape == (8, 8, 1) and digits.flip is False
    assert digits.class_names == tuple("0123456789")


def test_summary_is_json():
    """Names and sizes go into a run's files; the digest is that of the arrays alone."""
    read = validate.validate(**arrays(class_names=("cat", "dog")), name="mine")
    wanted = dict(
        name="mine",
        task="classification",
        signal="accuracy",
        num_train=4,
        num_test=2,
        image_shape=[3, 3, 1],
        inputs="images",
        num_outputs=2,
        num_classes=2,
        class_names=["cat", "dog"],
        flip=None,
    )
    assert json.loads(json.dumps(read.summary())) == wanted
    assert read.digest == validate.validate(**arrays(), name="other").digest


def test_npz_round_trip_and_refusals(tmp_path):
    """A good file loads; missing, torn, incomplete and object files do not."""
    good = tmp_path / "good.npz"
    np.savez(
        good,
        **arrays(
            x_train=arrays()["x_train"][..., 0].astype(np.float32),
            x_test=np.ones((2, 3, 3), np.float32),
            class_names=["cat", "dog"],
            x_val=np.ones((2, 3, 3), np.float32),
        ),
    )
    read = data.load(f"npz:{good}")
    assert read.image_shape == (3, 3, 1) and read.class_names == ("cat", "dog")
    assert read.notes == (f"npz:{good}: 1 more arrays are not used, 'x_val'.",)
    assert read.flip is None
    numbers = tmp_path / "numbers.npz"
    np.savez(numbers, **arrays(class_names=np.array([1, 2])))
    torn = tmp_path / "torn.npz"
    torn.write_bytes(good.read_bytes()[:-100])
    partial = tmp_path / "partial.npz"
    np.savez(partial, x_train=np.zeros(3))
    objects = tmp_path / "objects.npz"
    np.savez(objects, **arrays(y_train=np.array([{}, 1, 0, 1], object)))
    for path, message in [
        (tmp_path / "none.npz", "must be an existing file"),
        (torn, "must be a readable npz of plain arrays"),
        (partial, "without y_train, x_test, y_test. Add the array."),
        (objects, "must be a readable npz of plain arrays"),
        (numbers, r"class_names of npz:.* must be texts \[classes\], got int64"),
    ]:
        with pytest.raises(ValueError, match=message):
            data.load(f"npz:{path}")


def test_tfds_reads_what_was_prepared_without_tensorflow(tmp_path, monkeypatch):
    """A real array_record data set on disk; and a quick word where there is none."""
    import tensorflow_datasets as prepared

    class Small(prepared.core.GeneratorBasedBuilder):
        """Two classes of 4x4 images."""

        VERSION = prepared.core.Version("1.0.0")
        pkg_dir_path = tmp_path  # a builder of a test lies in no package

        def _info(self):
            features = prepared.features.FeaturesDict(
                {
                    "image": prepared.features.Image(shape=(4, 4, 3)),
                    "label": prepared.features.ClassLabel(names=["cat", "dog"]),
                }
            )
            return self.dataset_info_from_configs(features=features)

        def _split_generators(self, manager):
            return {
                "train": self._generate_examples(8),
                "test": self._generate_examples(4),
                "validation": self._generate_examples(6),
                "extra": self._generate_examples(2),
            }

        def _generate_examples(self, count):
            for i in range(count):
                picture = io.BytesIO()  # an array would need TensorFlow to encode
                Image.new("RGB", (4, 4), (i, i, i)).save(picture, "PNG")
                picture.seek(0)
                yield i, {"image": picture, "label": i % 2}

    Small(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    small = data.load(f"tfds:small?data_dir={tmp_path}")
    assert small.x_train.shape == (14, 4, 4, 3) and len(small.y_test) == 4
    assert (small.x_train[:, 0, 0, 0] % 2 == small.y_train).all()
    assert small.class_names == ("cat", "dog") and small.flip is None
    assert small.notes == (
        "tfds:small: the validation split's images join the training images, of which "
        "a search holds out a part of its own.",
        "tfds:small: left out the splits extra.",
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with residence.over("no"):  # twice: labels and facts are kept
        for _ in range(2):
            lazy = data.load(f"tfds:small?data_dir={tmp_path}")
            assert lazy.facts == small.facts and isinstance(lazy.x_train, source.Read)
            np.testing.assert_array_equal(
                lazy.x_train[[13, 0, 8]], small.x_train[[13, 0, 8]]
            )
            np.testing.assert_array_equal(lazy.y_train, small.y_train)
    about = next(tmp_path.glob("small/**/dataset_info.json"))
    about.write_text(about.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match="as array_record, got 'tfds:small' as tfr"):
        data.load(f"tfds:small?data_dir={tmp_path}")
    with pytest.raises(ValueError, match="file_format='array_record'"):
        data.load(f"tfds:cifar10?data_dir={tmp_path}")


@pytest.mark.parametrize(
    ("found", "splits", "words"),
    [
        ("train test", (["train"], ["test"]), []),
        ("train validation", (["train"], ["validation"]), ["no test split, so valid"]),
        ("train test validation", (["train", "validation"], ["test"]), ["join the"]),
        ("train test extra", (["train"], ["test"]), ["left out the splits extra."]),
    ],
)
def test_tfds_splits(found, splits, words):
    """Every split of a prepared data set is used, or named."""
    got, notes = tfds._splits(set(found.split()), "mine")
    assert got == splits and len(notes) == len(words)
    assert all(word in note for word, note in zip(words, notes, strict=True))


@pytest.mark.parametrize("found", ["test", "train", "train extra", ""])
def test_tfds_splits_refusals(found):
    """Training images, and others to test on, are needed."""
    with pytest.raises(ValueError, match="must have splits train, and test or valid"):
        tfds._splits(set(found.split()), "mine")


def test_unknown_names_are_guessed():
    """A miss lists the names and the forms."""
    with pytest.raises(KeyError, match="Did you mean 'fashion'"):
        data.load("fasion")
    with pytest.raises(
        ValueError, match="must be a name, npz:PATH, npy:PATH, folder:PATH or tfds:NAME"
    ):
        data.load("nzp:x")


def test_a_users_data_set_is_validated():
    """A registered function is loaded by name, and checked."""
    saved = dict(registry.DATASETS._entries)
    try:

        @registry.DATASETS.register
        def mine():
            return data.Dataset(
                "mine", **arrays(y_test=np.array([0, 7])), num_classes=2
            )

        with pytest.raises(ValueError, match="y_test of mine must be in"):
            data.load("mine")
    finally:
        registry.DATASETS._entries = saved


@given(
    seed=st.integers(0, 2**31),
    counts=st.lists(st.integers(4, 30), min_size=1, max_size=5),
    rate=st.floats(0.25, 0.75),
)
@settings(max_examples=100, deadline=None)
def test_split_is_stratified_disjoint_exhaustive(seed, counts, rate):
    """Each index once; each class cut alike; the same seed the same split."""
    labels = np.repeat(np.arange(len(counts)), counts)
    first, second = data.stratified(seed, labels, rate)
    assert sorted([*first, *second]) == list(range(len(labels)))
    for label, count in enumerate(counts):
        assert (labels[second] == label).sum() == round(count * rate)
    again = data.stratified(seed, labels, rate)
    assert (again[0] == first).all() and (again[1] == second).all()


def test_split_refuses_to_empty_a_class():
    """A class with one image cannot be on both sides."""
    with pytest.raises(ValueError, match="valid_rate must leave each .* of class 1"):
        data.stratified(0, np.array([0, 0, 1]), 0.5)
    with pytest.raises(ValueError, match="got 0.5 of 1 images of class 'dog'. Change"):
        data.stratified(0, np.array([0, 0, 1]), 0.5, names=("cat", "dog"))


def test_shrink_averages_squares():
    """Means by hand, rounded in uint8; a factor that does not divide is refused."""
    x = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    both = arrays(x_train=np.concatenate([x, x, x, x + 9]), x_test=np.repeat(x, 2, 0))
    names = dict(class_names=("cat", "dog"), flip=False, notes=["read"])
    dataset = validate.validate(**both, name="mine", **names)
    small = data.shrink(dataset, 2)
    # means 2.5, 4.5, 10.5, 12.5; NumPy rounds halves to even
    assert small.x_train[0, :, :, 0].tolist() == [[2, 4], [10, 12]]
    assert (small.class_names, small.flip, small.notes) == (
        ("cat", "dog"), False, ("read",)
    )  # fmt: skip
    with pytest.raises(ValueError, match="shrink must divide the image's 4x4 pixels"):
        data.shrink(dataset, 3)
    checks = np.stack(
        [np.indices((4, 4)).sum(0) % 2, np.indices((4, 4)).sum(0) % 2 < 1]
    )
    both = arrays(x_train=(checks[[0, 1, 0, 1], ..., None] * 200).astype(np.uint8))
    both["x_test"] = both["x_train"][:2]
    boards = validate.validate(**both, name="boards")
    with pytest.raises(ValueError, match="which makes all of boards equal. Choose a"):
        data.shrink(boards, 2)
