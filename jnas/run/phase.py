"""One phase of a run: its loop tells it every step, and it does the book-keeping."""

import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from jnas.run import checkpoint, files, finite, pace
from jnas.run import metrics as metrics_lib
from jnas.run import progress as progress_lib
from jnas.run import signals as signals_lib


class Books(NamedTuple):
    """What the phases of a run share.

    Attributes:
      checkpoints: where states go.
      metrics: where numbers go.
      progress: what the user sees.
      signals: what the user wants.
      results: phase -> its result, of the phases that ended.
      latest: the checkpoint from which the run goes on, or None.
      checkpoint_seconds: between two checkpoints, at most.
      checkpoint_steps: between two checkpoints, at most; None for any number.
    """

    checkpoints: checkpoint.Checkpoints
    metrics: metrics_lib.Metrics
    progress: progress_lib.Progress
    signals: signals_lib.Signals
    results: dict[str, dict[str, Any]]
    latest: checkpoint.Sound | None
    checkpoint_seconds: float
    checkpoint_steps: int | None = None


class Phase:
    """A part of a run with steps of its own: search, retrain, ...

    Attributes:
      name: its name.
      num_steps: of the whole phase.
      start: the global step at its beginning.
      result: what ``end`` was given, now or in an earlier process; else None.
      seconds: that it took so far, in all processes.
    """

    def __init__(
        self,
        books: Books,
        name: str,
        num_steps: int,
        start: int,
        free: Collection[str] = (),
    ):
        """Begins the phase, or finds that an earlier process ended it."""
        self.name = name
        self._free = free
        self.num_steps = num_steps
        self.start = start
        self.result: dict[str, Any] | None = books.results.get(name)
        self._books = books
        note = books.latest.note if books.latest else {}
        self._resumes = self.result is None and note.get("phase") == name
        self._restored = not self._resumes
        self._step = note["phase_step"] if self._resumes else 0
        self._saved_step = self._step if self._resumes else None
        self._next_save = self._step + (books.checkpoint_steps or num_steps)
        self._state: Any = None
        self._pace = pace.Pace()
        self._seconds_before = note["seconds"] if self._resumes else 0.0
        self._began = self._saved_at = time.monotonic()
        if self.result is None:
            books.progress.phase(name, num_steps, step=self._step, activity="compiling")
        else:
            books.progress.say(f"{name}: ended in an earlier start")

    @property
    def seconds(self) -> float:
        """Seconds that the phase took so far, in all processes."""
        return self._seconds_before + time.monotonic() - self._began

    def restore(self, abstract: Any) -> tuple[int, Any] | None:
        """Reads back where an earlier process left this phase.

        Args:
          abstract: the state's tree of ``jax.ShapeDtypeStruct``, as ``jax.eval_shape``
            of its ``init`` gives.

        Returns:
          (finished steps of the phase, state), or None where it begins.

        Raises:
          RunError: the tree is not the saved one, or holds what cannot be saved.
        """
        checkpoint.arrays.check(abstract)
        self._restored = True
        if not self._resumes:
            return None
        state = self._books.checkpoints.load(self._books.latest.step, abstract)
        self._state = state
        self._books.progress.say(
            f"{self.name}: goes on from step {self._step} of {self.num_steps}"
        )
        return self._step, state

    def left(self, abstract: Any) -> Any:
        """Reads back the last state of a phase that an earlier process ended.

        Only where no later phase has saved anything yet.

        Args:
          abstract: as ``restore`` has it.

        Raises:
          RunError: the state is not there any more.
        """
        latest = self._books.latest
        if latest is None or latest.note.get("phase") != self.name:
            raise files.RunError(
                f"the last state of {self.name!r} must be the newest checkpoint, got "
                "another. Start the run in a new workdir."
            )
        return self._books.checkpoints.load(latest.step, abstract)

    def say(self, text: str) -> None:
        """Shows the user a line that stays."""
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
        """Tells the phase that a compiled call is done; saves when it is time.

        Args:
          step: finished steps of the phase; grows, from 1 to ``num_steps``.
          state: all that is needed to go on: a pytree of arrays. It may be donated
            afterwards.
          metrics: name -> number; fetched from the device here.
          found: what a search has found so far.
          record: False to show the metrics without writing them, as for a part of an
            epoch.
          finite_metrics: names of those that must be finite.
          broken_step: the step of the phase at which one of them first was not, where
            that is known better than by the call.

        Raises:
          Interrupted: a signal came; the state is saved.
          Diverged: one of the metrics, or of the arrays that were to be saved, is NaN
            or infinite; nothing is saved.
          RunError: a checkpoint could not be written.
          ValueError: a wrong step or metric.
        """
        self._check(step)
        books = self._books
        values = metrics_lib.scalars(metrics)
        books.signals.deferred = True
        self._pace.observe(step - self._step)
        self._step, self._state = step, state
        bad = finite.bad_metrics(values, finite_metrics)
        if bad:
            self._stop_diverged(bad, broken_step or step)
        write = books.metrics.write if record else books.metrics.show
        write(self.start + step, self.name, values, found)
        books.progress.update(step, values, found.best)
        signum = books.signals.pending()
        late = time.monotonic() - self._saved_at >= books.checkpoint_seconds
        if signum or late or step >= self._next_save or step == self.num_steps:
            self._save()
        if signum:
            self._interrupt(signum)

    def suggest_steps(self, seconds: float = 5.0) -> int:
        """Says how many steps the next compiled call should run.

        1 while the pace is unknown; then as many as last about ``seconds``, at most
        those that are left before the end, or before the next checkpoint by steps. It
        changes only where it is off by a factor of two, so that a loop compiled for a
        fixed length is compiled seldom.

        Args:
          seconds: that a call should last. A signal is obeyed between two calls.
        """
        most = min(self.num_steps, self._next_save) - self._step
        return max(1, min(self._pace.suggest(seconds), most))

    def end(self, result: Mapping[str, Any]) -> None:
        """Ends the phase; later processes find ``result`` and skip it.

        Args:
          result: JSON values and arrays; kept in the checkpoint's manifest.

        Raises:
          Interrupted: a signal came; the phase has ended and is saved.
        """
        if self.result is not None:
            raise ValueError(
                f"phase.end must be called once, got a second call for {self.name!r}. "
                "Look at phase.result first."
            )
        books = self._books
        books.signals.deferred = True
        self.result = files.plain(dict(result))
        books.results[self.name] = self.result
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
            what = "restore" if not self._restored else "result"
            raise ValueError(
                f"phase.observe must come after phase.{what} was looked at, got step "
                f"{step} of {self.name!r}. Look, and skip what is done."
            )
        if not self._step < step <= self.num_steps:
            raise ValueError(
                f"step must be from {self._step + 1} to {self.num_steps}, got {step} "
                f"in {self.name!r}. Count the finished steps of the phase."
            )

    def _stop_diverged(self, bad: list[str], step: int) -> None:
        """Ends a run that lost its numbers; names metrics and arrays, two of each."""
        leaves = finite.bad_leaves(self._state, free=self._free)
        shown = [*bad[:2], *leaves[:2]]
        more = len(bad) + len(leaves) - len(shown)
        named = ", ".join(shown) + (f" and {more} more" if more else "")
        saved = self._books.checkpoints.steps()
        advice = "Lower a learning rate."
        if saved:
            advice = (
                "Lower a learning rate and go on with --allow_changed from the newest "
                f"checkpoint: step {saved[-1]} of the whole run, finite."
            )
        raise finite.Diverged(
            f"{self.name} must stay finite, got {named} at step {step} of "
            f"{self.num_steps}. {advice}"
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

        A phase without steps ends where the one before did: that state stays.
        """
        step = self.start + self._step
        checkpoints = self._books.checkpoints
        stepless = self._step == 0 and step in checkpoints.steps()
        if self._saved_step == self._step or stepless:
            self._books.metrics.sync()
            checkpoints.amend(step, results=self._books.results)
        else:
            self._save()

    def _note(self) -> dict[str, Any]:
        return {
            "phase": self.name,
            "phase_step": self._step,
            "seconds": round(self.seconds, 3),
            "results": self._books.results,
            "metrics_lines": self._books.metrics.num_lines,
        }

    def _interrupt(self, signum: int) -> None:
        name = signals_lib.signal.Signals(signum).name
        raise signals_lib.Interrupted(
            signum,
            f"stopped by {name} and saved at step {self._step} of {self.num_steps} of "
            f"{self.name}; the same line again goes on",
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
