"""Tests of a run in its folder: started, gone on with, finished, refused."""

import errno
import json
import os
import pathlib
import re
import time

import jax
import jax.numpy as jnp
import pytest

from jnas import run
from jnas.run import pace as pace_lib


def state(value):
    """A small state."""
    return {"x": jnp.float32(value), "key": jax.random.key(0)}


ABSTRACT = jax.eval_shape(lambda: state(0))


def do(phase, stop, *, start=0):
    """Observes the steps up to stop."""
    for step in range(start + 1, stop + 1):
        found = run.Found("conv")
        phase.observe(step, state(step), {"loss": 1.0 / step}, found=found)


def read(path):
    """Reads a JSON file."""
    return json.loads(path.read_text())


def test_a_run_from_start_to_finish(tmp_path):
    """Every file that a workdir should hold, and nothing half written."""
    folder = tmp_path / "new" / "run"
    with run.open_run(folder, seed=3, flags={"a": (1, 2)}, data_digest="d") as r:
        assert r.finished is None and r.record["status"] == "running"
        search = r.phase("search", 4)
        assert search.restore(ABSTRACT) is None
        do(search, 4)
        search.end({"accuracy": jnp.float32(0.5), "scores": jnp.arange(2)})
        retrain = r.phase("retrain", 3)
        assert retrain.start == 4 and retrain.restore(ABSTRACT) is None
        do(retrain, 3)
        retrain.end({"accuracy": float("nan")})
        r.write_text("genotype.json", "{}\n")
        r.finish({"accuracy": search.result["accuracy"]})
    assert read(folder / "result.json") == {"accuracy": 0.5}
    about = read(folder / "run.json")
    expected = {"status": "finished", "seed": 3, "flags": {"a": [1, 2]}}
    assert expected.items() <= about.items() and about["data_digest"] == "d"
    for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"):
        assert about["versions"][name], name
    assert about["ended"] >= about["started"] and "cpu" in about["device"]
    lines = run.read_metrics(folder)
    assert [line["step"] for line in lines] == list(range(1, 8))
    assert [line["phase"] for line in lines] == ["search"] * 4 + ["retrain"] * 3
    assert sorted(os.listdir(folder / "checkpoints")) == ["4", "7"]
    note = read(folder / "checkpoints" / "7" / "MANIFEST.json")["note"]
    assert note["results"] == {
        "search": {"accuracy": 0.5, "scores": [0, 1]},
        "retrain": {"accuracy": None},
    }
    assert not list(folder.rglob("*.tmp"))


def test_a_finished_run_says_so_and_changes_nothing(tmp_path):
    """Nor does it print, make event files or take signals."""
    with run.open_run(tmp_path) as r:
        r.finish({"a": 1})
    before = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir() if p.name != ".lock"}
    with run.open_run(tmp_path) as r:
        assert r.finished == {"a": 1}
        with pytest.raises(ValueError, match="run must not be finished"):
            r.phase("search", 1)
    after = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir() if p.name != ".lock"}
    assert after == before


def test_going_on_in_the_middle_of_the_second_phase(tmp_path):
    """The first is skipped with its result; the second finds step and state."""
    with pytest.raises(RuntimeError), run.open_run(tmp_path, checkpoint_seconds=0) as r:
        first = r.phase("search", 2)
        do(first, 2)
        first.end({"accuracy": 0.5})
        do(r.phase("retrain", 5), 3)
        raise RuntimeError("the power\nfailed")
    about = read(tmp_path / "run.json")
    assert about["status"] == "failed"
    assert about["error"] == "RuntimeError: the power failed"
    with run.open_run(tmp_path) as r:
        assert r.phase("search", 2).result == {"accuracy": 0.5}
        phase = r.phase("retrain", 5)
        step, found = phase.restore(ABSTRACT)
        assert step == 3 and float(found["x"]) == 3
        assert phase.seconds > 0
        do(phase, 5, start=3)
        phase.end({})
        r.finish({})
    assert [line["step"] for line in run.read_metrics(tmp_path)] == list(range(1, 8))
    assert [s["status"] for s in read(tmp_path / "run.json")["starts"]] == ["failed"]


