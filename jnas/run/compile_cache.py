"""Keeps compiled programs between processes, in the user's cache folder.

JAX finds an entry by the program, jaxlib's version, XLA's flags and the device, a CPU's
features included. So machines that share the folder have entries of their own, and a
loaded program is the binary that was compiled: results are the same bit for bit.
Programs that took a second or more to compile are kept. A damaged entry is compiled
again, with a warning by JAX.

On CPUs with AVX-512, jaxlib 0.10 logs two lines, "Target machine feature
+prefer-no-scatter is not supported", for each entry it loads. They can be ignored: the
feature is a preference of the compiler, not an instruction.
"""

import os
import pathlib

import jax
from absl import logging

from jnas import caches

MAX_BYTES = 2 * 1024**3


def enable() -> None:
    """Keeps compiled programs in ``folder()``; removes the oldest beyond 2 GiB.

    If JAX_COMPILATION_CACHE_DIR names a folder, that one is used, and its size is not
    limited. If the folder cannot be written, a warning is logged and nothing is kept.
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
    """Turns the cache off in this process: everything is compiled again."""
    jax.config.update("jax_enable_compilation_cache", False)


def folder() -> pathlib.Path:
    """Returns the folder of compiled programs, ``xla`` in the user's cache folder.

    Raises:
      RuntimeError: the user has no home folder.
    """
    return caches.folder("xla")


def prune(path: pathlib.Path, max_bytes: int) -> None:
    """Removes the least recently used entries until the rest fits max_bytes.

    Args:
      path: the cache folder.
      max_bytes: largest total size of the entries.
    """
    # JAX's own size limit needs filelock, which JAX does not install
    found = [(entry, entry.stat()) for entry in path.glob("*-cache")]
    total = sum(stat.st_size for _, stat in found)
    found.sort(key=lambda pair: max(pair[1].st_atime, pair[1].st_mtime))
    for entry, stat in found:
        if total <= max_bytes:
            return
        entry.unlink(missing_ok=True)
        total -= stat.st_size
