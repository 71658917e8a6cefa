"""Mixing weights over the course of a search: heat-map frames, and entropies."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jnas.report import numbers
from jnas.report import runs as runs_lib

_MOST_FRAMES = 60


class Frames(NamedTuple):
    """The mixing weights of one phase, for a heat map with a slider.

    Attributes:
      steps: step of each frame.
      whole: whether every epoch has a frame; False where frames were thinned out.
      rows: (cell, edge, operation, weight in each frame); a weight is None where the
        operation is no candidate.
    """

    steps: list[int]
    whole: bool
    rows: list[tuple[str, str, str, list[float | None]]]


def phases(run: runs_lib.RunFiles) -> list[str]:
    """Returns the names of the phases that recorded weights, in order."""
    return list(dict.fromkeys(_phase(line) for line in _sound(run)))


def frames(run: runs_lib.RunFiles, phase: str) -> Frames:
    """Returns the weights of a phase, thinned evenly where it has many epochs.

    Args:
      run: a run with weights.jsonl.
      phase: one of ``phases``.
    """
    known = [line for line in _sound(run) if _phase(line) == phase]
    lines = numbers.thinned(known, _MOST_FRAMES)
    found: dict[tuple[str, str, str], list[float | None]] = {}
    for number, line in enumerate(lines):
        for cell, edge, mix in _edges(line):
            for operation, weight in mix.items():
                row = found.setdefault((cell, edge, operation), [None] * len(lines))
                row[number] = round(weight, 4)
    rows = [(*names, values) for names, values in found.items()]
    steps = [line["step"] for line in lines]
    return Frames(steps, len(lines) == len(known), rows)


def extremes(frames: Frames) -> list[tuple[float, float]]:
    """Returns the lowest and highest ratio of a weight to equal weights, by frame.

    The equal weight of an edge is the mean of its weights: 1/O where O of them sum
    to 1.

    Args:
      frames: as from ``frames``.

    Example:
      >>> rows = [("cell", "0->1", "a", [0.5, 0.8]), ("cell", "0->1", "b", [0.5, 0.2])]
      >>> extremes(Frames([10, 20], True, rows))
      [(1.0, 1.0), (0.4, 1.6)]
    """
    found = []
    for number in range(len(frames.steps)):
        edges: dict[tuple[str, str], list[float]] = {}
        for cell, edge, _, values in frames.rows:
            if values[number] is not None:
                edges.setdefault((cell, edge), []).append(values[number])
        means = [(mix, math.fsum(mix) / len(mix)) for mix in edges.values()]
        ratios = [w / mean if mean > 0 else 0.0 for mix, mean in means for w in mix]
        found.append((min(ratios), max(ratios)))
    return found


def entropy(mix: Sequence[float]) -> float | None:
    """Returns the entropy of an edge's weights as a fraction of the maximum.

    With p = weights / their sum, it is -sum(p log p) / log(K) over K candidates: 1 for
    equal weights, 0 where one candidate has all the weight.

    Args:
      mix: K weights; negative ones count as 0.

    Returns:
      None for fewer than two candidates, or where all weights are 0.

    Example:
      >>> entropy([0.25, 0.25, 0.25, 0.25]), entropy([0, 1])
      (1.0, 0.0)
    """
    kept = [max(0.0, weight) for weight in mix]
    total = math.fsum(kept)
    if len(kept) < 2 or total <= 0:
        return None
    parts = [weight / total for weight in kept if weight > 0]
    terms = math.fsum(p * math.log(p) for p in parts)
    return abs(terms) / math.log(len(kept))


def entropies(run: runs_lib.RunFiles) -> list[tuple[str, str, int, float]]:
    """Returns (phase, cell, step, mean of ``entropy`` over the cell's edges)."""
    found = []
    for line in _sound(run):
        cells: dict[str, list[float]] = {}
        for cell, _, mix in _edges(line):
            value = entropy(list(mix.values()))
            if value is not None:
                cells.setdefault(cell, []).append(value)
        found += [
            (_phase(line), cell, line["step"], numbers.spread(values)[0])
            for cell, values in cells.items()
        ]
    return found


def _phase(line: Mapping[str, Any]) -> str:
    return str(line.get("phase", "search"))


def _sound(run: runs_lib.RunFiles) -> list[Mapping[str, Any]]:
    return [line for line in run.weights if any(True for _ in _edges(line))]


def _edges(line: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Yields (cell, edge, operation -> weight); other values are dropped."""
    cells = line.get("weights")
    for cell, edges in _items(cells):
        for edge, operations in _items(edges):
            mix = {n: numbers.number(w) for n, w in _items(operations)}
            mix = {name: weight for name, weight in mix.items() if weight is not None}
            if mix:
                yield cell, edge, mix


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []
