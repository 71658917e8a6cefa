"""Data sets as folders of images, one sub-folder per class."""

import importlib.metadata
import math
import os
import pathlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from jnas.data import dataset as dataset_lib
from jnas.data import facts, picture, residence, source, split, validate
from jnas.data import listing as listing_lib

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
    are grey, else RGB; those in deeper folders of a class belong to it. Where they do
    not fit in memory, each is decoded when it is needed.

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
    reading = _reading([[file for file, _ in part] for part in files], size, background)
    y = [np.array([label for _, label in part]) for part in files]
    notes += [f"{name}: {note}" for note in reading.notes]
    (x_train, x_test), (y_train, y_test) = reading.images, y
    return validate.validate(
        x_train,
        y_train,
        x_test,
        y_test,
        name=name,
        class_names=found.classes,
        notes=notes,
        identity=reading.identity,
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


class _Reading(NamedTuple):
    """Images uint8 [N, H, W, C] of each split, what was converted, and their files."""

    images: list[source.Source]
    notes: list[str]
    identity: str | None


def _reading(
    splits: list[list[pathlib.Path]], size: tuple[int, int] | None, background: str
) -> _Reading:
    """Reads pictures, or prepares to read them where they do not fit in memory."""
    files = [file for one in splits for file in one]

    def read(row):
        return picture.read(files[row], background=background)

    first = read(0).pixels.shape
    every = np.arange(len(files))
    if residence.fits(len(files) * math.prod(size or first[:2]) * 3):
        pictures = list(source.in_parallel(read, every))
        kinds = _kinds(pictures, files, size, background)
        pixels = [_fitted(one.pixels, size, kinds["channels"]) for one in pictures]
        count = len(splits[0])
        images = [np.stack(pixels[:count]), np.stack(pixels[count:])]
        return _Reading(images, kinds["notes"], None)
    names = [os.path.abspath(file) for file in files]
    version = importlib.metadata.version("pillow")
    identity = facts.identity_of(names, size, background, version)
    kinds = facts.kept(
        f"kinds {identity}",
        lambda: _kinds(source.in_parallel(read, every), files, size, background),
    )
    shape = *(size or first[:2]), kinds["channels"]

    def images_of(files):
        def one(row):
            pixels = picture.read(files[row], background=background).pixels
            return _fitted(pixels, size, kinds["channels"])

        return source.decoded(one, (len(files), *shape))

    return _Reading([images_of(one) for one in splits], kinds["notes"], identity)


def _kinds(
    pictures: Iterable[picture.Picture],
    files: list[pathlib.Path],
    size: tuple[int, int] | None,
    background: str,
) -> dict[str, Any]:
    """Returns the number of channels of all pictures, and notes of what is converted.

    Without a size they must have one.
    """
    channels, shape, transparent, deep = 1, None, 0, []
    for file, one in zip(files, pictures, strict=True):
        shape = shape or one.pixels.shape
        channels = max(channels, one.pixels.shape[-1])
        transparent += one.transparent
        deep += [] if one.largest is None else [one.largest]
        if size is None and one.pixels.shape[:2] != shape[:2]:
            raise ValueError(
                f"images must have one size, got {_size(shape)} pixels in "
                f"{str(files[0])!r} and {_size(one.pixels.shape)} in {str(file)!r}. "
                "Add ?size=32 or ?size=32x48 (rows x columns) to resize them."
            )
    notes = _converted(transparent, deep, background)
    return {"channels": channels, "notes": notes}


def _fitted(
    pixels: np.ndarray, size: tuple[int, int] | None, channels: int
) -> np.ndarray:
    """Returns a picture of the wanted size and number of channels."""
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], channels))
    return pixels if size is None else picture.resized(pixels, size)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}"


def _converted(transparent: int, deep: list[int], background: str) -> list[str]:
    notes = []
    if transparent:
        other = next(name for name in picture.BACKGROUNDS if name != background)
        notes.append(
            f"{transparent} images with transparent pixels are drawn on {background} "
            f"(?background={other} changes this)."
        )
    if deep:
        notes.append(
            f"{len(deep)} grey images of 16 bits are scaled to 8 bits; their largest "
            f"value is {max(deep)} of 65535."
        )
    return notes
