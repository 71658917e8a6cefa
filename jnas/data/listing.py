"""Lists a folder of pictures: its classes, its splits, and what is left out."""

import collections
import os
import pathlib
from typing import NamedTuple

from jnas.data import picture

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
Files = list[tuple[pathlib.Path, int]]


class Listing(NamedTuple):
    """Files of a folder, each with the number of its class.

    Attributes:
      classes: names of the classes, sorted.
      train: files of the training split.
      test: files of the test split; None if the folder has none.
      notes: what was joined, divided or left out.
    """

    classes: tuple[str, ...]
    train: Files
    test: Files | None
    notes: tuple[str, ...]


def listing(root: pathlib.Path, name: str) -> Listing:
    """Lists the pictures of a folder.

    Args:
      root: an existing folder: of classes, or of splits of classes.
      name: name of the data set in messages.

    Raises:
      ValueError: splits that are incomplete or whose classes differ, a class without
        pictures, or no classes.
    """
    others: collections.Counter = collections.Counter()
    folders = _folders(root)
    splits = _splits(folders, name)
    if splits is None:
        folder_of = {"train": root}
    else:
        folder_of, used = splits, set(splits.values())
        others.update(f"folder {f.name!r}" for f in folders if f not in used)
        _count_outside(root, others)
    classes = _same_classes(folder_of, name)
    files = {}
    for split, folder in folder_of.items():
        files[split] = _files(folder, classes, name, others)
    train, test, notes = _joined(files, name)
    if others:
        left = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        notes.append(f"{name}: left out {left}.")
    return Listing(classes, train, test, tuple(notes))


def _joined(files: dict[str, Files], name: str) -> tuple[Files, Files | None, list]:
    """Returns the training and the test files; a validation split belongs to one."""
    train, test, notes = files["train"], files.get("test"), []
    val = files.get("val")
    if val is not None and test is None:
        test = val
        notes.append(
            f"{name}: no test split, so the validation split's {len(val)} images are "
            "the test split."
        )
    elif val is not None:
        train = sorted(train + val, key=lambda one: one[1])
        notes.append(
            f"{name}: the validation split's {len(val)} images join the training "
            "images, of which a search holds out a part of its own."
        )
    return train, test, notes


def _folders(root: pathlib.Path) -> list[pathlib.Path]:
    found = sorted(path for path in root.iterdir() if path.is_dir())
    return [path for path in found if not path.name.startswith(".")]


def _splits(folders: list[pathlib.Path], name: str) -> dict | None:
    """Returns split -> folder, or None if the folders are classes."""
    found: dict[str, pathlib.Path] = {}
    for folder in folders:
        for split, spellings in SPLITS.items():
            if folder.name.lower() not in spellings:
                continue
            if split in found:
                raise ValueError(
                    f"{name} must have one folder for each split, got "
                    f"{found[split].name!r} and {folder.name!r}. Remove one of them."
                )
            found[split] = folder
    if "train" in found and (len(found) > 1 or len(folders) == 1):
        return found
    if found and len(found) == len(folders):
        names = ", ".join(repr(folder.name) for folder in folders)
        raise ValueError(
            f"{name} must have a folder train beside {names}, got none. Add it, or "
            "rename them if they are classes."
        )
    return None


def _same_classes(folder_of: dict, name: str) -> tuple[str, ...]:
    """Returns the names of the classes, which all splits must share."""
    found = {split: [f.name for f in _folders(p)] for split, p in folder_of.items()}
    for split, classes in found.items():
        if not classes:
            raise ValueError(
                f"{name} must hold one folder per class, got none in "
                f"{str(folder_of[split])!r}. Sort the images into folders named after "
                "their classes."
            )
        for one, other in ((split, "train"), ("train", split)):
            missing = sorted(set(found[other]) - set(found[one]))
            if missing:
                raise ValueError(
                    f"{name} must have the same classes in train and {split}, got "
                    f"class {missing[0]!r} in {other} alone. Add its folder to {one}, "
                    "or remove it."
                )
    return tuple(found["train"])


def _files(folder: pathlib.Path, classes: tuple[str, ...], name: str, others) -> Files:
    found: Files = []
    _count_outside(folder, others)
    for label, one in enumerate(classes):
        own: collections.Counter = collections.Counter()
        inside = _pictures(folder / one, own)
        if not inside:
            left = ", ".join(f"{count} {kind}" for kind, count in sorted(own.items()))
            raise ValueError(
                f"{name} must hold images in the folder of each class, got none of "
                f"class {one!r} in {str(folder / one)!r}{left and f' but {left}'}. "
                "Add images that Pillow reads, or remove the folder."
            )
        found += [(file, label) for file in inside]
        others += own
    return found


def _pictures(folder: pathlib.Path, others) -> list[pathlib.Path]:
    """Returns the pictures at any depth below a folder, and counts other files."""
    found, seen = [], set()
    for at, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        hidden = [one for one in folders if one.startswith(".")]
        others.update("hidden" for _ in hidden)
        folders[:] = sorted(set(folders) - set(hidden))
        for file in (pathlib.Path(at) / one for one in names):
            if _kind(file) in picture.suffixes():
                found.append(file)
            else:
                others[_kind(file)] += 1
    return sorted(found)


def _count_outside(folder: pathlib.Path, others) -> None:
    kinds = (_kind(path) for path in folder.iterdir() if not path.is_dir())
    others.update(f"{kind} outside the class folders" for kind in kinds)


def _kind(file: pathlib.Path) -> str:
    """Returns the suffix by which a file is counted."""
    if file.name.startswith("."):
        return "hidden"
    return file.suffix.lower() or "without a suffix"
