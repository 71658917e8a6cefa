"""A phase of a run: records metrics, saves checkpoints and handles signals."""

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from jnas.run import checkpoint, files, finite, pace, resume
from jnas.run import metrics as metrics_lib
from jnas.run import progress as progress_lib
from jnas.run import signals as signals_lib


class Books(NamedTuple):
    """Objects shared by the phases of a run.

    Attributes:
      checkpoints: stores the states.
      metrics: stores the metrics.
      progress: displays the progress line.
      signals: reports signals such as SIGTERM.
      results: phase -> its result, for the finished phases.
      ended: phase -> number of its steps, for the finished phases.
      kept: phase -> name -> value, of the facts that a phase's state depends on.
      runs_on: called with a phase's name and the axes of the mesh that it runs on.
      commit: called when a phase has found that it can run here: until then a changed
        run is left as it was.
      latest: the checkpoint from which the run resumes; None for a new run.
      checkpoint_seconds: largest number of seconds between two checkpoints.
      checkpoint_steps: largest number of steps between two checkpoints; None disables
        this limit.
    """

    checkpoints: checkpoint.Checkpoints
    metrics: metrics_lib.Metrics
    progress: progress_lib.Progress
    signals: signals_lib.Signals
    results: dict[str, dict[str, Any]]
    ended: dict[str, int]
    kept: dict[str, dict[str, Any]]
    runs_on: Callable[[str, Mapping[str, int]], None]
    commit: Callable[[], None]
    latest: checkpoint.Sound | None
    checkpoint_seconds: float
    checkpoint_steps: int | None = None


