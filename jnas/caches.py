"""The user's cache folder: what can be computed again and takes long."""

import os
import pathlib
import sys


def folder(name: str) -> pathlib.Path:
    """Returns a folder of jnas in XDG_CACHE_HOME, or else in the system's cache.

    The latter is ~/Library/Caches on macOS, LOCALAPPDATA on Windows, else ~/.cache. The
    folder is not made.

    Args:
      name: of the folder below ``jnas``.

    Raises:
      RuntimeError: the user has no home folder.
    """
    asked = os.environ.get("XDG_CACHE_HOME", "")
    if sys.platform == "win32":
        asked = asked or os.environ.get("LOCALAPPDATA", "")
    system = "Library/Caches" if sys.platform == "darwin" else ".cache"
    return pathlib.Path(asked or pathlib.Path.home() / system) / "jnas" / name
