"""run.json: what was run, with what, when, and how it went."""

import datetime
import importlib.metadata
import pathlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jax

from jnas.run import files

NAME = "run.json"
_PACKAGES = ("jnas", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Record:
    """The content of run.json; each change is on disk when the call returns."""

    def __init__(self, workdir: pathlib.Path):
        """Reads the record of an earlier start, if there is one.

        Args:
          workdir: an existing folder.

        Raises:
          RunError: run.json is no JSON object, or not one of a run.
        """
        self._path = workdir / NAME
        self.content = files.read_json(self._path) if self._path.exists() else {}
        self.changes: list[str] = []
        for key, kind in (("flags", dict), ("starts", list)):
            if not isinstance(self.content.get(key, kind()), kind):
                raise files.RunError(
                    f"{NAME} must hold {key} as a {kind.__name__}, got "
                    f"{self.content[key]!r} in {str(self._path)!r}. Restore the file, "
                    "or use a new --workdir."
                )

    def check_same(
        self, asked: Mapping[str, Any], *, allow_changed: bool = False
    ) -> None:
        """Refuses to go on with another question than the one that was asked.

        Args:
          asked: ``seed``, ``flags`` and ``data_digest``.
          allow_changed: whether changed flags are noted as ``changes`` instead.

        Raises:
          RunError: one or more differ; each is listed, old and new. Seed and data are
            never allowed to.
        """
        asked, fixed = files.plain(asked), ("seed", "data_digest")
        changes = _changes(self.content.get("flags") or {}, asked["flags"])
        for_good = _changes(
            {k: self.content.get(k) for k in fixed}, {k: asked[k] for k in fixed}
        )
        where = str(self._path.parent)
        if for_good:
            raise files.RunError(
                f"seed and data must be those of the run in {where!r}, got "
                f"{'; '.join([*for_good, *changes])}. Use a new --workdir."
            )
        if changes and not allow_changed:
            raise files.RunError(
                f"flags must be those of the run in {where!r}, got "
                f"{'; '.join(changes)}. Undo the change, go on all the same with "
                "--allow_changed, or use a new --workdir."
            )
        self.changes = changes

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Notes a start; the one before moves to the list ``starts``."""
        earlier = {k: v for k, v in self.content.items() if k != "starts"}
        starts = [*self.content.get("starts", []), *([earlier] if earlier else [])]
        self.content = {
            "status": "running",
            "command": shlex.join(["python", *sys.orig_argv[1:]]),
            **files.plain(asked),
            "versions": versions(),
            "device": device(),
            "git_commit": git_commit(),
            "started": now(),
            "ended": None,
            "starts": starts,
        }
        if self.changes:
            self.content["changes"] = self.changes
        files.write_json(self._path, self.content)

    def end(self, status: str, error: str | None = None) -> None:
        """Notes how a start ended.

        Args:
          status: "finished", "failed" or "interrupted".
          error: what went wrong, in one line.
        """
        self.content = {**self.content, "status": status, "ended": now()}
        if error:
            self.content["error"] = error
        files.write_json(self._path, self.content)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    names = [*old, *(name for name in new if name not in old)]
    return [
        f"{name}: {old.get(name)!r} -> {new.get(name)!r}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def now() -> str:
    """Returns the time in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str | None]:
    """Returns the versions of what a result may depend on; None where not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def device() -> str:
    """Names the accelerators, as "8 x TPU v5e (tpu)"."""
    devices = jax.devices()
    return f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"


def git_commit() -> str | None:
    """Returns the commit of the current folder, or else of jnas; "-dirty" if changed.

    None where neither is in a git checkout, or git is not installed.
    """
    for folder in (pathlib.Path.cwd(), pathlib.Path(__file__).parent):
        line = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
        line += ["--abbrev=40", "--exclude=*"]
        try:
            done = subprocess.run(line, capture_output=True, text=True, timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode == 0:
            return done.stdout.strip()
    return None
