"""Tests of what a report computes: bands, entropies, fronts, spreads, thinning."""

import dataclasses
import math

import hypothesis
import made_runs
import numpy as np
import pytest
from hypothesis import strategies as st

from jnas import report
from jnas.report import fronts, mixtures, numbers, series, spreads

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


@hypothesis.given(POINTS)
@hypothesis.settings(deadline=None)
def test_front_against_brute_force(points):
    """Kept are the values that no other point beats, each once, by rising cost."""

    def beaten(one, by):
        return by != one and by[0] <= one[0] and by[1] >= one[1]

    wanted = {p for p in points if not any(beaten(p, other) for other in points)}
    found = [points[i] for i in fronts.front(points)]
    assert set(found) == wanted and len(found) == len(wanted)
    assert found == sorted(found)


def test_cells_come_from_results_and_evaluations():
    """The accuracies and costs of a quickstart, a training and a discrete search."""
    listed = [{"name": "found", "test_accuracy": 0.5, "parameters": 10, "macs": 7}]
    quick = report.RunFiles("q", result={"cells": listed, "test_accuracy": 0.5})
    trained = report.RunFiles(
        "r",
        result={"test_accuracy": 0.6, "train_accuracy": 0.9, "parameters": 20,
                "auxiliary_parameters": 3, "seconds": 5.0},
    )  # fmt: skip
    found = report.cells([quick, trained, made_runs.discrete(num=3)])
    assert [cell.name for cell in found[:2]] == ["found", "r"]
    assert found[1].figures == {"test_accuracy": 0.6, "parameters": 20}
    assert [cell.figures["parameters"] for cell in found[2:]] == [1000, 2000, 3000]
    assert fronts.pairs(found) == [
        ("parameters", "test_accuracy"),
        ("parameters", "valid_12"),
    ]


@hypothesis.given(st.lists(st.floats(0.001, 10), min_size=2, max_size=6))
@hypothesis.settings(deadline=None)
def test_entropy_is_that_of_the_formula(mix):
    """- sum p log p over log K, in [0, 1], whatever the weights' scale."""
    p = np.array(mix) / np.sum(mix)
    wanted = float(-(p * np.log(p)).sum() / math.log(len(mix)))
    assert mixtures.entropy(mix) == pytest.approx(wanted, abs=1e-9)
    assert mixtures.entropy([3 * m for m in mix]) == pytest.approx(wanted, abs=1e-9)
    assert -1e-9 <= wanted <= 1 + 1e-9


def test_entropy_needs_a_choice():
    """One candidate, or no weight at all, has none; a one-hot edge has 0."""
    assert mixtures.entropy([1.0]) is None and mixtures.entropy([0.0, 0.0]) is None
    assert mixtures.entropy([0.0, 0.0, 2.0]) == 0.0


def test_edges_with_other_candidates_and_nonsense_have_gaps():
    """A row for each edge and operation; what is no number is a gap."""
    cells = [
        {"normal": {"0->2": {"a": 0.5, "b": None}, "1->2": {"c": 1.0}}},
        {"normal": {"0->2": {"a": 0.25, "b": 0.75}, "1->2": "torn"}},
        ["nonsense"],
    ]
    lines = [{"step": i, "weights": one} for i, one in enumerate(cells)]
    run = report.RunFiles("a", weights=lines)
    frames = mixtures.frames(run, "search")
    assert frames.steps == [0, 1]
    assert frames.rows == [
        ("normal", "0->2", "a", [0.5, 0.25]),
        ("normal", "1->2", "c", [1.0, None]),
        ("normal", "0->2", "b", [None, 0.75]),
    ]


def test_bands_are_mean_and_deviation_over_seeds():
    """Three seeds, one line; a NaN in one of them leaves it out of that step."""
    runs = [made_runs.search(str(s), seed=s, offset=0.1 * s) for s in range(3)]
    points = series.curves(runs, ["valid_loss"])
    assert {p.series for p in points} == {"search (n = 3)"}
    assert [p.step for p in points] == [10, 20, 30, 40, 50]
    first = np.array([2.2, 2.3, 2.4])
    assert points[0].value == pytest.approx(first.mean())
    assert points[0].high - points[0].value == pytest.approx(first.std(ddof=1))
    assert points[0].value - points[0].low == pytest.approx(first.std(ddof=1))
    gaps = [p.value for p in series.curves(runs, ["train_loss"])]
    assert gaps[1] is None and all(v is not None for v in gaps[2:])


def test_an_unfinished_seed_counts_as_far_as_it_came():
    """Its steps are in the mean, those after are the others'."""
    long, short = (made_runs.search(str(i), seed=i, num_epochs=n) for i, n in
                   enumerate((4, 2)))  # fmt: skip
    points = series.curves([long, short], ["valid_loss"])
    assert [p.step for p in points] == [10, 20, 30, 40]
    assert [p.low is None for p in points] == [False, False, True, True]


