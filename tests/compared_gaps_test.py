"""Tests of comparisons on tables with gaps: each figure by a loop over the runs."""

import json
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from jnas import report, run
from jnas.discrete import comparison, tables
from jnas.report import headline
from jnas.studies import compare_controllers, compared, setup

SIZES = (4, 3, 4)
NUM_CELLS = 48
CELLS = np.indices(SIZES).reshape(3, -1).T
RNG = np.random.default_rng(0)
SCORES = RNG.permutation(NUM_CELLS).astype(np.float32)
TESTS = RNG.permutation(NUM_CELLS).astype(np.float32) / 2


def gapped(values, *places):
    """Values with NaN at some places."""
    values = values.astype(np.float32)
    values[list(places)] = np.nan
    return values


def write(folder, metrics, *, rows=None, costs=()):
    """Writes a table, of some rows only if they are given; returns its path."""
    names, encodings = ("a", "b", "c"), None
    if rows is not None:
        encodings = CELLS[rows].astype(np.int32)
        metrics = {name: np.asarray(values)[rows] for name, values in metrics.items()}
    path = folder / "made.npz"
    tables.write_npz(
        path, tables.Table("made", SIZES, names, metrics, encodings, costs)
    )
    return f"table:{path}"


def settings(objective, **changes):
    """Settings of a small comparison."""
    defaults = {
        "controllers": ("random_search",),
        "num_runs": 20,
        "signal": ("valid",),
        "report": ("valid", "test"),
    }
    if "budget_seconds" not in changes:
        defaults["budget_evaluations"] = 8
    return compare_controllers.CompareSettings(
        objective=objective, **(defaults | changes)
    )


def compare(folder, objective, **changes):
    """Runs a comparison; returns its plan, JSON line, printed text and result.json."""
    plan = compare_controllers.prepare(settings(objective, **changes))
    with run.open_run(folder / "run") as r:
        line, text = compare_controllers.compare(r, plan)
    return plan, line, text, json.loads((folder / "run" / "result.json").read_text())


def played(plan, name):
    """The encodings of the runs of a controller, f[S, T, G], in order."""
    return comparison.play(
        setup.controller(name, SIZES),
        plan.objective,
        num_runs=20,
        num_evaluations=plan.num_evaluations,
        seed=0,
    ).encodings


def finals(plan, name, metrics, *, costs=None, budget=math.inf, sign=1):
    """Each run's metrics of its best known cell, and its evaluations, by a loop."""
    found, counts = [], []
    index = {tuple(cell): i for i, cell in enumerate(CELLS.tolist())}
    for cells in played(plan, name).tolist():
        best, spent, count = None, 0.0, 0
        for cell in cells:
            place = index[tuple(cell)]
            spent += 1.0 if costs is None else costs[place]
            if spent > budget:
                break
            count += 1
            value = sign * metrics["valid"][place]
            if math.isfinite(value) and (best is None or value > best[0]):
                best = value, place
        found.append(
            {n: None if best is None else v[best[1]] for n, v in metrics.items()}
        )
        counts.append(count)
    return found, counts


def known(rows, name):
    """The finite values of a metric."""
    return [
        float(row[name])
        for row in rows
        if row[name] is not None and math.isfinite(row[name])
    ]


def is_spread_of(figures, values):
    """Whether mean, sd and n are those of the values."""
    return (
        figures["n"] == len(values)
        and figures["mean"] == pytest.approx(statistics.mean(values))
        and figures["sd"] == pytest.approx(statistics.stdev(values))
    )


@pytest.fixture
def partly(tmp_path):
    """Half of the cells lack the reported metric, among them most good ones."""
    order = np.argsort(SCORES)
    metrics = {"valid": SCORES, "test": gapped(TESTS, *order[1::2])}
    return write(tmp_path, metrics), metrics


def test_each_metric_is_judged_over_the_runs_that_have_it(partly, tmp_path, capfd):
    """Mean, sd, n and p of the known values; what lacks is said before and after."""
    objective, metrics = partly
    plan, line, text, result = compare(
        tmp_path, objective, controllers=("local_search",)
    )
    said = capfd.readouterr().err
    assert "holds test of 24 of 48 cells (50 %); a run whose cell lacks it" in said
    tests = {}
    for name in ("random_search", "local_search"):
        rows, _ = finals(plan, name, metrics)
        tests[name] = known(rows, "test")
        assert 2 <= len(tests[name]) < 20
        assert is_spread_of(line[name]["test"], tests[name])
        assert is_spread_of(line[name]["valid"], known(rows, "valid"))
        assert line[name]["valid"]["n"] == 20
        assert f"{len(tests[name])} of 20" in text
        assert f"{len(tests[name])} of {name}" in result["warnings"][0]
    assert "runs with test" in text and "runs with valid" not in text
    p = stats.mannwhitneyu(*tests.values()).pvalue
    assert 1e-4 < p < 0.99 and f"| {p:.4f} " in text
    traces = json.loads((tmp_path / "run" / "traces.json").read_text())["traces"]
    assert {n: one["n"] for n, one in traces.items()} == {
        n: len(values) for n, values in tests.items()
    }
    page = headline.warnings(report.load(tmp_path / "run"))
    assert page == result["warnings"] and f"warning: {page[0]}." in text


