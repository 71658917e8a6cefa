"""Tests of directions in a report: fronts, best scores, tables and axes."""

import dataclasses
import itertools
import json
import math

import hypothesis
import made_runs
import numpy as np
import pytest
from hypothesis import strategies as st

from jnas import report
from jnas.report import (
    charts,
    directed,
    first,
    fronts,
    headline,
    pictures,
    sections,
    series,
    spreads,
)

UP, DOWN = "maximize", "minimize"
SIGNS = {UP: 1, DOWN: -1}
POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)
PAIRS = list(itertools.product((UP, DOWN), repeat=2))


def beaten(one, by, signs):
    """Whether a point is no better than another in both, and they differ."""
    worse = [s * a <= s * b for a, b, s in zip(one, by, signs, strict=True)]
    return one != by and all(worse)


def made(points, directions, **kwargs):
    """A run of two metrics, "a" and "b", with these scores and directions."""
    lines = [
        {"evaluation": i, "encoding": [i], "cell": str(i), "scores": {"a": a, "b": b}}
        for i, (a, b) in enumerate(points)
    ]
    known = dict(zip("ab", directions, strict=True))
    run = made_runs.record(controller="nsga2", signal=["a", "b"])
    result = {"directions": known}
    return report.RunFiles("r", run=run, result=result, evaluations=lines, **kwargs)


def rows_of(chart):
    """All rows of a chart's data."""
    datasets = chart.to_dict()["datasets"].values()
    return [row for rows in datasets for row in rows]


@pytest.mark.parametrize("directions", PAIRS)
@hypothesis.given(POINTS)
@hypothesis.settings(deadline=None, max_examples=60)
def test_front_against_brute_force(directions, points):
    """Kept are the points that no other one beats, each value once, best x first."""
    signs = tuple(SIGNS[one] for one in directions)
    wanted = {p for p in points if not any(beaten(p, o, signs) for o in points)}
    found = [points[i] for i in fronts.front(points, signs)]
    assert set(found) == wanted and len(found) == len(wanted)
    assert found == sorted(found, key=lambda p: -signs[0] * p[0])


@pytest.mark.parametrize("directions", PAIRS)
def test_the_chart_marks_the_front_of_the_runs_own_directions(directions):
    """A thousand random cells: all of the front is drawn, on axes with arrows."""
    points = np.random.default_rng(0).normal(size=(1000, 2)).round(3).tolist()
    run = made(map(tuple, points), directions)
    (chart,) = pictures.fronts_of([run])
    spec = chart.to_dict()
    x, y = (spec["layer"][0]["encoding"][axis]["title"] for axis in "xy")
    arrows = {"a": "↑↓"[directions[0] == DOWN], "b": "↑↓"[directions[1] == DOWN]}
    assert x == f"{x[0]} {arrows[x[0]]}" and y == f"{y[0]} {arrows[y[0]]}"
    assert {x[0], y[0]} == {"a", "b"}
    both = [(one["ab".index(x[0])], one["ab".index(y[0])]) for one in points]
    signs = [{"↑": 1, "↓": -1}[axis[-1]] for axis in (x, y)]
    wanted = {p for p in both if not any(beaten(p, o, signs) for o in both)}
    rows = rows_of(chart)
    marked = {(r["x"], r["y"]) for r in rows if r["place"] == "on the front"}
    low = min(signs[1] * row["y"] for row in rows)
    assert {p for p in wanted if signs[1] * p[1] >= low} == marked
    assert 500 < len(rows) < 700  # dominated ones are thinned


@pytest.mark.parametrize("directions", PAIRS)
def test_the_line_of_the_front_is_the_edge_of_what_it_dominates(directions):
    """Between two points it has the better y that is reached at no worse an x."""
    signs = tuple(SIGNS[one] for one in directions)
    turns = [i * math.pi / 8 + 0.1 for i in range(16)]
    points = [(round(math.cos(t), 3), round(math.sin(t), 3)) for t in turns]
    known = dict(zip("xy", directions, strict=True))
    cells = [
        fronts.Cell("c", "", dict(zip("xy", p, strict=True)), known) for p in points
    ]
    spec = charts.pareto(cells, x="x", y="y").to_dict()
    step = spec["layer"][0]["mark"]["interpolate"]
    kept = sorted(points[i] for i in fronts.front(points, signs))
    assert len(kept) > 3
    for left, right in itertools.pairwise(kept):
        middle = (left[0] + right[0]) / 2
        reached = [p[1] for p in points if signs[0] * p[0] >= signs[0] * middle]
        wanted = max(signs[1] * one for one in reached) * signs[1]
        assert wanted == {"step-after": left, "step-before": right}[step][1]