class Phase:
    """A phase of a run, such as search or retrain, which counts its own steps.

    Attributes:
      name: name of the phase.
      num_steps: number of steps of the whole phase.
      start: the global step at its beginning.
      result: the result given to ``end``, in this or an earlier process; None before.
      seconds: duration of the phase so far, over all processes.
    """

    def __init__(
        self,
        books: Books,
        name: str,
        num_steps: int,
        start: int,
        free: Collection[str] = (),
    ):
        """Begins the phase, unless an earlier process finished it."""
        self.name = name
        self._free = free
        self.num_steps = num_steps
        self.start = start
        self._books = books
        note = books.latest.note if books.latest else {}
        self._extends = resume.drops_result(
            books.results, books.ended, note, name=name, num_steps=num_steps
        )
        self.result: dict[str, Any] | None = books.results.get(name)
        self._resumes = self.result is None and note.get("phase") == name
        self._restored = not self._resumes
        self._step = note["phase_step"] if self._resumes else 0
        resume.check_end(name, num_steps, self._step)
        self._kept = books.kept.setdefault(name, {})
        if self._extends:
            self._kept.setdefault("extended_from", []).append(self._step)
        self._best = tuple(note.get("best") or ()) if self._resumes else ()
        self.expect(pace.Plan())
        self._saved_step = self._step if self._resumes else None
        self._next_save = self._step + (books.checkpoint_steps or num_steps)
        self._state: Any = None
        self._pace = pace.Pace()
        self._seconds_before = note["seconds"] if self._resumes else 0.0
        self._began = self._saved_at = time.monotonic()
        if self.result is None:
            books.progress.phase(name, num_steps, step=self._step, activity="compiling")
        else:
            books.progress.say(f"{name}: finished in an earlier process")

    def expect(self, plan: pace.Plan) -> None:
        """Tells what the phase will run, for the time left that is displayed.

        Args:
          plan: spans of steps, events between them, and what comes after.
        """
        self._forecast = pace.Forecast(self.num_steps, self._step, plan)
        self._shown = {*plan.events, *plan.after}
        self._others = {span.activity for span in plan.spans} - {pace.STEPS}

    def begins(self, activity: str) -> None:
        """Times an activity until the next one, or ``observe``.

        The first time of each it is displayed as compiling, later if the plan has it as
        an event.

        Args:
          activity: short name, such as "watch"; ``pace.STEPS`` for the phase's steps.
        """
        first = self._forecast.begins(activity)
        if first and activity in self._others:  # steps of another speed
            self._pace = pace.Pace()
        text = activity if activity in self._shown else ""
        if first:
            named = f" ({activity})" if activity != pace.STEPS else ""
            text = f"compiling{named}"
        left = self._forecast.left()
        self._books.progress.activity(text, left=left, compiles=first)

    def must_keep(self, **facts: Any) -> None:
        """Refuses a phase, finished or not, of which other facts hold than were saved.

        Args:
          **facts: JSON values that the saved state depends on.

        Raises:
          RunError: one differs.
        """
        resume.check_kept(self.name, self._kept, files.plain(facts))
        self._kept.update(files.plain(facts))

    def runs_on(self, axes: Mapping[str, int], what: str = "") -> None:
        """Notes in run.json which mesh the phase runs on; once it can run.

        Args:
          axes: sizes of its axes; empty for a single device.
          what: the part of the phase that does; empty for all of it.
        """
        name = f"{self.name} ({what})" if what else self.name
        self._books.runs_on(name, axes)

    @property
    def extended_from(self) -> list[int]:
        """Numbers of steps with which the phase finished before it was extended."""
        return list(self._kept.get("extended_from", []))

    @property
    def seconds(self) -> float:
        """Duration of the phase so far, in seconds, over all processes."""
        return self._seconds_before + time.monotonic() - self._began

    def restore(self, abstract: Any) -> tuple[int, Any] | None:
        """Restores the state in which an earlier process left this phase.

        Args:
          abstract: the state as a pytree of ``jax.ShapeDtypeStruct``, such as
            ``jax.eval_shape(init, key)``.

        Returns:
          (number of finished steps of the phase, state), or None if the phase is new.

        Raises:
          RunError: the tree differs from the saved one, or cannot be saved.
        """
        checkpoint.arrays.check(abstract)
        self._restored = True
        if not self._resumes:
            self._books.commit()
            return None
        state = self._books.checkpoints.load(self._books.latest.step, abstract)
        self._state = state
        self._books.commit()
        how = "extends what was finished" if self._extends else "resumes"
        self._books.progress.say(
            f"{self.name}: {how} from step {self._step} of {self.num_steps}"
        )
        return self._step, state

    def left(self, abstract: Any) -> Any:
        """Restores the last state of a phase that an earlier process finished.

        Works only until a later phase saves a checkpoint.

        Args:
          abstract: as for ``restore``.

        Raises:
          RunError: the newest checkpoint is not of this phase.
        """
        latest = self._books.latest
        if latest is None or latest.note.get("phase") != self.name:
            raise files.RunError(
                f"the last state of {self.name!r} must be the newest checkpoint, got "
                "another. Start the run in a new workdir."
            )
        return self._books.checkpoints.load(latest.step, abstract)

    def say(self, text: str) -> None:
        """Prints a line above the progress line."""
        self._books.progress.say(f"{self.name}: {text}")

    def observe(
        self,
        step: int,
        state: Any,
        metrics: Mapping[str, Any],
        *,
        found: metrics_lib.Found = metrics_lib.NOTHING,
        record: bool = True,
        finite_metrics: Collection[str] = (),
        broken_step: int | None = None,
    ) -> None:
        """Records a finished compiled call; saves a checkpoint when one is due.

        Args:
          step: number of finished steps of the phase; increases, from 1 to
            ``num_steps``.
          state: the pytree of arrays from which the phase can resume. It may be donated
            afterwards.
          metrics: name -> number; fetched from the device here.
          found: the best architecture so far.
          record: False displays the metrics without writing them, as within an epoch.
          finite_metrics: names of the metrics that must be finite.
          broken_step: the first step of the phase at which such a metric was not
            finite, if known; None means ``step``.

        Raises:
          Interrupted: a signal was received; the state is saved.
          Diverged: one of these metrics, or an array to be saved, is NaN or infinite;
            nothing is saved.
          RunError: a checkpoint could not be written.
          ValueError: the step or a metric is invalid.
        """
        self._check(step)
        books = self._books
        books.commit()
        values = metrics_lib.scalars(metrics)
        books.signals.deferred = True
        self._pace.observe(step - self._step)
        self._forecast.observe(step)
        self._step, self._state = step, state
        bad = finite.bad_metrics(values, finite_metrics)
        if bad:
            self._stop_diverged(bad, broken_step or step)
        if record and found.better_than(self._best):
            self._best = found.score, found.best, found.cell
        where = self.start + step, self.name, values, found
        if record:
            books.metrics.write(*where, best=self._best)
        else:
            books.metrics.show(*where)
        _, best, cell = self._best or (0.0, "", "")
        left, rate = self._forecast.left(), self._forecast.rate()
        books.progress.update(step, values, left=left, rate=rate, best=best, cell=cell)
        signum = books.signals.pending()
        late = time.monotonic() - self._saved_at >= books.checkpoint_seconds
        if signum or late or step >= self._next_save or step == self.num_steps:
            self._save()
        if signum:
            self._interrupt(signum)

    def suggest_steps(self, seconds: float = 5.0) -> int:
        """Returns how many steps the next compiled call should run.

        1 until the speed is measured, then as many as take about ``seconds``, up to the
        end of the phase or the next checkpoint by steps. The number changes only by a
        factor of two or more, so that a loop compiled for a fixed length is rarely
        compiled again.

        Args:
          seconds: duration of a call. Signals are handled between two calls.
        """
        most = min(self.num_steps, self._next_save) - self._step
        return max(1, min(self._pace.suggest(seconds), most))

    def end(self, result: Mapping[str, Any]) -> None:
        """Finishes the phase; later processes read ``result`` and skip the phase.

        Args:
          result: JSON values and arrays, stored in the checkpoint's manifest.

        Raises:
          Interrupted: a signal was received; the phase is finished and saved.
        """
        if self.result is not None:
            raise ValueError(
                f"phase.end must be called once, got a second call for {self.name!r}. "
                "Call it only where phase.result is None."
            )
        books = self._books
        books.commit()
        books.signals.deferred = True
        self.result = files.plain(dict(result))
        books.results[self.name] = self.result
        books.ended[self.name] = self.num_steps
        self._save_end()
        shown = [f"{k} {v:.4g}" for k, v in self.result.items() if _is_number(v)]
        took = progress_lib.clock(self.seconds)
        books.progress.done(" | ".join([f"{self.name}: done in {took}", *shown[:4]]))
        self._state = None
        books.signals.deferred = False
        signum = books.signals.pending()
        if signum:
            self._interrupt(signum)

    def _check(self, step: int) -> None:
        if self.result is not None or not self._restored:
            rule = "not be called for a finished phase"
            todo = "Skip a phase whose result is set."
            if not self._restored:
                rule = "come after phase.restore"
                todo = "Call phase.restore, and skip the finished steps."
            raise ValueError(
                f"phase.observe must {rule}, got step {step} of {self.name!r}. {todo}"
            )
        if not self._step < step <= self.num_steps:
            raise ValueError(
                f"step must be from {self._step + 1} to {self.num_steps}, got {step} "
                f"in {self.name!r}. Pass the number of finished steps of the phase."
            )

    def _stop_diverged(self, bad: list[str], step: int) -> None:
        leaves = finite.bad_leaves(self._state, free=self._free)
        raise finite.diverged(
            self.name,
            bad,
            leaves,
            step,
            self.num_steps,
            self._books.checkpoints.steps(),
        )

    def _save(self) -> None:
        if finite.bad_leaves(self._state, free=self._free):
            self._stop_diverged([], self._step)
        self._books.metrics.sync()
        self._books.checkpoints.save(self.start + self._step, self._state, self._note())
        self._saved_step, self._saved_at = self._step, time.monotonic()
        self._next_save = self._step + (self._books.checkpoint_steps or self.num_steps)

    def _save_end(self) -> None:
        """Adds the result to the checkpoint of this step, or saves one with it.

        A phase that ran no step adds its result to the previous phase's checkpoint.
        """
        step = self.start + self._step
        checkpoints = self._books.checkpoints
        stepless = self._step == 0 and step in checkpoints.steps()
        if self._saved_step == self._step or stepless:
            self._books.metrics.sync()
            books = self._books
            checkpoints.amend(
                step, results=books.results, ended=books.ended, kept=books.kept
            )
        else:
            self._save()

    def _note(self) -> dict[str, Any]:
        return {
            "phase": self.name,
            "phase_step": self._step,
            "seconds": round(self.seconds, 3),
            "results": self._books.results,
            "ended": self._books.ended,
            "kept": self._books.kept,
            "best": self._best or None,
            "metrics_lines": self._books.metrics.num_lines,
        }

    def _interrupt(self, signum: int) -> None:
        name = signals_lib.signal.Signals(signum).name
        raise signals_lib.Interrupted(
            signum,
            f"stopped by {name} and saved at step {self._step} of {self.num_steps} of "
            f"{self.name}; run the same command again to resume",
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
