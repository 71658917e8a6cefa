"""Files that are whole or absent, and the one error of a run."""

import contextlib
import json
import math
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any


class RunError(ValueError):
    """A workdir, checkpoint or lock that a run cannot go on with; one line."""


def not_written(path: pathlib.Path, error: Exception) -> RunError:
    """Returns the error of a write that failed, with the bytes that are free there.

    Args:
      path: what was to be written; it need not exist.
      error: what went wrong.
    """
    existing = path
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    return RunError(
        f"{path.name} must be written, got {reason!r} for {str(path)!r} with {free} "
        "bytes free. Make room, then run the same line again."
    )


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns the failure of a write into one line.

    Args:
      path: what is written.

    Raises:
      RunError: an OSError came, as of a full disk.
    """
    try:
        yield
    except OSError as error:
        raise not_written(path, error) from error


def fsync_folder(folder: pathlib.Path) -> None:
    """Waits until the names in a folder are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file so that a reader, or a crash, sees the old or the new one whole.

    Args:
      path: the file; its folder exists.
      text: all of its content, stored as UTF-8.

    Raises:
      RunError: it could not be written.
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
    """Refuses a file that cannot be written, before what it is to hold is computed.

    Args:
      name: of the flag.
      path: what the user wrote.

    Raises:
      ValueError: a folder, or a file in a folder that is missing or not writable.
    """
    folder = os.path.dirname(path) or "."
    if not path or os.path.isdir(path) or not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(
            f"{name} must be a file in an existing folder, got {path!r}. "
            "Make the folder first."
        )


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes ``plain(value)`` as indented JSON, whole or not at all."""
    text = json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False)
    # JSON's own escape stands for what UTF-8 cannot hold: bytes of a file's odd name
    write_text(path, text.encode("utf-8", "backslashreplace").decode() + "\n")


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      RunError: the file is no JSON object.
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
    """Turns a value into what JSON can hold.

    Arrays become numbers and lists, tuples become lists, and a NaN or an infinity
    becomes None, since JSON has neither.

    Args:
      value: None, booleans, numbers, strings, arrays, and lists, tuples and mappings
        of them.

    Raises:
      TypeError: anything else.
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