def test_each_seed_is_a_point_of_its_own():
    """A search of four seeds with parameters has four cells, by validation accuracy."""
    seeds = [
        {"seed": i, "valid_accuracy": i / 9, "train_accuracy": 1.0, "parameters": 9 + i}
        for i in range(4)
    ]
    run = report.RunFiles("s", result={"valid_accuracy": 0.5, "seeds": seeds})
    points = report.cells([run])
    assert [one.name for one in points] == [f"seed {i}" for i in range(4)]
    assert points[2].figures == {"valid_accuracy": 2 / 9, "parameters": 11}
    assert fronts.pairs(points) == [("parameters", "valid_accuracy")]
    mean = report.RunFiles("s", result={"valid_accuracy": 0.5, "seeds": [{"seed": 0}]})
    assert [one.figures for one in report.cells([mean])] == [{"valid_accuracy": 0.5}]


def test_outliers_are_at_the_worse_end():
    """Of losses the high ones are left out; the one on the front is counted."""
    losses = [9.0, 9.0] + [0.9 + i / 100 for i in range(18)]
    points = [
        fronts.Cell(str(i), "", {"loss": loss, "macs": 10.0 + i})
        for i, loss in enumerate(losses)
    ]
    chart = charts.pareto(points, x="macs", y="loss")
    assert len(rows_of(chart)) == 18
    title = chart.to_dict()["title"]
    assert title == "Loss versus macs (2 high outliers, 1 on the front, not shown)"


def test_two_accuracies_and_two_costs_are_drawn_where_they_are_the_objectives():
    """The first objective is up; without objectives only accuracy over cost is."""
    for names, direction in (("ab", UP), ("ab", DOWN)):
        run = made([(1, 2), (2, 1), (3, 3)], (direction, direction))
        assert fronts.pairs(report.cells([run]), tuple(names)) == [("b", "a")]
        assert fronts.pairs(report.cells([run])) == []
        assert len(pictures.fronts_of([run])) == 1


def test_three_objectives_have_a_chart_of_each_two():
    """Whatever their directions, the minimised one is across."""
    run = made_runs.objectives(valid=UP, latency=DOWN, test=UP)
    found = fronts.pairs(report.cells([run]), ("valid", "latency", "test"))
    assert found == [("latency", "valid"), ("test", "valid"), ("latency", "test")]


def test_a_flag_overrides_the_name():
    """parameters that are maximised: declared by the run, shown by every part."""
    given = {"valid_12": UP, "parameters": UP}
    run = made_runs.objectives(**given)
    assert directed.of([run]) == given
    assert [one.label for one in directed.signals(run)] == [
        "valid_12 ↑",
        "parameters ↑",
    ]
    assert report.front_table(run).header[1:3] == ["valid_12 ↑", "parameters ↑"]
    running = dataclasses.replace(
        run,
        result={},
        objectives={},
        front=(),
        run=made_runs.record(signal=["valid_12", "maximize:parameters"]),
    )
    assert directed.of([running]) == given
    unnamed = dataclasses.replace(
        running, run=made_runs.record(signal=["valid_12", "parameters"])
    )
    assert directed.of([unnamed]) == {"valid_12": UP, "parameters": DOWN}


def test_an_earlier_run_keeps_what_it_did():
    """Without recorded directions a signal was maximised, unless it had a minus."""
    scores = [{"valid": float(i), "parameters": 10.0 - i} for i in range(3)]
    lines = [
        {"evaluation": i, "cell": str(i), "scores": s} for i, s in enumerate(scores)
    ]
    run = report.RunFiles(
        "e", run=made_runs.record(signal=["valid", "parameters"]), evaluations=lines
    )
    assert directed.of([run]) == {"valid": UP, "parameters": UP}
    negated = [{"valid": s["valid"], "-parameters": -s["parameters"]} for s in scores]
    lines = [line | {"scores": s} for line, s in zip(lines, negated, strict=True)]
    run = report.RunFiles(
        "e", run=made_runs.record(signal=["valid", "-parameters"]), evaluations=lines
    )
    assert directed.of([run]) == {"valid": UP, "parameters": DOWN}
    assert [cell.figures for cell in report.cells([run])] == scores


