"""The mixing weights over a search, and the operations of the derived cells."""

import altair as alt

from jnas.report import mixtures, numbers
from jnas.report import runs as runs_lib
from jnas.report.charts import data

_COUNT = "count_"  # prefix of the metrics that count a cell's operations
_ROW = 17  # pixels of an edge's row
_MOST_BARS = 60


def weights(run: runs_lib.RunFiles, *, phase: str | None = None) -> alt.LayerChart:
    """Draws the mixing weights as a heat map, with a slider over the epochs.

    The colour scale is the same in all frames. An operation that is no candidate of an
    edge is left blank.

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
    return _map(rows, frames.steps, title, "epoch " if frames.whole else "frame ")


def _map(rows, steps: list[int], title: str, slider_name: str) -> alt.Chart:
    last = len(steps)
    slider = alt.binding_range(min=1, max=last, step=1, name=slider_name)
    frame = alt.param(
        name="frame", value=last, **({"bind": slider} if last > 1 else {})
    )
    shown = alt.expr(f"'at step ' + {steps}[frame - 1]")
    most = max(w for row in rows for w in row["weights"] if w is not None)
    num_edges = len({row["edge"] for row in rows})
    slanted = alt.Axis(labelAngle=-35, labelOverlap=False)
    return (
        alt.Chart(data.values(rows))
        .transform_calculate(weight="datum.weights[frame - 1]")
        .transform_filter("isValid(datum.weight)")
        .mark_rect(stroke=None)
        .encode(
            x=alt.X("operation:N", sort=None, title=None, axis=slanted),
            y=alt.Y("edge:N", sort=None, title="edge"),
            color=alt.Color(
                "weight:Q",
                title="weight",
                scale=alt.Scale(domain=[0, numbers.short(most) or 1]),
            ),
            tooltip=[
                alt.Tooltip("edge:N", title="edge"),
                alt.Tooltip("operation:N", title="operation"),
                data.tooltip("weight", "weight"),
            ],
        )
        .add_params(frame)
        .properties(
            title=alt.TitleParams(shown),
            description=title,
            width=data.WIDTH,
            height=max(90, _ROW * num_edges),
        )
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
