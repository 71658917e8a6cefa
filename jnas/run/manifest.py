"""The manifest of a folder: sizes and SHA-256 digests of its files."""

import hashlib
import json
import os
import pathlib
from typing import Any

from jnas.run import files

NAME = "MANIFEST.json"


class Damaged(Exception):
    """Raised for a folder that differs from its manifest.

    Attributes:
      file: the name of the damaged file, relative to the folder.
      reason: how the file differs.
    """

    def __init__(self, file: str, reason: str):
        """Stores file and reason."""
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


def write(folder: pathlib.Path, body: dict[str, Any]) -> None:
    """Flushes a folder to disk, then writes its manifest.

    Args:
      folder: the folder; its files, at any depth, are listed with size and SHA-256.
      body: further entries of the manifest; JSON values.
    """
    listing = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / NAME:
            _fsync(path)
            name = path.relative_to(folder).as_posix()
            listing[name] = {"size": path.stat().st_size, "sha256": _digest(path)}
        elif path.is_dir():
            files.fsync_folder(path)
    files.write_text(folder / NAME, _encode(files.plain({**body, "files": listing})))


def amend(folder: pathlib.Path, **changes: Any) -> None:
    """Replaces entries of a manifest's body; the other files are unchanged."""
    body = read(folder)
    files.write_text(folder / NAME, _encode(files.plain({**body, **changes})))


def read(folder: pathlib.Path) -> dict[str, Any]:
    """Reads a manifest and checks it against its own digest.

    Raises:
      Damaged: the manifest is missing, or any byte of it has changed.
    """
    try:
        data = (folder / NAME).read_bytes()
        body = json.loads(data)
        del body["sha256"]
        same = _encode(body).encode() == data
    except OSError as error:
        raise Damaged(NAME, error.strerror or "unreadable") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(NAME, "is not a manifest") from error
    if not same:
        raise Damaged(NAME, "differs from its own SHA-256")
    return body


def verify(folder: pathlib.Path) -> dict[str, Any]:
    """Checks every file of a folder against the manifest.

    Returns:
      The manifest.

    Raises:
      Damaged: a file is missing, shorter, longer or different.
    """
    body = read(folder)
    for name, expected in body["files"].items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != expected["size"]:
                raise Damaged(name, f"has {size} bytes instead of {expected['size']}")
            if _digest(path) != expected["sha256"]:
                raise Damaged(name, "differs from its SHA-256")
        except OSError as error:
            raise Damaged(name, error.strerror or "unreadable") from error
    return body


def _encode(body: dict[str, Any]) -> str:
    """Returns the only valid text of a body, so that any changed byte is detected."""
    text = json.dumps(body, sort_keys=True, indent=1)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps({**body, "sha256": digest}, sort_keys=True, indent=1) + "\n"


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: pathlib.Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
