"""Tests of the jnas command, from a checkout and from a wheel."""

import pathlib
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from jnas.run import record
from jnas.studies import auto

ROOT = pathlib.Path(__file__).parent.parent
LAUNCHERS = sorted(path.stem for path in (ROOT / "experiments").glob("[a-z]*.py"))


def command(*words, where=ROOT / "experiments", **how):
    """Runs ``jnas`` as its entry point does."""
    line = [sys.executable, str(where), *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, **how)


def test_alone_it_lists_every_launcher_with_a_line_each():
    """The first line of its docstring."""
    done = command()
    rows = [line.split(None, 1) for line in done.stdout.splitlines()
            if line.startswith("  ")]  # fmt: skip
    assert done.returncode == 0 and [name for name, _ in rows] == LAUNCHERS
    assert all(text[0].isupper() and text[-1] == "." for _, text in rows)
    assert command("--help").stdout == done.stdout


def test_an_unknown_command_is_refused_with_the_nearest():
    """In one line, status 2."""
    done = command("serch", "--workdir=x")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "got 'serch'. Did you mean 'search'?" in done.stderr


def test_flags_reach_the_launcher(tmp_path):
    """Its errors and exit status are the launcher's own."""
    done = command("search", "--lr=3", cwd=tmp_path)
    assert done.returncode == 2
    assert "got --lr. Did you mean --learning_rate? --help" in done.stderr
    done = command("describe", "--methods", cwd=tmp_path)
    assert done.returncode == 0 and "| pcdarts" in done.stdout


def test_an_installed_launcher_is_the_command_jnas(tmp_path, monkeypatch):
    """However its process was started, and in its help; a checkout's is a file."""
    place = tmp_path / "jnas" / "experiments"
    place.mkdir(parents=True)
    py = "/usr/bin/python3"
    starts = {
        "script": [py, f"{place}/search.py", "--seed=2"],
        "folder": [py, str(place), "search", "--seed=2"],
        "module": [py, "-m", "jnas.experiments", "search", "--seed=2"],
        "command": [py, "/usr/bin/jnas", "search", "--seed=2"],
    }
    doc = "python experiments/search.py --workdir=a"
    checkout = record.command(starts["script"])
    assert checkout == f"python {place}/search.py --seed=2"
    assert record.launcher(checkout, "tune") == f"python {place}/tune.py"
    assert record.in_help(doc, starts["script"]) == doc
    assert record.launcher("python -c x", "tune") == "python experiments/tune.py"
    monkeypatch.setattr(record, "INSTALLED", place)
    for argv in starts.values():
        shown = record.command(argv)
        assert shown == "jnas search --seed=2"
        assert record.launcher(shown, "tune") == "jnas tune"
        assert record.in_help(doc, argv) == "jnas search --workdir=a"
    for shown in ("", "python -c x", "python -m notebook"):
        assert record.launcher(shown, "tune") == "jnas tune"
    # another file is not a launcher, nor is a clone whose folder is named jnas
    mine = record.command([py, str(tmp_path / "jnas" / "mine.py")])
    assert mine == f"python {tmp_path}/jnas/mine.py"


def test_steps_are_started_as_the_user_started_the_whole(tmp_path):
    """By the same command, or by the file beside it."""
    jnas = tmp_path / "jnas"
    jnas.write_text("import sys; print(*sys.argv[1:])")
    (tmp_path / "search.py").write_text("import sys; print('file', *sys.argv[1:])")
    for started, shown in (
        ([sys.executable, str(jnas), "auto"], "search --seed=2"),
        ([sys.executable, str(tmp_path / "auto.py")], "file --seed=2"),
        ([], "file --seed=2"),
    ):
        runner = auto.processes(tmp_path, started)
        assert runner.output("search", ["--seed=2"]).strip() == shown


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The files of a wheel that pip builds, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    files = ["jnas", "experiments", "setup.py", "pyproject.toml", "README.md"]
    listed = subprocess.run(
        ["git", "ls-files", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    line = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps",
            f"--wheel-dir={folder}", str(source)]  # fmt: skip
    subprocess.run(line, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.slow
def test_a_wheel_holds_launchers_and_data_and_no_benchmarks(wheel):
    """And the entry point of the command."""
    names = {str(path.relative_to(wheel)) for path in wheel.rglob("*")}
    assert {f"jnas/experiments/{name}.py" for name in LAUNCHERS} <= names
    assert {"jnas/discrete/tables/digits201.npz", "jnas/spaces/genotypes.json",
            "jnas/data/embedded_sets/fashion.npz"} <= names  # fmt: skip
    assert not any(name.startswith(("jnas/bench", "jnas/endurance")) for name in names)
    (entry,) = wheel.glob("*.dist-info/entry_points.txt")
    assert "jnas = jnas.experiments.__main__:main" in entry.read_text()


@pytest.mark.slow
def test_from_a_wheel_benchmarks_say_that_they_need_a_checkout(wheel, tmp_path):
    """Others run."""
    # without site: an editable install would add the checkout's packages
    paths = f"{wheel}:{sysconfig.get_path('purelib')}"
    how = {"cwd": tmp_path, "env": {"PYTHONPATH": paths, "PATH": "/usr/bin:/bin"}}
    code = (
        "import sys; sys.argv[0] = 'jnas'; import jnas; "
        f"assert jnas.__file__.startswith({str(wheel)!r}), jnas.__file__; "
        "from jnas.experiments.__main__ import main; sys.exit(main())"
    )
    for name in (
        "benchmark", "benchmark_discrete", "benchmark_recipes", "endurance"
    ):  # fmt: skip
        line = [sys.executable, "-S", "-c", code, name, "--help"]
        done = subprocess.run(line, capture_output=True, text=True, check=False, **how)
        assert done.returncode == 2 and "must be run from a checkout" in done.stderr
    line = [sys.executable, "-S", "-c", code, "describe", "--genotype=DARTS_V2"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, **how)
    assert done.returncode == 0 and '"parameters": 3349342' in done.stdout
