"""Compiled programs, kept for the next process in the user's cache folder.

JAX finds an entry by the program, jaxlib's version, XLA's flags and the device, a CPU's
features among them: another machine that shares the folder compiles for itself, and an
entry is the very binary that was compiled, so results are the same bit for bit. What
took a second or more to compile is kept. An entry that is damaged is compiled anew,
with a warning of JAX's.

On CPUs with AVX-512, jaxlib 0.10 logs two lines, "Target machine feature
+prefer-no-scatter is not supported", for each entry it loads. That is a preference of
the compiler's and no instruction: the entry is sound.
"""

import os
import pathlib
import sys

import jax
from absl import logging

MAX_BYTES = 2 * 1024**3


def enable() -> None:
    """Keeps compiled programs in ``folder()``, of which the oldest beyond 2 GiB go.

    A folder that JAX was given (JAX_COMPILATION_CACHE_DIR) stays, at any size. Where
    none can be written there is a warning, and nothing is kept.
    """
    if jax.config.jax_compilation_cache_dir:
        return
    try:
        path = folder()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = path / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
        prune(path, MAX_BYTES)
    except (OSError, RuntimeError) as error:
        logging.warning("compiled programs are not kept: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(path))


def disable() -> None:
    """Compiles everything anew, and keeps nothing, in this process."""
    jax.config.update("jax_enable_compilation_cache", False)


def folder() -> pathlib.Path:
    """Returns the folder, ``jnas/xla`` in XDG_CACHE_HOME or in the system's caches.

    These are ~/Library/Caches on macOS, LOCALAPPDATA on Windows, ~/.cache elsewhere.

    Raises:
      RuntimeError: the user has no home folder.
    """
    asked = os.environ.get("XDG_CACHE_HOME", "")
    if sys.platform == "win32":
        asked = asked or os.environ.get("LOCALAPPDATA", "")
    caches = "Library/Caches" if sys.platform == "darwin" else ".cache"
    return pathlib.Path(asked or pathlib.Path.home() / caches) / "jnas" / "xla"


def prune(path: pathlib.Path, max_bytes: int) -> None:
    """Removes the entries that were used longest ago, until the rest is small enough.

    Args:
      path: the folder.
      max_bytes: of all entries together.
    """
    # JAX's own limit needs filelock, which is not among its requirements
    found = [(entry, entry.stat()) for entry in path.glob("*-cache")]
    total = sum(stat.st_size for _, stat in found)
    found.sort(key=lambda pair: max(pair[1].st_atime, pair[1].st_mtime))
    for entry, stat in found:
        if total <= max_bytes:
            return
        entry.unlink(missing_ok=True)
        total -= stat.st_size
