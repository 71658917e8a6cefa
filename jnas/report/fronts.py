"""Cells as points of accuracy and cost, and those that no other beats."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jnas.report import groups as groups_lib
from jnas.report import numbers
from jnas.report import runs as runs_lib

_COSTS = ("parameters", "macs", "latency", "flops")
_MOST_POINTS = 600  # of one source
_MOST_PAIRS = 6


class Cell(NamedTuple):
    """One cell that was measured.

    Attributes:
      name: of the cell.
      source: the configuration of the run that measured it.
      figures: name -> value; costs are positive.
    """

    name: str
    source: str
    figures: Mapping[str, float]


def cells(runs: Sequence[runs_lib.RunFiles]) -> list[Cell]:
    """Collects the cells with an accuracy and a cost, of every run.

    Args:
      runs: cells come from their result, the result's ``cells`` and the evaluations.
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
    """Returns the (cost, accuracy) that at least two cells have, at most six.

    Args:
      points: of ``cells``.
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
    """Says whether less is better, by the name."""
    return any(name == cost or name.startswith(f"{cost}_") for cost in _COSTS)


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Returns which points no other beats, by rising cost.

    A point is beaten by one that costs no more and is no worse, and differs. Of equal
    points the first stays.

    Args:
      points: (cost, accuracy) of each.

    Returns:
      Their numbers.

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
    """The costs, and the accuracies: of the test where it was tested, else all."""
    found = {str(name): numbers.number(value) for name, value in record.items()}
    known = {name: value for name, value in found.items() if value is not None}
    kept = {name: value for name, value in known.items() if is_cost(name)}
    tested = [name for name in ("test_accuracy",) if name in known]
    judged = tested or [name for name in known if name.endswith("_accuracy")]
    return kept | {name: known[name] for name in judged}


def _evaluated(run: runs_lib.RunFiles) -> Iterable[Cell]:
    """The cells of a discrete search; a name with a minus is a cost, turned round."""
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
