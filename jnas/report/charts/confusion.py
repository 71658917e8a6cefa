"""The confusion matrix of many classes as a heat map."""

import altair as alt

from jnas.report import evaluated, numbers
from jnas.report import runs as runs_lib
from jnas.report.charts import data

_LEAST, _MOST = 300, 900  # pixels of all rows
_ROW = 14  # pixels of a row, where there is room
_MOST_CELLS = 20_000


def confusion(run: runs_lib.RunFiles) -> alt.Chart:
    """Draws a confusion matrix: rows are true classes, columns predicted ones.

    Colours are the share of a row's images; cells without any are blank.

    Args:
      run: a run that evaluated a model.

    Raises:
      ValueError: the run has no confusion matrix.
    """
    known = evaluated.confusion(run)
    if known is None:
        raise ValueError(
            f"run must have a confusion matrix, got none in {run.name!r}. Choose a run "
            "of evaluate."
        )
    names, rows = known
    return (
        alt.Chart(data.values(_cells(names, rows)))
        .mark_rect(stroke=None)
        .encode(
            x=alt.X("predicted:N", title="predicted", **_axis(names, labelAngle=-60)),
            y=alt.Y("true:N", title="true", **_axis(names)),
            color=alt.Color(
                "share:Q",
                scale=alt.Scale(domain=[0, 1]),
                legend=alt.Legend(title="share of the true class", format=".0%"),
            ),
            tooltip=[
                alt.Tooltip("true:N", title="true"),
                alt.Tooltip("predicted:N", title="predicted"),
                data.tooltip("images", "images"),
                data.tooltip("share", "share of the true class"),
            ],
        )
        .properties(
            title=f"Confusion matrix, {len(names)} classes",
            width=data.WIDTH,
            height=min(_MOST, max(_LEAST, _ROW * len(names))),
        )
    )


def _cells(names: list[str], rows: list[list[int]]) -> list[dict]:
    """Returns the cells that are not zero, of many those with most images."""
    cells = [
        {
            "true": names[i],
            "predicted": names[j],
            "images": count,
            "share": count / sum(counts),
        }
        for i, counts in enumerate(rows)
        for j, count in enumerate(counts)
        if count
    ]
    cells.sort(key=lambda one: -one["images"])
    return cells[:_MOST_CELLS]


def _axis(names: list[str], **how) -> dict:
    """Returns scale and axis of the classes in their order."""
    shown = [numbers.text(name) for name in names]
    axis = alt.Axis(
        labelOverlap=True, labelLimit=110, ticks=False, labelFontSize=9, **how
    )
    return {"scale": alt.Scale(domain=shown), "axis": axis}