def test_a_phase_that_only_lacks_its_end(tmp_path):
    """As when the process died in the last evaluation."""
    with run.open_run(tmp_path) as r:
        do(r.phase("search", 2), 2)
    assert read(tmp_path / "run.json")["status"] == "interrupted"
    with run.open_run(tmp_path) as r:
        phase = r.phase("search", 2)
        assert phase.restore(ABSTRACT)[0] == 2
        phase.end({"accuracy": 1})
    with run.open_run(tmp_path) as r:
        assert r.phase("search", 2).result == {"accuracy": 1}


def test_a_damaged_checkpoint_costs_its_steps_only(tmp_path):
    """Metrics beyond the older step are dropped, so that none is written twice."""
    with run.open_run(tmp_path, checkpoint_seconds=0) as r:
        do(r.phase("search", 9), 5)
    (tmp_path / "checkpoints" / "5" / "MANIFEST.json").write_text("{")
    with run.open_run(tmp_path) as r:
        phase = r.phase("search", 9)
        assert phase.restore(ABSTRACT)[0] == 4
        assert [line["step"] for line in run.read_metrics(tmp_path)] == [1, 2, 3, 4]
        do(phase, 9, start=4)
        phase.end({})
    assert [line["step"] for line in run.read_metrics(tmp_path)] == list(range(1, 10))


def test_phases_come_in_the_same_order_each_time(tmp_path):
    """Or their steps would count from elsewhere."""
    with run.open_run(tmp_path) as r:
        search = r.phase("search", 2)
        do(search, 2)
        search.end({})
    with run.open_run(tmp_path) as r:
        with pytest.raises(ValueError, match="got 'retrain' without 'search'"):
            r.phase("retrain", 3)
        assert r.phase("search", 2).result == {}
        r.phase("retrain", 3)


def test_lost_lines_of_metrics_are_told(tmp_path, capsys):
    """The run goes on; the history has a gap, and not in silence."""
    with run.open_run(tmp_path, checkpoint_seconds=0) as r:
        do(r.phase("search", 9), 5)
    with run.open_run(tmp_path):
        pass
    assert "warning" not in capsys.readouterr().err
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_text("".join(lines[:2]))
    with run.open_run(tmp_path) as r:
        assert r.phase("search", 9).restore(ABSTRACT)[0] == 5
    told = "metrics.jsonl has 2 lines up to step 5, and had 5 when that was saved"
    assert told in capsys.readouterr().err


def test_a_phase_may_end_early_or_have_no_steps(tmp_path):
    """Its result is kept all the same, and so is the state of the phase before."""
    with run.open_run(tmp_path) as r:
        search = r.phase("search", 10)
        do(search, 4)
        search.end({"a": 1})
        r.phase("compare", 1).end({"b": 2})
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["10", "4"]
    with run.open_run(tmp_path) as r:
        assert [r.phase(n, k).result for n, k in (("search", 10), ("compare", 1))] == [
            {"a": 1},
            {"b": 2},
        ]


def test_a_stepless_phase_keeps_the_state_of_the_one_before(tmp_path):
    """Both end at the same global step."""
    with run.open_run(tmp_path) as r:
        search = r.phase("search", 2)
        do(search, 2)
        search.end({})
        r.phase("compare", 1).end({"b": 2})
        assert r._books.checkpoints.load(2, ABSTRACT)["x"] == 2
    with run.open_run(tmp_path) as r:
        assert r.phase("search", 2).result == {}
        assert r.phase("compare", 1).result == {"b": 2}


def test_checkpoints_come_by_the_clock_and_at_the_end(tmp_path):
    """Not with every step, which would cost more than the step."""
    with run.open_run(tmp_path, checkpoint_seconds=0.5) as r:
        phase = r.phase("search", 4)
        do(phase, 2)
        assert not (tmp_path / "checkpoints").exists()
        time.sleep(0.5)
        do(phase, 3, start=2)
        assert os.listdir(tmp_path / "checkpoints") == ["3"]
        do(phase, 4, start=3)
        assert sorted(os.listdir(tmp_path / "checkpoints")) == ["3", "4"]


