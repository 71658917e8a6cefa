"""Tests of the first screen: warnings, headline and tiles."""

import dataclasses
import html
import re

import made_runs
import pytest

from jnas import report
from jnas.report import embed, first, headline


def text_of(markup):
    """The text of a page's part, without tags and repeated spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def test_the_headline_says_data_method_result_and_verdict():
    """Plain sentences, before anything else but the warnings."""
    run = made_runs.search(num_seeds=4, epochs=3, data="digits")
    run = dataclasses.replace(
        run,
        run=run.run | {"data": made_runs.DATA | {"name": "digits"}},
        result=run.result | {"verdict": "Weights moved.", "next": "jnas retrain --a=b"},
    )
    said = text_of(first.screen([run], "search"))
    effort = "3 epochs, 4 seeds, on digits"
    assert f"The method darts searched the space darts: {effort}" in said
    assert "(1,397 training images, 400 test images, 8 × 8 × 1, 10 classes)." in said
    assert "Result: valid accuracy 0.9000, 3,349,342 parameters." in said
    places = [said.index(one) for one in ("Result:", "Weights moved.", "jnas retrain")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("flags", "result", "said"),
    [
        ({"controller": {"name": "nsga2"}, "space": "tiny", "objective": "table:t",
          "data": "unused", "num_evaluations": 200, "epochs": 50}, {},
         "The controller nsga2 searched the space tiny: 200 evaluations, on the "
         "table t."),
        ({"genotype": "DARTS_V2", "data": "digits", "epochs": 1},
         {"test_accuracy": 0.5},
         "The genotype DARTS_V2 was trained from scratch: 1 epoch, on digits. "
         "Result: test accuracy 0.5000."),
        ({}, {}, "A run of run. Status: running; there is no result yet."),
        ({"methods": ["gdas", "darts"]}, {}, "2 methods compared: gdas, darts"),
        ({"controllers": ["a"], "objective": "table:t"}, {}, "1 method compared: a, on "
         "the table t."),
    ],
)  # fmt: skip
def test_every_kind_of_run_has_a_headline(flags, result, said):
    """A discrete search, a training, a comparison, a run that just began."""
    status = "finished" if result else "running"
    run = report.RunFiles("a", run={"flags": flags, "status": status}, result=result)
    assert said in " ".join(headline.sentences([run])).replace("\xa0", " ")


def test_several_runs_have_a_headline():
    """How many of what, the best with n, what is not finished, and the verdicts."""
    runs = [made_runs.search(f"{m}{s}", seed=s, method=m, offset=o)
            for m, o in (("x", 0.0), ("y", 0.05)) for s in range(2)]  # fmt: skip
    runs[0] = dataclasses.replace(
        runs[0],
        result=runs[0].result | {"verdict": "It moved.", "warnings": ["Late."]},
        run=runs[0].run | {"status": "interrupted"},
    )
    said = text_of(first.screen(runs, "4 runs"))
    assert "4 runs of 2 configurations: x (2 runs), y (2 runs)" in said
    assert "Highest valid accuracy: y, 0.9500 ± 0.000, mean of 2 runs." in said
    assert "Not finished: x0." in said
    assert "x0: Late." in said and "x0: It moved." in said


def test_a_cost_as_objective_is_best_where_it_is_lowest():
    """The sentence about several runs follows the direction."""
    runs = [made_runs.objectives(n, latency="minimize") for n in "xy"]
    flags = runs[1].run["flags"] | {"controller": "other"}
    runs[1] = dataclasses.replace(
        runs[1], run={"flags": flags}, result=runs[1].result | {"latency": 1.5}
    )
    assert "Lowest latency: y, 1.500." in " ".join(headline.sentences(runs))


def test_warnings_are_a_box_above_the_headline():
    """Each warning of a result, and the error of a run that failed."""
    run = report.RunFiles(
        "a", run={"error": "no space left"}, result={"warnings": ["One.", "Two."]}
    )
    page = first.screen([run], "t")
    box = re.search(r'<div class="warnings".*?</div>', page)[0]
    assert "3 warnings" in box and "no space left" in box and "Two." in box
    assert page.index(box) < page.index('class="headline"')
    assert "warnings" not in first.screen([report.RunFiles("a")], "t")


def test_at_most_six_tiles_and_nothing_is_lost():
    """Accuracies first, then what they cost; the rest is in the table below."""
    figures = {f"count_{i}": float(i) for i in range(5)} | {
        "seconds": 9.5, "macs": 12, "train_loss": 0.1, "train_accuracy": 0.7,
        "one_hot_accuracy": 0.6, "valid_accuracy": 0.8, "test_accuracy": 0.9,
        "parameters": 1234567, "valid_loss": 0.3, "test_top5": 0.99, "lost": None,
    }  # fmt: skip
    run = report.RunFiles("a", result=figures)
    tiles = re.findall(r"<b>(.*?)</b><span>(.*?)</span>", first.screen([run], "t"))
    assert [name for _, name in tiles] == [
        "test accuracy ↑", "valid accuracy ↑", "train accuracy ↑",
        "parameters ↓", "macs ↓", "seconds ↓",
    ]  # fmt: skip
    assert ("1,234,567", "parameters ↓") in tiles
    below = text_of(first.rest([run]))
    for name in set(figures) - set(headline.ranked(run)):
        assert name.replace("_", " ") in below


def test_numbers_stay_with_their_signs_and_units():
    """Spaces that do not break; flags in one piece."""
    given = "0.91 ± 0.02, 5 % of 8 × 8 in 3 s with --a_b=1"
    shown = embed.sentence(given)
    assert text_of(shown).split() == given.split()
    for whole in ("0.91\xa0±\xa00.02", "5\xa0%", "8\xa0×\xa08", "3\xa0s"):
        assert whole in shown
    assert '<span class="whole">--a_b=1</span>' in shown
