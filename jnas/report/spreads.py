"""Compares methods: mean, standard deviation and number of runs of each."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jnas.report import directed, numbers
from jnas.report import groups as groups_lib
from jnas.report import runs as runs_lib

FOUND = "found"


class Spread(NamedTuple):
    """Mean and spread of a metric over the runs of one method.

    Attributes:
      name: name of the method.
      mean: mean over its runs.
      sd: sample standard deviation; None for a single run.
      n: number of runs.
      values: the value of each run, where known; else empty.
    """

    name: str
    mean: float
    sd: float | None
    n: int
    values: tuple[float, ...] = ()


def compare(runs: Sequence[runs_lib.RunFiles]) -> dict[str, list[Spread]]:
    """Returns metric -> its spread in each method, for at least two methods.

    A method is an entry of a comparison's result, a group of runs that differ only in
    their seed, or the random cells that a run trained for comparison. Values are never
    negated; ``directed.of(runs)`` says which metrics are minimised.

    Args:
      runs: runs, in the order of the chart.
    """
    found: dict[str, list[Spread]] = {}
    compared = [run for run in runs if methods(run.result)]
    for run in compared:
        for method, figures in methods(run.result).items():
            name = method if len(runs) == 1 else f"{method}, {run.name}"
            for metric, spread in figures.items():
                found.setdefault(metric, []).append(spread._replace(name=name))
    groups = groups_lib.groups([run for run in runs if not methods(run.result)])
    for group in groups:
        random = _random(group)
        alone = len(groups) == 1 and random
        own = "found cell" if alone else group.label
        baselines = _baselines(group)
        for metric in _judged(group):
            values = [directed.figures(run.result).get(metric) for run in group.runs]
            if metric == f"test_{group.runs[0].signal}" and len(group.runs) == 1:
                values = baselines.pop(FOUND, values)
            _add(found, metric, own, values)
        test = f"test_{group.runs[0].signal}"
        before = "" if alone else f"{group.label}, "
        _add(found, test, f"{before}random cells", random)
        for name, values in baselines.items():
            if name != FOUND:
                _add(found, test, f"{before}{name}", values)
    return {metric: rows for metric, rows in found.items() if len(rows) > 1}


def _add(found, metric: str, name: str, values: Sequence[float | None]) -> None:
    known = tuple(value for value in values if value is not None)
    if known:
        mean, deviation = numbers.spread(known)
        row = Spread(name, mean, deviation, len(known), known)
        found.setdefault(metric, []).append(row)


def methods(result: Mapping[str, Any]) -> dict[str, dict[str, Spread]]:
    """Returns method -> metric -> spread from a comparison's result.

    Args:
      result: the content of result.json; empty where it compares no methods.
    """
    found = {}
    for method, figures in result.items():
        if isinstance(figures, dict):
            spreads = {metric: _spread(one) for metric, one in figures.items()}
            spreads = {name: one for name, one in spreads.items() if one is not None}
            if spreads:
                found[method] = spreads
    return found


def _spread(one: Any) -> Spread | None:
    if not isinstance(one, dict):
        return None
    mean, sd, n = (numbers.number(one.get(name)) for name in ("mean", "sd", "n"))
    return None if mean is None or n is None else Spread("", mean, sd, int(n))


def _judged(group: groups_lib.Group) -> list[str]:
    """Returns the metrics to compare: accuracies, scores, and those named by flags.

    A cost is compared where it is an objective, or its direction was written.
    """
    run = group.runs[0]
    asked = [metric.name for metric in directed.signals(run)]
    for text in groups_lib.listed(run.run, "report"):
        name = directed.parsed(text).name
        if name != text or directed.metric(name, {}).sign > 0:
            asked.append(name)
    known = dict.fromkeys(
        name for run in group.runs for name in directed.figures(run.result)
    )
    judged = (f"test_{run.signal}", f"valid_{run.signal}", "score", *asked)
    return [name for name in known if name in judged]


def _baselines(group: groups_lib.Group) -> dict[str, list[float | None]]:
    """Returns network -> its test accuracies, of rows that list them.

    They are those of several seeds, or of several runs.
    """
    found: dict[str, list[float | None]] = {}
    for run in group.runs:
        rows = run.result.get("cells")
        for row in rows if isinstance(rows, list) else []:
            known = row if isinstance(row, dict) else {}
            listed = known.get("test_accuracies", known.get("test_values"))
            if isinstance(listed, list) and not _is_random(row):
                own = found.setdefault(str(row.get("name")), [])
                own += [numbers.number(one) for one in listed]
    return found


def _random(group: groups_lib.Group) -> list[float | None]:
    """Returns the test accuracies of the random cells trained for comparison."""
    listed = [run.result.get("cells") for run in group.runs]
    return [
        numbers.number(cell.get(f"test_{group.runs[0].signal}"))
        for cells in listed
        for cell in (cells if isinstance(cells, list) else [])
        if isinstance(cell, dict) and _is_random(cell)
    ]


def _is_random(row: Mapping[str, Any]) -> bool:
    return str(row.get("name")).startswith("random")
