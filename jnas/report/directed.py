"""The directions of a run's metrics: those that it recorded, else by their names."""

from collections.abc import Mapping, Sequence
from typing import Any

from jnas import directions as directions_lib
from jnas.report import groups, numbers
from jnas.report import runs as runs_lib

# last words of metrics that are maximised
_BETTER_UP = ("accuracy", "score", "r2", "f1", "precision")
_SPLITS = ("valid", "test", "train")  # first words, as in a table's "valid_12"
_KNOWN = (directions_lib.MAXIMIZE, directions_lib.MINIMIZE)


def of(runs: Sequence[runs_lib.RunFiles]) -> dict[str, str]:
    """Returns name -> direction of the metrics for which the runs recorded one.

    Directions come from front.json, result.json, traces.json, negated names
    ("-parameters"), the signals that the flags name, and the words "minimize:" and
    "maximize:" of --report, in this order. A search without recorded directions is one
    of an earlier release, which maximised every signal without a minus.

    Args:
      runs: where they disagree, the first one counts.
    """
    found: dict[str, str] = {}
    for run in runs:
        recorded = [one.get("directions") for one in (run.result, run.traces)]
        for given in (run.objectives, *recorded):
            for name, direction in given.items() if isinstance(given, Mapping) else ():
                if direction in _KNOWN:
                    found.setdefault(str(name), direction)
        for metric in signals(run):
            found.setdefault(metric.name, metric.direction)
        for text in groups.listed(run.run, "report"):
            if parsed(text).name != text:  # it has a direction of its own
                found.setdefault(*parsed(text))
    return found


def signals(run: runs_lib.RunFiles) -> list[directions_lib.Metric]:
    """Returns the objectives of a search, the first first; empty if none are known."""
    if run.objectives:
        pairs = run.objectives.items()
        return [directions_lib.Metric(str(n), d) for n, d in pairs if d in _KNOWN]
    named = groups.listed(run.run, "signal")
    scored = _scored(run)
    if scored:  # other objectives than a table's do not use the flag
        kept = [one for one in named if one in scored or parsed(one).name in scored]
        named = kept or list(scored)[:1]
    earlier = bool(scored) and not any("encoding" in one for one in run.evaluations)
    given = run.result.get("directions")
    recorded = given if isinstance(given, Mapping) else {}
    found = []
    for metric in map(parsed, named):
        if recorded.get(metric.name) in _KNOWN:
            metric = metric._replace(direction=recorded[metric.name])
        elif earlier and metric.name in named:
            metric = metric._replace(direction=directions_lib.MAXIMIZE)
        found.append(metric)
    return found


def metric(name: str, known: Mapping[str, str]) -> directions_lib.Metric:
    """Returns a metric with its recorded direction, else the one of its name.

    Args:
      name: name of the metric.
      known: as from ``of``.

    Example:
      >>> metric("valid_12", {"valid_12": "minimize"}).label
      'valid_12 ↓'
    """
    if known.get(name) in _KNOWN:
        return directions_lib.Metric(name, known[name])
    return directions_lib.declared(name)


def label(name: str, known: Mapping[str, str]) -> str:
    """Returns a name with an arrow to its better end, where one is known.

    Args:
      name: name of the metric; a figure such as "entropy" has no better end.
      known: as from ``of``.

    Example:
      >>> [label(name, {}) for name in ("test_accuracy", "macs", "entropy")]
      ['test_accuracy ↑', 'macs ↓', 'entropy']
    """
    found = metric(name, known)
    words = name.split("_")
    up = words[-1] in _BETTER_UP or words[0] in _SPLITS
    return found.label if name in known or found.sign < 0 or up else name


def figures(record: Any) -> dict[str, float | None]:
    """Returns the numbers of a record by name; a leading minus of names is undone.

    Files of earlier releases hold a cost that is minimised negated, as "-parameters".

    Args:
      record: scores of an evaluation, or a result; anything but a mapping is empty.

    Returns:
      Finite numbers, or None for what is none.

    Example:
      >>> figures({"valid": 0.5, "-parameters": -20, "lost": None})
      {'valid': 0.5, 'parameters': 20.0, 'lost': None}
    """
    found = {}
    for name, value in record.items() if isinstance(record, Mapping) else ():
        known, negated = numbers.number(value), str(name).startswith("-")
        plain = str(name).removeprefix("-")
        found[plain] = -known if negated and known is not None else known
    return found


def parsed(text: str) -> directions_lib.Metric:
    """Returns a metric as a flag names it; a text that breaks the rules is a name.

    Example:
      >>> parsed("minimize:mistakes").name, parsed("a:b").name
      ('mistakes', 'a:b')
    """
    try:
        return directions_lib.parse(text)
    except ValueError:
        return directions_lib.Metric(text)


def _scored(run: runs_lib.RunFiles) -> dict[str, None]:
    """Returns the names of the scores of the evaluations, as the file has them."""
    named = (one.get("scores") for one in run.evaluations)
    return dict.fromkeys(
        name for scores in named if isinstance(scores, dict) for name in scores
    )
