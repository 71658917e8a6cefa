"""Measures the speed of a loop, to choose how many steps a call should run."""

import time
from collections import deque


class Pace:
    """Seconds per step, measured over the last few calls."""

    def __init__(self):
        """Starts without measurements."""
        self._at: float | None = None
        self._recent: deque[float] = deque(maxlen=5)
        self._suggested = 1

    def observe(self, num_steps: int) -> None:
        """Records the end of a call; the first, which compiles, is not counted."""
        now = time.monotonic()
        if self._at is not None:
            self._recent.append((now - self._at) / num_steps)
        self._at = now

    def suggest(self, seconds: float) -> int:
        """Returns how many steps take about ``seconds``; 1 before any is timed."""
        if not self._recent:
            return 1
        # take the fastest recent call: slower ones also compiled, saved or evaluated
        fitting = max(1, int(seconds / max(min(self._recent), 1e-7)))
        if not self._suggested / 2 < fitting < self._suggested * 2:
            self._suggested = fitting
        return self._suggested