def test_a_step_that_one_seed_skipped_is_left_out():
    """A mean over fewer runs than before and after would jump."""
    runs = [made_runs.search(str(i), seed=i, num_epochs=4) for i in range(2)]
    runs[1] = dataclasses.replace(runs[1], metrics=runs[1].metrics[1:])
    assert [p.step for p in series.curves(runs, ["valid_loss"])] == [20, 30, 40]


def test_a_phase_begins_at_its_own_zero():
    """Phases lie over each other, whatever came before."""
    second = [line | {"phase": "b", "step": line["step"] + 30} for line in
              made_runs.metrics(3)]  # fmt: skip
    run = dataclasses.replace(
        made_runs.search(), metrics=[*made_runs.metrics(3), *second]
    )
    points = series.curves([run], ["valid_loss"])
    steps = {n: [p.step for p in points if p.series == n] for n in ("search", "b")}
    assert steps == {"search": [10, 20, 30], "b": [10, 20, 30]}


def test_seeds_inside_a_run_have_their_own_band():
    """A metric's _sd is the band, num_seeds the n."""
    lines = [{"step": 1, "phase": "p", "loss": 2.0, "loss_sd": 0.5}]
    run = report.RunFiles("a", run=made_runs.record(num_seeds=4), metrics=lines)
    (point,) = series.curves([run], ["loss"])
    assert (point.low, point.high, point.n) == (1.5, 2.5, 4)
    assert point.series.endswith("(n = 4)")


def test_incumbents_never_fall():
    """The best so far is the running maximum of the first score."""
    run = made_runs.discrete()
    points = series.incumbents([run])
    assert [p.step for p in points] == list(range(1, 41))
    found = [p.value for p in points]
    scores = [line["scores"]["valid_12"] for line in run.evaluations]
    np.testing.assert_allclose(found, np.maximum.accumulate(scores))


@hypothesis.given(st.integers(1, 500), st.integers(2, 50))
@hypothesis.settings(deadline=None)
def test_thinning_keeps_both_ends(size, most):
    """At most so many, in order, each once, with the first and the last."""
    found = numbers.thinned(range(size), most)
    assert found[0] == 0 and found[-1] == size - 1
    assert len(found) == min(size, most)
    assert found == sorted(set(found))


def test_long_lines_are_thinned():
    """A page does not grow with the epochs."""
    points = series.curves([made_runs.search(num_epochs=2000)], ["valid_loss"])
    assert len(points) == 160 and points[-1].step == 20_000


def test_equal_methods_of_two_sources_are_told_apart():
    """Random search of a comparison and that of single runs are two rows."""
    single = dataclasses.replace(
        made_runs.discrete(),
        run=made_runs.record(controller="random_search", report=["test_12"]),
        result={"test_12": 80.0, "parameters": 3},
    )
    rows = spreads.compare([made_runs.comparison("c"), single])["test_12"]
    assert [row.name for row in rows][2:] == ["random_search, c", "d"]


def test_methods_are_compared_with_n_and_random_search():
    """Entries of a comparison; groups of runs; a found cell and random ones."""
    (rows,) = spreads.compare([made_runs.comparison()]).values()
    assert [(r.name, r.n) for r in rows][1:] == [("darts", 4), ("random_search", 5)]
    runs = [made_runs.search(f"{m}{s}", seed=s, method=m, offset=s / 10)
            for m in "xy" for s in range(2)]  # fmt: skip
    rows = spreads.compare(runs)["valid_accuracy"]
    assert [(r.name, r.n) for r in rows] == [("x", 2), ("y", 2)]
    assert rows[0].mean == pytest.approx(0.95)
    assert rows[0].sd == pytest.approx(np.std([0.9, 1.0], ddof=1))
    cells = [{"name": n, "test_accuracy": v} for n, v in
             (("found", 0.9), ("random_0", 0.7), ("random_1", 0.8))]  # fmt: skip
    quick = report.RunFiles("q", result={"test_accuracy": 0.9, "cells": cells})
    rows = spreads.compare([quick])["test_accuracy"]
    assert [(r.name, r.n) for r in rows] == [("found cell", 1), ("random cells", 2)]
    assert rows[1].mean == pytest.approx(0.75)
    assert spreads.compare([made_runs.search()]) == {}


def test_the_seeds_of_a_found_network_and_of_its_baselines_are_compared():
    """Rows that list accuracies: one mean each, of random cells the mean of cells."""
    listed = {
        "found": [0.9, 0.8],
        "random_0": [0.7],
        "random_1": [0.8],
        "resnet": [0.6],
    }
    cells = [
        {"name": name, "test_accuracy": np.mean(values), "test_accuracies": values}
        for name, values in listed.items()
    ]
    one = report.RunFiles("q", result={"test_accuracy": 0.85, "cells": cells})
    rows = spreads.compare([one])["test_accuracy"]
    assert [(r.name, r.n) for r in rows] == [
        ("found cell", 2), ("random cells", 2), ("resnet", 1)
    ]  # fmt: skip
    assert rows[0].sd == pytest.approx(np.std([0.9, 0.8], ddof=1))
