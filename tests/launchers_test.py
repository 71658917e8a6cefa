"""Tests of the launchers as a user runs them: whole, resumed, and with wrong flags."""

import json
import pathlib
import subprocess
import sys

import forks
import pytest

from jnas import registry, spaces
from jnas.discrete import tables
from jnas.spaces import genotype_text

ROOT = pathlib.Path(__file__).parent.parent
SMALL = [
    "--data=digits",
    "--shrink=2",
    "--space=tiny",
    "--features=2",
    "--layers=3",
    "--batch_size=64",
]
OPERATION = '''
from flax import nnx
from jnas import registry

@registry.OPERATIONS.register
def wide_conv(features, stride, *, norm, rngs):
    """A plain NNX convolution and the norm it is given."""
    strides, padding = (stride, stride), ((2, 2), (2, 2))
    conv = nnx.Conv(features, features, (5, 5), strides, padding=padding, rngs=rngs)
    return nnx.Sequential(conv, norm(features, rngs=rngs))
'''


def launch(name, *flags, **how):
    """Runs a launcher in a fork of a process that has imported everything."""
    return forks.launch(name, *flags, limit=600, **how)


def start(name, *flags, cwd):
    """Runs a launcher in a process of its own."""
    line = [sys.executable, str(ROOT / "experiments" / f"{name}.py"), *flags]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.mark.slow
def test_search_with_a_users_operation_and_two_seeds(tmp_path):
    """An operation in a file of its own is searched; seeds give mean and spread."""
    plugin = tmp_path / "mine.py"
    plugin.write_text(OPERATION)
    folder = tmp_path / "search"
    done = launch(
        "search",
        *SMALL,
        f"--workdir={folder}",
        f"--plugins={plugin}",
        "--operations=none,skip_connect,wide_conv",
        "--epochs=1",
        "--num_seeds=2",
        "--hypergradient=unrolled",
    )
    assert done.status == 0, done.err
    found = json.loads((folder / "genotype.json").read_text())
    used = {e[2] for cell in found["cells"].values() for e in cell["edges"]}
    assert used <= {"skip_connect", "wide_conv"}
    row = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    assert row["valid_accuracy_sd"] >= 0 and 0 < row["valid_accuracy"] < 1


@pytest.mark.slow
def test_retrain_nasbench201(tmp_path):
    """A NAS-Bench-201 string is trained and tested."""
    cell = "|nor_conv_1x1~0|+|skip_connect~0|none~1|+|none~0|none~1|avg_pool_3x3~2|"
    folder = tmp_path / "retrain"
    done = launch(
        "retrain", f"--workdir={folder}", f"--genotype={cell}", "--data=digits",
        "--features=2", "--layers=1", "--epochs=1",
    )  # fmt: skip
    assert done.status == 0, done.err
    result = json.loads((folder / "result.json").read_text())
    assert 0 <= result["test_accuracy"] <= 1
    assert result["auxiliary_parameters"] == 0


MINI = ["--data=digits", "--shrink=2", "--features=2", "--layers=1"]
PLUGIN = '''
from jnas import registry, spaces

@registry.SPACES.register
def mini():
    """Three edges of three operations."""
    names = ("none", "skip_connect", "nor_conv_1x1")
    return spaces.CellSpace("mini", ("cell",), 1, 2, names, None, (2,))

@registry.OBJECTIVES.register
def few_edges(task):
    """A user's objective: as many `none` as can be."""
    return lambda key, encodings: -(encodings > 0).sum(-1, keepdims=True) / 1.0
'''


