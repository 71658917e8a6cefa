"""Runs that nobody disturbs: what others are held against, and the time they take."""

import pathlib
import shutil
import time
from concurrent import futures
from typing import Any, NamedTuple

from jnas.endurance import finals, kinds, processes


class Place(NamedTuple):
    """Where trials run.

    Attributes:
      folder: for workdirs.
      logs: for what the runs say.
      cache: of compiled programs, so that a start costs seconds.
      num_processes: trials at a time.
    """

    folder: pathlib.Path
    logs: pathlib.Path
    cache: pathlib.Path
    num_processes: int

    def run(
        self, line: tuple[str, ...], name: str, *, log: str | None = None
    ) -> processes.Process:
        """Starts a line in the workdir of that name; its log is named alike."""
        for folder in (self.folder, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        return processes.Process(
            line, self.folder / name, log=self.log(log or name), cache=self.cache
        )

    def log(self, name: str) -> pathlib.Path:
        """Returns the file of what the newest run in that workdir said."""
        return self.logs / f"{name}.log"

    def each(self, trial: Any, numbers: range) -> list[Any]:
        """Calls trial(number) for each, as many at a time as there are processes."""
        with futures.ThreadPoolExecutor(self.num_processes) as pool:
            return list(pool.map(trial, numbers))

    def remove(self, name: str) -> None:
        """Removes a workdir and its logs."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        for log in self.logs.glob(f"{name}*.log"):  # of its other starts too
            log.unlink()


class Undisturbed(NamedTuple):
    """An undisturbed run.

    Attributes:
      kind: what ran.
      final: of ``finals.read``.
      num_steps: of the last checkpoint.
      first: seconds from the start to the first checkpoint.
      seconds: from the start to the end.
    """

    kind: kinds.Kind
    final: dict[str, Any]
    num_steps: int
    first: float
    seconds: float


def measure(kind: kinds.Kind, place: Place) -> Undisturbed:
    """Runs a line three times: to fill the cache, then side by side to be timed.

    Args:
      kind: what runs.
      place: where; the first run's workdir stays, under the kind's name.

    Raises:
      RuntimeError: a run failed, or the three did not come to the same.
    """
    final, _, _ = _timed(place, kind, kind.name)
    others = place.each(lambda i: _timed(place, kind, f"{kind.name}_{i}"), range(2))
    for other, _, _ in others:
        wrong = finals.differences(other, final)
        if wrong:
            raise RuntimeError(
                f"{kind.name} must come twice to the same, got {', '.join(wrong)}. "
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
    """Waits until a share of the steps is saved, however slow the machine is."""
    folder, least = process.workdir, share * whole.num_steps
    process.wait_until(lambda: max(finals.steps(folder), default=0) > least, 600)


def finish(process: processes.Process) -> dict[str, Any]:
    """Waits for a run's end and reads what it left.

    Raises:
      RuntimeError: it failed.
    """
    ended = process.end()
    if ended.status:
        raise RuntimeError(
            f"run must end with status 0, got {ended.status}: {ended.last_line} "
            f"See {str(process.workdir)!r}."
        )
    return finals.read(process.workdir)


def _timed(place, kind, name) -> tuple[dict[str, Any], float, float]:
    """Returns what a run left, the seconds to its first checkpoint and to its end."""
    place.remove(name)
    process = place.run(kind.line, name)
    process.wait_until(lambda: bool(finals.steps(process.workdir)), 600)
    first = time.monotonic() - process.began
    final = finish(process)
    return final, first, time.monotonic() - process.began
