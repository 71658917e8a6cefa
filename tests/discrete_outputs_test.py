"""Tests of what a discrete search says and keeps: directions, fronts, gaps, verdict."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, directions, registry, report, run, spaces, testing
from jnas.discrete import objectives, tables
from jnas.discrete.controllers import fronts
from jnas.studies import closing, compare_controllers, search_discrete

SPACE = spaces.zoo.nasbench201()


def table(values, *, encodings=None, costs=(), name="made"):
    """A table of the NAS-Bench-201 space with these metrics."""
    sizes, names = SPACE.sizes, SPACE.gene_names
    values = {k: np.asarray(v, np.float32) for k, v in values.items()}
    return tables.Table(name, sizes, names, values, encodings, costs)


def search(folder, made, **settings):
    """Searches a table; returns (found, what it printed at the end)."""
    defaults = {"controller": "random_search", "report": (), "num_evaluations": 60}
    settings = search_discrete.DiscreteSettings(
        objective="table:made", **(defaults | settings)
    )
    with run.open_run(folder) as r:
        found = search_discrete.search_cells(r, SPACE, settings, table=made)
        result = search_discrete.close(r, found, settings)
        return found, closing.text(folder, result)


def lines(folder):
    """The evaluations of a run."""
    text = (folder / "evaluations.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_nsga2_minimises_a_cost_and_every_output_shows_its_direction(tmp_path):
    """The last population is smaller than the first; a front by brute force."""
    digits = tables.load("digits201")
    signal = ("valid_12", "parameters")
    found, text = search(
        tmp_path, digits, controller="nsga2", signal=signal, num_evaluations=400
    )
    seen = lines(tmp_path)
    assert len(seen) == 400
    sizes = np.array([one["scores"]["parameters"] for one in seen])
    assert sizes.min() > 0  # the metric itself
    assert sizes[-40:].mean() < 0.8 * sizes[:40].mean()
    assert found.result["directions"] == {
        "valid_12": "maximize",
        "parameters": "minimize",
    }
    assert "valid_12 ↑" in text and "parameters ↓" in text
    front = json.loads((tmp_path / "front.json").read_text())
    points = np.array([[one["scores"][n] for n in signal] for one in seen])
    best = [
        i
        for i, (a, p) in enumerate(points)
        if not ((points[:, 0] >= a) & (points[:, 1] <= p)
                & ((points[:, 0] > a) | (points[:, 1] < p))).any()
    ]  # fmt: skip
    wanted = {tuple(points[i]) for i in best}
    got = {tuple(one["scores"][n] for n in signal) for one in front["front"]}
    assert got == wanted and len(front["front"]) == len(wanted)
    for one in front["front"]:
        assert seen[one["evaluation"]] == one


@pytest.mark.parametrize("text", ["maximize:parameters", "parameters", "-parameters"])
def test_a_word_overrides_the_direction(tmp_path, text):
    """The largest cell, or the smallest."""
    digits = tables.load("digits201")
    found, _ = search(tmp_path, digits, signal=(text,), num_evaluations=200)
    sizes = [one["scores"]["parameters"] for one in lines(tmp_path)]
    wanted = max(sizes) if text.startswith("max") else min(sizes)
    assert found.result["parameters"] == wanted


def test_a_table_declares_its_own_costs(tmp_path):
    """In its file; by name it would be maximised."""
    values = {"joule": np.arange(15625)}
    path = tmp_path / "made.npz"
    tables.write_npz(path, table(values, costs=("joule",)))
    back = tables.read_npz(path)
    assert back.costs == ("joule",) and back.metric("joule").sign == -1
    assert back.metric("maximize:joule").sign == 1
    scores = objectives.table(back, ["joule"])(None, jnp.array([[0, 0, 0, 0, 0, 3]]))
    assert scores.tolist() == [[-3.0]]
    with pytest.raises(ValueError, match="costs among its metrics, got jule"):
        table(values, costs=("jule",))


def few(count):
    """A table that holds ``count`` cells of 15,625."""
    cells = np.array([spaces.encoding.from_index(i, SPACE.sizes) for i in range(count)])
    return table({"valid_12": np.arange(count)}, encodings=cells)


def test_the_share_of_a_table_with_gaps_is_said_before_and_after(tmp_path, capfd):
    """The best is one that it holds, and what lay outside it is counted."""
    found, text = search(tmp_path, few(5000), num_evaluations=60)
    said = capfd.readouterr().err
    assert "holds valid_12 of 5,000 of 15,625 cells (32 %)" in said
    seen = [one["scores"]["valid_12"] for one in lines(tmp_path)]
    outside = seen.count(None)
    assert 0 < outside < len(seen) >= 60
    assert f"{outside} of {len(seen)} evaluations have no valid_12" in text
    assert found.result["valid_12"] == max(v for v in seen if v is not None)


def test_a_search_that_saw_no_known_cell_is_refused(tmp_path):
    """With the true reason; today's advice was to raise the budget, whatever it was."""
    with pytest.raises(ValueError, match="at least one cell, got none of"):
        search(tmp_path, few(1), num_evaluations=20)


