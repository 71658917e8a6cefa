"""The mixing weights over a search, and the operations of the derived cells."""

import math

import altair as alt

from jnas.report import mixtures, numbers
from jnas.report import runs as runs_lib
from jnas.report.charts import data

_COUNT = "count_"  # prefix of the metrics that count a cell's operations
_ROW = 17  # pixels of an edge's row
_MOST_BARS = 60
_LEAST, _LARGEST = 1.2, 8  # ratios to equal weights that the colours reach
_EQUAL = 5  # percent of equal weights within which the title calls weights equal


def weights(run: runs_lib.RunFiles, *, phase: str | None = None) -> alt.LayerChart:
    """Draws the mixing weights as a heat map, with a slider over the epochs.

    Colours show a weight's ratio to that of equal weights, 1/O of an edge's sum for O
    candidates, on a logarithmic scale around 1 that is the same in all frames. It
    reaches at least from 1/1.2 to 1.2, and at most from 1/8 to 8: weights within a few
    percent of equal look equal, and the title says so. An operation that is no
    candidate of an edge is left blank.

    Args:
      run: a run with weights.jsonl.
      phase: name of the phase; None means the first that recorded weights.

    Raises:
      ValueError: the run has no weights, or none of that phase.
    """
    phases = mixtures.phases(run)
    if not phases or (phase is not None and phase not in phases):
        raise ValueError(
            f"run must have weights of {phase or 'a phase'!r}, got {phases} in "
            f"{run.name!r}. Choose a run or phase with weights."
        )
    shown = phases[0] if phase is None else phase
    frames = mixtures.frames(run, shown)
    one_cell = len({cell for cell, *_ in frames.rows}) == 1
    rows = [
        {
            "edge": edge if one_cell else f"{cell} {edge}",
            "operation": operation,
            "weights": values,
        }
        for cell, edge, operation, values in frames.rows
    ]
    title = f"Mixing weights, {numbers.text(shown)}"
    return _map(rows, frames, title)


def _map(rows: list[dict], frames: mixtures.Frames, title: str) -> alt.Chart:
    last = len(frames.steps)
    name = "epoch " if frames.whole else "frame "
    slider = alt.binding_range(min=1, max=last, step=1, name=name)
    frame = alt.param(
        name="frame", value=last, **({"bind": slider} if last > 1 else {})
    )
    num_edges = len({row["edge"] for row in rows})
    slanted = alt.Axis(labelAngle=-35, labelOverlap=False)
    ratios = mixtures.extremes(frames)
    limit = _limit(ratios)
    return (
        _compared(alt.Chart(data.values(rows)), limit)
        .mark_rect(stroke=None)
        .encode(
            x=alt.X("operation:N", sort=None, title=None, axis=slanted),
            y=alt.Y("edge:N", sort=None, title="edge"),
            color=_around_uniform(limit),
            tooltip=[
                alt.Tooltip("edge:N", title="edge"),
                alt.Tooltip("operation:N", title="operation"),
                data.tooltip("weight", "weight"),
                data.tooltip("uniform", "equal weights"),
                data.tooltip("ratio", "weight / equal"),
            ],
        )
        .add_params(frame)
        .properties(
            title=alt.TitleParams(_said(frames.steps, ratios)),
            description=title,
            width=data.WIDTH,
            height=max(90, _ROW * num_edges),
        )
    )


def _compared(chart: alt.Chart, limit: float) -> alt.Chart:
    """Adds a frame's weight, its edge's mean, and log2 of their ratio, limited."""
    level = f"log(max(datum.ratio, 1e-9)) / LN2, {-limit}, {limit}"
    return (
        chart.transform_calculate(weight="datum.weights[frame - 1]")
        .transform_filter("isValid(datum.weight)")
        .transform_joinaggregate(uniform="mean(weight)", groupby=["edge"])
        .transform_calculate(
            ratio="datum.uniform > 0 ? datum.weight / datum.uniform : 0"
        )
        .transform_calculate(level=f"clamp({level})")
    )


def _limit(ratios: list[tuple[float, float]]) -> float:
    """Returns the largest |log2| of a ratio that the colours show."""
    low = max(min(low for low, _ in ratios), 1 / _LARGEST)
    high = min(max(high for _, high in ratios), _LARGEST)
    return numbers.short(math.log2(max(1 / low, high, _LEAST)))


def _around_uniform(limit: float) -> alt.Color:
    """Returns colours from the lowest to the highest ratio, neutral at 1."""
    legend = alt.Legend(
        title="weight / equal weights",
        values=[-limit, 0, limit],
        labelExpr="(datum.value < 0 ? '1/' : '') + "
        "format(pow(2, abs(datum.value)), '.2~r') + '×'",
    )
    scale = alt.Scale(domain=[-limit, limit], domainMid=0, interpolate="rgb")
    return alt.Color("level:Q", scale=scale, legend=legend)


def _said(steps: list[int], ratios: list[tuple[float, float]]) -> alt.ExprRef:
    """Returns the step of the shown frame, and how far its weights are from equal."""
    spread = [[numbers.short(low, 2), numbers.short(high, 2)] for low, high in ratios]
    off = [numbers.short(100 * max(high - 1, 1 - low), 2) for low, high in ratios]
    near = f"'all within ' + {off}[frame - 1] + ' % of equal'"
    far = f"join({spread}[frame - 1], '× to ') + '× equal weights'"
    return alt.expr(
        f"'step ' + {steps}[frame - 1] + ': ' + "
        f"({off}[frame - 1] < {_EQUAL} ? {near} : {far})"
    )


def operation_counts(run: runs_lib.RunFiles, *, phase: str | None = None) -> alt.Chart:
    """Draws the number of each operation in the derived cell, over the steps.

    Args:
      run: a gradient search with metrics named count_*, as the watch hook records.
      phase: name of the phase; None means the first with such metrics.
    """
    rows, phase = _operations(run, phase)
    step = alt.Axis(labelAngle=0, labelOverlap=True)
    return (
        alt.Chart(data.values(rows))
        .mark_bar()
        .encode(
            x=alt.X("step:O", title="step", axis=step),
            y=alt.Y("count:Q", title="number of operations"),
            color=alt.Color("operation:N", title=None),
            tooltip=[
                alt.Tooltip("operation:N", title="operation"),
                alt.Tooltip("step:O", title="step"),
                data.tooltip("count", "count"),
            ],
        )
        .properties(
            title=f"Operations of the derived cell, {numbers.text(phase)}",
            width=data.WIDTH,
            height=data.HEIGHT,
        )
    )


def _operations(run: runs_lib.RunFiles, phase: str | None):
    """Returns the counts of a phase, and its name; None means the first with counts."""
    lines = [line for line in run.metrics if any(map(_counts, line))]
    names = [str(line.get("phase", "run")) for line in lines]
    if phase is None:
        phase = names[0] if names else "search"
    lines = [one for one, name in zip(lines, names, strict=True) if name == phase]
    rows = [
        {
            "step": line["step"],
            "operation": name.removeprefix(_COUNT),
            "count": numbers.number(value),
        }
        for line in numbers.thinned(lines, _MOST_BARS)
        for name, value in line.items()
        if _counts(name) and numbers.number(value) is not None
    ]
    return rows, phase


def _counts(name: str) -> bool:
    return name.startswith(_COUNT) and not name.endswith("_sd")
