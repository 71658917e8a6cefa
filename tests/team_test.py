"""Tests of runs of several processes: one result, one workdir, one end."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from jnas.run import team

SCRIPT = str(pathlib.Path(__file__).with_name("made_team.py"))


def port():
    """A port that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(workdir, *flags, count=2, devices=2, **environment):
    """Starts the processes of a run on CPU devices."""
    env = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
    line = [sys.executable, SCRIPT, f"--workdir={workdir}", "--checkpoint_steps=5"]
    line += [f"--num_devices={devices}", "--nocache", *flags]
    where = [f"--coordinator=127.0.0.1:{port()}", f"--num_processes={count}"]
    return [
        subprocess.Popen(
            line + ([*where, f"--process={i}"] if count > 1 else []),
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(count)
    ]


def end(processes):
    """Waits; returns (exit statuses, what process 0 printed, all errors)."""
    said = [one.communicate(timeout=180) for one in processes]
    statuses = [one.returncode for one in processes]
    return statuses, said[0][0], [errors for _, errors in said]


def saved(workdir):
    """Returns the steps that are saved."""
    folder = workdir / "checkpoints"
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(int(name) for name in names if name.isdecimal())


def digest(workdir):
    """Returns the digest of the last state."""
    file = workdir / "checkpoints" / str(saved(workdir)[-1]) / "MANIFEST.json"
    return json.loads(file.read_text())["state_sha256"]


def result(workdir):
    """Returns the content of result.json."""
    return json.loads((workdir / "result.json").read_text())


def resumed(workdir, **how):
    """Runs to the end, which must work; returns the last state's digest."""
    statuses, _, errors = end(start(workdir, **how))
    assert set(statuses) == {0}, errors
    return digest(workdir)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run of two processes."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    statuses, said, errors = end(start(folder))
    assert statuses == [0, 0], errors
    assert "\nloss " in said
    return folder


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_kill_of_a_process(whole, tmp_path, victim):
    """JAX ends the other; the same commands then give the same bits."""
    folder = tmp_path / "run"
    statuses, _, _ = end(start(folder, DIE=f"{victim},17", SLOW="0.02"))
    assert statuses[victim] == -signal.SIGKILL and statuses[1 - victim] not in (0, None)
    assert saved(folder) and saved(folder)[-1] < 120
    assert resumed(folder) == digest(whole)


def test_signal_to_all(whole, tmp_path):
    """All exit with status 143, and the state is saved; no bit is lost."""
    folder = tmp_path / "run"
    processes = start(folder, SLOW="0.05")
    while not saved(folder):
        assert all(one.poll() is None for one in processes)
        time.sleep(0.01)
    for one in processes:
        one.send_signal(signal.SIGTERM)
    statuses, _, errors = end(processes)
    assert statuses == [143, 143], errors
    assert "stopped by SIGTERM and saved at step" in errors[0]
    assert resumed(folder) == digest(whole)


@pytest.mark.slow
def test_signal_to_one(tmp_path):
    """As when one host is taken away: all stop, and save."""
    folder = tmp_path / "run"
    processes = start(folder, SLOW="0.05")
    while not saved(folder):
        assert all(one.poll() is None for one in processes)
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGTERM)
    statuses, _, errors = end(processes)
    assert statuses == [143, 143], errors


@pytest.mark.slow
def test_other_layouts_agree_up_to_rounding(whole, tmp_path):
    """Four devices of one process, or a single one; and seeds on both processes."""
    wanted = result(whole)
    assert wanted["mesh"] == {"seeds": 1, "data": 4}
    for devices in (4, 1):
        folder = tmp_path / str(devices)
        resumed(folder, count=1, devices=devices)
        assert result(folder)["loss"] == pytest.approx(wanted["loss"], rel=1e-4)
    seeds = tmp_path / "seeds"
    resumed(seeds, SEEDS="2")
    assert result(seeds)["mesh"] == {"seeds": 2, "data": 2}
    alone = tmp_path / "alone"
    resumed(alone, count=1, devices=1, SEEDS="2")
    assert result(seeds)["loss"] == pytest.approx(result(alone)["loss"], rel=1e-4)


@pytest.mark.slow
def test_another_layout_resumes(tmp_path):
    """What two processes saved, one device finishes."""
    folder = tmp_path / "run"
    end(start(folder, DIE="0,40"))
    at = saved(folder)[-1]
    assert 0 < at < 120
    resumed(folder, count=1, devices=1)
    starts = json.loads((folder / "run.json").read_text())
    assert starts["num_processes"] == 1 and starts["starts"][0]["num_processes"] == 2


def test_other_data_on_one_host(tmp_path):
    """Is refused by all, before anything runs."""
    statuses, _, errors = end(start(tmp_path / "run", OTHER="1"))
    assert statuses == [1, 1]
    assert "data must be the same on all processes" in errors[0]
    assert not (tmp_path / "run" / "run.json").exists()


def test_an_error_of_all(tmp_path):
    """Ends all at once, with its line."""
    statuses, _, errors = end(start(tmp_path / "run", WRONG="1"))
    assert statuses == [1, 1], errors
    assert "x must be 1, got 2. Write 1." in errors[0] and "Fatal" not in errors[0]


@pytest.mark.parametrize("which", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_error_of_one_host(tmp_path, which):
    """As of missing data: the others say which process has stopped, and why."""
    statuses, _, errors = end(start(tmp_path / "run", MISSING=str(which)))
    assert statuses == [1, 1], errors
    assert "data must exist, got none." in errors[which]
    line = f"process {which} has stopped: data must exist, got none. Copy them."
    assert line in errors[1 - which]


@pytest.mark.slow
def test_a_slow_process_is_waited_for(whole, tmp_path):
    """Devices that begin to talk wait half a minute; a compilation may take longer."""
    assert resumed(tmp_path / "run", DELAY="45") == digest(whole)


def test_a_finished_run_is_told(whole):
    """Process 0 says so; the other one ends too."""
    before = digest(whole)
    statuses, said, errors = end(start(whole))
    assert statuses == [0, 0], errors
    assert "finished: " in said and digest(whole) == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, 2, 0), "got no coordinator. Add --coordinator."),
        (("host:1", 2, 2), "process must be below num_processes, 2, got 2."),
        (("host", 2, 0), "coordinator must be host:port of process 0, got 'host'."),
    ],
)
def test_flags_that_do_not_fit(given, message):
    """In one line, before the others are waited for."""
    with pytest.raises(ValueError, match=message):
        team.join(*given)


def test_one_process_joins_nobody(monkeypatch):
    """Neither by its flags nor as a task of Slurm whose runs are its own."""
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    team.join(None, 1, None)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    team.join(None, None, None)
    assert not team.joined() and team.leads()