def test_a_comparison_says_what_a_table_does_not_hold(tmp_path, capfd, monkeypatch):
    """Its share before, each controller's proposals outside it after."""
    monkeypatch.setitem(registry.TABLES._entries, "few", lambda: few(5000))
    monkeypatch.setitem(registry.TABLES._entries, "one", lambda: few(1))
    settings = compare_controllers.CompareSettings(
        objective="table:few", num_runs=20, budget_evaluations=50, report=("valid_12",)
    )
    with run.open_run(tmp_path / "a") as r:
        plan = compare_controllers.prepare(settings)
        result, text = compare_controllers.compare(r, plan)
    assert "(32 %)" in capfd.readouterr().err
    assert 0.6 < result["random_search"]["unknown_rate"] < 0.76
    assert "proposals outside the table" in text
    settings = compare_controllers.CompareSettings(
        objective="table:one", num_runs=20, budget_evaluations=5, report=("valid_12",)
    )
    with pytest.raises(ValueError, match=r"1 of 15,625 cells .*Use a fuller table"):
        with run.open_run(tmp_path / "b") as r:
            compare_controllers.compare(r, compare_controllers.prepare(settings))


def test_equal_scores_are_called_a_search_that_learned_nothing(tmp_path, capfd):
    """During the search and at its end; not the first cell, presented with a score."""
    found, text = search(tmp_path, table({"valid_12": np.full(15625, 50.0)}))
    assert found.result["verdict"].startswith("Nothing was learned: all 60 scores")
    assert "warning: all 60 scores are equal (valid_12 50)" in text
    said = capfd.readouterr().err
    assert said.count("search: warning: all ") == 1
    assert "scores are equal (valid_12 50)" in said


def test_a_front_and_a_best_that_never_moved_are_said(tmp_path):
    """The first evaluation is the best there is."""
    first = run_first(tmp_path / "a")
    values = np.zeros(15625)
    values[spaces.encoding.index(first, SPACE.sizes)] = 1
    values += np.linspace(0, 0.5, 15625)
    made = table({"valid_12": values, "parameters": 2 - values})
    _, text = search(tmp_path / "b", made)
    assert "none of the 54 evaluations after the first 6 was better" in text
    _, text = search(tmp_path / "c", made, signal=("valid_12", "parameters"))
    assert "the front did not move" in text
    better, text = search(tmp_path / "d", table({"valid_12": np.arange(15625)}))
    assert not better.result["warnings"] and "warning" not in text


def run_first(folder):
    """The encoding of a search's first evaluation."""
    search(folder, table({"valid_12": np.arange(15625)}))
    return lines(folder)[0]["encoding"]


def test_columns_of_an_objective_are_named_chosen_and_turned():
    """By declaration; two objectives side by side keep theirs."""

    def two(key, encodings):
        return jnp.stack([encodings.sum(1), -encodings.max(1)], 1).astype(jnp.float32)

    named = objectives.declared(
        two, directions.Metric("sum"), directions.Metric("max", "minimize")
    )
    whole = objectives.beside(named, objectives.table(few(20), ["valid_12"]))
    assert [m.name for m in objectives.columns(whole)] == ["sum", "max", "valid_12"]
    asked = directions.Metric("max", "maximize"), directions.Metric("sum", "minimize")
    scores = objectives.chosen(whole, asked)(a_key(), jnp.array([[1, 2, 3, 0, 0, 0]]))
    assert scores.tolist() == [[3.0, -6.0]]
    with pytest.raises(ValueError, match="must be one of sum, max, valid_12, got 'mx'"):
        objectives.chosen(whole, [directions.Metric("mx")])


def a_key():
    """A key."""
    return jax.random.key(0)


def two_columns(task):
    """An objective of two columns without names, cheap and compiled."""

    def objective(key, encodings):
        return jnp.stack([(encodings == 3).sum(1), -(encodings == 0).sum(1)], 1) * 1.0

    return objective


@pytest.mark.parametrize(
    ("signal", "names"),
    [
        ((), ["score", "score_1"]),
        (("score", "parameters"), ["score", "parameters"]),
    ],
)
def test_an_objective_of_two_columns_on_images(tmp_path, monkeypatch, signal, names):
    """It died at its first round; a cost can stand beside any objective."""
    monkeypatch.setitem(registry.OBJECTIVES._entries, "two_columns", two_columns)
    settings = search_discrete.DiscreteSettings(
        controller="nsga2",
        objective="two_columns",
        signal=signal,
        num_evaluations=120,
        features=2,
        layers=1,
    )
    dataset = data.load("digits")
    with run.open_run(tmp_path) as r:
        found = search_discrete.search_cells(r, SPACE, settings, dataset=dataset)
        result = search_discrete.close(r, found, settings, dataset=dataset)
    assert list(found.result["directions"]) == names
    assert (tmp_path / "front.json").exists()
    assert result["parameters"] > 0 and result["macs"] > 0
    assert len(report.load(tmp_path).evaluations) == 120
    if "parameters" in names:  # counted by the objective, and by the closing
        assert found.result["parameters"] == result["parameters"]


