"""Runs the steps of ``auto`` as processes, and keeps what was begun and how it ended.

Each step is a command in a process of its own. What was begun is in ``auto.json``, so
that a run that was stopped goes through the same commands; each of them resumes itself.
"""

import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jnas.run import files, workdir

STATE = "auto.json"
STOPPED = -1  # status of a step that was stopped at its deadline
_GRACE = 20.0  # seconds in which a stopped step saves


class Runner(NamedTuple):
    """How steps are run, and the clock; tests have their own.

    Attributes:
      call: (launcher, flags, seconds or None) -> exit status, ``STOPPED`` where the
        seconds were over.
      output: (launcher, flags) -> the standard output of a short command.
      clock: () -> seconds.
    """

    call: Callable[[str, Sequence[str], float | None], int]
    output: Callable[[str, Sequence[str]], str]
    clock: Callable[[], float] = time.monotonic


def processes(folder: pathlib.Path, started: Sequence[str] = ()) -> Runner:
    """Returns a runner that starts a process of this interpreter for each step.

    A step is started as this process was, by the command ``jnas`` or by a file, since
    what it prints as the next command follows that.

    Args:
      folder: of the launchers.
      started: how this process was started, as ``sys.orig_argv``.
    """
    command = pathlib.Path(started[1]) if len(started) > 1 else pathlib.Path()
    here = pathlib.Path(os.path.relpath(folder))
    place = folder if ".." in here.parts else here

    def line(launcher, flags):
        if command.name == "jnas" and command.is_file():
            return [sys.executable, str(command), launcher, *flags]
        return [sys.executable, str(place / f"{launcher}.py"), *flags]

    def call(launcher, flags, seconds):
        process = subprocess.Popen(line(launcher, flags))
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            _stop(process)
            return STOPPED
        except BaseException:  # a signal: the step saves what it has
            _stop(process)
            raise

    def output(launcher, flags):
        found = subprocess.run(
            line(launcher, flags), stdout=subprocess.PIPE, text=True, check=False
        )
        if found.returncode:
            raise files.RunError(
                f"{launcher} must end well, got exit status {found.returncode}. See "
                "the line above."
            )
        return found.stdout

    return Runner(call, output)


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def device() -> str:
    """Returns the kind of the device, "cpu", "gpu" or "tpu"; it stays free for steps.

    A process that asks may hold the device, so it is one that ends.
    """
    code = "import jax; print(jax.default_backend())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=os.environ.copy(),
    )
    words = found.stdout.split()
    return words[-1] if words else "cpu"


class Log:
    """What was begun in a run folder, kept in ``auto.json``.

    Attributes:
      content: JSON values: ``asked``, ``measured``, ``steps``.
    """

    def __init__(self, run: workdir.Run, asked: Mapping[str, Any]):
        """Reads the log of an earlier process, or begins one.

        Args:
          run: the open run.
          asked: what decides the commands; minutes may change.

        Raises:
          RunError: the run was begun with something else.
        """
        self._run = run
        path = run.workdir / STATE
        self.content = files.read_json(path) if path.exists() else {}
        if not self.content.get("steps"):  # what has no step yet may begin anew
            self.content = {}
        before, asked = self.content.get("asked"), files.plain(dict(asked))
        if before is not None and before != asked:
            changed = [
                f"{n}: {before.get(n)!r} -> {asked.get(n)!r}"
                for n in {**before, **asked}
                if before.get(n) != asked.get(n)
            ]
            raise files.RunError(
                f"flags must be those of the run in {str(run.workdir)!r}, got "
                f"{'; '.join(changed)}. Undo the change, or use a new --workdir."
            )
        self.content = {"asked": asked, "steps": [], **self.content}
        for one in self.content["steps"]:
            self._count_killed(one)

    def _count_killed(self, step: dict[str, Any]) -> None:
        """Counts the seconds of a step whose process and ours were killed.

        They lasted at least until the last write in the step's folder.
        """
        began = step.pop("began", None)
        if began is None:
            return
        folder = self._run.workdir / step["name"]
        times = [one.stat().st_mtime for one in folder.rglob("*") if one.is_file()]
        seconds = max([0.0, *(time - began for time in times)])
        step["seconds"] = round(step.get("seconds", 0.0) + seconds, 2)

    def save(self, **more: Any) -> None:
        """Writes the log, with more content.

        Args:
          **more: JSON values.
        """
        self.content |= files.plain(more)
        self._run.write_text(STATE, json.dumps(self.content, indent=1) + "\n")

    def step(self, name: str) -> dict[str, Any] | None:
        """Returns a step that was begun, or None.

        Args:
          name: of the step.
        """
        found = [one for one in self.content["steps"] if one["name"] == name]
        return found[0] if found else None

    def begin(self, name: str, launcher: str, flags: Sequence[str], **about: Any):
        """Notes that a step begins.

        Args:
          name: of the step.
          launcher: that it starts.
          flags: of the launcher.
          **about: JSON values.

        Returns:
          The step.
        """
        one = {"name": name, "launcher": launcher, "flags": list(flags), **about}
        self.content["steps"].append(files.plain(one))
        self.save()
        return self.content["steps"][-1]

    def start(self, step: dict[str, Any]) -> None:
        """Notes when a process of a step starts, in case that it is killed.

        Args:
          step: of ``begin``.
        """
        step["began"] = round(time.time(), 2)
        self.save()

    def end(self, step: dict[str, Any], status: int | None, seconds: float) -> None:
        """Notes how a step ended.

        Args:
          step: of ``begin``.
          status: its exit status; None of a step that is resumed by the next process.
          seconds: that it took, of all processes.
        """
        step.pop("began", None)
        step |= {
            "status": status,
            "seconds": round(step.get("seconds", 0.0) + seconds, 2),
        }
        self.save()

    @property
    def used(self) -> float:
        """Seconds of the steps and the probe of earlier processes."""
        return self.content.get("probe_seconds", 0.0) + sum(
            one.get("seconds", 0.0) for one in self.content["steps"]
        )
