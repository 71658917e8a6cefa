"""Launchers by the dozen: each line in a fork of one process that imported all.

The process starts with the first line and serves all tests of a worker. A fork has what
a process of its own has but the seconds of importing: its folder, environment, flags,
XLA's client and exit status.
"""

import functools
import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent
LIMIT = 20  # seconds, then the line counts as hung
DRIVER = """
import gc, json, os, runpy, signal, sys, traceback
import altair, orbax.checkpoint, scipy.stats, tensorboardX
from jnas import run, search
from jnas.bench import discrete
from jnas.report import embed
from jnas.studies import compare_methods, flags

def library():
    # in a process that ends: what starts a JavaScript engine cannot be forked
    out = os.memfd_create("library")
    child = os.fork()
    if not child:
        with os.fdopen(out, "wb") as file:
            file.write(embed.library().encode())
        os._exit(0)
    assert not os.wait4(child, 0)[1]
    with os.fdopen(out, "rb") as file:
        file.seek(0)
        return file.read().decode()

def become(name, arguments, cwd, environment, limit, out):
    signal.alarm(limit)
    for target, source in enumerate((os.open(os.devnull, os.O_RDONLY), *out)):
        os.dup2(source, target)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [os.path.join(sys.path[0], name + ".py"), *arguments]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code or 0
        if not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(status)  # taking the interpreter down would cost more than the line

script = library()  # of reports, which takes seconds to bundle
embed.library = lambda: script
gc.freeze(), gc.set_threshold(100_000, 50, 100)  # as conftest.py does
sys.path[0] = sys.argv[1]
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for request in sys.stdin:
    (name, *arguments), *rest = json.loads(request)
    out = [os.memfd_create("out"), os.memfd_create("err")]
    child = os.fork()
    if not child:
        become(name, arguments, *rest, out)
    _, status, used = os.wait4(child, 0)
    status, seconds = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
    texts = [os.pread(fd, 1 << 20, 0).decode("utf-8", "replace") for fd in out]
    print(json.dumps([status, *texts, seconds]), file=answers, flush=True)
    os.close(out[0]), os.close(out[1])
"""


class Answer(NamedTuple):
    """What a launcher answered.

    Attributes:
      status: exit status; negative where a signal ended it.
      out: standard output.
      err: standard error.
      seconds: of processor time, without imports; of wall time it has LIMIT.
    """

    status: int
    out: str
    err: str
    seconds: float


@functools.cache
def _process():
    """Starts the process that forks; it ends when its standard input does."""
    # one launcher finds what another compiled, however small
    env = os.environ | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    env.pop("JAX_COMPILATION_CACHE_DIR", None)
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(ROOT / "experiments")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    )


def stop():
    """Ends the process that forks, if there is one."""
    if _process.cache_info().currsize:
        _process().communicate()
        _process.cache_clear()


def launch(name, *flags, cwd=ROOT, env=None, limit=LIMIT):
    """Runs a launcher in a fork.

    Args:
      name: of the launcher.
      *flags: of it.
      cwd: where.
      env: its environment; this process's by default.
      limit: seconds of wall time, after which it counts as hung.

    Returns:
      An Answer.
    """
    process, env = _process(), dict(os.environ if env is None else env)
    request = [[name, *flags], str(cwd), env, limit]
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    assert answer, f"the process that forks ended with {process.wait()}"
    return Answer(*json.loads(answer))


def run(lines, cwd):
    """Runs command lines (launcher, *flags) one after another.

    Args:
      lines: of strings.
      cwd: where.

    Returns:
      An Answer for each.
    """
    return [launch(*line, cwd=cwd) for line in lines]


def faults(table, cwd):
    """Runs lines that must be refused.

    Args:
      table: label -> (line, words that its message must hold).
      cwd: where.

    Returns:
      Label -> what is wrong with the answer, of those where something is.
    """
    answers = run([line for line, _ in table.values()], cwd)
    found = {
        label: fault(answer, words)
        for (label, (_, words)), answer in zip(table.items(), answers, strict=True)
    }
    return {label: wrong for label, wrong in found.items() if wrong}


def fault(answer, words):
    """Returns what is wrong with a refusal, or "".

    Args:
      answer: of the line.
      words: that the message must hold.
    """
    if answer.status not in (1, 2):
        return f"status {answer.status}: {answer.err[-500:]}"
    if "Traceback" in answer.err or len(answer.err.strip().splitlines()) > 2:
        return f"more than two lines: {answer.err[-500:]}"
    if words not in answer.err:
        return f"not {words!r}: {answer.err}"
    return f"{answer.seconds:.1f} s" if answer.seconds >= 5 else ""
