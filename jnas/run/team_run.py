"""The run and the phases of several processes: those of process 0, and who follows.

They have the interface of ``workdir.Run`` and ``phase.Phase``. Every call whose outcome
depends on a clock, a signal or a file is made on process 0, which tells the others.
"""

import os
import pathlib
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any, Self

import jax

from jnas.data import residence
from jnas.run import files, signals, team, workdir
from jnas.run import phase as phase_lib
from jnas.training import placement

# what all processes must agree on: they compute with it
_SHARED = {"seed": "seed", "data_digest": "data", "settings": "flags"}


def open_run(folder: str | os.PathLike, **how: Any) -> "TeamRun":
    """Opens a run for several processes.

    Args:
      folder: the workdir, used by process 0 alone.
      **how: arguments of ``workdir.open_run``.

    Returns:
      The run, to be used in a ``with`` statement.

    Raises:
      RunError: the processes have different data, flags or plug-ins; or as
        ``workdir.open_run``, on process 0.
      Ended: process 0 could not open the run, or it is finished, on the others.
    """
    _check_same(how)
    words, opened = team.Words(), None

    def begin():
        nonlocal opened
        opened = workdir.open_run(folder, defers_signals=True, **how)
        return opened.finished is not None

    try:
        finished = words.led(begin)
        made = TeamRun(pathlib.Path(folder), words, opened, how)
        if finished:
            made.hand_over()
        return made
    except BaseException:
        if opened is not None:
            opened.__exit__(None, None, None)
        raise


def _check_same(how: Mapping[str, Any]) -> None:
    """Refuses processes that would compute something else."""
    mine = {said: files.plain(how.get(name)) for name, said in _SHARED.items()} | {
        "chunk_steps": residence.chosen().chunk_steps,
        "devices": [[one.process_index, one.id] for one in placement.chosen()],
        "plugins": [pathlib.Path(one).read_text() for one in how.get("plugins", ())],
    }
    for number, other in enumerate(team.meet(mine)):
        for name, value in mine.items():
            if other[name] != value:
                raise files.RunError(
                    f"{name} must be the same on all processes, got others on process "
                    f"{number} than on process {jax.process_index()}. Start all with "
                    "the same command on the same files."
                )


def follower_signals() -> signals.Signals:
    """Returns the signals of a process that waits for process 0's word.

    Where no word comes in time, as during a long compilation, it ends by itself, a
    second before process 0 would: a process whose leader is gone is aborted by JAX.
    """
    return signals.Signals(grace=signals.GRACE - 1, always_deferred=True)


