"""Baselines beside a found cell: what is trained, and what the verdict says of it."""

import itertools
import json
import math

import numpy as np
import pytest
import scipy.special

from jnas import data, networks, registry, report, run, spaces
from jnas.networks import baselines as nets
from jnas.run import files
from jnas.spaces import genotype_text
from jnas.studies import (
    baseline_verdict,
    baselines,
    cells,
    closing,
    setup,
    train_scratch,
)

SPACE = spaces.zoo.nasbench201()
DIGITS = data.shrink(data.load("digits"), 2)
TRAINING = train_scratch.RetrainSettings(
    features=2, layers=1, epochs=1, batch_size=64, auxiliary=False, drop_path_rate=0.0
)
CELL = genotype_text.from_nasbench201(
    "|nor_conv_1x1~0|+|skip_connect~0|none~1|+|none~0|none~1|avg_pool_3x3~2|"
)


def welch_by_hand(first, second):
    """Welch's p by the formula and the incomplete beta function, not by a library."""
    first, second = map(np.asarray, (first, second))
    a, b = (x.var(ddof=1) / len(x) for x in (first, second))
    t = (first.mean() - second.mean()) / math.sqrt(a + b)
    degrees = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    return scipy.special.betainc(degrees / 2, 0.5, degrees / (degrees + t**2))


def test_p_by_hand():
    """Of samples of unequal sizes and spreads."""
    rng = np.random.default_rng(0)
    for sizes in ((2, 2), (3, 8), (10, 4)):
        first, second = (
            rng.normal(0.9, 0.01, sizes[0]),
            rng.normal(0.88, 0.03, sizes[1]),
        )
        assert baseline_verdict.welch(first, second) == pytest.approx(
            welch_by_hand(first, second), rel=1e-9
        )


@pytest.mark.parametrize(
    ("first", "second"), [((0.9,), (0.8, 0.7)), ((0.9, 0.9), (0.8, 0.8)), ((), (1, 2))]
)
def test_no_p(first, second):
    """One value, or no spread at all."""
    assert baseline_verdict.welch(first, second) is None


def test_false_alarms_are_as_rare_as_they_should_be():
    """Of 400 pairs of samples of one distribution about 5 % have p below 0.05.

    The number is binomial: mean 20, deviation 4.4; 3 to 37 is four deviations.
    """
    rng = np.random.default_rng(1)
    alarms = sum(
        baseline_verdict.welch(*rng.normal(0.9, 0.01, (2, 5))) < 0.05
        for _ in range(400)
    )
    assert 3 <= alarms <= 37


SURE = (0.90, 0.91, 0.92, 0.91)


@pytest.mark.parametrize(
    ("found", "best", "said"),
    [
        (SURE, (0.80, 0.81, 0.82), "beats the best of 2 baselines, resnet: test"),
        ((0.80, 0.81, 0.82), SURE, "loses to the best of 2 baselines, resnet: test"),
        (
            SURE,
            (0.90, 0.91, 0.93),
            "does not differ significantly from the best of 2 baselines, res",
        ),
        ((0.9,), (0.8,), "is above the best of 2 baselines, resnet: test accuracy"),
        ((0.8,), (0.9,), "is below the best of 2 baselines, resnet: test accuracy"),
        ((0.8,), (0.8,), "equals the best of 2 baselines, resnet: test accuracy"),
    ],
)
def test_verdict(found, best, said):
    """The word follows sign and p; the worse baseline is not the one compared with."""
    others = {"plain_cnn": [0.1 for _ in best], "resnet": best}
    judged = baseline_verdict.compare(found, others)
    assert f"The found network {said}" in judged.text
    assert judged.difference == pytest.approx(np.mean(found) - np.mean(best))
    assert judged.counts == (len(found), len(best))
    if len(found) > 1:
        p = welch_by_hand(found, best)
        assert judged.p == pytest.approx(p)
        assert f"p = {p:.2g} (Welch's t-test)" in judged.text
        assert f"(n={len(found)}) against" in judged.text
    else:
        assert judged.p is None and "one seed gives no p-value" in judged.text


