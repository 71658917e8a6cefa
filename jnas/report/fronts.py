"""Cells as points of two metrics, and the Pareto front of these."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jnas import directions as directions_lib
from jnas.report import directed
from jnas.report import groups as groups_lib
from jnas.report import runs as runs_lib

_COSTS = ("parameters", "macs", "latency", "flops")
_MOST_PAIRS = 6


class Cell(NamedTuple):
    """The measured figures of one cell.

    Attributes:
      name: name of the cell.
      source: label of the configuration that measured the cell.
      figures: name -> value, never negated.
      directions: name -> "maximize" or "minimize", as far as the run recorded them.
    """

    name: str
    source: str
    figures: Mapping[str, float]
    directions: Mapping[str, str] = {}


def cells(runs: Sequence[runs_lib.RunFiles]) -> list[Cell]:
    """Collects the measured cells of all runs, with their accuracies and costs.

    Args:
      runs: runs; the cells are those of their results, evaluations and fronts.
    """
    found: list[Cell] = []
    for group in groups_lib.groups([run for run in runs if _measured(run)]):
        for run in group.runs:
            known = directed.of([run])
            found += [
                cell._replace(source=group.label, directions=known)
                for cell in _measured(run)
            ]
    return found


def _measured(run: runs_lib.RunFiles) -> list[Cell]:
    found = [
        Cell(str(cell.get("name")), "", _figures(cell, run.signal))
        for cell in _listed(run, "cells")
    ]
    if not found and not run.evaluations:
        seeds = [
            (one.get("seed"), _figures(one, run.signal))
            for one in _listed(run, "seeds")
        ]
        found = [Cell(f"seed {n}", "", one) for n, one in seeds if len(one) > 1]
    if not found and run.result and not run.evaluations:
        found = [Cell(run.name, "", _figures(run.result, run.signal))]
    return [cell for cell in (*found, *_evaluated(run)) if cell.figures]


def _listed(run: runs_lib.RunFiles, name: str) -> list[Mapping[str, object]]:
    """Returns the objects in a list of the result."""
    given = run.result.get(name)
    listed = given if isinstance(given, list) else []
    return [one for one in listed if isinstance(one, dict)]


def metric(points: Sequence[Cell], name: str) -> directions_lib.Metric:
    """Returns a metric with the direction that the first cell with one records.

    Args:
      points: as from ``cells``; without a recorded direction the name decides.
      name: name of the metric.
    """
    known = next((one.directions for one in points if name in one.directions), {})
    return directed.metric(name, known)


def pairs(points: Sequence[Cell], signals: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Returns up to six (x, y) pairs of names of which cells have different values.

    The pairs of a search's objectives come first, whatever their directions; then each
    cost with each other metric. Where one of two is minimised, it is x; of two costs or
    two accuracies the later is x.

    Args:
      points: as from ``cells``.
      signals: names of the objectives, the first first.
    """
    names = list(dict.fromkeys(name for point in points for name in point.figures))
    costs = [name for name in names if metric(points, name).sign < 0]
    named = [name for name in signals if name in names]
    asked = [
        (second, first) if (first in costs) <= (second in costs) else (first, second)
        for first, second in itertools.combinations(named, 2)
    ]
    found = [(x, y) for y in names if y not in costs for x in costs]
    apart = [pair for pair in dict.fromkeys((*asked, *found)) if _vary(points, pair)]
    return apart[:_MOST_PAIRS]


def front(
    points: Sequence[tuple[float, float]], signs: tuple[int, int] = (-1, 1)
) -> list[int]:
    """Returns the indices of the Pareto front, from the best x to the best y.

    A point is dominated by another that is no worse in both and better in one. Of equal
    points the first is on the front.

    Args:
      points: (x, y) of each point.
      signs: 1 where more is better, -1 where less is; of x, then of y.

    Returns:
      Indices into points.

    Example:
      >>> front([(2, 0.8), (1, 0.7), (3, 0.75), (1, 0.6)])
      [1, 0]
      >>> front([(2, 0.8), (1, 0.7), (3, 0.75), (1, 0.6)], (1, 1))
      [2, 0]
    """
    scores = [(signs[0] * x, signs[1] * y) for x, y in points]
    order = sorted(range(len(points)), key=lambda i: (-scores[i][0], -scores[i][1], i))
    kept: list[int] = []
    for i in order:
        if not kept or scores[i][1] > scores[kept[-1]][1]:
            kept.append(i)
    return kept


def _figures(record: Mapping[str, object], signal: str) -> dict[str, float]:
    """Returns the costs, and the signal: of the test split, or validation, or all."""
    found = directed.figures(record)
    known = {name: value for name, value in found.items() if value is not None}
    kept = {name: value for name, value in known.items() if _is_cost(name)}
    splits = [n for n in (f"test_{signal}", f"valid_{signal}") if n in known]
    judged = splits[:1] or [name for name in known if name.endswith(f"_{signal}")]
    return kept | {name: known[name] for name in judged}


def _is_cost(name: str) -> bool:
    return any(name == cost or name.startswith(f"{cost}_") for cost in _COSTS)


def _evaluated(run: runs_lib.RunFiles) -> Iterable[Cell]:
    """Returns the cells of a discrete search, each once, those of its front too."""
    found: dict[tuple, Cell] = {}
    for line in (*run.evaluations, *run.front):
        scores = directed.figures(line.get("scores"))
        figures = {name: value for name, value in scores.items() if value is not None}
        name = str(line.get("cell") or line.get("genotype") or "")
        same = (str(line.get("encoding") or name), *sorted(figures.items()))
        found.setdefault(same, Cell(name, "", figures))
    return found.values()


def _vary(points: Sequence[Cell], pair: tuple[str, str]) -> bool:
    """Returns whether at least two cells differ in two metrics that both have."""
    have = [one.figures for one in points if all(name in one.figures for name in pair)]
    return len({(one[pair[0]], one[pair[1]]) for one in have}) > 1
