"""The number of threads of XLA's CPU devices, on which the bits of long sums depend.

XLA divides the sums of large matrix products and convolutions among its threads, one
for each core that the process may use, or as many as the variable NPROC says.
"""

import os

VARIABLE = "NPROC"  # XLA reads it when it makes its first device


def count() -> int:
    """Returns the number of threads of this process."""
    given = os.environ.get(VARIABLE, "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use(number: int) -> None:
    """Gives this process a number of threads; before its first array is made.

    Args:
      number: at least 1.
    """
    os.environ[VARIABLE] = str(number)


def changed(before: int | None) -> str | None:
    """Returns what a resumed run says of another number of threads, or None.

    Args:
      before: number of threads of the process that ran it before; None if unknown.
    """
    now = count()
    if before is None or before == now:
        return None
    return (
        f"warning: {before} threads computed this run before and {now} do now; last "
        f"bits of float32 may differ from here on ({VARIABLE}={before} keeps them)"
    )