@pytest.mark.parametrize(("direction", "best"), [(UP, np.maximum), (DOWN, np.minimum)])
def test_the_best_so_far_follows_the_direction(direction, best):
    """The running maximum or minimum of the first objective; a null is no score."""
    values = [3.0, None, 5.0, 1.0, 4.0, 0.5]
    run = made([(v, 0) for v in values], (direction, UP))
    found = [point.value for point in series.incumbents([run])]
    known = np.array([3.0, 3.0, 5.0, 1.0, 4.0, 0.5])
    np.testing.assert_allclose(found, best.accumulate(known))
    title = charts.incumbents(run).to_dict()["layer"][-1]["encoding"]["y"]["title"]
    assert title == ("a ↑" if direction == UP else "a ↓")


def test_comparisons_show_the_direction():
    """A cost is compared where it is an objective, and its axis has an arrow down."""
    first = made_runs.objectives("x")
    flags = first.run["flags"] | {"controller": "other"}
    runs = [first, dataclasses.replace(first, name="y", run={"flags": flags})]
    assert set(spreads.compare(runs)) == {"valid_12", "parameters"}
    titles = json.dumps([c.to_dict() for c in pictures.comparisons(runs)])
    assert json.dumps("parameters ↓, mean ± sd")[1:-1] in titles
    assert json.dumps("valid 12 ↑, mean ± sd")[1:-1] in titles
    rows = report.compare([made_runs.comparison()])["test_12"]
    chart = charts.comparison(rows, metric="test_12", direction=DOWN).to_dict()
    assert "test 12 ↓, mean ± sd" in json.dumps(chart, ensure_ascii=False)


def compared(directions, **flags):
    """A comparison of two methods in "test_mistakes" and its result's directions."""
    run = made_runs.comparison()
    figures = {"mean": 3.0, "sd": 0.5, "n": 4}
    result = {
        "few": {"test_mistakes": figures},
        "many": {"test_mistakes": figures | {"mean": 9.0}},
        "directions": directions,
        "warnings": ["nothing was learned"],
        "table": {"title": "t", "header": ["a"], "rows": [[1.0]]},
    }
    return dataclasses.replace(
        run, result=result, run=made_runs.record(**flags), traces={}
    )


@pytest.mark.parametrize(
    ("direction", "said", "axis"),
    [
        (DOWN, "Lowest test mistakes: few, 3", "test mistakes ↓"),
        (UP, "Highest test mistakes: many, 9", "test mistakes ↑"),
    ],
)
def test_a_comparison_is_drawn_in_the_directions_of_its_result(direction, said, axis):
    """Headline, chart and table; what is no method is no row."""
    for run in (
        compared({"test_mistakes": direction}),
        compared({}, report=[f"{direction}:test_mistakes"]),
    ):
        assert set(spreads.methods(run.result)) == {"few", "many"}
        assert said in " ".join(headline.sentences([run]))
        (chart,) = pictures.comparisons([run])
        assert f"{axis}, mean" in json.dumps(chart.to_dict(), ensure_ascii=False)
        table = sections.comparison_table([run])
        assert f">{axis}</th>" in table and table.count("(n = 4)") == 2
        assert "nothing was learned" in first.screen([run], "t")


def test_a_metric_that_is_reported_with_a_word_is_compared():
    """Its name is that after the word; a cost by name needs the word."""
    named = ["minimize:test_mistakes", "maximize:macs", "parameters"]
    runs = [
        report.RunFiles(
            name,
            run=made_runs.record(report=named, controller=name),
            result={"test_mistakes": 3.0, "macs": 2.0, "parameters": 9.0},
        )
        for name in "xy"
    ]
    assert set(spreads.compare(runs)) == {"test_mistakes", "macs"}
    assert directed.of(runs)["test_mistakes"] == DOWN


def test_what_has_no_better_end_has_no_arrow():
    """Entropies and counts are neither; tau of an earlier comparison is not guessed."""
    for name in ("entropy", "eigenvalue", "tau", "evaluations"):
        assert directed.label(name, {}) == name
    named = ("train_loss", "seconds", "auxiliary_parameters", "valid_12")
    shown = [directed.label(name, {}) for name in named]
    assert shown == [
        "train_loss ↓",
        "seconds ↓",
        "auxiliary_parameters ↓",
        "valid_12 ↑",
    ]
