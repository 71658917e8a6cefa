"""Seconds that this process has spent in tracing and compiling, as JAX reports them."""

import functools
import threading
import time

import jax

_PREFIX = "/jax/core/compile/"  # of tracing, lowering and XLA's own part


class Compiles:
    """Adds up durations that are reported at their ends, and may be nested."""

    def __init__(self):
        """Starts with none."""
        self._lock = threading.Lock()
        self._intervals: list[tuple[float, float]] = []  # disjoint, in order
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """Records that something of this duration has just ended."""
        with self._lock:
            end = time.monotonic()
            begin = end - seconds
            while self._intervals and self._intervals[-1][0] >= begin:
                inner = self._intervals.pop()
                self._seconds -= inner[1] - inner[0]
            if self._intervals:
                begin = max(begin, self._intervals[-1][1])
            self._intervals.append((begin, end))
            self._seconds += end - begin

    def seconds(self) -> float:
        """Returns the total, each moment once."""
        with self._lock:
            return self._seconds


@functools.cache
def listener() -> Compiles:
    """Returns the one that JAX reports to, for the rest of the process."""
    found = Compiles()

    def heard(event: str, seconds: float, **about) -> None:
        if event.startswith(_PREFIX):
            found.add(seconds)

    jax.monitoring.register_event_duration_secs_listener(heard)
    return found
