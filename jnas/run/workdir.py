"""A run in a folder: started, resumed, or finished."""

import contextlib
import os
import pathlib
import sys
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Self

from jnas import registry
from jnas.run import checkpoint, files, lock, threads
from jnas.run import folder as folder_lib
from jnas.run import metrics as metrics_lib
from jnas.run import phase as phase_lib
from jnas.run import progress as progress_lib
from jnas.run import record as record_lib
from jnas.run import signals as signals_lib


def open_run(
    workdir: str | os.PathLike,
    *,
    seed: int = 0,
    flags: Mapping[str, Any] | None = None,
    default_flags: Collection[str] = (),
    settings: Mapping[str, Any] | None = None,
    plugins: Sequence[str | os.PathLike] = (),
    data_digest: str | None = None,
    checkpoint_seconds: float = 60.0,
    checkpoint_steps: int | None = None,
    allow_changed: bool = False,
    extendable: Collection[str] = (),
    data: Mapping[str, Any] | None = None,
    keep: int = 2,
    defers_signals: bool = False,
    observers: Sequence[str] = (),
) -> "Run":
    """Opens a workdir for one process, to start, resume or read a run.

    Args:
      workdir: folder of the run, made where missing; an earlier run in it is resumed. A
        ``..`` in it is resolved first, so that no folder on the way is made.
      seed: seed of the run.
      flags: command-line flags that decide the result; JSON values.
      default_flags: names of the flags that were not given.
      settings: resolved settings of the run, with every number of every piece; JSON
        values. With them, a run is compared by settings, not by flags.
      plugins: paths of the plug-in files that were loaded; ``run.json`` keeps their
        text and digest.
      data_digest: digest of the data set.
      checkpoint_seconds: largest time between two checkpoints inside a phase.
      checkpoint_steps: largest number of steps between two checkpoints inside a phase.
      allow_changed: whether a run may be resumed with other flags, settings or
        plug-ins than it was started with; seed and data may never change.
      extendable: names of the settings that ``allow_changed`` may raise in a finished
        run, which then resumes from its last state.
      data: what ``run.json`` tells about the data set; JSON values.
      keep: number of checkpoints that are kept, at least 2.
      defers_signals: whether a signal only stops the run where its state is observed.
      observers: keys in ``registry.OBSERVERS``, which see each line of metrics.jsonl.

    Returns:
      The run, to be used in a ``with`` statement.

    Raises:
      RunError: no folder can be made there, another process holds it, its run has
        other settings, or its files are damaged.

    Example:
      >>> with open_run("runs/first", seed=1) as run:  # doctest: +SKIP
      ...     phase = run.phase("search", 100)
    """
    for name in observers:
        _ = registry.OBSERVERS[name]  # raises
    folder = folder_lib.make(workdir)
    holder = lock.Lock(folder)
    try:
        asked = {
            "seed": seed,
            "flags": flags or {},
            "default_flags": list(default_flags),
            "settings": settings or {},
            "data_digest": data_digest,
            "plugins": record_lib.read_plugins(plugins),
        }
        if data is not None:
            asked["data"] = data
        intervals = checkpoint_seconds, checkpoint_steps, defers_signals
        allowed = allow_changed, extendable
        return Run(folder, holder, asked, intervals, allowed, keep, observers)
    except BaseException:
        holder.release()
        raise


