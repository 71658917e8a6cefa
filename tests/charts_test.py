"""Tests of the charts: that they are Vega-Lite, and say what the runs say."""

import dataclasses
import json

import altair as alt
import made_runs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jnas import report
from jnas.report import charts, fronts, pictures

SEARCH = made_runs.search()
CHARTS = {
    "curves": lambda: charts.curves(SEARCH),
    "two runs": lambda: charts.curves([SEARCH, made_runs.search("b", method="b")]),
    "eigenvalue": lambda: charts.eigenvalue(SEARCH),
    "entropy": lambda: charts.entropy(SEARCH),
    "incumbents": lambda: charts.incumbents(made_runs.discrete()),
    "incumbents of costs": lambda: charts.incumbents(
        made_runs.objectives(latency="minimize", macs="minimize")
    ),
    "weights": lambda: charts.weights(SEARCH),
    "operation_counts": lambda: charts.operation_counts(SEARCH),
    "pareto": lambda: charts.pareto(
        report.cells([made_runs.discrete()]), x="parameters", y="valid_12"
    ),
    "objectives": lambda: charts.pareto(
        report.cells([made_runs.objectives()]), x="parameters", y="valid_12"
    ),
    "comparison": lambda: charts.comparison(
        report.compare([made_runs.comparison()])["test_12"], metric="test_12"
    ),
    "traces": lambda: charts.traces(made_runs.comparison().traces),
}


def rows_of(chart):
    """All rows of a chart's data."""
    datasets = chart.to_dict()["datasets"].values()
    return [row for rows in datasets for row in rows]


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_is_valid_and_has_data(name):
    """The schema is Altair's own; the names of axes and a title are given."""
    chart = CHARTS[name]()
    assert isinstance(chart, alt.Chart | alt.LayerChart)
    spec = chart.to_dict()  # validates
    assert rows_of(chart) and spec["title"]
    assert "config" not in spec or set(spec["config"]) <= {"view"}


@pytest.mark.parametrize("name", CHARTS)
def test_names_are_data_and_never_expressions(name):
    """A hostile name is a value of a row; no expression and no field holds one."""
    spec = CHARTS[name]().to_dict()
    spec.pop("datasets")
    assert "onerror" not in json.dumps(spec)


@pytest.mark.parametrize("name", CHARTS)
def test_charts_have_no_colours_of_their_own(name):
    """The page's theme, light or dark, decides."""
    spec = CHARTS[name]().to_dict()
    spec.pop("datasets")
    text = json.dumps({k: v for k, v in spec.items() if k != "config"})
    assert "#" not in text and "scheme" not in text and '"color": "' not in text


def test_the_map_has_a_weight_for_every_frame():
    """A row for each edge and operation; the slider reaches the last epoch."""
    spec = charts.weights(SEARCH).to_dict()
    rows = rows_of(charts.weights(SEARCH))
    assert len(rows) == 2 * len(made_runs.EDGES) * len(made_runs.OPERATIONS)
    assert all(len(row["weights"]) == 5 for row in rows)
    (slider,) = spec["params"]
    assert slider["bind"]["min"] == 1 and slider["bind"]["max"] == slider["value"] == 5
    assert slider["bind"]["name"] == "epoch "
    last = [r for r in rows if r["edge"] == "normal 0->2"]
    assert sum(row["weights"][4] for row in last) == pytest.approx(1, abs=1e-3)


def test_many_epochs_are_thinned_to_frames():
    """The slider then counts frames."""
    spec = charts.weights(made_runs.search(num_epochs=300)).to_dict()
    assert spec["params"][0]["bind"]["max"] == 60
    assert spec["params"][0]["bind"]["name"] == "frame "


def test_a_run_without_weights_is_refused():
    """The error names the run."""
    with pytest.raises(ValueError, match="run must have weights of 'a phase'.*'d'"):
        charts.weights(made_runs.discrete())
    with pytest.raises(ValueError, match="must have weights of 'retrain'"):
        charts.weights(SEARCH, phase="retrain")


def test_the_front_is_marked():
    """Points are on the front or dominated, as more parameters are worth it or not."""
    points = [
        report.RunFiles(n, result={"test_accuracy": a, "parameters": p})
        for n, a, p in (("a", 0.5, 10), ("b", 0.4, 20), ("c", 0.9, 30))
    ]
    rows = rows_of(charts.pareto(report.cells(points)))
    found = {row["name"]: row["place"] for row in rows}
    assert found == {"a": "on the front", "b": "dominated", "c": "on the front"}


def test_cells_that_failed_do_not_hide_the_front():
    """Two of twenty at chance are not shown, and the title says so."""
    values = [0.1, 0.1] + [0.9 + i / 1000 for i in range(18)]
    points = [
        fronts.Cell(str(i), "a", {"test_accuracy": value, "parameters": 10.0 + i})
        for i, value in enumerate(values)
    ]
    chart = charts.pareto(points)
    assert len(rows_of(chart)) == 18
    assert "(2 low outliers, 1 on the front, not shown)" in chart.to_dict()["title"]
    assert len(rows_of(charts.pareto(points[1:]))) == 18
    assert len(rows_of(charts.pareto(points[2:]))) == 18