@pytest.fixture(scope="module")
def made_table(tmp_path_factory):
    """A table of 27 cells made by its launcher, and the flags that name its space."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "mine.py").write_text(PLUGIN)
    flags = [f"--plugins={folder / 'mine.py'}"]
    line = [
        *MINI, *flags, f"--workdir={folder / 'run'}", "--space=mini", "--epochs=2",
        "--short_epochs=1", "--num_seeds=1", "--num_devices=2",
    ]  # fmt: skip
    first = launch("make_table", *line)
    assert first.status == 0, first.err
    again = launch("make_table", *line)
    assert again.status == 0 and "is finished" in again.out
    return folder / "run" / "table.npz", flags


@pytest.mark.slow
def test_make_table(made_table):
    """Every cell has its figures, and equal graphs have the same."""
    table = tables.read_npz(made_table[0])
    assert table.num_rows == 27
    wanted = {f"{part}_{e}" for part in ("valid", "test") for e in (1, 2)}
    assert wanted | {"seconds", "parameters", "valid_2_seed0"} <= set(table.metrics)
    # no edge at all, and an edge that leads nowhere
    row = [spaces.encoding.index(e, table.sizes) for e in ([0, 0, 0], [2, 0, 0])]
    assert len(set(table.column("valid_2")[row])) == 1
    assert 0 < table.column("valid_2").min() and table.column("valid_2").max() <= 100


@pytest.mark.slow
def test_compare(made_table, tmp_path):
    """Equal budgets, random search always in, one JSON object as the last line."""
    folder, (table, _) = tmp_path / "compare", made_table
    line = [
        f"--workdir={folder}", f"--objective=table:{table}", "--num_runs=20",
        "--signal=valid_2,-parameters", "--report=valid_2,test_2",
        "--controllers=regularized_evolution,nsga2", "--budget_evaluations=15",
    ]  # fmt: skip
    done = launch("compare", *line)
    assert done.status == 0, done.err
    result = json.loads(done.out.splitlines()[-1])
    assert list(result) == ["random_search", "regularized_evolution", "nsga2"]
    for told in result.values():
        assert told["test_2"]["n"] == 20 and told["evaluations"] == 15
        assert set(told["valid_2"]) == {"mean", "sd", "n"}
    assert (folder / "traces.svg").read_text().count("(n = 20)</text>") == 3
    assert "p against random" in done.out
    again = launch("compare", *line)
    assert "is finished" in again.out and again.out.endswith(done.out)
    kept = json.loads((folder / "result.json").read_text())
    assert kept["directions"] == {
        "valid_2": "maximize", "test_2": "maximize", "parameters": "minimize",
    }  # fmt: skip


@pytest.mark.slow
def test_compare_methods(made_table, tmp_path):
    """Methods on images, their cells looked up in a table, beside random search."""
    folder, (table, plugins) = tmp_path / "methods", made_table
    line = [
        *plugins, f"--workdir={folder}", f"--objective=table:{table}", "--space=mini",
        "--methods=gdas", "--num_seeds=2", "--num_devices=2", "--epochs=1",
        "--features=2", "--batch_size=64", "--signal=valid_2", "--report=test_2",
    ]  # fmt: skip
    done = launch("compare", *line)
    assert done.status == 0, done.err
    result = json.loads(done.out.splitlines()[-1])
    assert list(result) == ["gdas", "random_search", "most_parameters"]
    column = tables.read_npz(table).column("test_2")
    told = result["gdas"]
    assert told["test_2"]["n"] == 2 and -1 <= told["tau"]["mean"] <= 1
    assert min(abs(column - told["best"])) < 1e-4
    assert 0 <= told["percentile"]["mean"] <= 100 and told["wall_seconds"] > 0
    # 2 parts of 10 batches of 64, at 2016 images a cell: none is free
    assert result["random_search"]["evaluations"] == 1
    assert "Kendall" in done.out and (folder / "report.html").stat().st_size > 0
    assert "warning: gdas: " in done.out  # an epoch does not move the weights
    again = launch("compare", *line)
    assert "is finished" in again.out and again.out.endswith(done.out)
    both = launch("compare", *line, "--controllers=reinforce")
    assert "methods must be given without controllers" in both.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--objective=supernet", "--trainer=reinforce", "--epochs=1"],
        ["--objective=scratch", "--epochs=1", "--num_proposals=4"],
        ["--objective=few_edges", "--controller=local_search"],
        ["--objective=table:TABLE", "--signal=valid_2", "--report=test_2"],
    ],
    ids=lambda flags: flags[0].partition("=")[2].partition(":")[0],
)
def test_search_discrete(flags, made_table, tmp_path):
    """Shared weights, training from scratch, a user's own and a table; then resumed."""
    table, plugins = made_table
    folder = tmp_path / "run"
    line = [
        *MINI, *plugins, f"--workdir={folder}", "--space=mini", "--num_evaluations=8",
        *(flag.replace("TABLE", str(table)) for flag in flags),
    ]  # fmt: skip
    done = launch("search_discrete", *line)
    assert done.status == 0, done.err
    result = json.loads((folder / "result.json").read_text())
    assert result["evaluations"] == 8
    found = genotype_text.from_json((folder / "genotype.json").read_text())
    assert len(found.cells[0][1].edges) == 3
    if "few_edges" in flags[0]:
        assert result["score"] >= -2  # one climb, even from three edges
    for name in ("metrics.jsonl", "cell.svg", "report.html"):
        assert (folder / name).stat().st_size > 0
    assert "is finished" in launch("search_discrete", *line).out


def test_describe(tmp_path):
    """The last line is the counts, before it the network and the drawing's path."""
    done = launch("describe", "--genotype=DARTS_V2", cwd=tmp_path)
    size, path, counts = done.out.splitlines()[-3:]
    assert size.startswith("network: 36 features, 20 layers, 10 classes, small stem")
    assert pathlib.Path(path).read_text().startswith("<svg")
    counts = json.loads(counts)
    assert counts.pop("macs_with_norms") > counts["macs"]
    assert counts == {
        "parameters": 3349342,
        "auxiliary_parameters": 476426,
        "macs": 528359040,
    }


def test_describe_of_large_images(tmp_path):
    """224 pixels alone give the ImageNet network; its published parameters."""
    done = launch("describe", "--genotype=DARTS_V2", "--image_size=224", cwd=tmp_path)
    size, _, counts = done.out.splitlines()[-3:]
    assert size.startswith("network: 48 features, 14 layers, 1000 classes, imagenet st")
    assert json.loads(counts)["parameters"] == 4718752


def test_describe_of_one_input(tmp_path):
    """The benchmark's own size and count of its all-3x3 cell."""
    cell = "|c~0|+|c~0|c~1|+|c~0|c~1|c~2|".replace("c~", "nor_conv_3x3~")
    done = launch("describe", f"--genotype={cell}", cwd=tmp_path)
    size, _, counts = done.out.splitlines()[-3:]
    assert size.startswith("network: 16 features, 5 layers, 10 classes, small stem")
    assert json.loads(counts)["parameters"] == 1531546


def test_describe_lists_the_methods(tmp_path):
    """Two rows for each method: its pieces, and its numbers."""
    done = launch("describe", "--methods", cwd=tmp_path)
    lines = done.out.splitlines()
    for name in registry.METHODS:
        assert len([one for one in lines if one.startswith(f"| {name} ")]) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "flags", "status", "words"),
    [
        ("search", ["--wrkdir=x"], 2, "Did you mean --workdir?"),
        ("compare", ["--workdir=w"], 1, "one of --budget_evaluations and --budget_sec"),
    ],
)
def test_wrong_flags_are_told_in_a_line(name, flags, status, words, tmp_path):
    """As a process of its own; ``hostile_test`` has many more, in forks of one."""
    done = start(name, *flags, cwd=tmp_path)
    assert done.returncode == status and words in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
