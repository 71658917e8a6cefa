"""Tests of the lock: one process a workdir, whatever happened to the one before."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from jnas.run import files, lock

SEARCH = pathlib.Path(__file__).parent.parent / "experiments" / "search.py"
LATE = (  # imported where used: each costs a tenth of a second or more
    "scipy.stats", "altair", "vl_convert", "tensorboardX", "orbax.checkpoint",
    "tensorflow_datasets", "PIL.Image",
)  # fmt: skip
HOLD = """
import pathlib, sys, time
from jnas.run import lock
held = lock.Lock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of tmp_path."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(tmp_path)],
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_hears_who_holds_it_and_kill_9_frees_it(
    tmp_path, holder, monkeypatch
):
    """The refusal is at once; after kill -9 nothing stale is in the way."""
    monkeypatch.setattr(lock.time, "sleep", lambda _: pytest.fail("waited"))
    with pytest.raises(files.RunError) as caught:
        lock.Lock(tmp_path)
    assert holder.poll() is None
    assert f"process {holder.pid} on {socket.gethostname()}" in str(caught.value)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    lock.Lock(tmp_path).release()


def test_a_launcher_ends_within_two_seconds_of_work(tmp_path, holder):
    """Before it loads plug-ins or data; the time is the processor's, as others run."""
    line = [sys.executable, "-X", "importtime", str(SEARCH)]
    line += [f"--workdir={tmp_path}", "--plugins=none.py", "--data=none"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        *imports, last = process.stderr.read().splitlines()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 1
    assert f"process {holder.pid} on {socket.gethostname()} holds" in last
    assert used.ru_utime + used.ru_stime < 2
    names = {text.rpartition("|")[2].strip() for text in imports}
    assert "jax" in names and names.isdisjoint(LATE)


def test_two_locks_of_one_process_exclude_each_other(tmp_path):
    """A notebook that opens a run twice is told so; release is enough to go on."""
    first = lock.Lock(tmp_path)
    with pytest.raises(files.RunError, match=f"process {os.getpid()} on"):
        lock.Lock(tmp_path)
    first.release()
    first.release()
    lock.Lock(tmp_path).release()


def test_a_holder_that_has_not_yet_signed_is_called_another_process(tmp_path):
    """A dead process's name in the file is not passed on as the holder's."""
    first = lock.Lock(tmp_path)
    (tmp_path / ".lock").write_text(f"999999999 {socket.gethostname()}\n")
    with pytest.raises(files.RunError, match="another process holds"):
        lock.Lock(tmp_path)
    first.release()
