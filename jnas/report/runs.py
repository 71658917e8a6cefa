"""Reads the files of a run for a report: finished, interrupted or still running."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from jnas import directions
from jnas.spaces import drawing, genotype_text

_MOST_BYTES = 200_000  # size of a drawing; larger ones are left out


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The files of one run; a missing file gives an empty field.

    Attributes:
      name: name of the run in legends.
      run: the content of run.json.
      result: the content of result.json.
      metrics: the valid lines of metrics.jsonl, each with ``step``.
      weights: the valid lines of weights.jsonl, each with ``step``.
      evaluations: the valid lines of evaluations.jsonl, each with ``evaluation``,
        from 0.
      trials: the valid lines of tune.jsonl, each with ``trial``, from 0.
      front: the architectures of front.json, none of which another one beats.
      objectives: name -> "maximize" or "minimize", the directions of front.json.
      traces: the content of traces.json.
      worst: the images of worst.json, with what an evaluated model took them for.
      genotype: the text of genotype.json.
      drawings: title -> SVG of a cell.
      origin: run.json of the search that found the genotype given by --genotype.
    """

    name: str
    run: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    result: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    weights: Sequence[Mapping[str, Any]] = ()
    evaluations: Sequence[Mapping[str, Any]] = ()
    trials: Sequence[Mapping[str, Any]] = ()
    front: Sequence[Mapping[str, Any]] = ()
    objectives: Mapping[str, str] = dataclasses.field(default_factory=dict)
    traces: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    worst: Sequence[Mapping[str, Any]] = ()
    genotype: str = ""
    drawings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def signal(self) -> str:
        """Name of the metric that the task is judged by, such as "accuracy"."""
        data = self.run.get("data")
        found = data.get("signal") if isinstance(data, Mapping) else None
        return found if isinstance(found, str) and found else "accuracy"


def load(workdir: str | os.PathLike, *, name: str | None = None) -> RunFiles:
    """Reads the files of a run, without changing any.

    The run may be unfinished or still running: an incomplete or damaged line is
    skipped, and a missing file gives an empty field.

    Args:
      workdir: the folder of a run.
      name: name of the run in legends; None means the folder's name.

    Raises:
      ValueError: workdir is no folder, or has no valid run.json.
    """
    folder = pathlib.Path(workdir)
    run = _checked(folder)
    genotype = _text(folder / "genotype.json") or ""
    front = _object(folder / "front.json") or {}
    return RunFiles(
        name=name or folder.resolve().name or str(folder),
        run=run,
        result=_object(folder / "result.json") or {},
        metrics=_lines(folder / "metrics.jsonl", "step"),
        weights=_lines(folder / "weights.jsonl", "step"),
        evaluations=_lines(folder / "evaluations.jsonl", "evaluation"),
        trials=_lines(folder / "tune.jsonl", "trial"),
        front=_objects(front.get("front")),
        objectives=_directions(front.get("directions")),
        traces=_object(folder / "traces.json") or {},
        worst=_objects((_object(folder / "worst.json") or {}).get("worst")),
        genotype=genotype,
        drawings=_drawings(folder, genotype),
        origin=_origin(run),
    )


def load_all(workdirs: Sequence[str | os.PathLike]) -> list[RunFiles]:
    """Reads several runs; those whose folders share a name are named by their paths.

    Args:
      workdirs: folders of runs; a folder given twice is read once.

    Raises:
      ValueError: no folder is given, or one holds no run.
    """
    paths = {pathlib.Path(path).resolve(): os.fspath(path) for path in workdirs}
    if not paths:
        raise ValueError(
            "runs must name at least one folder, got none. Use --runs=runs/first."
        )
    names = [path.name for path in paths]
    return [
        load(given, name=given if names.count(path.name) > 1 else None)
        for path, given in paths.items()
    ]


def _checked(folder: pathlib.Path) -> dict[str, Any]:
    what = "Use the --workdir of a run."
    if "\0" in str(folder) or not folder.is_dir():
        raise ValueError(
            f"runs must be existing folders, got {str(folder)!r}, which is none. {what}"
        )
    path = folder / "run.json"
    if not path.exists():
        raise ValueError(
            f"runs must be folders of runs, got {str(folder)!r} without run.json. "
            f"{what}"
        )
    found = _object(path)
    if found is None:
        raise ValueError(
            f"run.json must be a JSON object, got something else in {str(folder)!r}. "
            "Restore the file, or leave this run out."
        )
    return found


def _text(path: pathlib.Path) -> str | None:
    if not os.path.isfile(path):  # opening a pipe would block forever
        return None
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _object(path: pathlib.Path) -> dict[str, Any] | None:
    """Returns a JSON object, or None where the file is missing or damaged."""
    text = _text(path)
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        logging.warning("%s is damaged and was skipped", path)
        return None
    return value


def _lines(path: pathlib.Path, count: str) -> tuple[dict[str, Any], ...]:
    """Returns the lines that are JSON objects with an integer ``count``."""
    found = []
    for number, raw in enumerate((_text(path) or "").split("\n"), start=1):
        if not raw.strip():
            continue
        try:
            line = json.loads(raw)
        except (ValueError, RecursionError):
            line = None
        if isinstance(line, dict) and type(line.get(count)) is int:
            found.append(line)
        else:
            logging.warning("%s: line %d is damaged and was skipped", path.name, number)
    return tuple(found)


def _objects(value: Any) -> tuple[dict[str, Any], ...]:
    """Returns the objects of a list; other entries are left out."""
    given = value if isinstance(value, list) else []
    return tuple(one for one in given if isinstance(one, dict))


def _directions(value: Any) -> dict[str, str]:
    """Returns name -> direction, without entries that are no direction."""
    given = value if isinstance(value, dict) else {}
    known = (directions.MAXIMIZE, directions.MINIMIZE)
    return {name: one for name, one in given.items() if one in known}


def _drawings(folder: pathlib.Path, genotype: str) -> dict[str, str]:
    """Returns the run's drawing, cell.svg, or else one made of its genotype."""
    text = _text(folder / "cell.svg")
    if text is None and genotype:
        text = _drawn(lambda: drawing.draw(genotype_text.from_json(genotype)))
    if text is None or len(text) > _MOST_BYTES:
        return {}
    return {"cell": text}


def _drawn(draw: Callable[[], str]) -> str | None:
    try:
        return draw()
    except ValueError as error:
        logging.warning("genotype.json could not be drawn: %s", error)
        return None


def _origin(run: Mapping[str, Any]) -> dict[str, Any]:
    """Returns run.json of the search whose genotype the run trained; {} if unknown."""
    flags = run.get("flags")
    given = flags.get("genotype") if isinstance(flags, dict) else None
    if not isinstance(given, str) or "\0" in given or not given.endswith(".json"):
        return {}
    return _object(pathlib.Path(given).parent / "run.json") or {}
