"""Images as a user names them: a folder, files, or an npz file; without classes."""

import collections
import glob
import os
import pathlib
from typing import NamedTuple

import numpy as np

from jnas.data import listing, npz, picture

KEYS = ("x", "images", "x_test")
_WHAT = (
    "a folder of pictures, picture files (comma-separated, or a glob) or an npz file"
)


class Located(NamedTuple):
    """Images that a user named.

    Attributes:
      names: of the images: paths inside the folder, paths of files, or numbers.
      files: of the pictures; empty of an npz file.
      array: of an npz file; None of pictures.
      notes: sentences about what was left out.
    """

    names: tuple[str, ...]
    files: tuple[pathlib.Path, ...]
    array: np.ndarray | None
    notes: tuple[str, ...]


def locate(text: str) -> Located:
    """Finds images.

    Args:
      text: a folder, whose sub-folders are searched too; one or more files, separated
        by commas, each of which may be a glob; or an npz file with an array ``x``,
        ``images`` or ``x_test``.

    Raises:
      ValueError: there is nothing of that name, no picture, or no such array.
    """
    if not text.strip() or "\0" in text:
        raise ValueError(f"images must be {_WHAT}, got {text!r}. Name some.")
    kind, _, path = text.partition(":")
    if kind in ("npz", "folder") and os.path.exists(path):  # as --data names them
        text = path
    if os.path.isdir(text):
        return _folder(pathlib.Path(text))
    if text.endswith(".npz") and os.path.isfile(text):
        return _npz(pathlib.Path(text))
    return _files(text)


def _folder(root: pathlib.Path) -> Located:
    others: collections.Counter = collections.Counter()
    files = listing.pictures(root, others)
    if not files:
        raise ValueError(
            f"images must be {_WHAT}, got the folder {str(root)!r} without pictures"
            f"{_listed(others, ' but ')}. Check the path."
        )
    names = tuple(file.relative_to(root).as_posix() for file in files)
    return Located(names, tuple(files), None, _left_out(others))


def _files(text: str) -> Located:
    """Finds files: one whose name may hold a comma, or several, or globs."""
    given = [text] if os.path.isfile(text) else [one for one in text.split(",") if one]
    found, others = [], collections.Counter[str]()
    for one in given:
        if os.path.lexists(one) and not os.path.isdir(one):
            found.append(one)
            continue
        matches = sorted(glob.glob(one, recursive=True))
        files = [match for match in matches if not os.path.isdir(match)]
        if not files:
            raise ValueError(
                f"images must be {_WHAT}, got {one!r}, which does not exist. Check the "
                "path."
            )
        for file in files:
            kind = listing.kind(pathlib.Path(file))
            if kind in picture.suffixes():
                found.append(file)
            else:
                others[kind] += 1
    if not found:
        raise ValueError(
            f"images must be {_WHAT}, got {text!r} without pictures"
            f"{_listed(others, ' but ')}. Check the path."
        )
    names = tuple(dict.fromkeys(found))
    return Located(names, tuple(map(pathlib.Path, names)), None, _left_out(others))


def _npz(path: pathlib.Path) -> Located:
    try:
        arrays, every = npz.read(path, KEYS), npz.names(path)
    except ValueError as error:
        raise ValueError(
            f"images must be a readable npz of plain arrays, got {str(path)!r} "
            f"({error}). Write it with np.savez."
        ) from error
    held = [key for key in KEYS if key in arrays]
    if not held:
        raise ValueError(
            f"images must hold an array {', '.join(KEYS)}, got {str(path)!r} with "
            f"{', '.join(sorted(every)[:9]) or 'none'}. Rename yours."
        )
    rest = sorted(set(every) - {held[0]})
    notes = (f"{held[0]} is read, {', '.join(rest[:9])} left out",) if rest else ()
    return Located((), (), arrays[held[0]], notes)


def _left_out(others: collections.Counter) -> tuple[str, ...]:
    return (f"left out{_listed(others, ' ')}",) if others else ()


def _listed(others: collections.Counter, before: str) -> str:
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
    return before + counts if counts else ""
