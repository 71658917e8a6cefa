"""Handles SIGTERM and SIGINT: the first stops after saving, the second at once."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

GRACE = 8.0  # seconds in which a loop reacts to a signal
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_TWIN_SECONDS = 0.1  # wrappers pass Ctrl-C on to a child that the terminal also signals


class Interrupted(SystemExit):
    """Raised to stop a run by a signal; a SystemExit with the usual exit status.

    Attributes:
      code: 143 for SIGTERM, 130 for SIGINT.
      message: one line for the user.
    """

    def __init__(self, signum: int, message: str = ""):
        """Sets the exit status that shells report for the signal."""
        super().__init__(128 + signum)
        name = signal.Signals(signum).name
        default = f"stopped by {name}; run the same command again to resume"
        self.message = message or default


class Signals:
    """Records the first signal for the loop, and ends a process that does not react.

    While ``deferred`` is true, the loop calls ``pending`` and stops by itself.
    Otherwise, as while a program is compiled, there is nothing to save, and Interrupted
    is raised wherever the process is. Python runs signal handlers only between
    bytecodes, not during a compilation or a long compiled call. So a second thread,
    woken by the C handler, ends the process after a second signal, or ``grace`` seconds
    after a first one without a reaction.

    Attributes:
      deferred: whether the loop will call ``pending``.
      received: number of the first signal, or None.
    """

    def __init__(
        self,
        *,
        grace: float = GRACE,
        last_words: Callable[[], None] = lambda: None,
        always_deferred: bool = False,
    ):
        """Installs the handlers, in the main thread; elsewhere it does nothing.

        Args:
          grace: seconds that the main thread has to react to a signal.
          last_words: called before the process is ended by force.
          always_deferred: whether Interrupted is never raised by the handler, as in a
            run of several processes, which stop together.
        """
        self.deferred = False
        self._always_deferred = always_deferred
        self.received: int | None = None
        self._grace = grace
        self._last_words = last_words
        self._seen = threading.Event()
        self._before: dict[int, object] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._old_fd = signal.set_wakeup_fd(
            self._write.fileno(), warn_on_full_buffer=False
        )
        self._before = {s: signal.signal(s, self._handle) for s in _SIGNALS}
        self._thread = threading.Thread(
            target=self._watch, name="jnas-signals", daemon=True
        )
        self._thread.start()

    def pending(self) -> int | None:
        """Returns the received signal, on which the caller saves and stops, or None."""
        if self.received is not None:
            self._seen.set()
        return self.received

    def receive(self, signum: int) -> None:
        """Takes a signal that another process of the run received.

        Args:
          signum: its number; 0 for none.
        """
        if signum and self.received is None:
            self.received = signum

    def close(self) -> None:
        """Restores the previous handlers; may be called more than once."""
        if not self._before:
            return
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        signal.set_wakeup_fd(self._old_fd)
        self._before = {}
        self._write.close()
        self._thread.join()
        self._read.close()

    def _handle(self, signum: int, frame: object) -> None:
        del frame
        if self.received is None:
            self.received = signum
            if not (self.deferred or self._always_deferred):
                # Not marked as seen: Python drops exceptions raised in a finalizer.
                # Then the loop's next call of pending stops, or the grace ends.
                raise Interrupted(signum)

    def _watch(self) -> None:
        """Ends the process if the main thread does not; returns on ``close``."""
        first, deadline = None, 0.0
        while True:
            waits = first is not None and not self._seen.is_set()
            self._read.settimeout(
                max(0.01, deadline - time.monotonic()) if waits else None
            )
            try:
                data = self._read.recv(1)
            except TimeoutError:
                if not self._seen.is_set():
                    self._end(first, f"no response within {self._grace:g} s")
                continue
            if not data:
                return
            if data[0] not in _SIGNALS:
                continue
            now = time.monotonic()
            if first is None:
                first, deadline, since = data[0], now + self._grace, now
            elif now - since > _TWIN_SECONDS:
                self._end(first, "a second signal")

    def _end(self, signum: int, why: str) -> None:
        try:
            self._last_words()
            print(f"stopped at once: {why}", file=sys.stderr, flush=True)
        finally:
            os._exit(128 + signum)
