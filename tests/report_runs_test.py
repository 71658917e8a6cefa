"""Tests of reading runs for a report, and of naming what belongs together."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import made_runs
import pytest

from jnas import report
from jnas.report import groups

ROOT = pathlib.Path(__file__).parent.parent


def test_what_was_written_is_read(tmp_path):
    """All files of a run come back, and none of them is changed."""
    made = made_runs.search(num_epochs=3)
    folder = made_runs.write(tmp_path / "a", made)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    read = report.load(folder)
    assert read.name == "a" and read.run == made.run and read.result == made.result
    assert list(read.metrics) == made.metrics and list(read.weights) == made.weights
    assert read.genotype == made.genotype and read.drawings == made.drawings
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_run_that_just_began_is_read(tmp_path):
    """run.json alone is a run; a page can be written of it."""
    (tmp_path / "run.json").write_text('{"status": "running"}')
    read = report.load(tmp_path)
    assert read.result == {} and read.metrics == () and read.genotype == ""
    report.write_report(tmp_path / "r.html", [read])
    assert "running" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    "damage",
    [
        b'{"step": 3, "phase": "sea',
        b"\xff\xfe\x00",
        b"[1, 2]",
        b'{"phase": "search"}',
        b'{"step": true}',
        b'{"step": "7"}',
        b"[" * 100_000,
        b'{"step": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_damaged_line_is_left_out(damage, tmp_path):
    """The sound lines before and after it are read."""
    folder = made_runs.write(tmp_path / "a", made_runs.search(num_epochs=2))
    for name in ("metrics.jsonl", "weights.jsonl"):
        path = folder / name
        lines = path.read_bytes().splitlines()
        path.write_bytes(b"\n".join([lines[0], damage, lines[1], damage]))
    read = report.load(folder)
    assert [line["step"] for line in read.metrics] == [10, 20]
    assert [line["step"] for line in read.weights] == [10, 20]


def test_a_damaged_result_or_drawing_is_left_out(tmp_path):
    """A page is written without them."""
    folder = made_runs.write(tmp_path / "a", made_runs.search(num_epochs=2))
    (folder / "result.json").write_text("{")
    (folder / "cell.svg").write_text("<svg")
    (folder / "traces.json").write_text('{"traces": {"x": {"cost": [1]}}}')
    read = report.load(folder)
    assert read.result == {}
    report.write_report(tmp_path / "r.html", [read])
    assert "<figure><div" not in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "missing"),
    [("nowhere", "which is none"), ("empty", "without run.json"), ("bad", "run.json")],
)
def test_wrong_folders_are_refused(name, missing, tmp_path):
    """One line names the folder and what it lacks."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text("[]")
    with pytest.raises(ValueError, match=missing) as caught:
        report.load(tmp_path / name)
    assert repr(str(tmp_path / name)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_equal_names_are_told_apart(tmp_path):
    """Folders of one name are named by their paths; one given twice is read once."""
    paths = [tmp_path / x / "run" for x in "ab"] + [tmp_path / "c"]
    for path in paths:
        made_runs.write(path, made_runs.search())
    read = report.load_all([*paths, str(paths[0]) + "/"])
    assert [run.name for run in read] == [f"{paths[0]}/", str(paths[1]), "c"]
    with pytest.raises(
        ValueError, match="runs must name at least one folder, got none"
    ):
        report.load_all([])


def test_seeds_of_one_configuration_are_a_group():
    """Only the seed may differ; the label is what differs between groups."""
    runs = [made_runs.search(f"{m}{s}", seed=s, method=m) for m in "xy" for s in (0, 1)]
    runs.append(made_runs.search("z", method="x", epochs=7))
    found = groups.groups(runs)
    assert [group.n for group in found] == [2, 2, 1]
    assert [r.name for r in found[0].runs] == ["x0", "x1"]
    assert [group.label for group in found] == ["x", "y", "x, epochs=7"]


def test_single_runs_keep_their_names():
    """Without a second seed anywhere, names are the folders'."""
    runs = [made_runs.search("one", method="x"), made_runs.search("two", method="y")]
    assert [group.label for group in groups.groups(runs)] == ["one", "two"]


def test_other_data_is_another_group():
    """A digest that differs parts runs, and names make up for equal flags."""
    first = made_runs.search("one")
    other = dataclasses.replace(first, name="two", run=first.run | {"data_digest": "b"})
    third = dataclasses.replace(first, name="three")
    labels = [group.label for group in groups.groups([first, other, third])]
    assert labels == ["one, three", "two"]


def test_a_retrained_genotype_belongs_to_its_search(tmp_path):
    """Trainings of two seeds' genotypes are one group, by the search's method."""
    runs = []
    for method, seed in (("x", 0), ("x", 1), ("y", 0)):
        searched = made_runs.search(seed=seed, method=method)
        folder = made_runs.write(tmp_path / f"{method}{seed}", searched)
        trained = made_runs.record(seed, genotype=str(folder / "genotype.json"))
        trained["command"] = "python experiments/retrain.py"
        path = tmp_path / f"retrain_{method}{seed}"
        made_runs.write(path, report.RunFiles(name="", run=trained))
        runs.append(report.load(path))
    assert [(g.label, g.n) for g in groups.groups(runs)] == [("x", 2), ("y", 1)]


def extended(name, seed, *epochs, **result):
    """A training to the last of these epochs, finished after each of those before."""
    starts = [
        made_runs.record(seed, epochs=one) | {"status": "finished", "starts": []}
        for one in epochs[:-1]
    ]
    record = made_runs.record(seed, epochs=epochs[-1]) | {"starts": starts}
    if starts:
        record["changes"] = [f"epochs: {epochs[-2]} -> {epochs[-1]}"]
    result = {"test_accuracy": 0.9 + seed / 100} | result
    return report.RunFiles(name, run=record, result=result)


def test_an_extended_run_is_no_straight_run_of_its_last_epochs():
    """Its schedule restarted: told apart by its result, or by the starts before."""
    runs = [
        extended("a", 0, 100),
        extended("b", 1, 100),
        extended("c", 0, 50, 100, extended_from=[50]),
        extended("d", 1, 50, 100),
        extended("e", 0, 25, 50, 100, extended_from=[25, 50]),
    ]
    found = groups.groups(runs)
    assert [[r.name for r in one.runs] for one in found] == [
        ["a", "b"],
        ["c", "d"],
        ["e"],
    ]
    assert "extended_from=50" in found[1].label
    rows = report.compare(runs)["test_accuracy"]
    assert [row.values for row in rows] == [(0.9, 0.91), (0.9, 0.91), (0.9,)]
    assert [groups.extended_from(one) for one in runs] == [[], [], [50], [50], [25, 50]]
    page = report.html.page([runs[4]])
    assert "25, then 50 epochs" in page and "epochs: 50 -&gt; 100" in page
    assert "extended from" not in report.html.page([runs[0]])


@pytest.mark.parametrize("given", [None, "50", {"a": 1}, [None, "x", 7], float("nan")])
def test_a_damaged_extended_from_stops_no_report(given):
    """What is no number is left out."""
    run = extended("a", 0, 100, extended_from=given)
    assert groups.extended_from(run) in ([], [7])
    assert report.html.page([run])


def test_a_run_that_was_resumed_is_not_called_extended():
    """Interrupted starts, and one that was killed while it finished."""
    record = made_runs.record(epochs=9)
    before = [record | {"status": status} for status in ("interrupted", "finished")]
    run = report.RunFiles("a", run=record | {"starts": before})
    assert groups.extended_from(run) == []


def test_the_launcher_writes_a_page_or_says_what_is_missing(tmp_path):
    """Two runs, one page; a wrong folder is one line and exit status 1."""
    for name in ("a", "b"):
        made_runs.write(tmp_path / name, made_runs.search(name))
    line = [sys.executable, str(ROOT / "experiments" / "report.py")]

    def launch(*flags):
        return subprocess.run(
            [*line, *flags], capture_output=True, text=True, cwd=tmp_path, check=False
        )

    done = launch("--runs=a,b")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "2 runs" in text and text.count("data-copy=") == 2
    wrong = launch("--runs=a,checkpoints", "--out=other.html")
    assert wrong.returncode == 1 and not (tmp_path / "other.html").exists()
    assert wrong.stderr.count("\n") == 1 and "'checkpoints'" in wrong.stderr


def test_a_folder_as_out_is_refused(tmp_path):
    """The page must be a file in a folder that exists."""
    folder = made_runs.write(tmp_path / "a", made_runs.search())
    line = [sys.executable, str(ROOT / "experiments" / "report.py"), f"--runs={folder}"]
    done = subprocess.run(
        [*line, f"--out={tmp_path}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "out must be a file" in done.stderr


def test_reading_keeps_numbers_as_json_has_them(tmp_path):
    """A NaN that slipped into a file is no error and no number."""
    folder = made_runs.write(tmp_path / "a", made_runs.search(num_epochs=1))
    line = {"step": 20, "phase": "search", "train_loss": float("nan")}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    report.write_report(tmp_path / "r.html", [report.load(folder)])
    assert "NaN" not in (tmp_path / "r.html").read_text().split("<script>")[0]
