"""Selects the charts of each section of a report; charts without data are left out."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jnas.report import (
    charts,
    directed,
    evaluated,
    fronts,
    mixtures,
    series,
    spreads,
    trials,
)
from jnas.report import runs as runs_lib

_COUNT = "count_"
_MOST_CHARTS = 50  # charts of weights and operations, two for each run and phase
_BEST = "best_score"


def comparisons(runs: Sequence[runs_lib.RunFiles]) -> list[Any]:
    """Returns charts that compare methods, and their best scores so far."""
    found = []
    for run in runs:
        found += _kept(charts.traces, run.traces) if run.traces else []
    known = directed.of(runs)
    for metric, rows in spreads.compare(runs).items():
        direction = known.get(metric)
        found.append(charts.comparison(rows, metric=metric, direction=direction))
    if _evaluated(runs) > 1:
        found.append(charts.incumbents(runs))
    return found


def fronts_of(runs: Sequence[runs_lib.RunFiles]) -> list[Any]:
    """Returns charts of accuracy versus cost, and of each two objectives."""
    points = fronts.cells(runs)
    signals = dict.fromkeys(one.name for run in runs for one in directed.signals(run))
    pairs = fronts.pairs(points, tuple(signals))
    return [charts.pareto(points, x=x, y=y) for x, y in pairs]


def searches(runs: Sequence[runs_lib.RunFiles]) -> list[Any]:
    """Returns the curves of searches: accuracy, loss, best scores."""
    phases = series.phases(runs)
    valid = {f"valid_{signal}" for signal in _signals(runs)}
    chosen = [name for name, has in phases.items() if valid & has]
    found = list(_pairs(runs, phases, chosen, ("train", "valid")))
    if _evaluated(runs) == 1:
        found.append(charts.incumbents(runs))
    elif any(_BEST in has for has in phases.values()) and not _evaluated(runs):
        found.append(charts.curves(runs, (_BEST,), title="Best score so far"))
    return found


def tunings(runs: Sequence[runs_lib.RunFiles]) -> list[Any]:
    """Returns the trials of each tuning as parallel coordinates."""
    return [
        _named(charts.parallel(run), run, len(runs))
        for run in runs
        if trials.known(run)
    ]


def trainings(runs: Sequence[runs_lib.RunFiles]) -> list[Any]:
    """Returns the curves of trainings from scratch: accuracy and loss."""
    phases = series.phases(runs)
    valid = {f"valid_{signal}" for signal in _signals(runs)}
    train = {"train_loss", *(f"train_{signal}" for signal in _signals(runs))}
    chosen = [name for name, has in phases.items() if not valid & has and train & has]
    return list(_pairs(runs, phases, chosen, ("train",)))


def confusions(runs: Sequence[runs_lib.RunFiles]) -> list[Any]:
    """Returns the confusion matrices that are too large for a table."""
    found = []
    for run in runs:
        if evaluated.confusion(run) is not None and not evaluated.matrix(run):
            found.append(_named(charts.confusion(run), run, len(runs)))
    return found


def weights(runs: Sequence[runs_lib.RunFiles]) -> list[Any]:
    """Returns entropies and eigenvalues, then each run's weights and operations."""
    found = []
    if any(mixtures.phases(run) for run in runs):
        found.append(charts.entropy(runs))
    if any("eigenvalue" in has for has in series.phases(runs).values()):
        found.append(charts.eigenvalue(runs))
    for run in runs:
        weighed, counting = mixtures.phases(run), _counting(run)
        for phase in dict.fromkeys([*weighed, *counting]):
            made = []
            if phase in weighed:
                made.append(charts.weights(run, phase=phase))
            if phase in counting:
                made.append(charts.operation_counts(run, phase=phase))
            found += [_named(chart, run, len(runs)) for chart in made]
    return found[:_MOST_CHARTS]


def _named(chart, run: runs_lib.RunFiles, num_runs: int):
    """Puts the run's name before a chart's title if there are several runs."""
    if num_runs > 1:
        name = "title" if isinstance(chart.title, str) else "description"
        chart[name] = f"{run.name}: {chart[name]}"
    return chart


def _evaluated(runs: Sequence[runs_lib.RunFiles]) -> int:
    return sum(bool(run.evaluations) for run in runs)


def _counting(run: runs_lib.RunFiles) -> list[str]:
    return [
        name
        for name, has in series.phases([run]).items()
        if any(metric.startswith(_COUNT) for metric in has)
    ]


def _signals(runs) -> list[str]:
    """Returns the signals of the runs' tasks, each once."""
    return list(dict.fromkeys(run.signal for run in runs))


def _pairs(runs, phases, chosen, splits) -> Iterator[Any]:
    for what in (*_signals(runs), "loss"):
        names = [f"{split}_{what}" for split in splits]
        names = [n for n in names if any(n in phases[phase] for phase in chosen)]
        if names:
            yield charts.curves(runs, names, phases=chosen)


def _kept(make: Callable[[Any], Any], given: Any) -> list[Any]:
    """Returns the chart in a list, or an empty list where there is nothing to draw."""
    try:
        return [make(given)]
    except ValueError:
        return []
