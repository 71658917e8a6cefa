"""A launcher's line as a process with a group of its own."""

import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Ended(NamedTuple):
    """How a process ended.

    Attributes:
      status: as a shell tells it, 128 + n after signal n.
      seconds: that it ran.
      said: its standard output and error.
    """

    status: int
    seconds: float
    said: str

    @property
    def last_line(self) -> str:
        """The last line that it said."""
        return (self.said.strip().splitlines() or [""])[-1]


class Process:
    """A started line; what it says goes to a file.

    Attributes:
      workdir: of the run.
      began: ``time.monotonic`` of the start.
    """

    def __init__(
        self,
        line: Sequence[str],
        workdir: pathlib.Path,
        *,
        log: pathlib.Path,
        cache: pathlib.Path,
    ):
        """Starts it.

        Args:
          line: the command, without --workdir.
          workdir: of the run.
          log: file for what it says.
          cache: folder of compiled programs.
        """
        self.workdir = workdir
        self._log = log
        self.began = time.monotonic()
        with log.open("w") as out:
            self._process = subprocess.Popen(
                [*line, f"--workdir={workdir}"],
                stdout=out,
                stderr=out,
                env=os.environ | {"XDG_CACHE_HOME": str(cache)},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """What it said so far."""
        return self._log.read_text(errors="replace")

    def wait_until(self, met: Callable[[], bool], seconds: float) -> bool:
        """Waits for a condition; False if the process ends, or time does, first."""
        deadline = time.monotonic() + seconds
        while not met():
            if not self.running or time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def wait_till(self, moment: float) -> bool:
        """Waits till so many seconds after the start; False if it ended before."""
        try:
            self._process.wait(max(0.0, self.began + moment - time.monotonic()))
        except subprocess.TimeoutExpired:
            return True
        return False

    def send(self, signum: int) -> None:
        """Sends a signal to the process."""
        self._process.send_signal(signum)

    def kill(self) -> bool:
        """Kills its whole group; True if it was running."""
        was_running = self.running
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        return was_running

    def end(self, seconds: float = 600.0) -> Ended:
        """Waits for its end; one that takes longer is killed, with status 137."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        status = self._process.returncode
        took = time.monotonic() - self.began
        return Ended(status if status >= 0 else 128 - status, took, self.said)
