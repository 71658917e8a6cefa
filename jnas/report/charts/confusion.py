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
    cells = [
        {
            "true": f"{names[i]}",
            "predicted": f"{names[j]}",
            "images": count,
            "share": count / sum(counts),
        }
        for i, counts in enumerate(rows)
        for j, count in enumerate(counts)
        if count
    ]
    cells.sort(key=lambda one: -one["images"])
    shown = [numbers.text(name) for name in names]
    axis = alt.Axis(labelOverlap=True, labelLimit=110, ticks=False, labelFontSize=9)
    slanted = alt.Axis(
        labelOverlap=True, labelLimit=110, ticks=False, labelFontSize=9, labelAngle=-60
    )
    return (
        alt.Chart(data.values(cells[:_MOST_CELLS]))
        .mark_rect(stroke=None)
        .encode(
            x=alt.X(
                "predicted:N",
                scale=alt.Scale(domain=shown),
                title="predicted",
                axis=slanted,
            ),
            y=alt.Y("true:N", scale=alt.Scale(domain=shown), title="true", axis=axis),
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
