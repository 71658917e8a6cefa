"""run.json: what was run, with which settings, when, and how it ended."""

import datetime
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import jax

from jnas.run import files, threads
from jnas.training import placement

NAME = "run.json"
# the launchers of an installed copy; a checkout has them beside the package
INSTALLED = pathlib.Path(__file__).resolve().parents[1] / "experiments"
_KINDS = {"flags": dict, "settings": dict, "starts": list, "plugins": list}
_PACKAGES = ("jnas", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Record:
    """The content of run.json; each change is on disk when its call returns."""

    def __init__(self, workdir: pathlib.Path):
        """Reads the record of an earlier process, if there is one.

        Args:
          workdir: an existing folder.

        Raises:
          RunError: run.json is no JSON object, or not that of a run.
        """
        self._path = workdir / NAME
        self.content = files.read_json(self._path) if self._path.exists() else {}
        self.changes: list[str] = []
        for key, kind in _KINDS.items():
            if not isinstance(self.content.get(key, kind()), kind):
                raise files.RunError(
                    f"{NAME} must hold {key} as a {kind.__name__}, got "
                    f"{self.content[key]!r} in {str(self._path)!r}. Restore the file, "
                    "or use a new --workdir."
                )

    def check_same(
        self, asked: Mapping[str, Any], *, allow_changed: bool = False
    ) -> None:
        """Refuses to resume a run with other settings than it was started with.

        Settings are compared where both processes have some, flags otherwise.

        Args:
          asked: ``seed``, ``flags``, ``settings``, ``data_digest``, ``plugins``, and
            ``default_flags``, the flags that were not given: a run of an earlier
            release may not have known them.
          allow_changed: whether changes are recorded as ``changes`` instead of refused;
            seed and data may never change.

        Raises:
          RunError: one or more differ; each is listed, old and new.
        """
        changes = self._compare(asked)
        if changes and not allow_changed:
            raise files.RunError(
                f"flags must be those of the run in {str(self._path.parent)!r}, got "
                f"{'; '.join(changes)}. Undo the change, resume all the same with "
                "--allow_changed, or use a new --workdir."
            )
        self.changes = changes

    def check_finished(
        self,
        asked: Mapping[str, Any],
        *,
        allow_changed: bool = False,
        extendable: Collection[str] = (),
    ) -> bool:
        """Refuses to change a finished run, unless it can be extended.

        Args:
          asked: as for ``check_same``.
          allow_changed: whether the user asked for a change.
          extendable: names of the settings that a finished run may have raised.

        Returns:
          Whether the run is extended.

        Raises:
          RunError: something else changed, or was not raised.
        """
        changes = self._compare(asked)
        if not changes:
            return False
        old, new = self._settings(asked)
        raised = [n for n in extendable if _is_raised(old.get(n), new.get(n))]
        only = len(changes) == len(raised) > 0
        if only and allow_changed:
            self.changes = changes
            return True
        todo = "Undo the change to see its result, or use a new --workdir."
        if only:
            todo = f"Add --allow_changed to extend it. {todo}"
        elif extendable:
            todo = f"Only raising {', '.join(extendable)} extends it. {todo}"
        elif allow_changed:
            todo = (
                "What it computed depends on its settings, so it cannot resume with "
                f"others. {todo}"
            )
        raise files.RunError(
            f"flags must be those of the run in {str(self._path.parent)!r}, which is "
            f"finished, got {'; '.join(changes)}. {todo}"
        )

    def _settings(self, asked: Mapping[str, Any]) -> tuple[dict, dict]:
        """Returns the settings of the run and those asked for, or else the flags.

        Without those that the release which began the run did not know, unless they
        were given.
        """
        asked = files.plain(asked)
        old, new = self.content.get("settings"), asked.get("settings")
        if not old or not new:
            old, new = self.content.get("flags") or {}, asked["flags"]
        given = set(asked["flags"]) - set(asked.get("default_flags", ()))
        known = {name: v for name, v in new.items() if name in old or name in given}
        return _flat(old), _flat(known)

    def _compare(self, asked: Mapping[str, Any]) -> list[str]:
        """Lists what changed; refuses another seed and other data."""
        changes = _changes(*self._settings(asked))
        asked, fixed = files.plain(asked), ("seed", "data_digest")
        changes += _changed_plugins(self.content.get("plugins"), asked.get("plugins"))
        old, new = (
            {k: one.get(k) for k in fixed} | {"task": _task(one)}
            for one in (self.content, asked)
        )
        for_good = _changes(old, new)
        if for_good:
            where = str(self._path.parent)
            changes = [one for one in changes if not one.startswith("task: ")]
            raise files.RunError(
                f"seed and data must be those of the run in {where!r}, got "
                f"{'; '.join([*for_good, *changes])}. Use a new --workdir."
            )
        return changes

    def begin(self, asked: Mapping[str, Any], *, write: bool = True) -> None:
        """Records a start; the start before moves to the list ``starts``.

        Args:
          asked: as for ``check_same``.
          write: False leaves the file as it is until ``write``.
        """
        earlier = {k: v for k, v in self.content.items() if k != "starts"}
        starts = [*self.content.get("starts", []), *([earlier] if earlier else [])]
        self.content = {
            "status": "running",
            "command": command(sys.orig_argv),
            **{k: v for k, v in files.plain(asked).items() if k != "default_flags"},
            "versions": versions(),
            "device": device(),
            "cpu_threads": threads.count() if _on_cpu() else None,
            "num_processes": jax.process_count(),
            "mesh": {},
            "git_commit": git_commit(),
            "started": now(),
            "ended": None,
            "starts": starts,
        }
        if self.changes:
            self.content["changes"] = self.changes
        if write:
            self.write()

    def note_mesh(self, phase: str, axes: Mapping[str, int]) -> None:
        """Notes the mesh of a phase's program; the next ``write`` writes it.

        Args:
          phase: name of the phase.
          axes: sizes of the mesh's axes.
        """
        meshes = self.content["mesh"] | {phase: dict(axes)}
        self.content = {**self.content, "mesh": meshes}

    def write(self) -> None:
        """Writes the file."""
        files.write_json(self._path, self.content)

    def end(self, status: str, error: str | None = None) -> None:
        """Records how a process ended.

        Args:
          status: "finished", "failed" or "interrupted".
          error: what went wrong, in one line.
        """
        self.content = {**self.content, "status": status, "ended": now()}
        if error:
            self.content["error"] = error
        files.write_json(self._path, self.content)


def command(argv: Sequence[str]) -> str:
    """Returns a process's command as a user writes it.

    A launcher of an installed copy is the command ``jnas``, also where a process has
    started the file.

    Args:
      argv: as ``sys.orig_argv``, the interpreter first.

    Example:
      >>> command(["/usr/bin/python3", "/usr/bin/jnas", "search", "--seed=2"])
      'jnas search --seed=2'
      >>> command(["/usr/bin/python3", "experiments/search.py", "--seed=2"])
      'python experiments/search.py --seed=2'
    """
    if list(argv[1:3]) == ["-m", "jnas.experiments"]:
        return shlex.join(["jnas", *argv[3:]])
    script = pathlib.Path(argv[1]) if len(argv) > 1 else pathlib.Path()
    if script.name == "jnas" or script.resolve() == INSTALLED:
        return shlex.join(["jnas", *argv[2:]])
    if script.suffix == ".py" and script.resolve().parent == INSTALLED:
        return shlex.join(["jnas", script.stem, *argv[2:]])
    return shlex.join(["python", *argv[1:]])


def launcher(started: str, name: str) -> str:
    """Returns how a launcher is called, as another was.

    Args:
      started: the command of the other one, as of ``command``.
      name: of the launcher, such as "retrain".

    Example:
      >>> launcher("python experiments/search.py --seed=2", "retrain")
      'python experiments/retrain.py'
    """
    words = shlex.split(started)
    if words[:1] == ["jnas"]:
        return f"jnas {name}"
    script = pathlib.PurePath(words[1] if len(words) > 1 else "")
    if script.suffix != ".py":  # not started by a launcher, as in a notebook
        if INSTALLED.is_dir():
            return f"jnas {name}"
        script = pathlib.PurePath("experiments/search.py")
    return shlex.join(["python", str(script.with_name(f"{name}.py"))])


def in_help(doc: str, argv: Sequence[str]) -> str:
    """Returns a launcher's docstring with commands as a user types them.

    Args:
      doc: whose commands are those of a checkout.
      argv: as ``sys.orig_argv``.
    """
    if not command(argv).startswith("jnas "):
        return doc
    return re.sub(r"python experiments/(\w+)\.py", r"jnas \1", doc)


def read_plugins(paths: Iterable[str | os.PathLike]) -> list[dict[str, str]]:
    """Returns path, SHA-256 and text of each plug-in file.

    Args:
      paths: files that ``registry.load_plugins`` has run.
    """
    found = []
    for path in map(pathlib.Path, paths):
        data = path.read_bytes()
        digest, text = hashlib.sha256(data).hexdigest(), data.decode("utf-8", "replace")
        found.append({"path": str(path), "sha256": digest, "text": text})
    return found


def _changed_plugins(old: list | None, new: list | None) -> list[str]:
    """Lists the plug-ins whose text changed; a run of 0.1 has none to compare."""
    if old is None or new is None:
        return []
    before = {one["path"]: one["sha256"] for one in old}
    after = {one["path"]: one["sha256"] for one in new}
    if sorted(before.values()) == sorted(after.values()):  # moved files are the same
        return []
    names = dict.fromkeys([*before, *after])
    return [
        f"plug-in {name}: sha256 {_short(before, name)} -> {_short(after, name)}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _task(content: Mapping[str, Any]) -> str:
    """Returns the task of a run, of which older releases knew one."""
    return (content.get("data") or {}).get("task", "classification")


def _short(digests: Mapping[str, str], name: str) -> str:
    return digests[name][:12] if name in digests else "none"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings as one level, names joined by dots."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    names = [*old, *(name for name in new if name not in old)]
    return [
        f"{name}: {old.get(name)!r} -> {new.get(name)!r}"
        for name in names
        if _given(old.get(name)) != _given(new.get(name))
    ]


def _is_raised(old: Any, new: Any) -> bool:
    return all(type(n) in (int, float) for n in (old, new)) and new > old


def _given(value: Any) -> Any:
    """A list flag that was not given is empty today and was None in 0.1."""
    return None if value == [] else value


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
    """Names the devices that programs run on, as "8 x TPU v5e (tpu)"."""
    devices = placement.chosen()
    return f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"


def _on_cpu() -> bool:
    return placement.chosen()[0].platform == "cpu"


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
