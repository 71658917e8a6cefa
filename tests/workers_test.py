"""Tests of members that workers score, and of their journal."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import directions, networks, spaces
from jnas.discrete import limits
from jnas.discrete import objectives as objectives_lib
from jnas.discrete.objectives import workers

ENCODINGS = jnp.array([[0, 1], [2, 0], [1, 1], [0, 1]], jnp.int32)


def member(key, encoding):
    """Scores that depend on key and encoding."""
    noise = jax.random.normal(key, (2,))
    return noise + encoding.sum()


class Counting:
    """A pool of one worker, this process, which counts what it scores."""

    num_workers = 1

    def __init__(self, of=member):
        """Begins at 0."""
        self._score, self.num = workers.compiled(of), 0

    def submit(self, task):
        """Scores a member at once."""
        self.num += 1
        found = futures.Future()
        found.set_result(self._score(task))
        return found


def by_hand(key, encodings):
    """What a population scores: member i with the i-th key."""
    return jax.lax.map(lambda p: member(*p), (jax.random.split(key, 4), encodings))


def objective(pool, path=None, of=None):
    """The objective of a pool."""
    metrics = (directions.Metric("a"), directions.Metric("b"))
    return workers.on_workers(pool, workers.Journal(path, of), *metrics)


def test_numbers_are_those_of_one_process():
    """Each member has its own key; the objective cannot be compiled, and says so."""
    pool, key = Counting(), jax.random.key(3)
    made = objective(pool)
    np.testing.assert_array_equal(made(key, ENCODINGS), by_hand(key, ENCODINGS))
    assert pool.num == 4 and not objectives_lib.jittable(made)
    assert [one.name for one in objectives_lib.columns(made)] == ["a", "b"]


def test_a_journal_is_read_back_exactly(tmp_path):
    """By another process: nothing is scored twice, and no bit changes."""
    path, key, pool = tmp_path / "members.jsonl", jax.random.key(5), Counting()
    first = objective(Counting(), path)(key, ENCODINGS)
    assert len(path.read_text().splitlines()) == 4
    again = objective(pool, path)(key, ENCODINGS)
    np.testing.assert_array_equal(first, again)
    assert pool.num == 0
    objective(pool, path)(jax.random.key(6), ENCODINGS)
    assert pool.num == 4  # other keys


def test_a_torn_line_is_left_out(tmp_path):
    """What a killed process wrote last; lines after it are not lost."""
    path, key = tmp_path / "members.jsonl", jax.random.key(5)
    want = objective(Counting(), path)(key, ENCODINGS)
    whole = path.read_bytes()
    path.write_bytes(whole[: -len(whole) // 6])
    for missing in (1, 0):
        pool = Counting()
        found = objective(pool, path)(key, ENCODINGS)
        np.testing.assert_array_equal(found, want)
        assert pool.num == missing


def test_scores_of_other_settings_are_not_read(tmp_path):
    """Lines hold what scores depend on; a line that is none of ours is left out."""
    path, key = tmp_path / "members.jsonl", jax.random.key(5)
    objective(Counting(), path, {"epochs": 1})(key, ENCODINGS)
    path.write_text(path.read_text() + "[1, 2]\nnull\n{}\n")
    pool = Counting()
    objective(pool, path, {"epochs": 2})(key, ENCODINGS)
    assert pool.num == 4


def test_infinite_scores_are_kept(tmp_path):
    """-inf and NaN too, as JSON of Python writes them."""
    path = tmp_path / "members.jsonl"
    task = workers.Task(np.zeros(2, np.uint32), np.zeros(2, np.int32))
    journal = workers.Journal(path)
    journal.add(task, np.float32([-np.inf, np.nan]))
    found = workers.Journal(path).known[task.name]
    np.testing.assert_array_equal(found, np.float32([-np.inf, np.nan]))


def test_limits_score_feasible_members_alone():
    """With the keys of a compiled population; the others cost nothing."""

    def margins(encodings):
        return 2.0 - encodings[:, :1]  # the second cell exceeds it by nothing

    def population(key, encodings):
        keys = jax.random.split(key, len(encodings))
        return jax.vmap(member)(keys, encodings)

    metrics = (directions.Metric("a"), directions.Metric("b"))
    plain = objectives_lib.declared(population, *metrics)
    pool = Counting()
    given = objective(pool)

    def tighter(encodings):
        return margins(encodings) - 0.5

    key = jax.random.key(1)
    want = limits.limited(plain, tighter)(key, ENCODINGS)
    found = limits.limited(given, tighter)(key, ENCODINGS)
    np.testing.assert_allclose(found, want, rtol=1e-6)
    assert pool.num == 3 and np.isneginf(np.asarray(found[1])).all()


def test_members_of_objectives():
    """One with a member of its own, and any other as a population of one."""

    def alone(key, encodings):
        return jnp.stack([encodings.sum(-1)], 1).astype(jnp.float32)

    assert workers.member_of(alone)(jax.random.key(0), ENCODINGS[1]).tolist() == [2]
    alone.member = member
    assert workers.member_of(alone) is member


def test_a_declared_objective_keeps_its_member():
    """A proxy by workers is that of a population: names of columns change no key."""
    space = dataclasses.replace(spaces.zoo.tiny(), name="mini", cells=("cell",))
    images = jax.random.normal(jax.random.key(0), (4, 6, 6, 1))
    size, key = networks.Size(2, 1, 3, channels=1), jax.random.key(2)
    proxy = objectives_lib.naswot(space, size, images)
    named = objectives_lib.declared(proxy, directions.Metric("naswot"))
    cells = jnp.array([[1, 0, 2, 1, 1], [1, 1, 1, 1, 1]], jnp.int32)
    pool = Counting(workers.member_of(named))
    made = workers.on_workers(pool, workers.Journal(None), directions.Metric("naswot"))
    np.testing.assert_allclose(made(key, cells), jax.jit(proxy)(key, cells), rtol=1e-5)


PLUGIN = """
from jnas import registry
from jnas.endurance import kinds
registry.SPACES.register(kinds.mini)
"""
LAUNCHER = pathlib.Path(__file__).parents[1] / "experiments" / "search_discrete.py"


def command(tmp_path, name, *flags):
    """A search whose 12 cells are trained from scratch."""
    plugin = tmp_path / "mini.py"
    plugin.write_text(PLUGIN)
    return [
        sys.executable, str(LAUNCHER), f"--workdir={tmp_path / name}", "--data=digits",
        "--shrink=2", "--features=2", "--layers=1", "--batch_size=64", "--space=mini",
        f"--plugins={plugin}", "--objective=scratch", "--epochs=1",
        "--num_proposals=6", "--num_evaluations=12", *flags,
    ]  # fmt: skip


def digest(folder):
    """Returns the digest of the last state."""
    last = max(map(int, filter(str.isdecimal, os.listdir(folder / "checkpoints"))))
    file = folder / "checkpoints" / str(last) / "MANIFEST.json"
    return json.loads(file.read_text())["state_sha256"]


@pytest.mark.slow
def test_a_search_by_workers_is_that_of_one_process(tmp_path):
    """To the bit, although its driver is killed; the journal tells what was scored."""
    done = subprocess.run(command(tmp_path, "one"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line = command(tmp_path, "two", "--workers=processes:2")
    journal = tmp_path / "two" / workers.JOURNAL
    driver = subprocess.Popen(line, stderr=subprocess.PIPE)
    while not journal.exists() or journal.read_bytes().count(b"\n") < 2:
        assert driver.poll() is None, driver.stderr.read()
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    known = journal.read_bytes().count(b"\n")
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{known} members are known already" in done.stderr
    assert journal.read_bytes().count(b"\n") == 12
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--workers=processes:2", "--objective=scratch,naswot"],
            "workers must have one objective of single cells",
        ),
        (
            ["--workers=processes:2", "--objective=latency"],
            "workers must have an objective that can be compiled",
        ),
        (
            ["--workers=processes:2", "--worker_options=num_gpus=1"],
            "worker_options must be left out for processes",
        ),
        (
            ["--workers=processes:2", "--norm_group=device"],
            "norm_group must be global with workers",
        ),
        (["--workers=ray"], "workers must be processes, ray, slurm and a number"),
        (["--worker_options=num_gpus=1"], "worker_options must come with workers"),
        (
            ["--workers=processes:2", "--objective=table:digits201"],
            "workers must have one objective of single cells",
        ),
        (
            ["--workers=processes:2", "--objective=parameters"],
            "workers must have one objective of single cells",
        ),
    ],
)
def test_wrong_flags(tmp_path, flags, message):
    """In one line, before anything runs."""
    line = command(tmp_path, "run", *flags)
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(message)
