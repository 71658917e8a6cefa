"""Tests of a comparison of methods on tables with gaps; the searches are made up."""

import json

import numpy as np
import pytest
from scipy import stats

from jnas import data, report, run, spaces
from jnas.discrete import tables
from jnas.report import headline
from jnas.studies import compare_methods, compared, methods_beside, search_gradient

SPACE = spaces.zoo.nasbench201()
NUM_CELLS = 15625
CELLS = np.indices(SPACE.sizes).reshape(6, -1).T
RNG = np.random.default_rng(0)
WEIGHTS = RNG.dirichlet(np.ones(5), (1, 6))  # one cell, six edges, five operations
# the logarithm of the product of a cell's weights, of all cells
TRUTH = np.log(WEIGHTS[0][np.arange(6), CELLS]).sum(1)
TRUTH = np.argsort(np.argsort(TRUTH)).astype(np.float32)  # ranks: exact in float32


def write(folder, *, rows=None, costs=(), **metrics):
    """Writes a table, of some rows only if they are given; returns its name."""
    encodings = None
    if rows is not None:
        encodings = CELLS[rows].astype(np.int32)
        metrics = {name: np.asarray(values)[rows] for name, values in metrics.items()}
    made = tables.Table(
        "made", SPACE.sizes, SPACE.gene_names, metrics, encodings, costs
    )
    folder.mkdir(exist_ok=True)
    tables.write_npz(folder / "made.npz", made)
    return f"table:{folder / 'made.npz'}"


def found(rows, weights=(WEIGHTS, WEIGHTS, WEIGHTS), warnings=()):
    """A search of three seeds that ended with the cells of these rows."""
    cells = CELLS[list(rows)]
    return search_gradient.Found(
        SPACE.genotype(cells[0]),
        tuple(map(SPACE.genotype, cells)),
        cells,
        np.stack(weights),
        {"seconds": 1.0, "warnings": list(warnings), "verdict": "Moved."},
    )


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """(objective, method -> what its search found) -> plan, line, text, result."""

    def act(objective, searches, **changes):
        def search(run, dataset, space, settings, *, prefix):
            return searches[prefix.removesuffix("_")]

        monkeypatch.setattr(search_gradient, "search_cells", search)
        changes = {"epochs": 25, "report": ("test",), "signal": ("test",)} | changes
        settings = compare_methods.MethodsSettings(
            methods=tuple(searches), objective=objective, num_seeds=3, **changes
        )
        plan = compare_methods.prepare(settings, SPACE, data.load("digits"))
        with run.open_run(tmp_path / "run") as r:
            line, text = compare_methods.compare_methods(r, plan)
        return line, text, json.loads((tmp_path / "run" / "result.json").read_text())

    return act


