"""The progress line of a run, printed by a thread of its own."""

import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

_TICK = 0.25  # seconds between two updates of the thread
_FIRST, _EVERY = 10.0, 60.0  # not a terminal: time to a phase's second line, then each
_MOST_METRICS = 3


class Progress:
    """Prints phase, step, metrics, rate, time left and best score on standard error.

    A thread prints the line, so that it is updated while XLA compiles or a compiled
    call runs. A terminal has one line that is rewritten; elsewhere short lines are
    written, one a minute, and the best cell in a line of its own when it changed.
    ``update`` only stores values.
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
        self._name, self._next = "", 0.0
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
            self._activity, self._compiles = activity, False
            self._began = self._marked = time.monotonic()
            self._next = self._began + _FIRST
            self._metrics: Mapping[str, Any] = {}
            self._best = self._cell = self._shown_cell = ""
            self._left: float | None = None
            self._rate: float | None = None
            self._show()

    def activity(
        self, text: str, *, left: float | None = None, compiles: bool = False
    ) -> None:
        """Displays an activity, such as "compiling (watch)"; "" removes it.

        Args:
          text: the activity.
          left: seconds until the end of the phase, from now on.
          compiles: whether the activity is no progress, so that the time left stays.
        """
        with self._lock:
            self._activity, self._compiles = text, compiles
            self._left, self._marked = left, time.monotonic()

    def update(
        self,
        step: int,
        metrics: Mapping[str, Any],
        *,
        left: float | None = None,
        rate: float | None = None,
        best: str = "",
        cell: str = "",
    ) -> None:
        """Stores the progress of the phase, for the next line.

        Args:
          step: number of finished steps of the phase.
          metrics: name -> number; the first three are displayed.
          left: seconds until the end of the phase; None is not displayed.
          rate: steps per second; None is not displayed.
          best: best score so far.
          cell: short text of the best cell so far.
        """
        with self._lock:
            self._step, self._metrics, self._rate = step, metrics, rate
            self._best, self._cell = best, cell
            self.activity("", left=left)

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
                due = self._tty or time.monotonic() >= self._next
                if self._name and due:
                    self._show()
                    self._next = self._printed + _EVERY

    def _show(self) -> None:
        self._printed = time.monotonic()
        line = self._line()
        if self._tty:
            cell = [self._cell] if self._cell else []
            line = " | ".join([line, *cell])[: self._width() - 1]
            self._write(f"\r{line}\x1b[K")
            return
        if self._cell != self._shown_cell:
            self._write(f"{self._name}: best cell so far: {self._cell}\n")
            self._shown_cell = self._cell
        self._write(line + "\n")

    def _line(self) -> str:
        now = time.monotonic()
        share = 100 * self._step // max(self._total, 1)
        parts = [f"{self._name} {self._step}/{self._total} ({share} %)"]
        if self._activity:
            parts.append(self._activity)
        shown = list(self._metrics.items())[:_MOST_METRICS]
        parts += [f"{name} {value:.4g}" for name, value in shown]
        if self._rate:
            parts.append(f"{self._rate:.3g} steps/s")
        if self._left is not None:
            passed = 0.0 if self._compiles else now - self._marked
            parts.append(f"{clock(max(0.0, self._left - passed))} left")
        parts.append(f"{clock(now - self._began)} elapsed")
        if self._best:
            parts.append(f"best {self._best}")
        return " | ".join(parts)

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
