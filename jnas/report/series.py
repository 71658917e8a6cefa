"""Metrics over the steps of a phase: means and bands over runs or seeds."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jnas.report import directed, mixtures, numbers
from jnas.report import groups as groups_lib
from jnas.report import runs as runs_lib

Lines = dict[str, dict[int, Mapping[str, Any]]]  # phase -> step -> line
_MOST = 160  # points of one line; longer lines are thinned evenly
_MOST_ALL = 4000  # points of one chart


class Point(NamedTuple):
    """A point of a line.

    Attributes:
      series: the line's name, with n where it is a mean.
      metric: name of the metric.
      step: number of the step in its phase, or number of evaluations.
      value: the metric, or its mean over runs or seeds; None for a gap.
      low: value minus one standard deviation; None for a single run.
      high: value plus one standard deviation; None for a single run.
      n: number of runs or seeds.
    """

    series: str
    metric: str
    step: int
    value: float | None
    low: float | None
    high: float | None
    n: int


def phases(runs: Sequence[runs_lib.RunFiles]) -> dict[str, set[str]]:
    """Returns phase -> names of its metrics, in order of appearance."""
    found: dict[str, set[str]] = {}
    for run in runs:
        for line in run.metrics:
            known = found.setdefault(str(line.get("phase", "run")), set())
            known.update(key for key in line if key not in ("step", "phase", "best"))
    return found


def curves(
    runs: Sequence[runs_lib.RunFiles],
    metrics: Sequence[str],
    *,
    only: Sequence[str] | None = None,
) -> list[Point]:
    """Returns the points of metrics over steps, a line per configuration and phase.

    Runs that differ only in their seed are one line: their mean, with a band of one
    standard deviation. A run of several seeds records its own mean and deviation.

    Args:
      runs: runs, in the order of the legend.
      metrics: names of metrics in metrics.jsonl.
      only: names of the phases to show; None shows all.
    """

    def read(run):
        found = _phases(run)
        return {n: one for n, one in found.items() if only is None or n in only}

    return _points(runs, read, metrics)


def entropies(runs: Sequence[runs_lib.RunFiles]) -> list[Point]:
    """Returns the entropy of each cell's weights over steps; see ``mixtures.entropy``.

    Args:
      runs: runs; those without weights are left out.
    """

    def read(run):
        found: Lines = {}
        starts = _starts(run)
        for phase, cell, step, value in mixtures.entropies(run):
            own = step - starts.get(phase, 0)
            found.setdefault(phase, {}).setdefault(own, {})[cell] = value
        return found

    runs = [run for run in runs if run.weights]
    return _points(runs, read)


def incumbents(runs: Sequence[runs_lib.RunFiles]) -> list[Point]:
    """Returns the best score so far over a discrete search's evaluations.

    With several objectives, the score is the first; where it is minimised, the best is
    the lowest.

    Args:
      runs: runs; those without evaluations are left out.
    """
    runs = [run for run in runs if run.evaluations]
    return _points(runs, _best)


def _points(
    runs: Sequence[runs_lib.RunFiles],
    read: Callable[[runs_lib.RunFiles], Lines],
    metrics: Sequence[str] | None = None,
) -> list[Point]:
    """Makes a line per group, phase and metric, and names it by what differs."""
    lines = []
    for group in groups_lib.groups(runs):
        found = [read(run) for run in group.runs]
        for phase in dict.fromkeys(phase for one in found for phase in one):
            by_run = [one[phase] for one in found if one.get(phase)]
            known = (name for one in by_run for line in one.values() for name in line)
            for metric in dict.fromkeys(known) if metrics is None else metrics:
                points = _line(metric, by_run, _num_seeds(group))
                if points:
                    lines.append((group.label, phase, points))
    several = len({phase for _, phase, _ in lines}) > 1
    many = len({label for label, _, _ in lines}) > 1
    most = max(20, min(_MOST, _MOST_ALL // max(1, len(lines))))
    named = []
    for label, phase, points in lines:
        n = max(point.n for point in points)
        parts = [label] * (many or not several) + [phase] * several
        name = ": ".join(parts) + (f" (n = {n})" if n > 1 else "")
        kept = numbers.thinned(points, most)
        named += [point._replace(series=name) for point in kept]
    return named


def _starts(run: runs_lib.RunFiles) -> dict[str, int]:
    """Returns phase -> the global step at which it began."""
    found: dict[str, int] = {}
    last = 0
    for line in run.metrics:
        found.setdefault(str(line.get("phase", "run")), last)
        last = line["step"]
    return found


def _phases(run: runs_lib.RunFiles) -> Lines:
    """Returns phase -> step counted from the phase's beginning -> line."""
    found: Lines = {}
    starts = _starts(run)
    for line in run.metrics:
        phase = str(line.get("phase", "run"))
        found.setdefault(phase, {})[line["step"] - starts[phase]] = line
    return found


def _best(run: runs_lib.RunFiles) -> Lines:
    signals = directed.signals(run)
    best, found = None, {}
    for line in run.evaluations if signals else ():
        value = directed.figures(line.get("scores")).get(signals[0].name)
        if value is not None:
            pick = max if signals[0].sign > 0 else min
            best = value if best is None else pick(best, value)
        if best is not None:  # by number of evaluations
            found[line["evaluation"] + 1] = {signals[0].name: best}
    return {"": found}


def _line(
    metric: str, by_run: Sequence[Mapping[int, Mapping[str, Any]]], num_seeds: int
) -> list[Point]:
    """Returns the mean over runs, at the steps that all runs of that length share."""
    by_run = [one for one in by_run if any(metric in line for line in one.values())]
    points = []
    for step in sorted(set(itertools.chain(*by_run))):
        if any(step not in one and step < max(one) for one in by_run):
            continue
        lines = [one[step] for one in by_run if step in one and metric in one[step]]
        if lines:
            points.append(_point(metric, step, lines, num_seeds))
    return points


def _point(metric, step, lines, num_seeds) -> Point:
    values = [numbers.number(line[metric]) for line in lines]
    known = [value for value in values if value is not None]
    if not known:
        return Point("", metric, step, None, None, None, len(lines))
    mean, deviation = numbers.spread(known)
    n = len(known)
    if len(lines) == 1:
        deviation = numbers.number(lines[0].get(f"{metric}_sd"))
        n = num_seeds if deviation is not None else 1
    band = (None, None)
    if deviation is not None:
        band = (mean - deviation, mean + deviation)
    return Point("", metric, step, mean, *band, n)


def _num_seeds(group: groups_lib.Group) -> int:
    found = numbers.number(groups_lib.flags(group.runs[0].run).get("num_seeds"))
    return int(found) if found else 1
