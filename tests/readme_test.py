"""What the README shows is run, every block of it."""

import contextlib
import fcntl
import importlib.util
import json
import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import threading
from typing import NamedTuple

import forks
import pytest

from jnas import registry

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
TINY = "--data=digits --shrink=1 --space=nasbench201 --features=2 --layers=1 --epochs=1"
FEW = "--operations=none,skip_connect,nor_conv_1x1"
QUICK = (
    f"{TINY} {FEW} --batch_size=128 --retrain_features=2 --retrain_epochs=1 "
    "--retrain_seeds=1 --baselines=plain_cnn"
)
# What makes a shown line small: added behind it, for the last value counts.
SMALLER = {
    "quickstart": f"{QUICK} --num_random=2 --finalists=2 --finalist_epochs=1",
    "quickstart --seed=1": f"{QUICK} --num_random=0 --finalists=0 --nolargest_cell",
    "search": f"{TINY} {FEW} --features=4 --batch_size=128 --watch_interval=0",
    "retrain": f"{TINY} --batch_size=128",
    "auto": "--data=digits --shrink=2 --minutes=30 "
    f"--plugins={ROOT / 'tests/tiny_auto.py'}",
    "predict": f"--images={ROOT / 'jnas/data/embedded_sets/digits.npz'}",
    "evaluate": "--data=digits",
    "tune": f"{TINY} --batch_size=128 --trials=2 --notest",
    "compare --methods": "--methods=darts --num_seeds=2 --epochs=1 --features=2",
    "search_discrete": f"{TINY} {FEW} --num_evaluations=4 --num_proposals=4",
    "search_discrete --controller=nsga2": f"{TINY} --num_evaluations=40",
    "benchmark": "--steps=forward --features=2 --layers=3 --image_size=8 "
    "--batch_size=4 --repeats=1 --loop=1",
}
PYTHON = """#!{python}
import json, os, socket, sys
smaller = {smaller!r}
words = sys.argv[1:]
name = words[0].removeprefix("experiments/").removesuffix(".py")
given = {{name, *words[1:], *(word.partition("=")[0] for word in words[1:])}}
line = list(words)
for shown in sorted(smaller, key=len):
    if given.issuperset(shown.split()):
        line = [*words, *smaller[shown].split()]
if "PORT" not in os.environ or not os.path.exists(words[0]):
    os.execv(sys.executable, [sys.executable, *line])
with socket.create_connection(("localhost", int(os.environ["PORT"]))) as server:
    with server.makefile("rw") as file:
        request = [name, *line[1:]], os.getcwd(), dict(os.environ)
        print(json.dumps(request), file=file, flush=True)
        status, out, err, _ = json.loads(file.readline())
sys.stdout.write(out), sys.stderr.write(err), sys.exit(status)
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

    ``python`` is this one, its lines made smaller; the first block starts it, the
    others have their launchers in forks. ``pip`` and ``pytest`` are noted: what they do
    is what ``.ci/run`` does.
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
def launchers_in_forks():
    """Launches what is asked for at a port, and gives the port's number."""
    with socket.create_server(("localhost", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):  # until it is shut down
                while True:
                    with server.accept()[0] as asking, asking.makefile("rw") as file:
                        line, cwd, env = json.loads(file.readline())
                        answer = forks.launch(*line, cwd=cwd, env=env, limit=600)
                        print(json.dumps(answer), file=file)

        thread = threading.Thread(target=serve)
        thread.start()
        yield str(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


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
            with launchers_in_forks() as port:
                more = {"NOTED": str(noted)} | ({"PORT": port} if number else {})
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", BASH[number]],
                    capture_output=True,
                    text=True,
                    cwd=folder,
                    env=environment | more,
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


@pytest.mark.slow
def test_the_first_block_writes_its_files_and_then_does_nothing(reader):
    """Searches, retrains, compares, reports; the same line again says it is done."""
    shown, folder = show(reader, 0), reader[0] / "runs" / "first"
    rows = [row.split("|")[1].strip() for row in shown.out.splitlines() if "|" in row]
    assert rows[2:] == [
        "found", "largest_cell", "random_0", "random_1", "plain_cnn",
        "mean of 2 random cells",
    ]  # fmt: skip
    assert "The found network " in shown.out and "2 random cells have " in shown.out
    last = shown.out.splitlines()[-1]
    assert last.startswith("next: python experiments/retrain.py --workdir=")
    assert "compiling" in shown.err and "search" in shown.err
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
    # epochs of the search, of the finalists and of five networks
    assert steps == sorted(set(steps)) and len(steps) == 7
    line = ["--workdir=runs/first", *SMALLER["quickstart"].split()]
    again = forks.launch("quickstart", *line, cwd=reader[0], limit=600)
    assert again.status == 0 and "is finished" in again.out


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
    """Its table, which takes hours to make, has rows of methods and of chance alone."""
    heading = "### Methods compared with ground truth"
    section = README.split(heading)[1].split("\n### ")[0]
    assert list(rows_of(section)) == [*registry.METHODS, "random_search"]
    assert "| most_parameters" in section
