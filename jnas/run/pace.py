"""How fast a loop is, to cut it into calls of a wished length."""

import time
from collections import deque


class Pace:
    """Seconds a step, from the last few calls."""

    def __init__(self):
        """Knows nothing yet."""
        self._at: float | None = None
        self._recent: deque[float] = deque(maxlen=5)
        self._suggested = 1

    def observe(self, num_steps: int) -> None:
        """Notes the end of a call; the first holds the compile and is not counted."""
        now = time.monotonic()
        if self._at is not None:
            self._recent.append((now - self._at) / num_steps)
        self._at = now

    def suggest(self, seconds: float) -> int:
        """Says how many steps last about so many seconds; 1 where nothing is known."""
        if not self._recent:
            return 1
        # the fastest recent call counts: slower ones compiled, saved or tested
        fitting = max(1, int(seconds / max(min(self._recent), 1e-7)))
        if not self._suggested / 2 < fitting < self._suggested * 2:
            self._suggested = fitting
        return self._suggested
