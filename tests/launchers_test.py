"""Tests of the launchers as a user runs them: whole, resumed, and with wrong flags."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SMALL = [
    "--data=digits",
    "--shrink=2",
    "--space=tiny",
    "--features=2",
    "--layers=1",
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


def launch(name, *flags, cwd=None):
    """Runs a launcher in a process of its own."""
    line = [sys.executable, str(ROOT / "experiments" / f"{name}.py"), *flags]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, check=False)


def test_quickstart_writes_its_files_and_then_does_nothing(tmp_path):
    """Searches, retrains, compares, reports; the same line again says it is done."""
    folder = tmp_path / "first"
    line = [
        *SMALL, f"--workdir={folder}", "--epochs=1", "--retrain_epochs=1",
        "--retrain_features=2", "--num_random=2",
    ]  # fmt: skip
    first = launch("quickstart", *line)
    assert first.returncode == 0, first.stderr
    assert "random mean ± sd (n=2)" in first.stdout
    assert "beat" in first.stdout.splitlines()[-1]
    assert "compiling" in first.stderr and "search" in first.stderr
    for name in ("run.json", "metrics.jsonl", "genotype.json", "cell.svg",
                 "result.json", "report.html"):  # fmt: skip
        assert (folder / name).stat().st_size > 0
    assert list(folder.glob("events.out.tfevents.*"))
    assert list(folder.glob("checkpoints/*/MANIFEST.json"))
    result = json.loads((folder / "result.json").read_text())
    assert 0 <= result["test_accuracy"] <= 1 and result["num_random"] == 2
    steps = [
        json.loads(row)["step"]
        for row in (folder / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == sorted(set(steps)) and len(steps) == 4
    again = launch("quickstart", *line)
    assert again.returncode == 0 and "is finished" in again.stdout


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
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "genotype.json").read_text())
    used = {e[2] for cell in found["cells"].values() for e in cell["edges"]}
    assert used <= {"skip_connect", "wide_conv"}
    row = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    assert row["valid_accuracy_sd"] >= 0 and 0 < row["valid_accuracy"] < 1


def test_retrain_nasbench201(tmp_path):
    """A NAS-Bench-201 string is trained and tested."""
    cell = "|nor_conv_1x1~0|+|skip_connect~0|none~1|+|none~0|none~1|avg_pool_3x3~2|"
    folder = tmp_path / "retrain"
    done = launch(
        "retrain", f"--workdir={folder}", f"--genotype={cell}", "--data=digits",
        "--features=2", "--layers=1", "--epochs=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "result.json").read_text())
    assert 0 <= result["test_accuracy"] <= 1
    assert result["auxiliary_parameters"] == 0


def test_describe(tmp_path):
    """The last line is the counts, the one before it the drawing's path."""
    done = launch("describe", "--genotype=DARTS_V2", cwd=tmp_path)
    path, counts = done.stdout.splitlines()[-2:]
    assert pathlib.Path(path).read_text().startswith("<svg")
    assert json.loads(counts) == {
        "parameters": 3349342,
        "auxiliary_parameters": 476426,
        "macs": 528359040,
    }


@pytest.mark.parametrize(
    ("name", "flags", "words"),
    [
        ("search", ["--wrkdir=x"], "Did you mean --workdir?"),
        ("search", [], "--workdir must be given"),
        ("search", ["--workdir=w", "--data=fasion"], "Did you mean 'fashion'?"),
        ("search", ["--workdir=w", "--space=dart"], "Did you mean 'darts'?"),
        ("search", ["--workdir=w", "--relaxation=sofmax"], "Did you mean 'softmax'?"),
        ("search", ["--workdir=w", "--data=npz:no.npz"], "an existing file"),
        ("search", ["--workdir=w", "--operations=none,sep_conv3x3,skip_connect"],
         "Did you mean 'sep_conv_3x3'?"),
        ("search", ["--workdir=w", "--batch_size=99999"], "batch_size must be from 1"),
        ("search", ["--workdir=w", "--plugins=no.py"], "existing .py files"),
        ("retrain", ["--workdir=w", "--genotype=DARTS_V3"], "Did you mean 'DARTS_V2'?"),
        ("search", ["--workdir=w", "--epochs=0"], "--epochs must be"),
        ("search", ["--workdir=w", "--learning_rate=-1"], "--learning_rate must be"),
        ("describe", ["--genotype=DARTS_V2", "--layers=0"], "at least 1, got 0"),
    ],
)  # fmt: skip
def test_wrong_flags_are_told_in_a_line(name, flags, words, tmp_path):
    """At most two lines, no traceback, not zero, the nearest name guessed."""
    done = launch(name, *flags, cwd=tmp_path)
    lines = done.stderr.strip().splitlines()
    assert done.returncode != 0
    assert words in done.stderr and "Traceback" not in done.stderr
    assert len(lines) <= 2, done.stderr
