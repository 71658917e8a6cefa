"""Tests of workers: processes, Ray and Slurm's local executor."""

import functools
import importlib.util
import os
import pathlib
import signal
import subprocess
import sys
import time

import made_workers
import pytest

from jnas.run import files, pools, threads


def asked(kind, count=2):
    """Workers of a kind; Slurm's are its local executor's."""
    if kind == "slurm":
        return pools.Asked(kind, count, {"cluster": "local"})
    return pools.Asked(kind, count, {})


KINDS = [
    "processes",
    *(
        pytest.param(
            kind,
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(
                    importlib.util.find_spec(package) is None,
                    reason=f"{package} is not installed",
                ),
            ],
        )
        for kind, package in (("ray", "ray"), ("slurm", "submitit"))
    ),
]


@pytest.fixture(params=KINDS)
def kind(request, monkeypatch):
    """A kind of workers, which find the tests' modules."""
    here = str(pathlib.Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, *sys.path]))
    yield request.param
    if request.param == "ray":
        import ray

        ray.shutdown()


def test_workers_compute_and_are_started_again(kind, tmp_path):
    """Every task is computed once more after each death; the others just once."""
    said = []
    build = functools.partial(made_workers.build, str(tmp_path), ((3, 2), (5, 1)))
    with pools.opened(asked(kind), build, folder=tmp_path, say=said.append) as pool:
        assert pool.num_workers == 2
        found = [pool.submit(number) for number in range(8)]
        results = [one.result(120) for one in found]
    assert [square for square, _ in results] == [n * n for n in range(8)]
    assert os.getpid() not in {pid for _, pid in results}
    tried = {n: len(list(tmp_path.glob(f"{n}_*"))) for n in range(8)}
    assert tried == {n: 1 for n in range(8)} | {3: 3, 5: 2}
    assert len(said) == 3 and all("a worker ended at" in line for line in said)


def test_a_deadly_task_stops_the_run_with_its_name(kind, tmp_path):
    """After three deaths; an error of a task is raised as it is, and no worker dies."""
    if kind == "slurm":
        pytest.skip("its jobs are waited for by seconds; the other kinds suffice")
    build = functools.partial(made_workers.build, str(tmp_path), ((4, 9),))
    how = {"folder": tmp_path, "say": lambda line: None}
    with pools.opened(asked(kind), build, **how) as pool:
        with pytest.raises(files.RunError, match="got 3 that ended at 4"):
            pool.submit(4).result(120)
        assert len(list(tmp_path.glob("4_*"))) == 3
        with pytest.raises(Exception, match="task must be a number, got refused"):
            pool.submit("refused").result(120)
        assert pool.submit(7).result(120)[0] == 49


def alive(pid):
    """Whether a process runs, and is no zombie."""
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def gone(pid):
    """Waits until a process has ended."""
    deadline = time.monotonic() + 60
    while alive(pid):
        assert time.monotonic() < deadline, pid
        time.sleep(0.05)


def test_closing_ends_what_is_computed(tmp_path):
    """At once, also in the middle of a long task."""
    build = functools.partial(made_workers.build, str(tmp_path))
    how = {"folder": tmp_path, "say": lambda line: None}
    with pools.opened(asked("processes", 1), build, **how) as pool:
        _, pid = pool.submit(1).result(120)
        assert alive(pid)
    gone(pid)


def test_workers_have_the_threads_of_the_run(tmp_path, kind, monkeypatch):
    """However few cores they get: the bits of long sums depend on the threads."""
    monkeypatch.setenv(threads.VARIABLE, "5")
    build = functools.partial(made_workers.build, str(tmp_path))
    how = {"folder": tmp_path, "say": lambda line: None}
    with pools.opened(asked(kind, 1), build, **how) as pool:
        assert pool.submit("threads").result(120) == (5, "5")


def test_a_resumed_run_says_that_it_has_other_threads(monkeypatch):
    """And how to have as many as before; nothing where that is unknown."""
    monkeypatch.setenv(threads.VARIABLE, "3")
    assert threads.count() == 3 and threads.changed(3) is threads.changed(None) is None
    assert "16 threads computed this run before and 3 do now" in threads.changed(16)
    assert "NPROC=16" in threads.changed(16)
    for wrong in ("", "many", "0"):
        monkeypatch.setenv(threads.VARIABLE, wrong)
        assert threads.count() == len(os.sched_getaffinity(0))


DRIVER = """
import functools, os, sys, time
import made_workers
from jnas.run import pools
build = functools.partial(made_workers.build, sys.argv[1])
if __name__ == "__main__":
    asked = pools.Asked("processes", 1, {})
    with pools.opened(asked, build, folder=None, say=print) as pool:
        print(pool.submit(1).result()[1], flush=True)
        time.sleep(60)
"""


@pytest.mark.skipif(not pathlib.Path("/proc").exists(), reason="needs /proc")
def test_workers_end_with_their_driver(tmp_path, kind):
    """Of a killed process no worker stays behind."""
    if kind != "processes":
        pytest.skip("Ray and Slurm see to it themselves")
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    line = [sys.executable, str(script), str(tmp_path)]
    driver = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    pid = int(driver.stdout.readline())
    assert alive(pid)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    gone(pid)


@pytest.mark.parametrize("text", ["ray", "ray:0", "threads:2", "processes:two", ""])
def test_wrong_workers(text):
    """The line says what to write."""
    with pytest.raises(ValueError, match=r"Write --workers=processes:8\."):
        pools.parse(text)


def test_options():
    """Names and values; another form is refused."""
    found = pools.parse("slurm:3", ("timeout_min=5", "slurm_partition=a"))
    assert found.count == 3
    assert found.options == {"timeout_min": "5", "slurm_partition": "a"}
    with pytest.raises(ValueError, match="worker_options must be name=value"):
        pools.parse("ray:1", ("gpus",))
