"""What the README shows is run, every block of it."""

import contextlib
import fcntl
import importlib.util
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
from typing import NamedTuple

import pytest

from jnas import registry

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
TINY = "--data=digits --shrink=1 --space=nasbench201 --features=2 --layers=1 --epochs=1"
# What makes a shown line small: added behind it, for the last value counts.
SMALLER = {
    "quickstart": f"{TINY} --batch_size=128 --retrain_features=2 --retrain_epochs=1 "
    "--num_random=1 --retrain_seeds=1 --finalists=1 --baselines=plain_cnn",
    "search": f"{TINY} --features=4 --batch_size=128 --watch_interval=0",
    "retrain": f"{TINY} --batch_size=128",
    "auto": "--data=digits --shrink=2 --minutes=30 "
    f"--plugins={ROOT / 'tests/tiny_auto.py'}",
    "predict": f"--images={ROOT / 'jnas/data/embedded_sets/digits.npz'}",
    "evaluate": "--data=digits",
    "tune": f"{TINY} --batch_size=128 --trials=2 --notest",
    "compare --methods": "--methods=darts --num_seeds=2 --epochs=1 --features=2",
    "search_discrete": f"{TINY} --num_evaluations=4 --num_proposals=4",
    "search_discrete --controller=nsga2": f"{TINY} --num_evaluations=40",
    "benchmark": "--steps=weight --features=2 --layers=3 --image_size=8 --batch_size=4 "
    "--repeats=1 --loop=1",
}
PYTHON = """#!{python}
import os, sys
smaller = {smaller!r}
words = sys.argv[1:]
name = words[0].removeprefix("experiments/").removesuffix(".py")
shown = name + " --methods" if "--methods=all" in words else name
nsga2 = name + " --controller=nsga2"
shown = nsga2 if "--controller=nsga2" in words else shown
os.execv(sys.executable, [sys.executable, *words, *smaller.get(shown, "").split()])
"""
NOTED = """#!/bin/sh
echo "$(basename "$0") $*" >> "$NOTED"
"""


BASH = [block for language, block in BLOCKS if language == "bash"]


class Shown(NamedTuple):
    """What became of a block.

    Attributes:
      status: exit status of bash.
      out: standard output.
      err: standard error.
      noted: lines of ``pip`` and ``pytest``.
    """

    status: int
    out: str
    err: str
    noted: list[str]


@pytest.fixture(scope="module")
def reader(common_folder):
    """A folder and an environment in which a reader types; the same for all workers.

    ``python`` is this one, its lines made smaller; ``pip`` and ``pytest`` are noted:
    what they do is what ``.ci/run`` does.
    """
    folder = common_folder / "reader"
    programs = folder / "bin"
    with exclusively(common_folder / "reader.lock"):
        if not programs.exists():
            programs.mkdir(parents=True)
            (folder / "experiments").symlink_to(ROOT / "experiments")
            for name, text in {"pip": NOTED, "pytest": NOTED, "python": PYTHON}.items():
                (programs / name).write_text(
                    text.format(python=sys.executable, smaller=SMALLER)
                )
                (programs / name).chmod(0o755)
    return folder, os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # blocks find each other's
    }


@contextlib.contextmanager
def exclusively(path):
    """Holds a lock among workers."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def show(reader, number):
    """Runs a bash block, once for all workers, after those that it reads from."""
    folder, environment = reader
    told = folder / f"block{number}.json"
    for needed in range(number):
        if workdirs(BASH[needed]) & set(re.findall(r"runs/\w+", BASH[number])):
            show(reader, needed)
    with exclusively(told.with_suffix(".lock")):
        if not told.exists():
            noted = told.with_suffix(".noted")
            noted.touch()
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", BASH[number]],
                capture_output=True,
                text=True,
                cwd=folder,
                env=environment | {"NOTED": str(noted)},
                check=False,
            )
            lines = noted.read_text().splitlines()
            shown = Shown(done.returncode, done.stdout, done.stderr, lines)
            told.write_text(json.dumps(shown))
    return Shown(*json.loads(told.read_text()))


def workdirs(block):
    """Returns the folders that a block's commands write to."""
    return {
        word.removeprefix("--workdir=")
        for word in shlex.split(block.replace("\\\n", " "))
        if word.startswith("--workdir=")
    }


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BASH)))
def test_every_bash_block_runs(number, reader):
    """Each after those that wrote what it reads; what it makes is there."""
    block, shown, folder = BASH[number], show(reader, number), reader[0]
    assert shown.status == 0, f"{block}\n{shown.err[-2000:]}"
    assert shown.noted == {
        0: ["pip install -e ."],
        2: ["pip install -e .[dev]", "pytest "],
    }.get(number, [])
    for name in workdirs(block):
        assert json.loads((folder / name / "result.json").read_text())
    if "report.py" in block:
        assert (folder / "runs" / "report.html").stat().st_size > 500_000
    if "--controllers" in block:
        compare_tables(shown.out)