class Run:
    """A run whose folder this process holds; made by ``open_run``.

    Attributes:
      workdir: its folder.
      seed: its seed, from which every random number of the run is derived.
      settings: its resolved settings, JSON values.
      finished: content of result.json if the run finished earlier, or None.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        holder: lock.Lock,
        asked: Mapping[str, Any],
        intervals: tuple[float, int | None, bool],
        allowed: tuple[bool, Collection[str]],
        keep: int,
        observers: Sequence[str] = (),
    ):
        """Finds out where the run is; see ``open_run``."""
        self._observers = observers
        self.workdir = workdir
        self.seed = asked["seed"]
        self.settings = asked["settings"]
        self._lock = holder
        self._record = record_lib.Record(workdir)
        checkpoints = checkpoint.Checkpoints(
            workdir / folder_lib.CHECKPOINTS, keep=keep
        )
        result = workdir / folder_lib.RESULT
        self.finished = files.read_json(result) if result.exists() else None
        self._status = "finished" if self.finished is not None else "interrupted"
        self._phases: list[phase_lib.Phase] = []
        self._said: set[str] = set()
        self._extends = False
        allow, extendable = allowed
        if self.finished is not None:
            self._extends = self._record.check_finished(
                asked, allow_changed=allow, extendable=extendable
            )
            if self._extends and not checkpoints.steps():
                raise files.RunError(
                    "checkpoints must hold the last state of a run that is extended, "
                    f"got none in {str(workdir)!r}. Use a new --workdir."
                )
            if self._extends:
                self.finished, self._status = None, "interrupted"
        elif checkpoints.steps():
            self._record.check_same(asked, allow_changed=allow)
        self._books = None
        if self.finished is None:
            self._begin(asked, checkpoints, intervals)

    def _begin(
        self,
        asked: Mapping[str, Any],
        checkpoints: checkpoint.Checkpoints,
        intervals: tuple[float, int | None, bool],
    ) -> None:
        latest = checkpoints.latest()
        # a changed run stays as it was until a phase has found that it can resume
        self._committed = not self._record.changes
        before = self._record.content.get("cpu_threads")
        self._record.begin(asked, write=self._committed)
        self._books = phase_lib.Books(
            checkpoints=checkpoints,
            metrics=metrics_lib.Metrics(
                self.workdir,
                step=latest.step if latest else 0,
                observers=self._observers,
            ),
            progress=progress_lib.Progress(),
            signals=signals_lib.Signals(
                last_words=lambda: self._end("interrupted"),
                always_deferred=intervals[2],
            ),
            results=dict(latest.note["results"]) if latest else {},
            ended=dict(latest.note.get("ended", {})) if latest else {},
            kept=dict(latest.note.get("kept", {})) if latest else {},
            runs_on=self._runs_on,
            commit=self._commit,
            latest=latest,
            checkpoint_seconds=intervals[0],
            checkpoint_steps=intervals[1],
        )
        for change in self._record.changes:
            self.say(f"changed: {change}")
        said = threads.changed(before) if latest else None
        if said:
            self.say(said)
        had = latest.note.get("metrics_lines", 0) if latest else 0
        has = self._books.metrics.num_lines
        if has < had:
            self.say(
                f"warning: {metrics_lib.NAME} has {has} lines up to step "
                f"{latest.step}, and had {had} when that was saved; curves have a gap"
            )

    def _runs_on(self, phase: str, axes: Mapping[str, int]) -> None:
        if axes:
            self._record.note_mesh(phase, axes)
            self._record.write()

    def _commit(self) -> None:
        """Makes the changes of a resumed run its own."""
        if not self._committed:
            if self._extends:  # first: without its result it is resumed from here
                (self.workdir / folder_lib.RESULT).unlink()
            self._record.write()
            self._committed = True

    def _end(self, status: str, error: str | None = None) -> None:
        if self._committed:
            self._record.end(status, error)

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        """Records how the run ended, and releases the folder."""
        with contextlib.ExitStack() as ends:
            ends.callback(self._lock.release)
            if error is not None:  # a full disk was reported once already
                ends.enter_context(contextlib.suppress(files.RunError))
            if self._books:
                ends.callback(self._note_end, error)
                ends.callback(self._books.metrics.close)
                self._books.progress.close()
                self._books.signals.close()

    @property
    def leads(self) -> bool:
        """Whether this process writes files: one process alone does."""
        return True

    @property
    def signals(self) -> signals_lib.Signals | None:
        """The signals that the run reacts to; None of a finished one."""
        return self._books.signals if self._books else None

    def hand_over(self) -> None:
        """Ends other processes of the run; this one is alone."""

    def led(self, function: Callable[[], Any]) -> Any:
        """Returns what a function gives on the process that has the workdir.

        Args:
          function: () -> JSON value, which reads or writes files or measures.
        """
        return function()

    @property
    def record(self) -> dict[str, Any]:
        """The content of run.json."""
        return dict(self._record.content)

    def phase(
        self, name: str, num_steps: int, *, free: Collection[str] = ()
    ) -> phase_lib.Phase:
        """Begins the next phase.

        Phases come in the same order in every process. Steps are counted over the whole
        run: the num_steps of the phases before and the phase's own.

        Args:
          name: its name, unique in the run.
          num_steps: number of steps of the phase; at least 1.
          free: leaves of its state, or trees of them, that may hold NaN or infinity,
            as "inner.watched"; all others are checked before they are saved.

        Returns:
          The phase; with a ``result`` if an earlier process ended it.
        """
        if num_steps < 1:
            raise ValueError(
                f"num_steps must be at least 1, got {num_steps}. Raise it."
            )
        if any(p.name == name or p.result is None for p in self._phases):
            raise ValueError(
                f"phase must be new and follow an ended one, got {name!r}. "
                "Call end of the one before, and use another name."
            )
        start = sum(p.num_steps for p in self._phases)
        books = self._open_books()
        passed = {name, *(p.name for p in self._phases)}
        skipped = [one for one in books.results if one not in passed]
        if skipped and name not in books.results:
            raise ValueError(
                f"phase must come after those that ended, got {name!r} without "
                f"{skipped[0]!r}. Go through all phases in the same order each time."
            )
        self._phases.append(phase_lib.Phase(books, name, num_steps, start, free))
        return self._phases[-1]

    def say(self, text: str) -> None:
        """Prints a line on standard error, beside the progress line if there is one."""
        if self._books is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._books.progress.say(text)

    def say_once(self, text: str) -> None:
        """Prints a line unless this process has said it before."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    def write_text(self, name: str, text: str) -> None:
        """Writes a file of the workdir, whole or not at all.

        Args:
          name: plain file name, such as "genotype.json".
          text: content of the file.

        Raises:
          ValueError: the name is a path, or reserved for the run itself.
        """
        wrong = not name or name != os.path.basename(name) or "\0" in name
        if wrong or name.startswith(".") or name in folder_lib.OWN:
            raise ValueError(
                "name must be a plain file name, not one of "
                f"{', '.join(folder_lib.OWN)}, got {name!r}. Use another."
            )
        files.write_text(self.workdir / name, text)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes result.json, which later processes find as ``finished``.

        Args:
          result: final figures; JSON values and arrays.
        """
        self._open_books().metrics.sync()
        self._record.end("finished")  # first: a run with a result is not touched again
        files.write_json(self.workdir / folder_lib.RESULT, dict(result))
        self._status = "finished"

    def _open_books(self) -> phase_lib.Books:
        if self._books is None:
            raise ValueError(
                f"run must not be finished, got {str(self.workdir)!r}, which is. "
                "Check run.finished first."
            )
        return self._books

    def _note_end(self, error: BaseException | None) -> None:
        if self._status == "finished":
            return
        if isinstance(error, Exception):
            line = " ".join(f"{type(error).__name__}: {error}".split())
            self._end("failed", line)
        else:
            self._end("interrupted")
