"""The progress line of a run, printed by a thread of its own."""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, TextIO

_TICK = 0.25  # seconds between two updates of the thread
_QUIET, _SILENT = 5.0, 10.0  # not a terminal: shortest and longest time between lines


class Progress:
    """Prints phase, step, metrics, rate, time left and best cell on standard error.

    A thread prints the line, so that it is updated while XLA compiles or a compiled
    call runs. A terminal has one line that is rewritten; elsewhere plain lines are
    written, every 5 to 10 seconds. ``update`` only stores values.
    """

    def __init__(self, stream: TextIO | None = None):
        """Starts the thread; it prints nothing before the first phase.

        Args:
          stream: where to print; None means standard error.
        """
        self._stream = stream or sys.stderr
        self._tty = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._name = ""
        self._printed = 0.0
        self._dirty = False
        self._thread = threading.Thread(
            target=self._run, name="jnas-progress", daemon=True
        )
        self._thread.start()

    def phase(
        self, name: str, total: int, *, step: int = 0, activity: str = ""
    ) -> None:
        """Begins a phase and prints its first line at once.

        Args:
          name: name of the phase, such as "search" or "retrain".
          total: number of steps of the phase.
          step: number of steps that earlier processes finished.
          activity: text as for the method ``activity``.
        """
        with self._lock:
            self._name, self._total, self._step = name, total, step
            self._activity = activity
            self._began = time.monotonic()
            self._marks: deque[tuple[float, int]] = deque(maxlen=20)
            self._metrics: Mapping[str, Any] = {}
            self._best: str | None = None
            self._show()

    def activity(self, text: str) -> None:
        """Displays an activity, such as "compiling"; "" removes it."""
        with self._lock:
            self._activity = text
            self._show()

    def update(
        self, step: int, metrics: Mapping[str, Any], best: str | None = None
    ) -> None:
        """Stores the progress of the phase, for the next line.

        Args:
          step: number of finished steps of the phase.
          metrics: name -> number; the first three are displayed.
          best: short text of the best cell so far; None keeps the last.
        """
        with self._lock:
            self._step, self._metrics = step, metrics
            self._best = best or self._best
            self._activity = ""
            self._marks.append((time.monotonic(), step))
            self._dirty = True

    def say(self, text: str) -> None:
        """Prints a line above the progress line."""
        with self._lock:
            self._write(f"\r\x1b[K{text}\n" if self._tty else f"{text}\n")

    def done(self, text: str) -> None:
        """Ends the phase's progress line, and prints a last line."""
        with self._lock:
            self._name = ""
            self.say(text)

    def close(self) -> None:
        """Stops the thread, and moves the cursor to a new line."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        if self._name and self._tty:
            self._write("\n")

    def _run(self) -> None:
        while not self._stop.wait(_TICK):
            with self._lock:
                age = time.monotonic() - self._printed
                due = self._tty or age >= (_QUIET if self._dirty else _SILENT)
                if self._name and due:
                    self._show()

    def _show(self) -> None:
        line = self._line()
        if self._tty:
            line = f"\r{line[: self._width() - 1]}\x1b[K"
        self._write(line if self._tty else line + "\n")
        self._printed, self._dirty = time.monotonic(), False

    def _line(self) -> str:
        now = time.monotonic()
        parts = [f"{self._name} {self._step}/{self._total}"]
        if self._activity:
            parts.append(self._activity)
        shown = list(self._metrics.items())[:3]
        parts += [f"{name} {value:.4g}" for name, value in shown]
        rate = self._rate()
        if rate:
            parts.append(f"{rate:.3g} steps/s")
            left = (self._total - self._step) / rate - (now - self._marks[-1][0])
            parts.append(f"{clock(max(0.0, left))} left")
        parts.append(f"{clock(now - self._began)} elapsed")
        if self._best:
            parts.append(f"best {self._best}")
        return " | ".join(parts)

    def _rate(self) -> float:
        """Returns steps per second over the last calls, without the first."""
        if len(self._marks) < 2:
            return 0.0
        (began, first), (ended, last) = self._marks[0], self._marks[-1]
        return (last - first) / max(ended - began, 1e-9)

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the stream is closed, or has lost its reader
            self._stop.set()


def clock(seconds: float) -> str:
    """Formats a duration as h:mm:ss, or m:ss below an hour.

    Example:
      >>> clock(75.2), clock(3600)
      ('1:15', '1:00:00')
    """
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
