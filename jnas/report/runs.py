"""What a run's folder holds, read for people: finished, broken off or still running."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from jnas.spaces import drawing, genotype_text

_MOST_BYTES = 200_000  # of a drawing; larger ones would fill the page


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The files of one run; what is missing is empty.

    Attributes:
      name: of the run, for legends.
      run: the content of run.json.
      result: the content of result.json.
      metrics: the sound lines of metrics.jsonl, each with ``step``.
      weights: the sound lines of weights.jsonl, each with ``step``.
      evaluations: the sound lines of evaluations.jsonl, each with ``evaluation``,
        from 0.
      traces: the content of traces.json.
      genotype: the text of genotype.json.
      drawings: title -> SVG of a cell.
      origin: run.json of the run that --genotype came from.
    """

    name: str
    run: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    result: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    weights: Sequence[Mapping[str, Any]] = ()
    evaluations: Sequence[Mapping[str, Any]] = ()
    traces: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    genotype: str = ""
    drawings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def load(workdir: str | os.PathLike, *, name: str | None = None) -> RunFiles:
    """Reads a run's folder and changes nothing there.

    The run may be unfinished, and its process alive: a torn or damaged line is left
    out, and a missing file is empty.

    Args:
      workdir: the folder of a run.
      name: for legends; the folder's own name when None.

    Raises:
      ValueError: it is no folder, or has no sound run.json.
    """
    folder = pathlib.Path(workdir)
    run = _checked(folder)
    genotype = _text(folder / "genotype.json") or ""
    return RunFiles(
        name=name or folder.resolve().name or str(folder),
        run=run,
        result=_object(folder / "result.json") or {},
        metrics=_lines(folder / "metrics.jsonl", "step"),
        weights=_lines(folder / "weights.jsonl", "step"),
        evaluations=_lines(folder / "evaluations.jsonl", "evaluation"),
        traces=_object(folder / "traces.json") or {},
        genotype=genotype,
        drawings=_drawings(folder, genotype),
        origin=_origin(run),
    )


def load_all(workdirs: Sequence[str | os.PathLike]) -> list[RunFiles]:
    """Reads several folders; where two have one name, their paths are the names.

    Args:
      workdirs: folders of runs; one that is named twice is read once.

    Raises:
      ValueError: none is named, or one is no run.
    """
    paths = {pathlib.Path(path).resolve(): os.fspath(path) for path in workdirs}
    if not paths:
        raise ValueError("runs must name a folder, got none. Use --runs=runs/first.")
    names = [path.name for path in paths]
    return [
        load(given, name=given if names.count(path.name) > 1 else None)
        for path, given in paths.items()
    ]


def _checked(folder: pathlib.Path) -> dict[str, Any]:
    what = "Name the --workdir of a run."
    if "\0" in str(folder) or not folder.is_dir():
        raise ValueError(
            f"runs must be folders, got {str(folder)!r}, which is none. {what}"
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
            "Restore the file, or leave the run out."
        )
    return found


def _text(path: pathlib.Path) -> str | None:
    if not os.path.isfile(path):  # opening a pipe would wait for ever
        return None
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _object(path: pathlib.Path) -> dict[str, Any] | None:
    """Returns a JSON object, or None where there is no sound one."""
    text = _text(path)
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        logging.warning("%s is damaged and left out", path)
        return None
    return value


def _lines(path: pathlib.Path, count: str) -> tuple[dict[str, Any], ...]:
    """Returns the lines that are objects with a whole number named ``count``."""
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
            logging.warning("%s: line %d is damaged and left out", path.name, number)
    return tuple(found)


def _drawings(folder: pathlib.Path, genotype: str) -> dict[str, str]:
    """The run's own drawing, or else one of its genotype."""
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
        logging.warning("genotype.json is left undrawn: %s", error)
        return None


def _origin(run: Mapping[str, Any]) -> dict[str, Any]:
    """The record beside the genotype that a run trained, where both are here."""
    flags = run.get("flags")
    given = flags.get("genotype") if isinstance(flags, dict) else None
    if not isinstance(given, str) or "\0" in given or not given.endswith(".json"):
        return {}
    return _object(pathlib.Path(given).parent / "run.json") or {}
