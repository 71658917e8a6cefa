"""Cells as points of accuracy and cost, and their Pareto front."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jnas.report import groups as groups_lib
from jnas.report import numbers
from jnas.report import runs as runs_lib

_COSTS = ("parameters", "macs", "latency", "flops")
_MOST_POINTS = 600  # points of one source
_MOST_PAIRS = 6


class Cell(NamedTuple):
    """The measured figures of one cell.

    Attributes:
      name: name of the cell.
      source: label of the configuration that measured the cell.
      figures: name -> value; costs are positive.
    """

    name: str
    source: str
    figures: Mapping[str, float]


def cells(runs: Sequence[runs_lib.RunFiles]) -> list[Cell]:
    """Collects the measured cells of all runs, with their accuracies and costs.

    Args:
      runs: runs; the cells are those of their results and of their evaluations.
    """
    found: list[Cell] = []
    for group in groups_lib.groups([run for run in runs if _measured(run)]):
        for run in group.runs:
            found += [cell._replace(source=group.label) for cell in _measured(run)]
    return found


def _measured(run: runs_lib.RunFiles) -> list[Cell]:
    listed = run.result.get("cells")
    found = [
        Cell(str(cell.get("name")), "", _figures(cell))
        for cell in (listed if isinstance(listed, list) else [])
        if isinstance(cell, dict)
    ]
    if not found and run.result and not run.evaluations:
        found = [Cell(run.name, "", _figures(run.result))]
    return [cell for cell in (*found, *_evaluated(run)) if cell.figures]


def pairs(points: Sequence[Cell]) -> list[tuple[str, str]]:
    """Returns up to six (cost, accuracy) pairs of names that at least two cells have.

    Args:
      points: as from ``cells``.
    """
    names = list(dict.fromkeys(name for point in points for name in point.figures))
    costs = [name for name in names if is_cost(name)]
    found = [(x, y) for y in names if not is_cost(y) for x in costs]
    shared = [
        pair for pair in found if len({tuple(map(p.figures.get, pair)) for p in points
                                       if all(n in p.figures for n in pair)}) > 1
    ]  # fmt: skip
    return shared[:_MOST_PAIRS]


def is_cost(name: str) -> bool:
    """Returns whether a metric of that name is a cost: lower is better."""
    return any(name == cost or name.startswith(f"{cost}_") for cost in _COSTS)


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Returns the indices of the Pareto front, by increasing cost.

    A point is dominated by another that costs no more and is no less accurate. Of equal
    points the first is on the front.

    Args:
      points: (cost, accuracy) of each point.

    Returns:
      Indices into points.

    Example:
      >>> front([(2, 0.8), (1, 0.7), (3, 0.75), (1, 0.6)])
      [1, 0]
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i))
    kept: list[int] = []
    for i in order:
        if not kept or points[i][1] > points[kept[-1]][1]:
            kept.append(i)
    return kept


def _figures(record: Mapping[str, object]) -> dict[str, float]:
    """Returns the costs, and the test accuracy or, without one, all accuracies."""
    found = {str(name): numbers.number(value) for name, value in record.items()}
    known = {name: value for name, value in found.items() if value is not None}
    kept = {name: value for name, value in known.items() if is_cost(name)}
    tested = [name for name in ("test_accuracy",) if name in known]
    judged = tested or [name for name in known if name.endswith("_accuracy")]
    return kept | {name: known[name] for name in judged}


def _evaluated(run: runs_lib.RunFiles) -> Iterable[Cell]:
    """Returns the cells of a discrete search; names with a minus are negated costs."""
    found: dict[tuple, Cell] = {}
    for line in run.evaluations:
        scores = line.get("scores")
        if not isinstance(scores, dict):
            continue
        figures = {}
        for name, value in scores.items():
            known = numbers.number(value)
            if known is not None:
                negated = name.startswith("-")
                figures[name.removeprefix("-")] = -known if negated else known
        cell = Cell(str(line.get("cell", "")), "", figures)
        found.setdefault((cell.name, *sorted(figures.items())), cell)
    return numbers.thinned(list(found.values()), _MOST_POINTS)
