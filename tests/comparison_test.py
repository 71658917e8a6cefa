"""Comparisons: budgets, incumbents, traces, against slow loops."""

from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import comparison, controllers, objectives, search, tables
from jnas.report import traces


def slow(scores, costs, budget, points):
    """One run at a time, one evaluation at a time."""
    finals, counts, lines = [], [], []
    for run, cost in zip(scores, costs, strict=True):
        paid, best, count, seen = 0.0, None, 0, []
        for row, price in zip(run, cost, strict=True):
            if paid + price > budget:
                break
            paid, count = paid + price, count + 1
            if best is None or row[0] > best[0]:
                best = row
            seen.append((paid, best[1]))
        finals.append(best if best is not None else [np.nan] * 3)
        counts.append(count)
        lines.append([
            next((value for when, value in reversed(seen) if when <= p), np.nan)
            for p in points
        ])  # fmt: skip
    return np.array(finals), np.array(counts), np.array(lines)


@pytest.mark.parametrize("seed", range(5))
def test_judge_is_the_slow_loop(seed):
    """Random costs, ties, and scores of minus infinity."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (7, 30, 3)).astype(float)
    scores[rng.random((7, 30)) < 0.2, 0] = -np.inf
    costs = rng.integers(1, 9, (7, 30)).astype(float)
    outcome = comparison.judge(scores, costs, 40.0, judged=1, num_points=20)
    final, counts, lines = slow(scores, costs, 40.0, outcome.cost)
    np.testing.assert_array_equal(outcome.final, final)
    np.testing.assert_array_equal(outcome.evaluations, counts)
    np.testing.assert_array_equal(outcome.trace, lines)


def test_a_run_that_can_pay_for_nothing_has_no_answer():
    """NaN, not the first cell."""
    outcome = comparison.judge(np.ones((2, 3, 1)), np.array([[5, 1, 1], [1, 1, 1]]), 3)
    assert np.isnan(outcome.final[0, 0]) and outcome.final[1, 0] == 1
    assert list(outcome.evaluations) == [0, 3] and np.isnan(outcome.trace[0]).all()


def test_p_value():
    """Small for a shift, the same from both sides, 1 for equal samples."""
    a = np.arange(40.0)
    assert comparison.p_value(a, a + 30) < 1e-6
    assert comparison.p_value(a, a + 3) == comparison.p_value(a + 3, a)
    assert comparison.p_value(a, a) == 1.0


@pytest.fixture(scope="module")
def table():
    """Sixty random scores."""
    scores = np.random.default_rng(0).uniform(0, 100, 60).astype(np.float32)
    return tables.Table("made", (3, 4, 5), ("a", "b", "c"), {"valid": scores})


def test_play_is_the_search_of_each_key(table):
    """Runs are those of discrete_search; a last round's surplus is dropped."""
    controller = controllers.regularized_evolution(
        table.sizes, population_size=4, num_proposals=3
    )
    objective = objectives.table(table, ["valid"])
    runs = comparison.play(
        controller, objective, num_runs=5, num_evaluations=10, seed=3
    )
    assert runs.encodings.shape == (5, 10, 3) and runs.scores.shape == (5, 10, 1)
    key = jax.random.split(jax.random.key(3), 5)[2]
    history = search.discrete_search(key, controller, objective, num_rounds=4)[1]
    np.testing.assert_array_equal(
        runs.encodings[2], history.encodings.reshape(-1, 3)[:10]
    )
    rows = np.asarray(table.row(jnp.asarray(runs.encodings)))
    np.testing.assert_array_equal(runs.scores[..., 0], table.metrics["valid"][rows])


def test_a_trace_is_drawn_where_it_is():
    """Well-formed, no style or script, one line and one band each, names escaped."""
    cost = np.array([1.0, 2.0, 4.0])
    quartiles = np.array([[1.0, 2, 3], [2, 3, 4], [3, 4, 5]])
    trace = traces.Trace(cost, quartiles, 7)
    text = traces.draw(
        {"a<b": trace, "c": trace}, title="t & t", x_label="x", y_label="y"
    )
    root = ElementTree.fromstring(text)
    names = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert names.count("polyline") == names.count("polygon") == 2
    assert not {"script", "style", "image"} & set(names)
    assert not any("style" in element.attrib for element in root.iter())
    words = [element.text for element in root.iter() if element.text]
    assert {"a<b", "c", "t & t", "n = 7"} <= set(words)
    line = next(e for e in root.iter() if e.tag.endswith("polyline"))
    x, y = zip(
        *(map(float, p.split(",")) for p in line.get("points").split()), strict=True
    )
    # twice the cost stands twice as far from the axis; better stands higher
    assert x[2] - traces.LEFT == pytest.approx(4 * (x[0] - traces.LEFT), abs=0.5)
    assert y[0] > y[1] > y[2]
    with pytest.raises(ValueError, match="traces must hold a point"):
        traces.draw({}, title="", x_label="", y_label="")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 17), (93.2, 94.1), (0, 2e4)])
def test_ticks_are_few_and_round(low, high):
    """Inside the axis, evenly apart, multiples of 1, 2 or 5 times a power of ten."""
    found = traces.ticks(low, high)
    assert 3 <= len(found) <= 9 and low <= found[0] and found[-1] <= high
    step = found[1] - found[0]
    np.testing.assert_allclose(np.diff(found), step, rtol=1e-6)
    lead = step / 10 ** np.floor(np.log10(step) + 1e-9)
    assert min(abs(lead - n) for n in (1, 2, 5, 10)) < 1e-6