def test_the_comparison_says_n_and_marks_random_search():
    """Mean, mean - sd and mean + sd; a rule at the mean of random search."""
    chart = CHARTS["comparison"]()
    rows = rows_of(chart)
    (one,) = (row for row in rows if row.get("name") == "darts")
    assert (one["low"], one["mean"], one["high"]) == (90.5, 91, 91.5)
    assert one["count"] == "n = 4"
    assert {"mean": 92} in rows


def test_traces_are_as_the_file_has_them():
    """Each method's quartiles over the costs, with n in its name."""
    traces = {
        "x_label": "evaluations",
        "y_label": "test",
        "traces": {
            "one": {"cost": [1, 2], "quartiles": [[1, 2], [2, 3], [3, 4]], "n": 7},
            "torn": {"cost": [1]},
            "empty": {"cost": [], "quartiles": [[], [], []], "n": 7},
        },
    }
    names = ("name", "cost", "lower", "median", "upper")
    points = (("one (n = 7)", 1, 1, 2, 3), ("one (n = 7)", 2, 2, 3, 4))
    wanted = [dict(zip(names, point, strict=True)) for point in points]
    assert rows_of(charts.traces(traces)) == wanted
    del traces["traces"]["one"]
    with pytest.raises(ValueError) as caught:
        charts.traces(traces)
    assert str(caught.value) == (
        "traces must hold at least one point, got none. Raise the budget."
    )


@pytest.mark.parametrize(
    ("label", "given", "shown"),
    [
        ("test_12", {"test_12": "maximize"}, "test 12 ↑"),
        ("test_mistakes", {"test_mistakes": "minimize"}, "test mistakes ↓"),
        ("test_mistakes", None, "test mistakes ↑"),
        ("test_mistakes ↓", None, "test mistakes ↓"),
        ("my metric ↑", {"my metric": "sideways"}, "my metric ↑"),
        ("joule", {"joule": "minimize"}, "joule ↓"),
    ],
)
def test_traces_have_one_arrow_in_the_direction_of_the_file(label, given, shown):
    """Recorded, as an arrow of a file written for a while, or else by the name."""
    curve = {"cost": [1, 2], "quartiles": [[1, 2], [2, 3], [3, 4]], "n": 7}
    traces = {"y_label": label, "directions": given, "traces": {"a": curve}}
    chart = charts.traces(traces).to_dict()
    titles = {layer["encoding"]["y"]["title"] for layer in chart["layer"]}
    assert titles == {shown}
    assert chart["title"].startswith(f"Best {shown[:-2]} so far")


def test_the_axis_of_traces_begins_where_early_runs_are_of_both_directions():
    """The first values, which are bad, are outside; all that follows is inside."""
    values = np.r_[1000.0, np.linspace(20, 10, 99)]
    for direction, sign in (("minimize", 1), ("maximize", -1)):
        quartiles = np.sort([sign * values - 1, sign * values, sign * values + 1], 0)
        curve = {"cost": list(range(100)), "quartiles": quartiles.tolist(), "n": 3}
        traces = {"y_label": "m", "directions": {"m": direction}}
        chart = charts.traces(traces | {"traces": {"a": curve}}).to_dict()
        low, high = sorted(
            sign * end for end in chart["layer"][0]["encoding"]["y"]["scale"]["domain"]
        )
        assert 8 < low < 9 and 19 < high < 22


def test_a_chart_is_drawn_as_svg():
    """The file for papers: text that is text, no script, no request."""
    svg = report.to_svg(CHARTS["traces"]())
    assert svg.startswith("<svg") and "darts (n = 4)</text>" in svg
    assert "<img" not in svg and "<script" not in svg


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["phase", "valid_accuracy", "train_loss", "count_none", "eigenvalue", "weights",
     "scores", "cell", "best_score", "encoding", "genotype"]
)  # fmt: skip
LINES = st.lists(st.dictionaries(KEYS, VALUES, max_size=5), max_size=4)


@given(LINES, st.dictionaries(st.text(max_size=4), VALUES, max_size=3), VALUES)
@settings(deadline=None, max_examples=20)
def test_no_content_of_files_is_an_error(lines, result, anything):
    """Whatever JSON the files hold, all sections are made."""
    known = ("verdict", "warnings", "next", "seeds", "directions", "evaluations",
             "extended_from", "table")  # fmt: skip
    run = report.RunFiles(
        name="a",
        run={
            "flags": anything,
            "starts": anything,
            "versions": anything,
            "command": anything,
        }
        | {"data": anything, "error": anything},
        result=result | dict.fromkeys((*known, "cells"), anything),
        metrics=[line | {"step": i} for i, line in enumerate(lines)],
        weights=[line | {"step": i} for i, line in enumerate(lines)],
        evaluations=[line | {"evaluation": i} for i, line in enumerate(lines)],
        traces={"traces": anything, "directions": anything, "y_label": anything},
        front=lines,
    )
    runs = [run, dataclasses.replace(run, name="b")]
    for make in (pictures.comparisons, pictures.fronts_of, pictures.searches,
                 pictures.trainings, pictures.weights):  # fmt: skip
        for chart in make(runs):
            chart.to_dict()
    report.html.page(runs)
    report.html.page(runs[:1])
