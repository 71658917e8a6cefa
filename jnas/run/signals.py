"""SIGTERM and SIGINT: stop at a safe place; the second one stops at once."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_TWIN_SECONDS = 0.1  # wrappers pass Ctrl-C on to a child that the terminal told as well


class Interrupted(SystemExit):
    """A run stopped by a signal; as a SystemExit it gives the right exit status.

    Attributes:
      code: 143 for SIGTERM, 130 for SIGINT.
      message: one line for the user.
    """

    def __init__(self, signum: int, message: str = ""):
        """Keeps the status that shells give to a process ended by the signal."""
        super().__init__(128 + signum)
        name = signal.Signals(signum).name
        self.message = message or f"stopped by {name}; the same line again goes on"


class Signals:
    """Turns the first signal into a wish, and sees to it that the wish is granted.

    While ``deferred`` is true the loop is expected to look at ``received`` and to stop
    by itself. Otherwise, as while a program is compiled, Interrupted is raised wherever
    the process is, for there is nothing to save. Python runs handlers only between
    bytecodes, and a compile or a long call is none: so a second thread is woken by the
    C handler, and ends the process after a second signal, or ``grace`` seconds after a
    first that nobody saw.

    Attributes:
      deferred: whether the loop will look.
      received: the first signal's number, or None.
    """

    def __init__(
        self, *, grace: float = 8.0, last_words: Callable[[], None] = lambda: None
    ):
        """Installs the handlers, in the main thread; elsewhere it does nothing.

        Args:
          grace: seconds that the main thread has to see a signal.
          last_words: called before the process is ended by force.
        """
        self.deferred = False
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
        """Returns the signal to obey, if any; the caller saves and stops."""
        if self.received is not None:
            self._seen.set()
        return self.received

    def close(self) -> None:
        """Restores the handlers of before; more than once is allowed."""
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
            if not self.deferred:
                # Not yet seen: raised inside a finalizer, Python would drop it. Then
                # the next call of the loop obeys, or the grace ends.
                raise Interrupted(signum)

    def _watch(self) -> None:
        """Ends the process where the main thread cannot; returns on ``close``."""
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
                    self._end(first, f"no safe place within {self._grace:g} s")
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
