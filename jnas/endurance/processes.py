"""Runs a launcher's command as processes, each in a process group of its own."""

import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

ALONE_SECONDS = 90.0  # in which a process ends whose run has lost another


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

    A command with --num_processes is started so many times, as the processes of one
    run; the first one has the workdir, and is meant where nothing else is said.

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
        own = _flags(line)
        self._all = []
        for number, flags in enumerate(own):
            path = log if number == 0 else log.with_suffix(f".{number}.log")
            with path.open("w") as out:
                self._all.append(
                    subprocess.Popen(
                        [*line, f"--workdir={workdir}", *flags],
                        stdout=out,
                        stderr=out,
                        env=os.environ | {"XDG_CACHE_HOME": str(cache)},
                        start_new_session=True,
                    )
                )
        self._process = self._all[0]

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
        """Sends a signal to every process."""
        for one in self._all:
            one.send_signal(signum)

    def kill(self, victim: int = 0) -> bool:
        """Kills the process group; returns whether the process was running.

        Of several processes one is killed, whereupon the others have to end.

        Args:
          victim: number of the process, from 0; those beyond count on from there.
        """
        was_running = self.running
        first = self._all[victim % len(self._all)]
        _kill(first)
        for one in self._all:
            try:
                one.wait(ALONE_SECONDS)
            except subprocess.TimeoutExpired:
                _kill(one)
        return was_running

    def end(self, seconds: float = 600.0) -> Ended:
        """Waits for the end; after ``seconds`` the process is killed, status 137."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        for one in self._all[1:]:
            try:
                one.wait(ALONE_SECONDS)
            except subprocess.TimeoutExpired:
                _kill(one)
        status = next((s for s in (p.returncode for p in self._all) if s), 0)
        took = time.monotonic() - self.began
        return Ended(status if status >= 0 else 128 - status, took, self.said)


def _flags(line: Sequence[str]) -> list[list[str]]:
    """Returns the flags of each process that a command stands for."""
    given = [one for one in line if one.startswith("--num_processes=")]
    count = int(given[0].partition("=")[2]) if given else 1
    if count == 1:
        return [[]]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"--coordinator=127.0.0.1:{free.getsockname()[1]}"
    return [[where, f"--process={number}"] for number in range(count)]


def _kill(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
