"""Folders of JSON and named arrays: written whole or not at all, read with suspicion.

A folder holds ``weights.safetensors`` and one JSON file with its
SHA-256. Reading runs no code of the files: every field, name, shape, type and value is
checked.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

WEIGHTS = "weights.safetensors"
_MOST_JSON = 64 << 20  # bytes; 100,000 names of classes take less
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
    _check_finite(arrays, folder / WEIGHTS)
    data = safetensors.save({k: np.ascontiguousarray(v) for k, v in arrays.items()})
    digest = hashlib.sha256(data).hexdigest()
    weights = {"file": WEIGHTS, "sha256": digest, "bytes": len(data)}
    text = json.dumps(
        {**content, "weights": weights}, indent=2, allow_nan=False, ensure_ascii=False
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    for rest in folder.parent.glob(f".{folder.name}.*.tmp"):  # of a killed process
        shutil.rmtree(rest)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        beside.mkdir()
        _flushed(beside / WEIGHTS, data)
        _flushed(beside / name, (text + "\n").encode("utf-8", "backslashreplace"))
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
    others = sorted(found - {name, WEIGHTS})
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
        if given.is_file() and given.name in (name, WEIGHTS):
            return given.parent
        for folder in (given, given / inside):
            if (folder / name).is_file() or (folder / WEIGHTS).is_file():
                return folder
    what = "which does not exist"
    todo = "Check the path."
    if "\0" not in str(given) and given.exists():
        what = f"which has no {name}"
        if (given / "run.json").is_file():
            what = f"a run without {inside}/"
            todo = "Finish the run: run its command again."
    raise ValueError(
        f"{inside} must be a folder with {name} and {WEIGHTS}, or a run with "
        f"{inside}/, got {str(path)!r}, {what}. {todo}"
    )


def read_json(path: pathlib.Path, form: str, version: int) -> dict[str, Any]:
    """Reads a JSON file and checks its format and version.

    Args:
      path: the file.
      form: value of its ``format``.
      version: the newest ``version`` that is known.

    Raises:
      ValueError: it is missing, damaged, of another format or newer.
    """
    try:
        if not path.is_file():
            raise ValueError("no such file")
        if path.stat().st_size > _MOST_JSON:
            raise ValueError(f"it is larger than {_MOST_JSON} bytes")
        content = json.loads(
            path.read_text(encoding="utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
        )
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise _bad(path, "be a readable JSON object", f"{reason} in") from error
    if content.get("format") != form:
        raise _bad(
            path, f"have the format {form!r}", f"{content.get('format')!r:.80} in"
        )
    found = content.get("version")
    if type(found) is not int or found < 1:
        raise _bad(path, "have an integer version from 1", f"{found!r:.80} in")
    if found > version:
        raise ValueError(
            f"{path.name} must have a version up to {version}, got {found} in "
            f"{str(path)!r}. Update jnas: pip install -U jnas."
        )
    return content


def read_arrays(
    path: pathlib.Path, kept: Any, wanted: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Reads the arrays of a folder, and checks them.

    Args:
      path: the file of weights.
      kept: ``weights`` of the JSON file.
      wanted: name -> shape and dtype, of exactly the arrays that it must hold.

    Raises:
      ValueError: the file is missing, damaged, or not the one that belongs to the JSON
        file, or an array has another name, shape or type or is not finite.
    """
    data = _bytes(path)
    fields = kept if isinstance(kept, Mapping) else {}
    digest, size = fields.get("sha256"), fields.get("bytes")
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        rule = f"have the SHA-256 that its JSON file names, {str(digest)[:12]!r}"
        said = f"{found[:12]!r}, damaged or of another model, in"
        if type(size) is int and len(data) != size:
            rule, said = f"have {size} bytes", f"{len(data)} in"
        raise _bad(path, rule, said)
    try:
        arrays = safetensors.load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise _bad(path, "be a safetensors file", f"{reason} in") from error
    missing, more = sorted(set(wanted) - set(arrays)), sorted(set(arrays) - set(wanted))
    if missing or more:
        said = f"without {missing[0]!r}" if missing else f"with {more[0]!r}"
        rule = f"hold the {len(wanted)} arrays of the network"
        raise _bad(path, rule, f"{len(arrays)} {said} in")
    for name, array in arrays.items():
        shape, dtype = tuple(wanted[name].shape), np.dtype(wanted[name].dtype)
        if (array.shape, array.dtype) != (shape, dtype):
            said = f"{array.dtype} {list(array.shape)} in"
            raise _bad(path, f"hold {name!r} as {dtype} {list(shape)}", said)
    _check_finite(arrays, path)
    return arrays


@contextlib.contextmanager
def located(path: pathlib.Path) -> Iterator[None]:
    """Adds a file's path to the message of a value that is wrong in it.

    Args:
      path: the file.

    Raises:
      ValueError: a ValueError, KeyError or TypeError was raised.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        text = " ".join(str(error).split())
        if re.search("(operation|architecture) must be one of", text):
            text += " If it is your own, load its plug-in first (--plugins)."
        raise ValueError(f"{text} (In {str(path)!r}.)") from error


def _bytes(path: pathlib.Path) -> bytes:
    try:
        if not path.is_file():  # opening a pipe would block forever
            raise OSError("no such file")
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise _bad(path, "be a readable file", f"{reason!r} for") from error


def _bad(path: pathlib.Path, rule: str, got: str) -> ValueError:
    return ValueError(
        f"{path.name} must {rule}, got {got} {str(path)!r}. Restore the folder from "
        "where it was saved."
    )


def _check_finite(arrays: Mapping[str, np.ndarray], path: pathlib.Path) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(
                f"{path.name} must hold finite values, got NaN or infinity in {name!r} "
                f"of {str(path)!r}. Train the network again."
            )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key occurs twice")
    if any(isinstance(v, float) and not math.isfinite(v) for v in fields.values()):
        raise ValueError("a number is not finite")
    return fields


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


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
