"""Folders of JSON and named arrays: found, and written whole or not at all.

A folder holds ``weights.safetensors`` and one JSON file with its SHA-256;
``models/reading.py`` reads them.
"""

import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import numpy as safetensors

from jnas.models import reading

_LEFT_BY = {  # folder in a run -> which runs have it
    "model": "retrain, quickstart, auto and tune (without --notest) leave one.",
    "supernet": "search leaves one when it ends.",
}
_PACKAGES = ("jnas", "jax", "jaxlib", "flax", "numpy")


def versions() -> dict[str, str | None]:
    """Returns the versions of the programs that a network's outputs may depend on."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def write(
    folder: str | os.PathLike,
    name: str,
    content: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Writes a folder of one JSON file and one file of arrays, replacing an older one.

    Both are written beside it and renamed together, so that a reader, or a process that
    is killed here, never sees a mixture of two saves.

    Args:
      folder: the folder; it is new, empty, or holds an earlier save.
      name: of the JSON file, such as "model.json".
      content: JSON values; ``weights`` is added.
      arrays: name -> array.

    Raises:
      ValueError: an array that is not finite, or a folder that holds other files.
      OSError: it cannot be written.
    """
    folder = pathlib.Path(folder)
    check_target(folder, name)
    reading.check_finite(arrays, folder / reading.WEIGHTS)
    data = safetensors.save({k: np.ascontiguousarray(v) for k, v in arrays.items()})
    digest = hashlib.sha256(data).hexdigest()
    weights = {"file": reading.WEIGHTS, "sha256": digest, "bytes": len(data)}
    text = json.dumps(
        {**content, "weights": weights}, indent=2, allow_nan=False, ensure_ascii=False
    )
    whole = (text + "\n").encode("utf-8", "backslashreplace")
    _replace(folder, {reading.WEIGHTS: data, name: whole})


def _replace(folder: pathlib.Path, files: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    for rest in folder.parent.glob(f".{folder.name}.*.tmp"):  # of a killed process
        shutil.rmtree(rest)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        beside.mkdir()
        for name, data in files.items():
            _flushed(beside / name, data)
        _flush_folder(beside)
        _put(beside, folder)
        _flush_folder(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def check_target(folder: str | os.PathLike, name: str) -> None:
    """Refuses to write into a folder that holds other files than an earlier save's.

    Args:
      folder: the folder.
      name: of the JSON file.

    Raises:
      ValueError: it is a file, or holds others.
    """
    folder = pathlib.Path(folder)
    if not folder.exists():
        return
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file"}
    others = sorted(found - {name, reading.WEIGHTS})
    if others or (found and name not in found):
        raise ValueError(
            f"folder must be new, empty or hold {name}, got {str(folder)!r} with "
            f"{', '.join((others or sorted(found))[:3])}. Use another folder."
        )


def find(path: str | os.PathLike, name: str, inside: str) -> pathlib.Path:
    """Returns the folder that a user means: itself, a file in it, or a run with it.

    Args:
      path: the folder, one of its files, or a run's folder.
      name: of the JSON file.
      inside: name of the folder inside a run.

    Raises:
      ValueError: there is none.
    """
    given = pathlib.Path(path)
    if "\0" not in str(given):
        if given.is_file() and given.name in (name, reading.WEIGHTS):
            return given.parent
        for folder in (given, given / inside):
            if (folder / name).is_file() or (folder / reading.WEIGHTS).is_file():
                return folder
    what = "which does not exist"
    todo = "Check the path."
    if "\0" not in str(given) and given.exists():
        what = f"which has no {name}"
        if (given / "run.json").is_file():
            what = f"a run without {inside}/"
            todo = _LEFT_BY[inside]
    raise ValueError(
        f"{inside} must be a folder with {name} and {reading.WEIGHTS}, or a run with "
        f"{inside}/, got {str(path)!r}, {what}. {todo}"
    )


def digest(folder: pathlib.Path, name: str) -> str:
    """Returns the SHA-256 of a folder's JSON file, which holds that of the weights.

    Args:
      folder: as from ``find``.
      name: of the JSON file.
    """
    return hashlib.sha256((folder / name).read_bytes()).hexdigest()


def _flushed(path: pathlib.Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: pathlib.Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put(beside: pathlib.Path, folder: pathlib.Path) -> None:
    """Renames a folder to the place of an older one, which is then removed."""
    old = folder.with_name(f".{folder.name}.old.{os.getpid()}.tmp")
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
