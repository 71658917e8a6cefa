"""Where images are held: in memory, or on disk, from where they are read when needed.

What is computed does not depend on it.
"""

import contextlib
import contextvars
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

AUTO, YES, NO = "auto", "yes", "no"
CHOICES = (AUTO, YES, NO)
_LIMITS = (  # of a container's memory, of both versions of cgroups
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)
SHARE = 1 / 4  # of a memory, that images may take by themselves


class Residence(NamedTuple):
    """Where images are held.

    Attributes:
      resident: "yes" holds all images in memory and on each device, "no" reads them
        when they are needed, "auto" reads them where they would take more than a
        quarter of the memory.
      chunk_steps: number of steps whose images are on a device at a time, where they
        are read when needed; None chooses it by their size.
    """

    resident: str = AUTO
    chunk_steps: int | None = None


_CHOSEN: contextvars.ContextVar[Residence | None] = contextvars.ContextVar(
    "residence", default=None
)


@contextlib.contextmanager
def over(resident: str = AUTO, *, chunk_steps: int | None = None) -> Iterator[None]:
    """Chooses where images are held by all that runs inside.

    Args:
      resident: as in ``Residence``, like the other argument.
      chunk_steps: at least 1.

    Raises:
      ValueError: a choice that does not exist, or a number of steps below 1.
    """
    if resident not in CHOICES:
        raise ValueError(
            f"resident must be one of {', '.join(CHOICES)}, got {resident!r}. Use one."
        )
    if chunk_steps is not None and chunk_steps < 1:
        raise ValueError(
            f"chunk_steps must be at least 1, got {chunk_steps}. Raise it."
        )
    token = _CHOSEN.set(Residence(resident, chunk_steps))
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def chosen() -> Residence:
    """Returns where images are held."""
    return _CHOSEN.get() or Residence()


def fits(num_bytes: int, memory: int | None = None) -> bool:
    """Returns whether images are held in a memory.

    Args:
      num_bytes: of the images.
      memory: bytes of a device; None means those of this machine.
    """
    resident = chosen().resident
    if resident != AUTO:
        return resident == YES
    return num_bytes <= SHARE * (machine_bytes() if memory is None else memory)


def machine_bytes() -> int:
    """Returns the bytes of memory that this process may use, of a container too."""
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        found = 8 << 30
    for file in _LIMITS:
        try:
            found = min(found, int(pathlib.Path(file).read_text()))
        except (OSError, ValueError):  # no file, or "max"
            continue
    return found
