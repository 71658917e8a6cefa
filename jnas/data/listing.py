"""Lists a folder of pictures: its classes, its splits, and what is left out."""

import collections
import os
import pathlib
from typing import NamedTuple

from jnas.data import picture, split_names

SYSTEM = frozenset(  # folders that programs leave behind
    "__macosx __pycache__ @eadir $recycle.bin lost+found".split()
    + ["system volume information"]
)
SHOWN = 8  # names of classes in a note
Files = list[tuple[pathlib.Path, int]]


class Listing(NamedTuple):
    """Files of a folder, each with the number of its class.

    Attributes:
      classes: names of the classes, sorted.
      train: files of the training split.
      test: files of the test split; None if the folder has none.
      notes: the classes' names, and what was joined or left out.
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
      ValueError: splits that are incomplete, uncertain, inside the classes or whose
        classes differ, a class without pictures, or no classes.
    """
    others: collections.Counter = collections.Counter()
    folders = _folders(root)
    splits = _divided(root, name)
    if splits is None:
        folder_of = {"train": root}
        _check_wrapped(folders, name)
    else:
        splits.pop("unlabeled", None)
        folder_of = {split: root / one for split, one in splits.items()}
        used = set(folder_of.values())
        others.update(f"folder {f.name!r}" for f in folders if f not in used)
        _count_outside(root, others)
        _check_classes(folder_of, name)
    classes = _same_classes(folder_of, name)
    files = {}
    for split, folder in folder_of.items():
        files[split] = _files(folder, classes, name, others)
    train, test, notes = _joined(files, name)
    more = f" and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
    shown = ", ".join(map(repr, classes[:SHOWN]))
    notes.insert(0, f"{name}: {len(classes)} classes, {shown}{more}.")
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
    with os.scandir(root) as entries:  # asks for no file's status: classes are large
        found = sorted(one.name for one in entries if one.is_dir())
    return [root / one for one in found if not _is_system(one)]


def _is_system(folder: str) -> bool:
    return folder.startswith(".") or folder.casefold() in SYSTEM


def _divided(root: pathlib.Path, name: str) -> dict[str, str] | None:
    """Returns split -> name of its folder, or None if the folders are classes."""
    folders = _folders(root)
    nested = [folder.name for folder in folders if _folders(folder)]
    return split_names.divide([f.name for f in folders], nested, name=name)


def _check_wrapped(folders: list[pathlib.Path], name: str) -> None:
    """Refuses one folder that holds the classes or the splits."""
    if len(folders) == 1 and _folders(folders[0]):
        inner = folders[0].name
        raise ValueError(
            f"{name} must hold at least 2 classes, got the one folder {inner!r}. Write "
            f"{name}/{inner} if the classes or the splits are inside."
        )


def _check_classes(folder_of: dict, name: str) -> None:
    """Refuses what lies between splits and classes: train/images, train/train."""
    for folder in folder_of.values():
        inside = _folders(folder)
        if len(inside) == 1 and _folders(inside[0]):
            raise ValueError(
                f"{name} must hold one folder per class in {str(folder)!r}, got the "
                f"one folder {inside[0].name!r}. Move the folders in it up."
            )
        if _divided(folder, f"{name}/{folder.name}"):
            raise ValueError(
                f"{name} must hold one folder per class in {str(folder)!r}, got splits "
                "again. Move the folders of the classes up."
            )


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
        inside = pictures(folder / one, own, name)
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


def pictures(
    folder: pathlib.Path, others: collections.Counter, name: str | None = None
) -> list[pathlib.Path]:
    """Returns the pictures at any depth below a folder, and counts other files.

    Args:
      folder: the folder.
      others: kind -> number of the files and folders that are left out; added to.
      name: name of the data set, of which the folder is a class; None allows any
        folders inside.

    Raises:
      ValueError: the folder is a class and has splits inside.
    """
    found, seen = [], set()
    for at, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        system = [one for one in folders if _is_system(one)]
        others.update(_kind_of_folder(one) for one in system)
        folders[:] = sorted(set(folders) - set(system))
        if name is not None:
            _check_inside(folder, pathlib.Path(at), folders, name)
        for file in (pathlib.Path(at) / one for one in names):
            if kind(file) in picture.suffixes():
                found.append(file)
            else:
                others[kind(file)] += 1
    return sorted(found)


def _check_inside(
    folder: pathlib.Path, at: pathlib.Path, folders: list[str], name: str
) -> None:
    """Refuses the splits of one class, whose test images would train."""
    found = split_names.inside_a_class(folders)
    if found:
        shown = " and ".join(repr(str(at / one)) for one in found[:2])
        raise ValueError(
            f"{name} must have splits above the classes, got {shown} inside class "
            f"{folder.name!r}. Move the images to train/{folder.name} and "
            f"test/{folder.name}, or rename the folders if they are no splits."
        )


def _count_outside(folder: pathlib.Path, others) -> None:
    for path in folder.iterdir():
        if not path.is_dir():
            others[f"{kind(path)} outside the class folders"] += 1
        elif _is_system(path.name):
            others[_kind_of_folder(path.name)] += 1


def _kind_of_folder(name: str) -> str:
    return "hidden" if name.startswith(".") else f"folder {name!r}"


def kind(file: pathlib.Path) -> str:
    """Returns the suffix by which a file is counted."""
    if file.name.startswith("."):
        return "hidden"
    return file.suffix.lower() or "without a suffix"
