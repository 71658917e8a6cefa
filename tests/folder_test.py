"""Tests of folders of images: what is used, said, or refused with the class's name."""

import numpy as np
import pytest
from PIL import Image

from jnas import data
from jnas.data import listing


def write(folder, count=10, *, value=0, suffix=".png", mode="L", size=(6, 6), start=0):
    """Writes images whose first pixel is value + their number."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + count):
        picture = Image.new(mode, size[::-1], 0)
        level = value + i
        pixel = {"L": level, "RGB": (level, 0, 9), "RGBA": (level, 0, 9, 128)}[mode]
        picture.putpixel((0, 0), pixel)
        picture.save(folder / f"{i}{suffix}")


def classes(root, names=("cat", "dog"), **how):
    """Writes one folder a class; the second class is 100 brighter."""
    for label, name in enumerate(names):
        write(root / name, value=100 * label, **how)


def load(root, query=""):
    """Reads a folder; notes without its name and without that of the classes."""
    read = data.load(f"folder:{root}{query}")
    name = f"folder:{root}: "
    assert all(note.startswith(name) for note in read.notes)
    names = ", ".join(map(repr, read.class_names))
    assert read.notes[0] == f"{name}{len(read.class_names)} classes, {names}."
    return read, [note.removeprefix(name) for note in read.notes[1:]]


FIFTH = "no test split, so a fixed fifth of each class, {} images, is the test split."


def first_pixels(read):
    """Returns the sorted first pixels of all images, checked against the labels."""
    x = np.concatenate([read.x_train, read.x_test])[:, 0, 0, 0]
    y = np.concatenate([read.y_train, read.y_test])
    np.testing.assert_array_equal(x >= 100, y == 1)
    return sorted(x.tolist())


def test_folder(tmp_path):
    """One folder a class; grey stays grey; a fifth is the test split, said."""
    classes(tmp_path)
    read, notes = load(tmp_path)
    assert read.x_train.shape == (16, 6, 6, 1) and read.x_test.shape == (4, 6, 6, 1)
    assert first_pixels(read) == [*range(10), *range(100, 110)]
    assert read.class_names == ("cat", "dog") and read.flip is None
    assert notes == [FIFTH.format(4)]


def test_every_suffix_and_depth_is_used(tmp_path):
    """Case 5 a and b: half of the images as .tif, in deeper folders, behind links."""
    classes(tmp_path / "a", count=5)
    classes(tmp_path / "a", count=5, start=5, suffix=".TIF")
    for name, value in (("cat", 0), ("dog", 100)):
        write(tmp_path / "b" / name, 4, value=value)
        write(tmp_path / "b" / name / "x", 3, value=value, start=4)
        write(tmp_path / "b" / name / "x" / "y", 3, value=value, start=7)
    (tmp_path / "b/cat/loop").symlink_to(tmp_path / "b/cat")
    classes(tmp_path / "c", count=5)
    classes(tmp_path / "elsewhere", count=5, start=5)
    for name in ("cat", "dog"):
        (tmp_path / "c" / name / "link").symlink_to(tmp_path / "elsewhere" / name)
    for folder in "abc":
        read, notes = load(tmp_path / folder)
        assert first_pixels(read) == [*range(10), *range(100, 110)]
        assert notes == [FIFTH.format(4)]


def test_an_empty_class_is_refused_by_name(tmp_path):
    """Case 5 c: last or not, and with files that are no images; in each split."""
    classes(tmp_path / "flat")
    (tmp_path / "flat/eel").mkdir()
    with pytest.raises(ValueError, match=r"none of class 'eel' in '.*flat/eel'\. Add"):
        load(tmp_path / "flat")
    (tmp_path / "flat/eel/1.npy").touch()
    (tmp_path / "flat/eel/2.npy").touch()
    with pytest.raises(ValueError, match=r"none of class 'eel' in '.*' but 2 \.npy\."):
        load(tmp_path / "flat")
    for split in ("train", "val", "test"):
        for other in ("train", "val", "test"):
            classes(tmp_path / split / other)
        for file in (tmp_path / split / split / "cat").iterdir():
            file.unlink()
        with pytest.raises(ValueError, match=f"none of class 'cat' in .*{split}/cat"):
            load(tmp_path / split)


@pytest.mark.parametrize(
    ("train", "test", "val"),
    [
        ("train", "test", None),
        ("Train", "Test", None),
        ("TRAINING", "Testing", None),
        ("train", "test", "val"),
        ("train", "test", "Validation"),
        ("training", "test", "valid"),
        ("train", None, "val"),
        ("train", None, "VALID"),
        ("Train", None, None),
    ],
)
def test_splits_in_any_spelling(tmp_path, train, test, val):
    """Case 5 d and e: validation trains, or tests where there is no test split."""
    for number, split in enumerate((train, test, val)):
        if split:
            classes(tmp_path / split, count=10, start=10 * number)
    read, notes = load(tmp_path)
    numbers = {
        name: set((x[:, 0, 0, 0] % 100).tolist())
        for name, x in (("train", read.x_train), ("test", read.x_test))
    }
    first, second, third = (set(range(n, n + 10)) for n in (0, 10, 20))
    if test:
        assert numbers["train"] == (first | third if val else first)
        assert numbers["test"] == second
        word = "the validation split's 20 images join the training images"
    elif val:
        assert numbers["train"] == first and numbers["test"] == third
        word = "no test split, so the validation split's 20 images are the test split."
    else:
        word = FIFTH.format(4)
    assert len(notes) == (0 if test and not val else 1)
    assert not notes or notes[0].startswith(word)
    first_pixels(read)


def test_splits_that_are_refused(tmp_path):
    """Two spellings of one split, no training images, classes that differ."""
    for name in ("train", "Training", "test"):
        classes(tmp_path / "twice" / name)
    for name in ("val", "test"):
        classes(tmp_path / "trainless" / name)
    classes(tmp_path / "differ" / "train", ("cat", "dog", "eel"))
    classes(tmp_path / "differ" / "test")
    classes(tmp_path / "more" / "train")
    classes(tmp_path / "more" / "test", ("cat", "dog", "eel"))
    write(tmp_path / "flat/train")
    write(tmp_path / "flat/test")
    for name, message in [
        ("twice", "one folder for each split, got 'Training' and 'train'. Remove one"),
        ("trainless", "must have a folder train beside 'test', 'val', got none. Add"),
        (
            "differ",
            "classes in train and test, got class 'eel' in train alone. Add its",
        ),
        ("more", "classes in train and test, got class 'eel' in test alone. Add its"),
        ("flat", "must hold one folder per class, got none in '.*t(rain|est)'. Sort"),
    ]:
        with pytest.raises(ValueError, match=message):
            load(tmp_path / name)


def test_a_class_may_be_called_train(tmp_path):
    """Vehicles: without a folder named after another split they are classes."""
    classes(tmp_path, ("bus", "train"))
    assert load(tmp_path)[0].class_names == ("bus", "train")


def test_what_is_left_out_is_counted(tmp_path):
    """Other files by suffix, hidden ones, folders beside the splits."""
    classes(tmp_path / "train")
    classes(tmp_path / "test")
    write(tmp_path / "extra", 3)
    for name in ("train/cat/a.txt", "train/dog/b.TXT", "test/cat/c", "test/dog/.DS",
                 "train/labels.csv", "readme.md"):  # fmt: skip
        (tmp_path / name).touch()
    write(tmp_path / "train" / "cat" / ".thumbs")
    write(tmp_path / "train", 2)
    _, notes = load(tmp_path)
    said = notes[0].removeprefix("left out ").rstrip(".").split(", ")
    assert len(notes) == 1 and sorted(said) == [
        "1 .csv outside the class folders",
        "1 .md outside the class folders",
        "1 folder 'extra'",
        "1 without a suffix",
        "2 .png outside the class folders",
        "2 .txt",
        "2 hidden",
    ]


def test_rectangles(tmp_path):
    """?size=4x8 is rows x columns, as Pillow resizes them; 32 is a square."""
    classes(tmp_path, size=(6, 9))
    read, _ = load(tmp_path, "?size=4x8")
    assert read.image_shape == (4, 8, 1)
    with Image.open(tmp_path / "dog/3.png") as opened:
        wanted = np.asarray(opened.resize((8, 4)))
    x = np.concatenate([read.x_train, read.x_test])[..., 0]
    assert any((one == wanted).all() for one in x)
    assert load(tmp_path, "?size=5")[0].image_shape == (5, 5, 1)
    assert load(tmp_path)[0].image_shape == (6, 9, 1)
    assert data.read_folder(tmp_path, size=(2, 3)).image_shape == (2, 3, 1)
    for text in ("4x", "x4", "4x5x6", "-4", "4.5", ""):
        with pytest.raises(ValueError, match="Correct 'size' as 32 or 32x48."):
            load(tmp_path, f"?size={text}")
    with pytest.raises(ValueError, match="size must be from 1 to 4096, got 5000"):
        load(tmp_path, "?size=4x5000")


def test_backgrounds_and_depths_are_said(tmp_path):
    """Transparent and 16-bit images are counted; the query chooses the background."""
    classes(tmp_path, mode="RGBA", count=9)
    read, notes = load(tmp_path)
    assert read.x_train[0, 5, 5].tolist() == [255] * 3  # opacity 0 on white
    assert notes[1:] == [
        "18 images with transparent pixels are drawn on white (?background=black "
        "changes this)."
    ]
    read, notes = load(tmp_path, "?background=black&size=6")
    assert read.x_train[0, 5, 5].tolist() == [0] * 3
    assert "are drawn on black (?background=white" in notes[1]
    with pytest.raises(ValueError, match="must be one of white, black, got 'pink'"):
        load(tmp_path, "?background=pink")
    for name in ("cat", "dog"):
        for i in range(5):
            deep = np.full((6, 6), 1000 * i + len(name), np.uint16)
            (tmp_path / "deep" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(deep).save(tmp_path / "deep" / name / f"{i}.png")
    read, notes = load(tmp_path / "deep")
    assert read.image_shape == (6, 6, 1)
    assert notes[1:] == [
        "10 grey images of 16 bits are scaled to 8 bits; their largest value is 4003 "
        "of 65535."
    ]


def test_grey_and_colours_together_are_colours(tmp_path):
    """A grey image among colours has its value in each channel."""
    classes(tmp_path, mode="RGB")
    write(tmp_path / "cat", 1, value=55, start=20)
    read, _ = load(tmp_path)
    assert read.image_shape == (6, 6, 3)
    x = np.concatenate([read.x_train, read.x_test])
    assert (x[:, 0, 0] == 75).all(-1).sum() == 1


def test_folder_refusals(tmp_path):
    """Unequal sizes, a file that is no image, too few, and nothing, name the place."""
    classes(tmp_path / "sizes")
    write(tmp_path / "sizes/dog", 1, size=(6, 7), start=30)
    classes(tmp_path / "bad")
    (tmp_path / "bad/cat/9.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    classes(tmp_path / "few", count=5)
    for i in range(2, 5):
        (tmp_path / f"few/dog/{i}.png").unlink()
    for name, message in [
        (
            "sizes",
            r"images must have one size, got .*6x[67] pixels .* Add \?size=32 or",
        ),
        ("bad", r"images must be readable, got .*9\.png"),
        ("few", "test split of .* must leave .* got 0.2 of 2 images of class 'dog'."),
        ("empty", "must hold one folder per class"),
        ("none", "must be an existing folder"),
    ]:
        with pytest.raises(ValueError, match=message):
            data.load(f"folder:{tmp_path / name}")


def test_listing_is_sorted(tmp_path):
    """The same folder gives the same order on every machine."""
    classes(tmp_path)
    found = listing.listing(tmp_path, "mine")
    names = [(file.parent.name, file.name) for file, _ in found.train]
    assert names == sorted(names)