def test_a_whole_table_has_no_columns_of_gaps(tmp_path, capfd):
    """And no warnings."""
    metrics = {"valid": SCORES, "test": TESTS}
    _, line, text, result = compare(tmp_path, write(tmp_path, metrics))
    assert "holds" not in capfd.readouterr().err and result["warnings"] == []
    header = text.splitlines()[0]
    assert "runs with" not in header and "unknown" not in header
    assert "unknown" not in json.dumps(line)


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"test": gapped(TESTS, *range(48))}, "report must .* got test, which it holds "
         "of none of 48 cells whose valid is known"),
        ({"valid": gapped(SCORES, *range(48))}, "signal must .* got valid, which it "
         "holds of none of 48 cells"),
        ({"valid": gapped(SCORES, *range(24)), "test": gapped(TESTS, *range(24, 48))},
         "got test, which it holds of none of 24 cells whose valid is known"),
    ],
)  # fmt: skip
def test_a_metric_that_no_run_can_have_is_refused_before_anything_runs(
    metrics, words, tmp_path
):
    """With the reason, in one line."""
    objective = write(tmp_path, {"valid": SCORES, "test": TESTS} | metrics)
    with pytest.raises(ValueError, match=words) as caught:
        compare_controllers.prepare(settings(objective))
    assert "\n" not in str(caught.value)


def test_fewer_than_two_runs_are_refused_with_their_reasons(tmp_path):
    """By count: chose a cell without it; proposed no known cell; could not pay."""
    worst = int(SCORES.argmin())
    lost = gapped(TESTS, *(set(range(48)) - {worst}))
    with pytest.raises(ValueError) as caught:
        compare(tmp_path, write(tmp_path, {"valid": SCORES, "test": lost}))
    assert str(caught.value).startswith(
        "runs must have test for at least two of 20 of random_search, got 0: 20 chose "
        "a cell whose test is unknown. The table"
    )
    assert "holds test of 1 of 48 cells (2.08 %). Use a fuller" in str(caught.value)
    valid = gapped(SCORES, *(set(range(48)) - {worst}))
    folder = tmp_path / "unknown"
    folder.mkdir()
    with pytest.raises(ValueError, match="[01]: (19|20) proposed no cell whose valid"):
        compare(
            folder,
            write(folder, {"valid": valid, "test": TESTS}),
            budget_evaluations=1,
        )
    folder = tmp_path / "unpaid"
    folder.mkdir()
    seconds = gapped(np.full(48, 9.0), *range(1, 48))
    seconds[1] = 1.0
    metrics = {"valid": SCORES, "test": TESTS, "seconds": seconds}
    with pytest.raises(ValueError, match="(19|20) could pay for no evaluation"):
        compare(folder, write(folder, metrics), budget_seconds=8.5)


@pytest.mark.parametrize("rows", [None, np.arange(0, 48, 2)], ids=["nan", "outside"])
def test_an_evaluation_of_unknown_seconds_is_charged_the_largest(rows, tmp_path, capfd):
    """Neither a NaN nor a proposal outside the table makes the budget endless."""
    seconds = np.linspace(1, 10, 48).round(2).astype(np.float32)
    metrics = {"valid": SCORES, "test": TESTS, "seconds": seconds}
    if rows is None:
        metrics["seconds"] = gapped(seconds, *range(0, 48, 3), 47)
    objective = write(tmp_path, metrics, rows=rows)
    plan, line, text, result = compare(tmp_path, objective, budget_seconds=60.0)
    outside = [] if rows is None else sorted(set(range(48)) - set(rows.tolist()))
    held = {name: gapped(values, *outside) for name, values in metrics.items()}
    most = float(np.nanmax(held["seconds"]))
    assert plan.unknown_cost == most
    costs = np.where(np.isnan(held["seconds"]), most, held["seconds"]).tolist()
    found, counts = finals(plan, "random_search", held, costs=costs, budget=60.0)
    one = line["random_search"]
    assert one["evaluations"] == statistics.mean(counts)
    assert max(counts) < plan.num_evaluations  # the budget ended every run
    assert is_spread_of(one["test"], known(found, "test"))
    said = capfd.readouterr().err
    assert f"without it is charged the largest, {most:.4g}" in said
    index = {tuple(cell): i for i, cell in enumerate(CELLS.tolist())}
    paid = [
        index[tuple(cell)]
        for cells, count in zip(
            played(plan, "random_search").tolist(), counts, strict=True
        )
        for cell in cells[:count]
    ]
    rate = float(np.isnan(held["seconds"][paid]).mean())
    assert one["unknown_cost_rate"] == pytest.approx(rate) and 0.2 < rate < 0.7
    assert f"{100 * rate:.1f} %" in text and "evaluations of unknown cost" in text
    assert f"charged {most:.4g}, the largest" in " ".join(result["warnings"])
    if rows is not None:
        unknown = float(np.isnan(held["valid"][paid]).mean())
        assert one["unknown_rate"] == pytest.approx(unknown)


