"""Tests of what is said about a search that learned nothing, and of its closing."""

import dataclasses
import json
import math
import shlex

import numpy as np
import pytest

from jnas import data, registry, run, spaces
from jnas.gradient import methods
from jnas.spaces import genotype_text, published
from jnas.studies import closing, search_gradient, setup, train_scratch, verdict

LABELS = np.arange(200) % 10
FEW = spaces.zoo.nasbench201().with_operations(["none", "skip_connect", "nor_conv_1x1"])


def weights(spread, seeds=1, options=5):
    """Equal weights but for one, which is ``1 + spread`` times the others' mean."""
    found = np.full((seeds, 1, 6, options), 1 / options)
    found[:, 0, 2, 1] *= 1 + spread
    return found / found.sum(-1, keepdims=True)


@pytest.mark.parametrize(
    ("spread", "is_still"), [(0.0, True), (0.01, True), (1, False)]
)
def test_weights_that_hardly_moved_are_said(spread, is_still):
    """Within a few percent of equal: the cell follows noise."""
    judged = verdict.of_gradient(weights(spread), [0.5], LABELS)
    assert bool(judged.warnings) == is_still
    assert ("learned nothing" in judged.text) == is_still
    assert bool(verdict.still(weights(spread)[0])) == is_still


def test_a_move_is_measured_among_the_candidates_that_are_left():
    """By hand: 0.3 of a mean of 0.2; removed candidates and decided rows do not count.

    The mean of (0.3, 0.1, 0.2) is 0.2, and 0.3 / 0.2 - 1 = 0.5.
    """
    rows = np.array([[0.3, 0.1, 0.2, 0.0], [0.0, 1.0, 0.0, 0.0]])
    assert verdict.largest_move(rows) == pytest.approx(0.5)
    assert math.isnan(verdict.largest_move(rows[1:]))
    assert verdict.still(rows[1:]) is None  # decided, not still


def test_of_several_searches_those_that_did_not_move_are_counted():
    """And one that moved does not hide them."""
    mixed = np.concatenate([weights(0.01, 3), weights(1.0, 1)])
    judged = verdict.of_gradient(mixed, [0.5] * 4, LABELS)
    assert judged.warnings[0].startswith("3 of 4 searches: the weights hardly moved")


@pytest.mark.parametrize(
    ("accuracy", "is_guess"), [(0.1, True), (0.13, True), (0.3, False)]
)
def test_accuracy_of_guessing_is_said(accuracy, is_guess):
    """Ten equal classes, 200 images: 0.1 + 2 * sqrt(0.1 * 0.9 / 200) = 0.142."""
    judged = verdict.of_gradient(weights(1), [accuracy], LABELS)
    assert any("that of guessing" in text for text in judged.warnings) == is_guess


def test_guessing_is_that_of_the_most_frequent_class():
    """Nine images of ten are of one class: 0.9 is a guess."""
    labels = (np.arange(1000) % 10 == 0).astype(int)
    assert verdict.guessing(0.9, labels) and not verdict.guessing(0.93, labels)


def test_a_papers_rate_in_a_short_search_is_said():
    """DARTS: 50 epochs of 25,000 // 64 = 390 batches are 19,500 steps."""
    dataset, row = data.load("digits"), registry.METHODS["darts"]()
    text = verdict.small_budget(row, dataset, 0.5)
    assert "0.0003 is the paper's, for its 19,500 steps; this search has 500" in text
    assert "--epochs or --logits_learning_rate=0.01" in text
    other = dataclasses.replace(row, logits_learning_rate=0.01)
    assert verdict.small_budget(other, dataset, 0.5) == ""
    long = dataclasses.replace(row, epochs=1000)
    assert verdict.small_budget(long, dataset, 0.5) == ""


