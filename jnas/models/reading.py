"""Reads the two files of a model's folder with suspicion: no code of theirs runs.

Every field, name, shape, type and value is checked, and a file that is damaged, foreign
or newer is refused by name.
"""

import contextlib
import hashlib
import json
import math
import pathlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

WEIGHTS = "weights.safetensors"
_MOST_JSON = 64 << 20  # bytes; 100,000 names of classes take less


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
    path: pathlib.Path,
    kept: Any,
    wanted: Mapping[str, Any],
    *,
    optional: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Reads the arrays of a folder, and checks them.

    Args:
      path: the file of weights.
      kept: ``weights`` of the JSON file.
      wanted: name -> shape and dtype, of exactly the arrays that it must hold.
      optional: names of those that may be missing.

    Raises:
      ValueError: the file is missing, damaged, or not the one that belongs to the JSON
        file, or an array has another name, shape or type or is not finite.
    """
    data = _bytes(path)
    fields = kept if isinstance(kept, Mapping) else {}
    if fields.get("bytes") != len(data):
        raise _bad(path, f"have {fields.get('bytes')!r:.20} bytes", f"{len(data)} in")
    found, wanted_digest = hashlib.sha256(data).hexdigest(), fields.get("sha256")
    if found != wanted_digest or fields.get("file") != WEIGHTS:
        rule = f"have the SHA-256 that its JSON file names, {str(wanted_digest)[:12]!r}"
        raise _bad(path, rule, f"{found[:12]!r}, damaged or of another model, in")
    try:
        arrays = safetensors.load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise _bad(path, "be a safetensors file", f"{reason} in") from error
    _check_arrays(path, arrays, wanted, optional)
    return arrays


def _check_arrays(path, arrays, wanted, optional) -> None:
    """Checks names, shapes, types, and that every value is finite."""
    missing = sorted(set(wanted) - set(arrays) - set(optional))
    more = sorted(set(arrays) - set(wanted))
    if missing or more:
        said = f"without {missing[0]!r}" if missing else f"with {more[0]!r}"
        rule = f"hold the {len(wanted)} arrays of the network"
        raise _bad(path, rule, f"{len(arrays)} {said} in")
    for name, array in arrays.items():
        shape, dtype = tuple(wanted[name].shape), np.dtype(wanted[name].dtype)
        if (array.shape, array.dtype) != (shape, dtype):
            said = f"{array.dtype} {list(array.shape)} in"
            raise _bad(path, f"hold {name!r} as {dtype} {list(shape)}", said)
    check_finite(arrays, path)


def check_finite(arrays: Mapping[str, np.ndarray], path: pathlib.Path) -> None:
    """Refuses arrays with NaN or infinity.

    Args:
      arrays: name -> array.
      path: of their file.

    Raises:
      ValueError: one has; the message names it.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(
                f"{path.name} must hold finite values, got NaN or infinity in {name!r} "
                f"of {str(path)!r}. Train the network again."
            )


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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key occurs twice")
    if any(isinstance(v, float) and not math.isfinite(v) for v in fields.values()):
        raise ValueError("a number is not finite")
    return fields


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
