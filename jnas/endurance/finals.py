"""Compares the results of a run bit for bit with those of an undisturbed run.

Measured times are not compared, since they differ between runs: keys of JSON objects
that contain "seconds" or are "elapsed", and leaves of a state with such names.
"""

import hashlib
import json
import pathlib
from typing import Any

from jnas.run import manifest

_LISTS = ("metrics.jsonl", "weights.jsonl", "evaluations.jsonl")
_BYTES = ("genotype.json", "cell.svg", "traces.svg", "traces.json")


def read(workdir: pathlib.Path) -> dict[str, Any]:
    """Reads the results that two runs of one command must share.

    Args:
      workdir: folder of a finished run.

    Returns:
      "state" (SHA-256 over step, leaves and results of the newest checkpoint), file
      name -> its SHA-256, "status" of run.json, "files" (names of all files), and file
      name -> its lines for each file of JSON lines.

    Raises:
      manifest.Damaged: the newest checkpoint is damaged.
    """
    newest = steps(workdir)[-1]
    body = manifest.verify(workdir / "checkpoints" / str(newest))
    leaves = [leaf for leaf in body["leaves"] if not _measured(leaf["name"])]
    state = [newest, leaves, _timeless(body["note"]["results"])]
    result = json.loads((workdir / "result.json").read_text())
    result.pop("next", None)  # a command, which names the workdir
    found = {"state": _digest(state), "result.json": _digest(_timeless(result))}
    for name in _BYTES:
        if (workdir / name).exists():
            found[name] = hashlib.sha256((workdir / name).read_bytes()).hexdigest()
    for name in _LISTS:
        if (workdir / name).exists():
            lines = (workdir / name).read_text().splitlines()
            found[name] = [_timeless(json.loads(line)) for line in lines]
    found["status"] = json.loads((workdir / "run.json").read_text())["status"]
    found["files"] = sorted(
        path.name
        for path in workdir.iterdir()
        if not path.name.startswith((".", "events.out"))
    )
    return found


def steps(workdir: pathlib.Path) -> list[int]:
    """Returns the steps that have a checkpoint, oldest first."""
    folder = workdir / "checkpoints"
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit())


def differences(found: dict[str, Any], undisturbed: dict[str, Any]) -> list[str]:
    """Lists the differences between two runs of one command.

    Files of JSON lines may have lines at different steps, since some runs write one
    after each compiled call. But steps must increase, and lines of the same step must
    be equal.

    Args:
      found: results of the disturbed run, as from ``read``.
      undisturbed: results of the undisturbed run, as from ``read``.
    """
    names = sorted({*found, *undisturbed})
    wrong = [n for n in names if n not in _LISTS and found.get(n) != undisturbed.get(n)]
    for name in _LISTS:
        if (name in found) != (name in undisturbed):
            wrong.append(f"{name} exists in only one run")
        elif name in found:
            wrong += _compare_lines(name, found[name], undisturbed[name])
    return wrong


def _compare_lines(name: str, new: list[dict], old: list[dict]) -> list[str]:
    key = "evaluation" if name.startswith("evaluations") else "step"
    numbers = [line[key] for line in new]
    wrong = []
    if numbers != sorted(set(numbers)):
        wrong.append(f"{name}: {key} does not increase")
    if numbers[-1:] != [line[key] for line in old][-1:]:
        wrong.append(f"{name}: ends at a different {key}")
    by_number = {line[key]: line for line in old}
    differ = [n for n in new if by_number.get(n[key], n) != n]
    return wrong + [f"{name}: {key} {line[key]} differs" for line in differ[:3]]


def _measured(name: str) -> bool:
    return "seconds" in name or name == "elapsed"


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if not _measured(k)}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
