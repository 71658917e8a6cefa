"""Tests of folders named after splits: read as splits, or refused, never as classes."""

import numpy as np
import pytest
from PIL import Image

from jnas import data
from jnas.data import split_names


def write(folder, values=range(10)):
    """Writes one grey image a value, whose pixels all have it but the first."""
    folder.mkdir(parents=True, exist_ok=True)
    for value in values:
        picture = Image.new("L", (4, 4), value)
        picture.putpixel((0, 0), 255)
        picture.save(folder / f"{value}.png")


def tree(root, *folders):
    """Writes ten images into each folder; values count on from one to the next."""
    for number, folder in enumerate(folders):
        write(root / folder, range(10 * number, 10 * number + 10))


def load(root):
    """Returns class names, values of training and test images by class, notes."""
    read = data.load(f"folder:{root}")
    values = []
    for x, y in ((read.x_train, read.y_train), (read.x_test, read.y_test)):
        values.append([sorted(x[y == k, 3, 3, 0].tolist()) for k in (0, 1)])
    return read.class_names, *values, " ".join(read.notes)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training_set", "test_set"),
        ("train_images", "test_images"),
        ("train", "dev"),
        ("Train Images", "Test-Images"),
        ("trainset", "testset"),
        ("TrainData", "TestData"),
        ("TRAINING.DATA", "Validation"),
        ("train2017", "val2017"),
        ("train", "test1"),
        ("train_32x32", "test_32x32"),
        ("seg_train", "seg_test"),
        ("asl_alphabet_train", "asl_alphabet_test"),
        ("trainval", "eval"),
        ("train_val", "hold_out"),
        ("training", "holdout-images"),
        ("my-train-data", "my_test_data"),
    ],
)
def test_splits_in_other_words(tmp_path, train, test):
    """Classes are those inside; no image of one split is in the other."""
    tree(tmp_path, f"{train}/cat", f"{train}/dog", f"{test}/cat", f"{test}/dog")
    names, trained, tested, notes = load(tmp_path)
    assert names == ("cat", "dog")
    assert trained == [[*range(10)], [*range(10, 20)]]
    assert tested == [[*range(20, 30)], [*range(30, 40)]]
    assert "2 classes, 'cat', 'dog'." in notes and "left out" not in notes


def test_unlabelled_images_are_left_out(tmp_path):
    """train and unlabeled: a fifth of train is the test split; said."""
    tree(tmp_path, "train/cat", "train/dog", "unlabeled", "unlabeled/0")
    names, trained, tested, notes = load(tmp_path)
    assert names == ("cat", "dog")
    assert [len(one) for one in trained + tested] == [8, 8, 2, 2]
    assert sorted(trained[0] + tested[0]) == [*range(10)]
    assert "left out 1 folder 'unlabeled'." in notes and "a fixed fifth" in notes
    tree(tmp_path, "test/cat", "test/dog")
    assert load(tmp_path)[3].endswith("left out 1 folder 'unlabeled'.")
    tree(tmp_path / "seg", "seg_train/a", "seg_train/b", "seg_test/a", "seg_test/b")
    tree(tmp_path / "seg", "seg_pred")
    names, _, _, notes = load(tmp_path / "seg")
    assert names == ("a", "b") and notes.endswith("left out 1 folder 'seg_pred'.")


