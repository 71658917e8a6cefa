"""Tests of the tables of architectures: seeds, best evaluations, fronts."""

import dataclasses
import json
import math
import re

import made_runs
import numpy as np
import pytest

from jnas import registry, report
from jnas.spaces import genotype_text, published

OPERATIONS = ("none", "skip_connect", "nor_conv_3x3")


def seeds(num):
    """The seeds of a result, each with another genotype of NAS-Bench-201."""
    strings = [f"|none~0|+|none~0|{OPERATIONS[i % 3]}~1|+|none~0|none~1|none~2|"
               for i in range(num)]  # fmt: skip
    return [
        {
            "seed": i,
            "valid_accuracy": 0.5 + i / 100,
            "train_loss": 1.0 - i / 100,
            "genotype": json.loads(
                genotype_text.to_json(genotype_text.from_nasbench201(string))
            ),
        }
        for i, string in enumerate(strings)
    ]


def test_every_seed_keeps_its_genotype():
    """Four seeds, four rows, each genotype as the string of its paper."""
    run = dataclasses.replace(made_runs.search(), result={"seeds": seeds(4)})
    table = report.seeds_table(run)
    assert table.header == ["seed", "valid_accuracy ↑", "train_loss ↓", "genotype"]
    assert [row[0] for row in table.rows] == [0, 1, 2, 3]
    for row, one in zip(table.rows, seeds(4), strict=True):
        read = genotype_text.from_nasbench201(row[-1])
        assert json.loads(genotype_text.to_json(read)) == one["genotype"]
    page = report.html.page([run]).replace("<wbr>", "")  # may break after a bar
    assert all(f">{row[-1]}</td>" in page for row in table.rows)


def test_genotypes_of_other_spaces_are_one_line():
    """DARTS' own string; JSON where a space has no string; a short form is kept."""
    darts = published.genotype("DARTS_V2")
    text = genotype_text.to_json(darts)
    assert report.found.short(text) == genotype_text.to_darts(darts)
    other = {"format": "jnas.genotype", "version": 2, "choices": {"a": "5"}}
    assert json.loads(report.found.short(other)) == other
    assert "\n" not in report.found.short(json.dumps(other, indent=1))
    assert report.found.short("|a~0|") == "|a~0|"


@pytest.mark.parametrize("name", list(registry.SPACES))
def test_a_genotype_in_a_report_reads_as_one_of_its_own_space(name):
    """Pasted into --genotype it is the same network: space, cells and edges."""
    space = registry.SPACES[name]()
    for seed in range(3):
        encoding = np.random.default_rng(seed).integers(0, space.sizes)
        genotype = space.genotype(encoding)
        line = report.found.short(json.loads(genotype_text.to_json(genotype)))
        read = genotype_text.parse(line, operations=space.operations)
        np.testing.assert_array_equal(space.encode(read), encoding)
        assert read.space == genotype.space and "\n" not in line


def test_cells_of_another_space_than_a_papers_are_json():
    """A cell that could be a paper's string is one only in that paper's space."""
    edges = ((0, 3, "nor_conv_3x3"),)
    cells = (("cell", genotype_text.Cell(edges=edges, concat=(3,))),)
    made = genotype_text.Genotype("nasbench201", cells)
    darts = published.genotype("DARTS_V2")
    for one, start in ((made, "|none~0|"), (darts, "Genotype(")):
        assert report.found.short(genotype_text.to_json(one)).startswith(start)
        text = genotype_text.to_json(dataclasses.replace(one, space="mine"))
        assert json.loads(report.found.short(text)) == json.loads(text)


def test_cells_of_an_earlier_release_with_equal_names_are_all_listed():
    """Their names count operations; two cells with the same counts are two rows."""
    run = made_runs.discrete(num=6)
    lines = [line | {"cell": "cell: 3 none"} for line in run.evaluations]
    table = report.evaluations_table(dataclasses.replace(run, evaluations=lines))
    assert len(table.rows) == 6 and table.header[2] == "parameters ↓"


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_best_ten_evaluations_against_sorting(direction):
    """Distinct architectures, the best first, each at its best evaluation."""
    rng = np.random.default_rng(1)
    lines = [
        {
            "evaluation": i,
            "encoding": [int(code)],
            "genotype": f"g{code}",
            "scores": {"score": None if i == 5 else float(value), "other": 0.0},
        }
        for i, (code, value) in enumerate(
            zip(rng.integers(0, 30, 90), rng.integers(0, 1000, 90), strict=True)
        )
    ]
    run = report.RunFiles(
        "a", result={"directions": {"score": direction}}, evaluations=lines
    )
    table = report.evaluations_table(run, most=10)
    sign = -1 if direction == "maximize" else 1
    best = {}
    for line in lines:
        if line["scores"]["score"] is not None:
            value = sign * line["scores"]["score"]
            name = line["genotype"]
            best[name] = min(best.get(name, math.inf), value)
    wanted = sorted(best.values())[:10]
    assert [sign * row[1] for row in table.rows] == wanted
    assert [best[row[-1]] for row in table.rows] == wanted


def test_the_front_of_the_file_is_read_and_shown(tmp_path):
    """front.json, through a folder: rows with arrows, in a section of their own."""
    made = made_runs.objectives(num=30)
    folder = made_runs.write(tmp_path / "m", made)
    run = report.load(folder)
    assert run.objectives == made.objectives and list(run.front) == made.front
    table = report.front_table(run)
    assert table.header == ["evaluation", "valid_12 ↑", "parameters ↓", "genotype"]
    assert [row[0] for row in table.rows] == [3]
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", report.html.page([run]))
    assert {"Pareto front", "Best evaluations", "Trade-offs"} <= set(titles)
    (folder / "front.json").write_text('{"front": 3, "directions": {"a": "up"}}')
    run = report.load(folder)
    assert run.front == () and run.objectives == {}