def row_of(text, name):
    """The cells of a printed row."""
    (line,) = [one for one in text.splitlines() if one.startswith(f"| {name} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def gapped(values, places):
    """Values with NaN at some places."""
    values = np.array(values, np.float32)
    values[places] = np.nan
    return values


@pytest.mark.parametrize("kind", ["some", "half", "few rows"])
def test_a_ranking_is_judged_on_the_cells_that_the_table_holds(kind, tmp_path, compare):
    """Weights that made the truth rank it with tau 1, their inverses with tau -1."""
    lost = {
        "some": RNG.permutation(NUM_CELLS)[:100],  # six of the sample
        "half": RNG.permutation(NUM_CELLS)[: NUM_CELLS // 2],
        "few rows": np.array([], int),
    }[kind]
    rows = np.sort(RNG.permutation(NUM_CELLS)[:200]) if kind == "few rows" else None
    objective = write(tmp_path / "t", rows=rows, test=gapped(TRUTH, lost))
    here = (rows if rows is not None else np.setdiff1d(np.arange(NUM_CELLS), lost))[:3]
    inverse = 1 / WEIGHTS
    line, text, _ = compare(
        objective, {"darts": found(here), "gdas": found(here, (inverse,) * 3)}
    )
    for name, tau in (("darts", 1.0), ("gdas", -1.0)):
        assert line[name]["tau"] == {"mean": pytest.approx(tau), "sd": 0.0, "n": 3}
        assert row_of(text, name)[5] == f"{tau:.2f} ± 0.00"
        assert line[name]["test"]["mean"] == pytest.approx(TRUTH[here].mean())


def test_cells_outside_the_table_are_counted_and_left_out(tmp_path, compare, capfd):
    """Three of three, two and none: a mean of those known, or a dash, and a warning."""
    objective = write(tmp_path / "t", test=gapped(TRUTH, [7, 8, 9]))
    line, text, result = compare(
        objective,
        {
            "darts": found([1, 2, 3]),
            "gdas": found([7, 2, 8]),
            "snas": found([7, 8, 9]),
        },
    )
    assert "holds test of 15,622 of 15,625 cells" in capfd.readouterr().err
    assert [line[n]["test"]["n"] for n in ("darts", "gdas", "snas")] == [3, 1, 0]
    assert line["darts"]["test"]["sd"] == pytest.approx(TRUTH[1:4].std(ddof=1))
    one = float(TRUTH[2])
    assert line["gdas"]["test"] == {"mean": one, "sd": None, "n": 1, "values": [one]}
    assert line["snas"]["test"] == {"mean": None, "sd": None, "n": 0, "values": []}
    assert line["darts"]["test"]["values"] == TRUTH[1:4].tolist()
    assert line["darts"]["p"] <= 1 and line["gdas"]["p"] is None
    assert line["snas"]["best"] is None and line["gdas"]["best"] == TRUTH[2]
    assert (
        row_of(text, "gdas")[-1] == "2 of 3" and row_of(text, "darts")[-1] == "0 of 3"
    )
    assert row_of(text, "snas")[1:4] == ["-", "-", "-"]
    worse = 100 * ((TRUTH < TRUTH[2]).sum() - (TRUTH[7:10] < TRUTH[2]).sum() + 0.5)
    assert line["gdas"]["percentile"]["mean"] == pytest.approx(worse / 15622)
    assert [one.partition(":")[0] for one in result["warnings"]] == ["gdas", "snas"]
    assert "does not hold test of 2 of the 3 found cells" in result["warnings"][0]
    rows = report.compare([report.load(tmp_path / "run")])["test"]
    assert {row.name for row in rows} == {
        "darts", "gdas", "random_search", "most_parameters",
    }  # fmt: skip


def test_a_table_of_few_cells_is_refused_before_the_searches(tmp_path, compare):
    """In one line with the reason; it was a numpy error at the end of them all."""
    objective = write(tmp_path / "t", rows=np.array([3]), test=TRUTH)
    with pytest.raises(ValueError) as caught:
        compare(objective, {}, epochs=1)
    said = str(caught.value)
    assert said.startswith("table must hold test of the cells of at least two of 500 ")
    assert "The table" in said and "holds test of 1 of 15,625 cells" in said
    assert "\n" not in said and not (tmp_path / "run" / "result.json").exists()


def test_a_metric_that_no_cell_has_is_refused_before_anything_runs(tmp_path, compare):
    """Judged or searched on."""
    nothing = np.full(NUM_CELLS, np.nan)
    objective = write(tmp_path / "t", test=TRUTH, valid=nothing)
    for changes in ({"report": ("valid",)}, {"signal": ("valid",)}):
        with pytest.raises(ValueError, match="got valid, which it holds of none of"):
            compare(objective, {}, **changes)
    with pytest.raises(ValueError, match="got 'tau'. Rename it"):
        compare(write(tmp_path / "u", tau=TRUTH, test=TRUTH), {}, report=("tau",))


def test_a_comparison_in_which_nothing_was_learned_says_so(tmp_path, compare):
    """Printed, in result.json, at the top of the report; the line has methods alone."""
    equal = np.full_like(WEIGHTS, 0.2)
    warning = "3 of 3 searches: the weights hardly moved"
    objective = write(tmp_path / "t", test=TRUTH)
    line, text, result = compare(
        objective,
        {"darts": found([1, 2, 3]), "gdas": found([1, 2, 3], (equal,) * 3, [warning])},
    )
    assert list(line) == ["darts", "gdas", "random_search", "most_parameters"]
    assert set(result) == {*line, *compared.APART}
    said = (
        "1 of 2 methods had searches that learned nothing their cells can be trusted "
        "for: gdas."
    )
    assert said in text and f"warning: gdas: {warning}." in text
    assert result["verdict"] == said and f"gdas: {warning}" in result["warnings"]
    # equal weights rank nothing: no tau, where there was NaN, which is no JSON
    assert line["gdas"]["tau"] == {"mean": None, "sd": None, "n": 0}
    assert "3 of 3 rankings have no Kendall's tau" in text
    read = report.load(tmp_path / "run")
    assert headline.verdict(read) == said
    assert headline.warnings(read) == result["warnings"]
    assert {row.name for row in report.compare([read])["test"]} == set(line)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    top = page[: page.index("<section>")]
    assert "the weights hardly moved" in top and "learned nothing" in top
    json.loads(json.dumps(line), parse_constant=pytest.fail)


def test_searches_that_learned_leave_no_verdict(tmp_path, compare):
    """And no warning."""
    objective = write(tmp_path / "t", test=TRUTH)
    _, text, result = compare(objective, {"darts": found([1, 2, 3])})
    assert "verdict" not in result and result["warnings"] == []
    assert "warning" not in text and "outside" not in text


def test_a_search_by_paths_has_no_ranking_and_no_warning(tmp_path, compare):
    """Its weights are equal by design."""
    equal = found([1, 2, 3], (np.full_like(WEIGHTS, 0.2),) * 3)
    line, text, result = compare(write(tmp_path / "t", test=TRUTH), {"spos": equal})
    assert line["spos"]["tau"]["n"] == 0 and result["warnings"] == []
    assert "warning" not in text and row_of(text, "spos")[5] == "-"


def test_a_minimised_metric_is_judged_by_the_lowest(tmp_path, compare):
    """Best, percentile, tau and headline; the table's own costs and the flag's word."""
    for number, (name, costs) in enumerate(
        (("test_mistakes", ("test_mistakes",)), ("minimize:test_mistakes", ()))
    ):
        objective = write(
            tmp_path / f"t{number}", costs=costs, test_mistakes=NUM_CELLS - TRUTH
        )
        rows = [10, 20, 30]
        line, text, result = compare(
            objective, {"darts": found(rows)}, report=(name,), signal=(name,)
        )
        one = line["darts"]
        assert one["best"] == (NUM_CELLS - TRUTH[rows]).min()
        assert one["tau"]["mean"] == pytest.approx(1)
        worse = [100 * (rank + 0.5) / NUM_CELLS for rank in TRUTH[rows]]
        assert one["percentile"]["mean"] == pytest.approx(np.mean(worse))
        assert "test_mistakes ↓" in text
        assert result["directions"]["test_mistakes"] == "minimize"
        assert result["directions"]["tau"] == "maximize"
        read = report.load(tmp_path / "run")
        assert "Lowest test mistakes" in " ".join(headline.sentences([read]))
        (tmp_path / "run").rename(tmp_path / f"run{number}")


def test_counting_parameters_is_judged_beside_the_methods(tmp_path, compare):
    """The cell of 3x3 convolutions alone, and the ranking by parameters, by hand."""
    names = SPACE.candidates_of(0, 0)
    # of a network of one cell a stage, up to its stem, reductions and classifier
    own = {"nor_conv_1x1": 1, "nor_conv_3x3": 9}
    counts = np.array([[own.get(names[o], 0) for o in cell] for cell in CELLS]).sum(1)
    objective = write(tmp_path / "t", test=TRUTH)
    line, text, _ = compare(objective, {"darts": found([1, 2, 3])})
    (most,) = np.flatnonzero(counts == counts.max())
    figures = line["most_parameters"]
    assert figures["test"]["values"] == [float(TRUTH[most])]
    rows = np.random.default_rng(0).permutation(NUM_CELLS)[:4000]
    whole = stats.kendalltau(counts[rows], TRUTH[rows]).statistic
    assert figures["tau"]["mean"] == pytest.approx(whole, abs=0.05)  # another sample
    assert row_of(text, "most_parameters")[1] == f"{TRUTH[most]:.2f}"


def test_p_values_are_corrected_for_their_number():
    """Holm's: sorted, times what is left, never falling; p of the test as SciPy has it.

    By hand: .01 * 4, max(.04, .02 * 3), max(.06, .03 * 2), .9.
    """
    got = methods_beside.holm([0.02, 0.9, 0.01, 0.03])
    np.testing.assert_allclose(got, [0.06, 0.9, 0.04, 0.06])
    assert methods_beside.holm([]) == [] and methods_beside.holm([0.7, 0.6]) == [1, 1]
    chance = list(np.linspace(0, 1, 50))
    result = {
        "good": {"m": {"values": [2.0, 3, 4]}},
        "alone": {"m": {"values": [2.0]}},
        "middle": {"m": {"values": [0.4, 0.5, 0.6]}},
        "random_search": {"m": {"values": chance}},
    }
    found = methods_beside.significance(result, ("good", "alone", "middle"), "m")
    raw = stats.mannwhitneyu([2.0, 3, 4], chance).pvalue
    assert found["good"] == pytest.approx(2 * raw) and found["alone"] is None
    assert found["middle"] > 0.9


def test_rates_are_scaled_but_not_steps(tmp_path):
    """Thirty times the paper's rate; ZARTS' samples are steps of the logits already."""
    settings = compare_methods.MethodsSettings(
        methods=("darts", "zarts", "gaea"),
        objective=write(tmp_path / "t", test=TRUTH),
        report=("test",),
        signal=("test",),
    )
    plan = compare_methods.prepare(settings, SPACE, data.load("digits"))
    rates = {name: one.logits_learning_rate for name, one in plan.methods.items()}
    assert rates == {"darts": 30 * 3e-4, "zarts": 1.0, "gaea": pytest.approx(3.0)}


def test_logits_of_every_method_are_frozen_by_one_flag(tmp_path):
    """Without it a method keeps its own share; with it, all have the same."""
    for given, want in ((None, {"darts": 0.0, "pcdarts": 0.3}), (0.5, None)):
        settings = compare_methods.MethodsSettings(
            methods=("darts", "pcdarts"), objective=write(tmp_path / "t", test=TRUTH),
            report=("test",), signal=("test",), frozen_rate=given,
        )  # fmt: skip
        plan = compare_methods.prepare(settings, SPACE, data.load("digits"))
        got = {name: one.frozen_rate for name, one in plan.methods.items()}
        assert got == (want or dict.fromkeys(got, 0.5))