def test_a_signal_that_the_objective_does_not_have_is_refused(tmp_path, monkeypatch):
    """Before anything is compiled, with those that it has."""
    monkeypatch.setitem(registry.OBJECTIVES._entries, "two_columns", two_columns)
    settings = search_discrete.DiscreteSettings(
        objective="two_columns", signal=("acuracy",), features=2, layers=1
    )
    with run.open_run(tmp_path) as r:
        with pytest.raises(ValueError, match="score, score_1, parameters, macs"):
            search_discrete.search_cells(
                r, SPACE, settings, dataset=data.load("digits")
            )


def test_the_front_of_random_points_by_brute_force():
    """Three objectives, ties and -inf among them."""
    rng = np.random.default_rng(0)
    for width in (1, 2, 3):
        points = rng.integers(0, 6, (80, width)).astype(np.float64)
        points[::9] = -np.inf
        found = fronts.front(points)
        finite = [i for i in range(80) if np.isfinite(points[i]).all()]
        wanted = {
            tuple(points[i])
            for i in finite
            if not any(
                (points[j] >= points[i]).all() and (points[j] > points[i]).any()
                for j in finite
            )
        }
        assert {tuple(points[i]) for i in found} == wanted
        assert len(found) == len(wanted)


def test_an_objective_names_each_of_its_columns():
    """Two columns with one name are refused by the contract."""
    check = testing.check_objective
    check(two_columns(None), SPACE.sizes)
    one = objectives.declared(two_columns(None), directions.Metric("score"))
    with pytest.raises(AssertionError, match="name each of its columns in metrics"):
        check(one, SPACE.sizes)


@pytest.mark.parametrize(
    ("signal", "report", "message"),
    [
        (("valid_12", "valid_12"), ("test_12",), "signal must name each metric once"),
        (("valid_12", "-valid_12"), ("test_12",), "signal must name each metric once"),
        (("valid_12",), ("minimize:valid_12",), "got both of 'valid_12'"),
    ],
)
def test_a_metric_is_named_once_and_in_one_direction(signal, report, message):
    """The second objective was the report's, which may be the test accuracy."""
    settings = search_discrete.DiscreteSettings(
        objective="table:digits201", signal=signal, report=report
    )
    with pytest.raises(ValueError, match=message):
        search_discrete.check(settings)


def test_an_infinite_score_counts_as_the_worst(tmp_path):
    """One that overflowed was the found cell, and said to count as the worst."""
    values = np.arange(15625, dtype=np.float32)
    values[::3] = np.inf
    found, text = search(tmp_path, table({"valid_12": values}))
    known = [one["scores"]["valid_12"] for one in lines(tmp_path)]
    assert found.result["valid_12"] == max(v for v in known if v is not None)
    assert f"{known.count(None)} of 60 evaluations have no valid_12" in text


def test_a_gap_in_the_second_signal_is_said(tmp_path, capfd):
    """The found cell has both, and the front is never without it."""
    values = np.arange(15625, dtype=np.float32)
    costs = np.where(np.arange(15625) % 10 == 0, values, np.nan)
    both = ("valid_12", "parameters")
    made = table({"valid_12": values, "parameters": costs})
    found, text = search(tmp_path / "a", made, signal=both, num_evaluations=300)
    assert "holds parameters of 1,563 of 15,625 cells (10 %)" in capfd.readouterr().err
    assert "evaluations have no parameters and counted as the worst" in text
    assert found.result["parameters"] is not None
    none = table({"valid_12": values, "parameters": np.full(15625, np.nan)})
    _, text = search(tmp_path / "b", none, signal=both)
    assert "the front of valid_12 ↑ and parameters ↓ is empty" in text


def test_an_objective_of_another_width_than_declared_is_refused():
    """A missing column was broadcast into a second objective."""

    def one(key, encodings):
        return encodings.sum(1, keepdims=True).astype(jnp.float32)

    metrics = directions.Metric("a"), directions.Metric("b")
    wrong = objectives.chosen(objectives.declared(one, *metrics), metrics)
    with pytest.raises(ValueError, match=r"a column for each metric, a, b, got shape"):
        wrong(a_key(), jnp.zeros((3, 6), jnp.int32))


def test_an_objectives_own_direction_counts_where_the_signal_names_it(
    tmp_path, monkeypatch
):
    """By its name a memory is minimised; its declaration says otherwise."""

    def build(task):
        memory = directions.Metric("memory", "maximize")
        return objectives.declared(lambda k, e: e.sum(1)[:, None] * 1.0, memory)

    monkeypatch.setitem(registry.OBJECTIVES._entries, "build", build)
    settings = search_discrete.DiscreteSettings(
        controller="random_search",
        objective="build",
        signal=("memory",),
        num_evaluations=20,
        features=2,
        layers=1,
    )
    with run.open_run(tmp_path) as r:
        found = search_discrete.search_cells(
            r, SPACE, settings, dataset=data.load("digits")
        )
    assert found.result["directions"] == {"memory": "maximize"}
    assert found.result["memory"] == max(one["scores"]["memory"]
                                         for one in lines(tmp_path))  # fmt: skip
