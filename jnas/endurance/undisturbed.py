"""Undisturbed runs: the results to compare with, and the time they take."""

import pathlib
import shutil
import time
from concurrent import futures
from typing import Any, NamedTuple

from jnas.endurance import finals, kinds, processes


class Place(NamedTuple):
    """Folders of the trials, and how many run at a time.

    Attributes:
      folder: folder for workdirs.
      logs: folder for the output of runs.
      cache: folder of compiled programs, so that a start takes seconds.
      num_processes: number of trials at a time.
    """

    folder: pathlib.Path
    logs: pathlib.Path
    cache: pathlib.Path
    num_processes: int

    def run(
        self, line: tuple[str, ...], name: str, *, log: str | None = None
    ) -> processes.Process:
        """Starts a command in the workdir of that name; the log has the same name."""
        for folder in (self.folder, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        return processes.Process(
            line, self.folder / name, log=self.log(log or name), cache=self.cache
        )

    def log(self, name: str) -> pathlib.Path:
        """Returns the file with the output of the newest run in that workdir."""
        return self.logs / f"{name}.log"

    def each(self, trial: Any, numbers: range) -> list[Any]:
        """Calls trial(number) for each number, ``num_processes`` at a time."""
        with futures.ThreadPoolExecutor(self.num_processes) as pool:
            return list(pool.map(trial, numbers))

    def remove(self, name: str) -> None:
        """Removes a workdir and its logs."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        for log in self.logs.glob(f"{name}*.log"):  # logs of resumed runs too
            log.unlink()


class Undisturbed(NamedTuple):
    """An undisturbed run.

    Attributes:
      kind: the kind of run.
      final: its results, as from ``finals.read``.
      num_steps: step of the last checkpoint.
      first: seconds from the start to the first checkpoint.
      seconds: seconds from the start to the end.
    """

    kind: kinds.Kind
    final: dict[str, Any]
    num_steps: int
    first: float
    seconds: float


def measure(kind: kinds.Kind, place: Place) -> Undisturbed:
    """Runs a command three times: once to fill the cache, then twice to time it.

    Args:
      kind: the kind of run.
      place: where the runs are made; the first workdir is kept, under the kind's name.

    Raises:
      RuntimeError: a run failed, or the results of the three differ.
    """
    final, _, _ = _timed(place, kind, kind.name)
    others = place.each(lambda i: _timed(place, kind, f"{kind.name}_{i}"), range(2))
    for other, _, _ in others:
        wrong = finals.differences(other, final)
        if wrong:
            raise RuntimeError(
                f"{kind.name} must give equal results twice, got {', '.join(wrong)}. "
                f"Compare the workdirs in {str(place.folder)!r}."
            )
    for number in range(2):
        place.remove(f"{kind.name}_{number}")
    first, seconds = (sum(one[i] for one in others) / 2 for i in (1, 2))
    num_steps = finals.steps(place.folder / kind.name)[-1]
    return Undisturbed(kind, final, num_steps, first, seconds)


def wait_for_share(
    process: processes.Process, whole: Undisturbed, share: float
) -> None:
    """Waits until a share of the steps is saved."""
    folder, least = process.workdir, share * whole.num_steps
    process.wait_until(lambda: max(finals.steps(folder), default=0) > least, 600)


def finish(process: processes.Process) -> dict[str, Any]:
    """Waits for the end of a run and reads its results.

    Raises:
      RuntimeError: the run failed.
    """
    ended = process.end()
    if ended.status:
        raise RuntimeError(
            f"run must end with status 0, got {ended.status}: {ended.last_line} "
            f"See {str(process.workdir)!r}."
        )
    return finals.read(process.workdir)


def _timed(place, kind, name) -> tuple[dict[str, Any], float, float]:
    """Returns a run's results, the seconds to its first checkpoint and to its end."""
    place.remove(name)
    process = place.run(kind.line, name)
    process.wait_until(lambda: bool(finals.steps(process.workdir)), 600)
    first = time.monotonic() - process.began
    final = finish(process)
    return final, first, time.monotonic() - process.began