def test_one_seed_is_judged_by_the_random_cells():
    """In their standard deviations, which are .01 here."""
    judged = baseline_verdict.compare((0.9,), {"resnet": (0.88,)}, (0.79, 0.80, 0.81))
    assert judged.deviations == pytest.approx(2)
    assert "is +2.0 standard deviations of 3 random cells" in judged.text
    alike = baseline_verdict.compare((0.9,), {"resnet": (0.88,)}, (0.8, 0.8))
    assert alike.deviations is None and "deviations" not in alike.text


def test_random_cells_may_be_the_best():
    """Then the found network is compared with all of them."""
    judged = baseline_verdict.compare((0.9,), {"resnet": (0.7,)}, (0.91, 0.93))
    assert judged.name == "the random cells"
    assert judged.difference == pytest.approx(-0.02)
    with pytest.raises(ValueError, match="baselines must hold at least one trained"):
        baseline_verdict.compare((0.9,), {}, (0.91,))


@pytest.mark.parametrize("name", ["tiny", "nasbench201", "s2"])
def test_the_largest_cell(name):
    """No random cell and no neighbour of it has a larger network."""
    space = getattr(spaces.zoo, name)()
    size = networks.Size(4, 1 if space.num_inputs == 1 else 3, 10, 1)
    shape = (8, 8, 1)
    costs = networks.option_costs(space, size, shape)["parameters"]
    best = space.encode(baselines.largest(space, size, shape))

    def count(encoding):
        return float(costs.of(space.weights(np.asarray(encoding, np.int32))))

    others = [
        np.where(np.arange(len(best)) == gene, value, best)
        for gene, number in enumerate(space.sizes)
        for value in range(number)
    ]
    drawn = np.random.default_rng(0).integers(0, space.sizes, (30, len(best)))
    assert max(map(count, itertools.chain(others, drawn))) <= count(best)


def planned(found=CELL, **changes):
    """Returns a plan on small digits."""
    settings = baselines.BaselineSettings(**{"num_random": 2} | changes)
    return baselines.prepare(found, SPACE, DIGITS, settings, TRAINING, seed=0)


def test_what_is_trained():
    """In order; hand-made networks have the found network's parameters."""
    found = SPACE.genotype([2, 3, 3, 3, 3, 3])
    plan = planned(found, baselines=("resnet", "plain_cnn"))
    assert list(plan.cells) == ["found", "largest_cell", "random_0", "random_1"]
    assert plan.cells["found"] == found and list(plan.hand_made) == [
        "resnet", "plain_cnn",
    ]  # fmt: skip
    assert [plan.cells[f"random_{i}"] for i in range(2)] == cells.random_cells(
        SPACE, 2, seed=0
    )
    size = setup.network_size(TRAINING, DIGITS)
    wanted = networks.measure(networks.derived(found, size), DIGITS.image_shape)
    for one in plan.hand_made.values():
        assert nets.count_of(one) == pytest.approx(wanted["parameters"], rel=0.2)


def test_what_is_left_out_is_said():
    """A found cell that has most parameters is not trained twice, with no others."""
    size = setup.network_size(TRAINING, DIGITS)
    largest = baselines.largest(SPACE, size, DIGITS.image_shape)
    plan = planned(largest, num_random=0)
    assert list(plan.cells) == ["found"]
    assert "the found cell is the one with most parameters itself" in plan.left_out