@pytest.mark.parametrize(
    ("system", "said"),
    [
        (".git", "2 hidden."),
        *(
            (one, f"2 folder '{one}'.")
            for one in ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found")
        ),
    ],
)
def test_folders_of_programs_are_no_classes(tmp_path, system, said):
    """Beside classes, in a class, beside splits; counted."""
    tree(tmp_path / "a", "cat", "dog", system, f"{system}/cat", f"cat/{system}")
    names, trained, tested, notes = load(tmp_path / "a")
    assert names == ("cat", "dog") and f"left out {said}" in notes
    assert sorted(trained[0] + tested[0]) == [*range(10)]
    splits = [f"{one}/{name}" for one in ("train", "test") for name in ("cat", "dog")]
    tree(tmp_path / "b", *splits, f"{system}/cat", f"train/cat/{system}")
    names, trained, _, notes = load(tmp_path / "b")
    assert names == ("cat", "dog") and f"left out {said}" in notes
    assert trained[0] == [*range(10)]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("cat", "dog", "test"), "got 'test', whose name says a split beside 'cat',"),
        (("cat", "dog", "test_images"), "got 'test_images', whose name says"),
        (("cat", "dog", "unlabeled"), "got 'unlabeled', whose name says"),
        (("cat", "dog", "training_set"), "got 'training_set', whose name says"),
        (("cat", "dog", "train/x"), "got 'train', whose name says a split beside"),
        (("train", "old_test"), "got 'train', whose name says a split beside 'old_te"),
        (("train_a", "test_b"), "got 't[a-z]*_.', whose name says a split"),
        (("trainA", "trainB", "testA", "testB"), "whose name says a split"),
        (("cat_train", "cat_test", "dog_train", "dog_test"), "whose name says a split"),
        (("cat", "dog", "cat_test", "dog_test"), "got 'cat_test', whose name says"),
        (("cat_train", "cat_test", "dog"), "whose name says a split beside"),
        (("train/a", "test/a", "train_test/a"), "got 'train_test', whose name says"),
        (("fold1", "fold2", "fold3"), "got 'fold1', whose name says a split beside"),
        (("0_train", "0_test", "1_train", "1_test"), "one folder for each split, got"),
        (("test", "eval"), "must have a folder train beside 'eval', 'test', got none"),
        (("train/a", "eval/a", "test/a"), "one folder for each split, got 'eval' and"),
        (("train_images", "test_images"), "must hold one folder per class, got none"),
        (("train/a", "train/test", "test/a"), "/train must have .* got 'test', whose"),
        (("train/train/a", "test/test/a"), "got the one folder 't[a-z]*'. Move the"),
        (("train/x_train/a", "test/x_test/a"), "the one folder 'x_t[a-z]*'. Move the"),
        (("train/train/a", "train/test/a", "test/a"), "/train', got splits again."),
        (("data/train/a", "data/test/a"), "the one folder 'data'. Write folder:.*data"),
    ],
)  # fmt: skip
def test_what_is_not_certain_is_refused(tmp_path, folders, message):
    """One line that names the folder, before an image is read."""
    tree(tmp_path, *folders)
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "inside",
    [
        ("train", "test"),
        ("Training Set", "Test Set"),
        ("train", "val"),
        ("x/train", "x/test"),
        ("cats_train", "cats_test"),
        ("test",),
        ("valid",),
    ],
)
def test_splits_inside_classes_are_refused(tmp_path, inside):
    """cats/train and cats/test were pooled and divided again: test images trained."""
    tree(tmp_path, *(f"{name}/{one}" for name in ("cats", "dogs") for one in inside))
    with pytest.raises(ValueError, match="above the classes, got '.*cats/") as error:
        load(tmp_path)
    for one in inside:
        assert repr(str(tmp_path / "cats" / one)) in str(error.value)
    assert "Move the images to train/cats and test/cats, or" in str(error.value)


@pytest.mark.parametrize(
    "folders",
    [
        ("bus", "train"),
        ("bus", "train", "train_station"),
        ("test_tube", "train_station", "cat"),
        ("bullet_train", "freight_train"),
        ("cat", "crash_test"),
        ("invalid", "valid"),
        ("contest", "detrain", "trainer"),
        ("0", "1", "2"),
        ("bus/train", "car/train"),
        ("bus/a_train", "car/b_test"),
    ],
)
def test_classes_whose_names_hold_such_words(tmp_path, folders):
    """A vehicle, a station, a tube: classes, of which all images are used."""
    tree(tmp_path, *folders)
    read = data.load(f"folder:{tmp_path}")
    assert read.class_names == tuple(sorted(one.split("/")[0] for one in folders))
    x = np.concatenate([read.x_train, read.x_test])[:, 3, 3, 0]
    assert sorted(x.tolist()) == [*range(10 * len(folders))]


def test_a_vehicle_inside_a_split(tmp_path):
    """train/train is a class where it holds images."""
    tree(tmp_path, "train/bus", "train/train", "test/bus", "test/train")
    names, trained, tested, _ = load(tmp_path)
    assert names == ("bus", "train")
    assert trained[1] == [*range(10, 20)] and tested[1] == [*range(30, 40)]


def test_many_classes_are_said_in_short(tmp_path):
    """Eight names and the number of the others."""
    for number in range(12):
        write(tmp_path / f"k{number:02}", range(3))
    names = ", ".join(f"'k{number:02}'" for number in range(8))
    notes = data.load(f"folder:{tmp_path}").notes
    assert notes[0] == f"folder:{tmp_path}: 12 classes, {names} and 4 more."


@pytest.mark.parametrize("split", split_names.WORDS)
def test_every_word_in_every_spelling(split):
    """Alone, in capitals, glued to a noun, between marks, with a number."""
    other = {"train": "test"}.get(split, "train")
    for word in split_names.WORDS[split]:
        forms = (word, word.upper(), f"{word}set", f"{word}_images", f"{word}-data",
                 f"{word} 2017", f"{word}1", f"{word.title()}Images", f"{word}.files",
                 f"images_{word}")  # fmt: skip
        for form in forms:
            found = split_names.divide([form, other], [], name="mine")
            assert found == {split: form, other: other}