@pytest.mark.parametrize(
    ("seconds", "budget", "words"),
    [
        (np.full(48, np.nan), 5.0, "hold seconds above 0 to pay with, got none"),
        (np.zeros(48), 5.0, "hold seconds above 0 to pay with, got 0"),
        (np.r_[-1.0, np.ones(47)], 5.0, "hold seconds above 0 to pay with, got -1"),
        (np.full(48, 2.0), 1.5, "must pay for the cheapest cell's 2 s, got 1.5"),
        (np.full(48, 2.0), math.inf, "at most 100000000 evaluations .* got inf"),
    ],
)
def test_seconds_that_pay_for_nothing_or_everything_are_refused(
    seconds, budget, words, tmp_path
):
    """Before anything runs."""
    metrics = {"valid": SCORES, "test": TESTS, "seconds": seconds}
    objective = write(tmp_path, metrics)
    with pytest.raises(ValueError, match=words):
        compare_controllers.prepare(settings(objective, budget_seconds=budget))


@pytest.mark.parametrize("declared", [True, False], ids=["costs", "flag"])
def test_a_minimised_metric_is_minimised_in_every_output(declared, tmp_path):
    """Declared by the table or by a flag: means, regret, traces, headline."""
    mistakes = TESTS + 1
    metrics = {"valid": SCORES, "test_mistakes": mistakes}
    objective = write(tmp_path, metrics, costs=("test_mistakes",) if declared else ())
    name = "test_mistakes" if declared else "minimize:test_mistakes"
    plan, line, text, result = compare(tmp_path, objective, report=("valid", name))
    rows, _ = finals(plan, "random_search", metrics)
    values = known(rows, "test_mistakes")
    assert is_spread_of(line["random_search"]["test_mistakes"], values)
    assert f"| {statistics.mean(values) - mistakes.min():.2f} " in text  # regret
    assert "test_mistakes ↓" in text
    assert result["directions"] == {"valid": "maximize", "test_mistakes": "minimize"}
    assert list(line) == ["random_search"]  # the JSON line has methods alone
    folder = tmp_path / "run"
    traces = json.loads((folder / "traces.json").read_text())
    assert traces["directions"] == {"test_mistakes": "minimize"}
    read = report.load(folder)
    two = [read, report.load(folder, name="again")]
    assert "Lowest test mistakes" in " ".join(headline.sentences(two))
    assert "test mistakes ↓" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_finished_comparison_prints_its_table_again(partly, tmp_path):
    """The same text and the same line; of an earlier release the line alone."""
    _, line, text, result = compare(tmp_path, partly[0])
    with run.open_run(tmp_path / "run") as r:
        assert r.finished == result
    assert (compared.figures(result), compared.text(result)) == (line, text)
    assert "runs with test" in text and "warning: test is judged" in text
    assert compared.text(line) == "" and compared.figures(line) == line


def test_a_metric_that_is_named_twice_is_reported_once(tmp_path):
    """It was a row with fewer cells than the header."""
    objective = write(tmp_path, {"valid": SCORES, "test": TESTS})
    listed = ("test", "valid", "maximize:test")
    plan, line, text, _ = compare(tmp_path, objective, report=listed)
    assert [m.name for m in plan.reports] == ["test", "valid"]
    assert text.splitlines()[0].count("test ↑") == 1
    assert line["random_search"]["test"]["n"] == 20
    both = ("maximize:test", "minimize:test")  # one key of the result, two means
    with pytest.raises(ValueError, match="test"):
        compare_controllers.prepare(settings(objective, report=both))


def test_names_that_a_result_uses_itself_are_refused(tmp_path):
    """A metric "evaluations" would be overwritten; a controller "warnings" be lost."""
    objective = write(tmp_path, {"valid": SCORES, "evaluations": TESTS})
    with pytest.raises(ValueError, match="metrics other than .* got 'evaluations'"):
        compare_controllers.prepare(settings(objective, report=("evaluations",)))
    with pytest.raises(ValueError, match="must not be named .* got 'warnings'"):
        compared.check_names(["random_search", "warnings"], (), ())


def test_a_spread_is_of_the_known_values():
    """None where there is no mean, or no deviation."""
    assert compared.spread(np.array([1.0, np.nan, 3.0, np.inf])) == {
        "mean": 2.0,
        "sd": pytest.approx(math.sqrt(2)),
        "n": 2,
    }
    assert compared.spread(np.array([5.0])) == {"mean": 5.0, "sd": None, "n": 1}
    assert compared.spread(np.array([np.nan])) == {"mean": None, "sd": None, "n": 0}