def test_checkpoints_come_by_steps(tmp_path):
    """And a call is cut where the next one is due."""
    with run.open_run(tmp_path, checkpoint_steps=3) as r:
        phase = r.phase("search", 8)
        assert phase.suggest_steps() == 1
        do(phase, 2)
        phase._pace.suggest = lambda seconds: 50
        assert phase.suggest_steps() == 1
        do(phase, 3, start=2)
        assert os.listdir(tmp_path / "checkpoints") == ["3"]
        assert phase.suggest_steps() == 3
        phase.observe(7, state(7), {})
        assert phase.suggest_steps() == 1
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["3", "7"]


def test_a_full_disk_is_told_once_with_what_is_free(tmp_path, monkeypatch):
    """In the call that met it; the checkpoint before stays good."""
    real = os.fsync

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(run.RunError) as caught,
        run.open_run(tmp_path, checkpoint_seconds=0) as r,
    ):
        phase = r.phase("search", 9)
        do(phase, 2)
        monkeypatch.setattr(os, "fsync", full)
        do(phase, 3, start=2)
    monkeypatch.setattr(os, "fsync", real)
    text = str(caught.value)
    assert "No space left on device" in text and str(tmp_path) in text
    assert re.search(r"with \d+ bytes free", text) and "\n" not in text
    with run.open_run(tmp_path) as r:
        assert r.phase("search", 9).restore(ABSTRACT)[0] == 2


def test_a_part_of_an_epoch_is_shown_and_not_written(tmp_path):
    """record=False leaves metrics.jsonl to whole epochs."""
    with run.open_run(tmp_path) as r:
        phase = r.phase("search", 4)
        phase.observe(1, state(1), {"loss": 1.0}, record=False)
        phase.observe(2, state(2), {"loss": 0.5})
    assert [line["step"] for line in run.read_metrics(tmp_path)] == [2]


def test_changed_flags_are_listed_and_refused(tmp_path):
    """All of them, seed and data included, old and new."""
    with run.open_run(tmp_path, flags={"a": 1, "b": "x"}, data_digest="d1") as r:
        do(r.phase("search", 1), 1)
    with pytest.raises(run.RunError) as caught:
        run.open_run(tmp_path, seed=1, flags={"a": 2, "c": None}, data_digest="d2")
    text = str(caught.value)
    for change in ("a: 1 -> 2", "b: 'x' -> None", "seed: 0 -> 1"):
        assert change in text
    assert "data_digest: 'd1' -> 'd2'" in text and "\n" not in text
    run.open_run(tmp_path, flags={"a": 1, "b": "x"}, data_digest="d1").__exit__(
        None, None, None
    )  # the refusal let go of the lock


def test_flags_may_change_where_that_is_allowed(tmp_path, capsys):
    """They are told and noted; the seed and the data never may."""
    with run.open_run(tmp_path, flags={"a": 1, "b": "x"}, data_digest="d1") as r:
        do(r.phase("search", 3), 1)
        r._books.checkpoints.save(1, state(1), {"phase": "x", "results": {}})
    other = {"data_digest": "d1", "data": {"task": "regression"}}
    for wrong in ({"seed": 1, "data_digest": "d1"}, {"data_digest": "d2"}, other):
        with pytest.raises(run.RunError, match="seed and data must be those"):
            run.open_run(tmp_path, flags={"a": 1}, allow_changed=True, **wrong)
    again = {"flags": {"a": 2, "b": "x"}, "data_digest": "d1"}
    with run.open_run(tmp_path, allow_changed=True, **again) as r:
        assert r.record["changes"] == ["a: 1 -> 2"]
        assert read(tmp_path / "run.json")["flags"]["a"] == 1  # nothing has run yet
        do(r.phase("search", 3), 1)
    assert "changed: a: 1 -> 2" in capsys.readouterr().err
    with run.open_run(tmp_path, **again) as r:  # the new flags are the run's now
        assert "changes" not in r.record
        assert r.record["starts"][1]["changes"] == ["a: 1 -> 2"]


def test_flags_may_change_while_nothing_is_saved(tmp_path):
    """A start that failed at the door is no run yet."""
    with pytest.raises(OSError), run.open_run(tmp_path, flags={"data": "typo"}):
        raise OSError("no such data")
    with run.open_run(tmp_path, flags={"data": "right"}) as r:
        assert [s["flags"] for s in r.record["starts"]] == [{"data": "typo"}]


