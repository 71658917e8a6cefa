"""Data sets as folders of images, one sub-folder per class."""

import os
import pathlib
import warnings

import numpy as np

from jnas.data import dataset as dataset_lib
from jnas.data import split, validate

MAX_SIZE = 4096
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}


def read_folder(
    path: str | os.PathLike, *, size: int | None = None
) -> dataset_lib.Dataset:
    """Reads a folder of images with Pillow.

    Sub-folders ``train`` and ``test`` are the two splits; without them a fixed fifth of
    each class is the test split. Images are read as grey where all are grey, else RGB.

    Args:
      path: the folder; its sub-folders' names, sorted, are the classes.
      size: rows and columns to which every image is resized; None keeps the images,
        whose sizes must then be equal.

    Raises:
      ValueError: there is no image, one cannot be read, sizes differ, or the data are
        invalid.
    """
    path, name = pathlib.Path(path), f"folder:{path}"
    if not os.path.isdir(path):
        raise ValueError(
            f"data must be an existing folder, got {name!r}. Check the path."
        )
    splits = path / "train", path / "test"
    if all(folder.is_dir() for folder in splits):
        classes = _classes(splits[0], name)
        if _classes(splits[1], name) != classes:
            raise ValueError(
                f"{name} must have the same classes in train and test, got {classes} "
                f"and {_classes(splits[1], name)}. Give both the same sub-folders."
            )
        files = [_files(folder, classes) for folder in splits]
    else:
        everything = _files(path, _classes(path, name))
        labels = np.array([label for _, label in everything])
        test = f"test split of {name}"
        rows = split.stratified(0, labels, 0.2, name=test) if everything else ()
        files = [[everything[i] for i in indices] for indices in rows]
    if not files or not all(files):
        raise ValueError(
            f"{name} must hold images ({', '.join(sorted(SUFFIXES))}) in each split, "
            "got none. Add some."
        )
    images = _read([file for listed in files for file, _ in listed], size)
    x = [images[: len(files[0])], images[len(files[0]) :]]
    y = [np.array([label for _, label in listed]) for listed in files]
    return validate.validate(x[0], y[0], x[1], y[1], name=name)


def _classes(path: pathlib.Path, name: str) -> list[str]:
    found = sorted(p.name for p in path.iterdir() if p.is_dir())
    found = [c for c in found if not c.startswith(".")]
    if not found:
        raise ValueError(
            f"{name} must hold one folder per class, got none in {str(path)!r}. "
            "Sort the images into folders named after their classes."
        )
    return found


def _files(path: pathlib.Path, classes: list[str]) -> list:
    return [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((path / name).iterdir())
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    ]


def _read(files: list[pathlib.Path], size: int | None) -> np.ndarray:
    if size is not None and not 1 <= size <= MAX_SIZE:
        raise ValueError(f"size must be from 1 to {MAX_SIZE}, got {size}. Change it.")
    pictures = [_open(file) for file in files]
    mode = "L" if all(p.mode in ("L", "1") for p in pictures) else "RGB"
    if size is not None:
        pictures = [p.convert(mode).resize((size, size)) for p in pictures]
    for file, picture in zip(files, pictures, strict=True):
        if picture.size != pictures[0].size:
            raise ValueError(
                f"images must have one size, got {pictures[0].size} in "
                f"{str(files[0])!r} and {picture.size} in {str(file)!r}. "
                "Add ?size=32 to resize them."
            )
    return np.stack([np.asarray(p.convert(mode), np.uint8) for p in pictures])


def _open(file: pathlib.Path):
    from PIL import Image

    try:
        if not file.is_file():  # opening a pipe would block forever
            raise OSError("no regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as picture:
                picture.load()
                return picture.copy()
    except Exception as error:  # crafted files raise more than Pillow documents
        raise ValueError(
            f"images must be readable, got {str(file)!r} ({error}). Repair or remove "
            "the file."
        ) from error
