"""Runs a launcher's command as a process in its own process group."""

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
      status: exit status as shells report it: 128 + n after signal n.
      seconds: duration of the process.
      said: its standard output and error.
    """

    status: int
    seconds: float
    said: str

    @property
    def last_line(self) -> str:
        """The last line of its output."""
        return (self.said.strip().splitlines() or [""])[-1]


class Process:
    """A started command, whose output goes to a file.

    Attributes:
      workdir: folder of the run.
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
        """Starts the process.

        Args:
          line: the command, without --workdir.
          workdir: folder of the run.
          log: file for its output.
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
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is still running."""
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """The output so far."""
        return self._log.read_text(errors="replace")

    def wait_until(self, met: Callable[[], bool], seconds: float) -> bool:
        """Waits for a condition; False if the process ends, or the time is over."""
        deadline = time.monotonic() + seconds
        while not met():
            if not self.running or time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def wait_till(self, moment: float) -> bool:
        """Waits until ``moment`` seconds after the start; False if it ended before."""
        try:
            self._process.wait(max(0.0, self.began + moment - time.monotonic()))
        except subprocess.TimeoutExpired:
            return True
        return False

    def send(self, signum: int) -> None:
        """Sends a signal to the process."""
        self._process.send_signal(signum)

    def kill(self) -> bool:
        """Kills the process group; returns whether the process was running."""
        was_running = self.running
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        return was_running

    def end(self, seconds: float = 600.0) -> Ended:
        """Waits for the end; after ``seconds`` the process is killed, status 137."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        status = self._process.returncode
        took = time.monotonic() - self.began
        return Ended(status if status >= 0 else 128 - status, took, self.said)