@pytest.mark.parametrize(
    ("workdir", "message"),
    [
        ("", "must name a folder, got ''"),
        ("a\0b", "must name a folder"),
        ("file", "must be a folder that can be written, got File exists"),
        ("file/below", "must be a folder that can be written, got Not a directory"),
        ("/proc/nothing", "must be a folder that can be written"),
        ("x" * 300, "got File name too long"),
        ("foreign", "with checkpoints, result.json but no run.json"),
        ("broken", "run.json must be JSON"),
        ("list", "run.json must hold a JSON object, got list"),
    ],
)
def test_a_workdir_that_cannot_be_is_refused(tmp_path, monkeypatch, workdir, message):
    """In one line, whatever is there."""
    monkeypatch.chdir(tmp_path)
    pathlib.Path("file").write_text("")
    for name, text in (("broken", "{"), ("list", "[]")):
        pathlib.Path(name).mkdir()
        pathlib.Path(name, "run.json").write_text(text)
    pathlib.Path("foreign", "checkpoints").mkdir(parents=True)
    pathlib.Path("foreign", "result.json").write_text("{}")
    with pytest.raises(run.RunError, match=message) as caught:
        run.open_run(workdir)
    assert "\n" not in str(caught.value)


def test_one_process_a_workdir(tmp_path):
    """The lock is held as long as the run is open, and no longer."""
    with run.open_run(tmp_path):
        with pytest.raises(run.RunError, match=f"process {os.getpid()} on"):
            run.open_run(tmp_path)
    run.open_run(tmp_path).__exit__(None, None, None)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/x", "a\0b", ".lock", "run.json"]
)
def test_a_file_of_the_workdir_has_a_plain_name(tmp_path, name):
    """No way out of the folder, and none of the run's own files."""
    with run.open_run(tmp_path / "w") as r:
        with pytest.raises(ValueError, match="name must be a plain file name"):
            r.write_text(name, "")


def test_wrong_use_is_named(tmp_path):
    """Steps backwards, a state never asked for, phases out of order."""
    with run.open_run(tmp_path, checkpoint_seconds=0) as r:
        phase = r.phase("search", 3)
        do(phase, 2)
        with pytest.raises(ValueError, match="step must be from 3 to 3, got 2"):
            do(phase, 2, start=1)
        with pytest.raises(ValueError, match="step must be from 3 to 3, got 4"):
            do(phase, 4, start=3)
        with pytest.raises(ValueError, match="must be new and follow an ended one"):
            r.phase("retrain", 1)
    with run.open_run(tmp_path) as r:
        phase = r.phase("search", 3)
        with pytest.raises(ValueError, match="must come after phase.restore"):
            do(phase, 3, start=2)
        phase.restore(ABSTRACT)
        do(phase, 3, start=2)
        phase.end({})
        with pytest.raises(ValueError, match="must be called once"):
            phase.end({})
        with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
            r.phase("retrain", 0)


def test_the_pace_gives_calls_of_the_asked_length(monkeypatch):
    """1 while unknown; the compile in the first call does not count."""
    now = [0.0]
    monkeypatch.setattr(pace_lib.time, "monotonic", lambda: now[0])
    pace = pace_lib.Pace()
    assert pace.suggest(5) == 1
    now[0] += 60  # compile and 1 step
    pace.observe(1)
    assert pace.suggest(5) == 1
    now[0] += 0.1
    pace.observe(1)
    assert pace.suggest(5) in (49, 50)  # 5 s / 0.1 s, but for rounding
    now[0] += 6.0  # 20 % slower: not worth another length
    pace.observe(50)
    for _ in range(5):
        now[0] += 50 * 0.5
        pace.observe(50)
    assert pace.suggest(5) == 10  # 5 s / 0.5 s


def test_a_call_does_not_run_past_the_end(tmp_path):
    """However fast the steps are."""
    with run.open_run(tmp_path) as r:
        phase = r.phase("search", 7)
        do(phase, 3)
        assert phase.suggest_steps(1e6) == 4
        assert phase.suggest_steps(1e-9) == 1