def test_the_closing_text_has_a_table_a_verdict_and_a_command(tmp_path):
    """No dict; a row a seed; directions in the header."""
    result = {
        "seeds": [
            {"seed": 0, "train_loss": 1.0, "valid_accuracy": 0.5, "parameters": 10},
            {"seed": 1, "train_loss": 2.0, "valid_accuracy": 0.25, "parameters": 20},
        ],
        "directions": {"joule": "minimize"},
        "verdict": "The weights moved.",
        "warnings": ["one", "two"],
        "next": "jnas retrain --workdir=x",
        "seconds": 3.0,
    }
    text = closing.text(tmp_path, result)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [r.split("|")[1].strip() for r in rows] == [
        "cell",
        ":-------",
        "seed 0",
        "seed 1",
    ]
    assert "0.2500" in rows[3] and "20" in rows[3] and "train_loss" not in text
    assert "The weights moved.\nwarning: one.\nwarning: two." in text
    assert text.endswith("next: jnas retrain --workdir=x")
    one = closing.table(
        {"joule": 1.5, "directions": {"joule": "minimize"}, "seconds": 2}
    )
    assert list(one.header) == ["cell", "joule ↓", "seconds ↓"]


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory):
    """Two searches of one epoch as one program, that hardly move; their folder."""
    folder = tmp_path_factory.mktemp("two") / "run"
    dataset = data.shrink(data.load("digits"), 2)
    method = dataclasses.replace(
        registry.METHODS["darts"](),
        features=2, layers=1, epochs=2, batch_size=64, watch_interval=0,
    )  # fmt: skip
    settings = search_gradient.SearchSettings(method, num_seeds=2)
    with run.open_run(folder) as r:
        found = search_gradient.search_cells(r, dataset, FEW, settings)
        shared = setup.DataSettings(data="digits", shrink=2)
        search_gradient.close(r, found, dataset, settings, shared)
    return folder, found


def test_every_seed_leaves_its_genotype(two_seeds):
    """In result.json and as a file each; a search of four seeds kept one."""
    folder, found = two_seeds
    result = json.loads((folder / "result.json").read_text())
    assert [one["seed"] for one in result["seeds"]] == [0, 1]
    for number, one in enumerate(result["seeds"]):
        cell = genotype_text.from_json(json.dumps(one["genotype"]))
        assert FEW.encode(cell).tolist() == found.encodings[number].tolist()
        assert genotype_text.load(folder / f"genotype_seed_{number}.json") == cell
        assert 0 < one["valid_accuracy"] < 1 and one["parameters"] > 0
    accuracies = [one["valid_accuracy"] for one in result["seeds"]]
    best = int(np.argmax(accuracies))
    assert genotype_text.load(folder / "genotype.json") == found.genotypes[best]
    assert result["valid_accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-6)


def test_a_search_that_did_not_move_says_so_three_times(two_seeds, capfd):
    """During the run, in the closing text, in the report; and what to raise."""
    folder, _ = two_seeds
    result = json.loads((folder / "result.json").read_text())
    assert any("hardly moved" in text for text in result["warnings"])
    assert "hardly moved" in closing.text(folder, result)
    assert "hardly moved" in (folder / "report.html").read_text()


def test_the_next_command_is_one_that_can_be_run(two_seeds):
    """Its flags are the data's, and those that the search's user had set."""
    folder, _ = two_seeds
    result = json.loads((folder / "result.json").read_text())
    words = shlex.split(result["next"])
    assert words[:2] == ["python", "experiments/retrain.py"]
    assert f"--genotype={folder}/genotype.json" in words
    assert {"--data=digits", "--shrink=2", "--features=2", "--epochs=2"} <= set(words)


def test_the_best_so_far_is_not_the_current_value(two_seeds):
    """Nor falls; the cell of the moment has a key of its own."""
    folder, _ = two_seeds
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    best = [float(line["best"]) for line in lines]
    assert best == sorted(best) and all("cell" in line for line in lines)


def test_a_published_cell_needs_flags_only_where_they_are_needed():
    """A batch for few images; no auxiliary head on four rows."""
    cell = published.genotype("DARTS_V2")
    digits = data.load("digits")
    assert train_scratch.needed(digits, cell) == {}
    assert train_scratch.needed(data.shrink(digits, 2), cell) == {"auxiliary": False}


def test_a_row_is_found_among_those_of_one_paper():
    """drnas_progressive is of DrNAS' paper too, with its own numbers."""
    for name in ("drnas", "drnas_progressive", "darts", "darts2", "robust_darts_ada"):
        row = registry.METHODS[name]()
        assert methods.row_of(row) == row, name
        changed = dataclasses.replace(row, epochs=3, features=2)
        assert methods.row_of(changed) == row, name


def test_the_move_of_the_farthest_search_is_told():
    """Not that of the first."""
    several = np.concatenate([weights(0.002), weights(0.006)])
    judged = verdict.of_gradient(several, [0.5, 0.5], LABELS)
    moved = 100 * verdict.largest_move(several[1])
    assert f"within {moved:.2g} % of equal" in judged.warnings[0]


def test_the_cells_own_accuracy_is_in_the_verdict():
    """The supernet's says little of a cell that has it at one in four."""
    judged = verdict.of_gradient(weights(1), [0.8], LABELS, one_hot=0.25)
    assert judged.text.endswith("of the supernet 0.8, of its cell alone in it 0.25.")
    assert verdict.of_gradient(weights(1), [0.8], LABELS).text.endswith("supernet 0.8.")
