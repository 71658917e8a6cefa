"""Data sets as folders of images, one sub-folder per class."""

import os
import pathlib

import numpy as np

from jnas.data import dataset as dataset_lib
from jnas.data import listing as listing_lib
from jnas.data import picture, split, validate

MAX_SIZE = 4096
TEST_RATE = 0.2


def read_folder(
    path: str | os.PathLike,
    *,
    size: int | tuple[int, int] | None = None,
    background: str = "white",
) -> dataset_lib.Dataset:
    """Reads a folder of images with Pillow, as a viewer shows them.

    Sub-folders are splits where their names say a training split and another one:
    ``train`` and ``test`` or ``val``, in any case, also as ``training_set``,
    ``validation``, ``test_images`` and the like (the words are those of
    ``split_names.WORDS``). Validation images join the training images, or are the test
    split if there is no other; unlabelled images are left out. Without splits a fixed
    fifth of each class is the test split. A name that may be a split's or a class's is
    refused, and so are splits inside the classes. Images are read as grey where all
    are grey, else RGB; those in deeper folders of a class belong to it.

    Args:
      path: the folder; its sub-folders' names, sorted, are the classes.
      size: rows and columns to which every image is resized, as one number or two;
        None keeps the images, whose sizes must then be equal.
      background: colour behind transparent pixels, "white" or "black".

    Returns:
      The data set; its notes name the classes and say what was joined, converted or
      left out.

    Raises:
      ValueError: splits and classes cannot be told apart, a class has no image, one
        cannot be read, sizes differ, or the data are invalid.
    """
    path, name = pathlib.Path(path), f"folder:{path}"
    if not os.path.isdir(path):
        raise ValueError(
            f"data must be an existing folder, got {name!r}. Check the path."
        )
    if background not in picture.BACKGROUNDS:
        raise ValueError(
            f"background must be one of {', '.join(picture.BACKGROUNDS)}, got "
            f"{background!r}. Choose one."
        )
    size = _checked(size)
    found = listing_lib.listing(path, name)
    files, notes = _divided(found, name)
    images, more = _read([f for part in files for f, _ in part], size, background)
    x = images[: len(files[0])], images[len(files[0]) :]
    y = [np.array([label for _, label in part]) for part in files]
    notes += [f"{name}: {note}" for note in more]
    return validate.validate(
        x[0], y[0], x[1], y[1], name=name, class_names=found.classes, notes=notes
    )


def _checked(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else size
    for side in pair:
        if not 1 <= side <= MAX_SIZE:
            raise ValueError(
                f"size must be from 1 to {MAX_SIZE}, got {side}. Change it."
            )
    return pair


def _divided(found: listing_lib.Listing, name: str) -> tuple[list, list[str]]:
    """Returns the files of both splits, and the notes."""
    notes = list(found.notes)
    if found.test is not None:
        return [found.train, found.test], notes
    labels = np.array([label for _, label in found.train])
    rows = split.stratified(
        0, labels, TEST_RATE, name=f"test split of {name}", names=found.classes
    )
    notes.append(
        f"{name}: no test split, so a fixed fifth of each class, {len(rows[1])} images,"
        " is the test split."
    )
    return [[found.train[i] for i in part] for part in rows], notes


def _read(
    files: list[pathlib.Path], size: tuple[int, int] | None, background: str
) -> tuple[np.ndarray, list[str]]:
    """Returns images uint8 [N, H, W, C], and what was converted."""
    pictures = [picture.read(file, background=background) for file in files]
    pixels = [one.pixels for one in pictures]
    if any(one.shape[-1] == 3 for one in pixels):
        pixels = [np.broadcast_to(one, (*one.shape[:2], 3)) for one in pixels]
    if size is not None:
        pixels = [picture.resized(one, size) for one in pixels]
    for file, one in zip(files, pixels, strict=True):
        if one.shape != pixels[0].shape:
            raise ValueError(
                f"images must have one size, got {_size(pixels[0])} pixels in "
                f"{str(files[0])!r} and {_size(one)} in {str(file)!r}. Add ?size=32 or "
                "?size=32x48 (rows x columns) to resize them."
            )
    return np.stack(pixels), _converted(pictures, background)


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[0]}x{pixels.shape[1]}"


def _converted(pictures: list[picture.Picture], background: str) -> list[str]:
    notes = []
    transparent = sum(one.transparent for one in pictures)
    if transparent:
        other = next(name for name in picture.BACKGROUNDS if name != background)
        notes.append(
            f"{transparent} images with transparent pixels are drawn on {background} "
            f"(?background={other} changes this)."
        )
    deep = [one.largest for one in pictures if one.largest is not None]
    if deep:
        notes.append(
            f"{len(deep)} grey images of 16 bits are scaled to 8 bits; their largest "
            f"value is {max(deep)} of 65535."
        )
    return notes
