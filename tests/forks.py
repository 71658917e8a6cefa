"""Launchers by the dozen: each line in a fork of one process that imported all."""

import json
import pathlib
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent
LIMIT = 20  # seconds, then the line counts as hung
DRIVER = """
import json, os, pathlib, runpy, signal, sys
from jnas import run, search
from jnas.run import benchmark_discrete, compare_methods, method_flags

folder, lines = pathlib.Path(sys.argv[1]), json.load(sys.stdin)
answers = []
for name, *flags in lines:
    out = [os.memfd_create("out"), os.memfd_create("err")]
    child = os.fork()
    if not child:
        signal.alarm(%d)
        os.dup2(out[0], 1), os.dup2(out[1], 2)
        sys.argv = [str(folder / f"{name}.py"), *flags]
        sys.path[0] = str(folder)
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
            status = 0
        except SystemExit as end:
            status = end.code or 0
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)  # taking the interpreter down would cost more than the line
    _, status, used = os.wait4(child, 0)
    status, seconds = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
    texts = [os.pread(fd, 1 << 20, 0).decode("utf-8", "replace") for fd in out]
    answers.append([status, *texts, seconds])
    os.close(out[0]), os.close(out[1])
print(json.dumps(answers))
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


def run(lines, cwd):
    """Runs command lines (launcher, *flags) one after another.

    Args:
      lines: of strings.
      cwd: where.

    Returns:
      An Answer for each.
    """
    done = subprocess.run(
        [sys.executable, "-c", DRIVER % LIMIT, str(ROOT / "experiments")],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Answer(*answer) for answer in json.loads(done.stdout)]


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