def test_a_baseline_that_is_too_large_is_left_out():
    """Where one feature has more parameters than the found network; it is said."""
    rows = registry.BASELINES

    def large_one(num_classes, channels, image_shape, *, features, dtype=None):
        return rows["resnet"](
            num_classes, channels, image_shape, features=100 * features, dtype=dtype
        )

    rows.register(large_one)
    try:
        settings = baselines.BaselineSettings(("large_one", "resnet"), 0)
        plan = baselines.prepare(CELL, None, DIGITS, settings, TRAINING, seed=0)
    finally:
        del rows._entries["large_one"]
    assert list(plan.cells) == ["found"] and list(plan.hand_made) == ["resnet"]
    (said,) = plan.left_out
    assert said.startswith("baseline large_one is left out: parameters must be at le")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"baselines": ("resnets",)}, KeyError, "Did you mean 'resnet'"),
        ({"baselines": ("resnet", "resnet")}, ValueError, "must have each name once"),
        ({"num_random": -1}, ValueError, "num_random must be at least 0"),
    ],
)
def test_settings_are_checked(changes, error, message):
    """Before anything is built."""
    with pytest.raises(error, match=message):
        baselines.BaselineSettings(**changes)


def trained(name, values):
    """Returns a phase's result with a test accuracy a seed."""
    figures = {"parameters": 100, "macs": 1000, "seconds": 1.0, "train_accuracy": 1.0}
    figures["test_accuracy"] = float(np.mean(values))
    if len(values) > 1:
        figures["test_accuracy_sd"] = float(np.std(values, ddof=1))
        figures["seeds"] = [{"test_accuracy": one} for one in values]
    return {name: figures}


def test_result_of_several_seeds():
    """Rows of all networks, the random cells' spread over cells, and the verdict."""
    results = (
        trained("found", (0.90, 0.92))
        | trained("largest_cell", (0.91, 0.93))
        | trained("random_0", (0.80, 0.70))
        | trained("random_1", (0.84, 0.70))
        | trained("resnet", (0.85, 0.86))
    )
    figures = baselines.result(results)
    assert figures["best_baseline"] == "largest_cell"
    assert figures["baseline_p"] == pytest.approx(
        welch_by_hand((0.90, 0.92), (0.91, 0.93)), rel=1e-2
    )
    assert figures["random_test_accuracy_mean"] == pytest.approx(0.82)
    assert figures["random_test_accuracy_sd"] == pytest.approx(
        math.sqrt(0.0008), abs=1e-6
    )
    assert figures["test_accuracy"] == pytest.approx(0.91)
    table = closing.table(figures)
    assert table.header[:3] == ("network", "test_accuracy ↑", "test_accuracy_sd")
    assert [row[0] for row in table.rows] == [*results, "mean of 2 random cells"]
    # the report takes rows of such names for random cells
    named = [one["name"] for one in figures["cells"]]
    assert sum(name.startswith("random") for name in named) == figures["num_random"]
    assert not any("train_accuracy" in name for name in table.header)


@pytest.mark.slow
def test_a_whole_comparison(tmp_path):
    """Trained alike, one phase each; repeated it trains nothing; in the report."""
    settings = baselines.BaselineSettings(("plain_cnn",), 2, largest_cell=False)
    plan = baselines.prepare(CELL, SPACE, DIGITS, settings, TRAINING, seed=0)
    folder = tmp_path / "compared"
    with run.open_run(folder) as r:
        results = baselines.train(r, plan, DIGITS, TRAINING)
    with run.open_run(folder) as r:
        assert baselines.train(r, plan, DIGITS, TRAINING) == files.plain(results)
        figures = baselines.result(results)
        closing.close(
            r, CELL, figures, tables={"Trained alike": closing.table(figures)}
        )
    names = ["found", "random_0", "random_1", "plain_cnn"]
    assert list(results) == names
    found = json.loads((folder / "result.json").read_text())
    assert found["verdict"] == figures["verdict"]
    page = (folder / "report.html").read_text()
    assert "one seed gives no p-value" in page and "plain_cnn" in page
    loaded = report.load(folder)
    assert loaded.result["best_baseline"] == found["best_baseline"]
    said = closing.text(folder, found)
    assert found["verdict"] in said and "| mean of 2 random cells" in said