def test_what_is_asked_of_bash_blocks_is_in_one():
    """A report and a comparison of controllers are shown, and blocks that need none."""
    assert sum("report.py" in block for block in BASH) == 1
    assert sum("--controllers" in block for block in BASH) == 1
    assert sum(bool(workdirs(block)) for block in BASH) >= 7


def compare_tables(text):
    """Holds the table of controllers against what its command printed."""
    section = README.split("### Controllers compared on a table")[1].split("\n### ")[0]
    printed, shown = rows_of(text), rows_of(section)
    assert list(printed) == list(shown) and "random_search" in shown
    for name, pairs in shown.items():
        # another machine's exponentials may turn a few of REINFORCE's draws
        for (mean, sd), (wanted, wanted_sd) in zip(pairs, printed[name], strict=True):
            assert abs(mean - wanted) < 0.03 and abs(sd - wanted_sd) < 0.03, name


@pytest.mark.slow
@pytest.mark.parametrize("block", [b for name, b in BLOCKS if name == "python"])
def test_every_python_block_runs(block, tmp_path, monkeypatch):
    """By itself, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "block.py"
    script.write_text(block)
    spec = importlib.util.spec_from_file_location("readme_block", script)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_no_block_is_left_out():
    """What is no program is the one entry to cite."""
    others = [block for name, block in BLOCKS if name not in ("bash", "python")]
    assert len(others) == 1 and others[0].startswith("@software{jnas,")
    assert others[0].count("{") == others[0].count("}")
    version = re.search(r'version="(.+?)"', (ROOT / "setup.py").read_text())[1]
    assert f"version = {{{version}}}" in others[0]


def test_readme_has_its_two_lines():
    """The set-up is what CI runs and what a newcomer types."""
    assert (
        "pip install -e . && python experiments/quickstart.py --workdir=runs/first"
        in README
    )
    assert "pip install -e '.[dev]' && pytest" in README
    assert (
        "pip install --quiet -e '.[dev]' && pytest\n"
        in (ROOT / ".ci" / "run").read_text()
    )


def test_every_file_and_heading_that_it_names_exists():
    """Links and files in backticks, and links to its own sections."""
    links = re.findall(r"\]\(([^)]+)\)", README)
    files = re.findall(r"`((?:jnas|tests|experiments|notebooks)/[\w./]+\.\w+)`", README)
    headings = {
        "#" + h.lower().replace(" ", "-").replace(",", "")
        for h in re.findall(r"^#+ (.+)$", README, re.M)
    }
    assert links and files
    for name in (*links, *files):
        assert name in headings or (ROOT / name).is_file(), name


def rows_of(text):
    """Controller -> (mean, sd) of each metric, from the Markdown of a comparison."""
    found = {}
    for line in text.splitlines():
        pairs = re.findall(r"([\d.]+) ± ([\d.]+)", line)
        if line.startswith("| ") and pairs:
            name = line.split("|")[1].strip()
            found[name] = [tuple(map(float, pair)) for pair in pairs]
    return found


def test_the_comparison_of_methods_names_them_all():
    """Its table, which takes half an hour to make, has a row for each method."""
    heading = "### Methods compared with ground truth"
    section = README.split(heading)[1].split("\n### ")[0]
    assert list(rows_of(section)) == [*registry.METHODS, "random_search"]