class TeamRun:
    """A run of several processes; see ``workdir.Run``."""

    def __init__(
        self,
        folder: pathlib.Path,
        words: team.Words,
        own: workdir.Run | None,
        how: Mapping[str, Any],
    ):
        """Follows, or leads with the run of process 0.

        Args:
          folder: the workdir.
          words: among the processes.
          own: the run on process 0; None on the others.
          how: arguments of ``workdir.open_run``.
        """
        self.workdir = own.workdir if own else folder
        self.seed = how.get("seed", 0)
        self.settings = dict(how.get("settings") or {})
        self.finished = own.finished if own else None
        self._words, self._own = words, own
        self._signals = own.signals if own else follower_signals()

    @property
    def leads(self) -> bool:
        """Whether this process writes files."""
        return self._own is not None

    @property
    def record(self) -> dict[str, Any]:
        """The content of run.json; empty on the others."""
        return self._own.record if self._own else {}

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        """Records how the run ended, and tells the others."""
        if self._own:
            self._own.__exit__(kind, error, trace)
            self._words.end(error)
            return
        self._signals.close()
        if not isinstance(error, team.Ended):
            self._words.end(None)  # an error is most often that of all processes

    def hand_over(self) -> None:
        """Ends the others: what comes after this call is done by process 0 alone.

        Raises:
          Ended: on the others, once process 0 has ended.
        """
        if not self._own:
            self._words.end(None)

    def led(self, function: Callable[[], Any]) -> Any:
        """Returns what a function gives on process 0.

        Args:
          function: () -> JSON value, which reads or writes files or measures.
        """
        return self._words.led(function)

    def phase(
        self, name: str, num_steps: int, *, free: Collection[str] = ()
    ) -> "TeamPhase":
        """Begins the next phase.

        Args:
          name: as in ``workdir.Run.phase``, like the other arguments.
          num_steps: of the phase.
          free: leaves that may hold NaN.
        """
        begun = None

        def begin():
            nonlocal begun
            begun = self._own.phase(name, num_steps, free=free)
            return [begun.start, begun.result, begun.extended_from]

        told = self.led(begin)
        return TeamPhase(self, self._signals, begun, (name, num_steps, *told))

    def say(self, text: str) -> None:
        """Prints a line, on process 0."""
        if self._own:
            self._own.say(text)

    def say_once(self, text: str) -> None:
        """Prints a line unless it was said before, on process 0."""
        if self._own:
            self._own.say_once(text)

    def write_text(self, name: str, text: str) -> None:
        """Writes a file of the workdir, on process 0."""
        if self._own:
            self._own.write_text(name, text)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes result.json, on process 0."""
        if self._own:
            self._own.finish(result)


class TeamPhase:
    """A phase of several processes; see ``phase.Phase``."""

    def __init__(
        self,
        run: TeamRun,
        received: signals.Signals,
        own: phase_lib.Phase | None,
        told: tuple,
    ):
        """Follows, or leads with the phase of process 0.

        Args:
          run: of all processes.
          received: the signals of this process.
          own: the phase on process 0; None on the others.
          told: name, num_steps, start, result and extended_from.
        """
        self.name, self.num_steps, self.start, self.result, extended = told
        self.extended_from = list(extended)
        self._run, self._signals, self._own = run, received, own

    @property
    def seconds(self) -> float:
        """Duration of the phase so far, in seconds; 0 on the others."""
        return self._own.seconds if self._own else 0.0

    def expect(self, plan: Any) -> None:
        """Tells what the phase will run."""
        if self._own:
            self._own.expect(plan)

    def begins(self, activity: str) -> None:
        """Times an activity until the next one."""
        if self._own:
            self._own.begins(activity)

    def runs_on(self, axes: Mapping[str, int], what: str = "") -> None:
        """Notes which mesh the phase runs on."""
        if self._own:
            self._own.runs_on(axes, what)

    def say(self, text: str) -> None:
        """Prints a line above the progress line."""
        if self._own:
            self._own.say(text)

    def must_keep(self, **facts: Any) -> None:
        """Refuses a phase of which other facts hold than were saved."""
        self._run.led(lambda: self._own.must_keep(**facts))

    def restore(self, abstract: Any) -> tuple[int, Any] | None:
        """Restores the state in which an earlier process left this phase.

        Args:
          abstract: as for ``phase.Phase.restore``.
        """
        found = None

        def read():
            nonlocal found
            found = self._own.restore(abstract)
            return found and found[0]

        step = self._run.led(read)
        if step is None:
            return None
        return step, team.send(found and found[1], abstract)

    def left(self, abstract: Any) -> Any:
        """Restores the last state of a phase that earlier processes finished.

        Args:
          abstract: as for ``restore``.
        """
        found = None

        def read():
            nonlocal found
            try:
                found = self._own.left(abstract)
            except files.RunError as error:
                return str(error)  # the caller may go on without the state
            return ""

        wrong = self._run.led(read)
        if wrong:
            raise files.RunError(wrong)
        return team.send(found, abstract)

    def suggest_steps(self, seconds: float = 5.0) -> int:
        """Returns how many steps the next call should run, by process 0's clock.

        Args:
          seconds: duration of a call.
        """
        return self._run.led(lambda: self._own.suggest_steps(seconds))

    def observe(
        self, step: int, state: Any, metrics: Mapping[str, Any], **how: Any
    ) -> None:
        """Records a finished call; a signal to any of the processes stops all.

        Args:
          step: as in ``phase.Phase.observe``, like the other arguments.
          state: of arrays of this process alone, as ``placement.local`` gives it.
          metrics: name -> number.
          **how: keyword arguments of ``phase.Phase.observe``.
        """
        received = max(team.gather(self._signals.pending() or 0))

        def record():
            self._signals.receive(received)
            self._own.observe(step, state, metrics, **how)

        self._run.led(record)

    def end(self, result: Mapping[str, Any]) -> None:
        """Finishes the phase; its result is process 0's.

        Args:
          result: JSON values and arrays.
        """

        def finish():
            self._own.end(result)
            return self._own.result

        self.result = self._run.led(finish)
