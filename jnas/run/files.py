"""Atomic writes of files, and RunError, the error of a run."""

import contextlib
import json
import math
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any


class RunError(ValueError):
    """Raised for a workdir, checkpoint or lock that a run cannot use; one line."""


def not_written(path: pathlib.Path, error: Exception) -> RunError:
    """Returns the error of a failed write, with the free bytes of the disk.

    Args:
      path: the file or folder to be written; it need not exist.
      error: the error of the failed write.
    """
    existing = path
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    return RunError(
        f"{path.name} must be written, got {reason!r} for {str(path)!r} with {free} "
        "bytes free. Free disk space, then run the same command again."
    )


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns an OSError while writing, such as a full disk, into a RunError.

    Args:
      path: the file that is written.

    Raises:
      RunError: an OSError was raised.
    """
    try:
        yield
    except OSError as error:
        raise not_written(path, error) from error


def fsync_folder(folder: pathlib.Path) -> None:
    """Waits until the entries of a folder are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file atomically: after a crash it is the old or the new one.

    Args:
      path: the file, in an existing folder.
      text: its whole content, stored as UTF-8.

    Raises:
      RunError: the file could not be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            with beside.open("w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)


def check_output(name: str, path: str) -> None:
    """Checks that an output file can be written, before its content is computed.

    Args:
      name: name of the flag.
      path: the path that the user gave.

    Raises:
      ValueError: the path is a folder, or its folder is missing or not writable.
    """
    folder = os.path.dirname(path) or "."
    if not path or os.path.isdir(path) or not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(
            f"{name} must be a file in an existing folder, got {path!r}. "
            "Create the folder first."
        )


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes ``plain(value)`` as indented JSON, atomically."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Returns ``plain(value)`` as the text of an indented JSON file."""
    text = json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False)
    # JSON escapes what UTF-8 cannot store, such as undecodable bytes of a file name
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      RunError: the file does not contain a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{path.name} must be JSON, got {error} in {str(path)!r}. "
            "Restore the file, or use a new --workdir."
        ) from error
    if not isinstance(value, dict):
        raise RunError(
            f"{path.name} must hold a JSON object, got {type(value).__name__} in "
            f"{str(path)!r}. Restore the file, or use a new --workdir."
        )
    return value


def plain(value: Any) -> Any:
    """Converts a value to JSON types.

    Arrays become numbers and lists, tuples become lists, and NaN and infinity become
    None, since JSON has neither.

    Args:
      value: None, booleans, numbers, strings, arrays, and lists, tuples and mappings
        of them.

    Raises:
      TypeError: the value has another type.
    """
    if hasattr(value, "tolist"):  # numpy and JAX, scalars and arrays
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(
        f"value must be numbers, strings, lists or dicts, got {type(value).__name__}. "
        "Convert it first."
    )
