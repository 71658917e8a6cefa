"""Tests of stopping: by signals, by kill -9, and what the next start finds."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from jnas.run import signals

TRAIN = """
import sys, time
import jax, jax.numpy as jnp
from jnas import run

def init(key):
    return {"key": key, "x": jnp.zeros(3), "step": jnp.int32(0)}

@jax.jit
def step(state):
    key, draw = jax.random.split(state["key"])
    x = state["x"] * 0.9 + jax.random.normal(draw, (3,))
    return {"key": key, "x": x, "step": state["step"] + 1}

def loop(phase, pause):
    state = init(jax.random.key(0))
    number, state = phase.restore(jax.eval_shape(lambda: state)) or (0, state)
    while number < phase.num_steps:
        state = step(state)
        number += 1
        time.sleep(pause)
        found = run.Found("conv")
        phase.observe(number, state, {"x": state["x"].sum()}, found=found)
    phase.end({"x": state["x"]})

with run.open_run(sys.argv[1], checkpoint_seconds=float(sys.argv[3])) as r:
    if r.finished is not None:
        sys.exit()
    for name, steps in (("search", 20), ("retrain", 40)):
        phase = r.phase(name, steps)
        if phase.result is None:
            loop(phase, float(sys.argv[2]))
    r.finish({"x": phase.result["x"]})
"""
WAIT = """
import sys, time
from jnas.run import signals
watch = signals.Signals(grace=float(sys.argv[1]), last_words=lambda: print("last"))
watch.deferred = sys.argv[2] != "dropped"

class Finalized:  # Python drops what is raised in here, as in JAX's finalizers
    def __del__(self):
        print("ready", flush=True)  # here, or the signal could come before
        time.sleep(60)

if sys.argv[2] == "dropped":
    Finalized()
else:
    print("ready", flush=True)
if sys.argv[2] == "blocked":
    import hashlib  # a call in C that runs no handler: it stands for a compile
    hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000_000)
time.sleep(60)
"""


def start(code, *arguments):
    """Starts a Python process."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(workdir, process, step):
    """Waits until the metrics have that many lines."""
    path = workdir / "metrics.jsonl"
    deadline = time.monotonic() + 120  # then it hangs
    while not path.exists() or path.read_bytes().count(b"\n") < step:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def finish(workdir):
    """Runs the same line to its end; returns the metrics and the result, as text."""
    process = start(TRAIN, workdir, 0, 60)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    status = json.loads((workdir / "run.json").read_text())
    assert status["status"] == "finished"
    names = ("metrics.jsonl", "result.json")
    return [(workdir / name).read_text() for name in names], status


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a run that nobody stopped leaves behind."""
    return finish(tmp_path_factory.mktemp("undisturbed"))[0]


def test_kill_9_then_the_same_line_gives_the_same_bits(tmp_path, undisturbed):
    """Killed in each of the two phases."""
    for step in (10, 35):
        process = start(TRAIN, tmp_path, 0.02, 0.1)
        wait_for_step(tmp_path, process, step)
        process.kill()
        process.communicate()
    found, status = finish(tmp_path)
    assert found == undisturbed
    assert [s["status"] for s in status["starts"]] == ["running", "running"]


def test_sigterm_saves_and_exits_143(tmp_path, undisturbed):
    """At the next step; the saved step is that of the last line."""
    process = start(TRAIN, tmp_path, 0.02, 60)
    wait_for_step(tmp_path, process, 5)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143 and "Traceback" not in said
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    newest = max(int(p.name) for p in (tmp_path / "checkpoints").iterdir())
    assert newest == json.loads(lines[-1])["step"] == len(lines)
    found, status = finish(tmp_path)
    assert found == undisturbed
    assert [s["status"] for s in status["starts"]] == ["interrupted"]


def test_a_second_signal_exits_at_once():
    """Though the main thread is asleep and will not look, and the grace is long."""
    process = start(WAIT, 600, "asleep")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.4)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)  # it would sleep 60
    assert process.returncode == 130
    assert said == "stopped at once: a second signal\n"


def test_a_call_that_does_not_end_is_ended_after_the_grace():
    """A handler in Python would wait for the compile to return."""
    process = start(WAIT, 0.5, "blocked")
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said == "stopped at once: no response within 0.5 s\n"


def test_a_signal_whose_exception_was_dropped_ends_after_the_grace():
    """Raised inside a finalizer, where Python ignores it: endurance found that."""
    process = start(WAIT, 0.5, "dropped")
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    _, said = process.communicate(timeout=20)
    assert process.returncode == 143 and "Exception ignored in" in said
    assert said.endswith("stopped at once: no response within 0.5 s\n")


def test_handlers_come_back():
    """A notebook's own Ctrl-C works after the run."""
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    watch = signals.Signals()
    assert signal.getsignal(signal.SIGTERM) != before[0]
    watch.close()
    watch.close()
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before


def test_where_nothing_is_to_be_saved_the_signal_raises():
    """As while data are read; the status is the shell's."""
    watch = signals.Signals()
    try:
        with pytest.raises(signals.Interrupted) as caught:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        assert caught.value.code == 143 and "SIGTERM" in caught.value.message
    finally:
        watch.close()


def test_while_deferred_the_signal_waits_to_be_seen():
    """Twice in a moment, as a wrapper sends it, is once."""
    watch = signals.Signals(grace=30)
    watch.deferred = True
    try:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        assert watch.pending() == signal.SIGINT
    finally:
        watch.close()
