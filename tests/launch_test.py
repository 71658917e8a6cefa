"""Tests of the front door: one line for every mistake, and the right exit status."""

import json
import resource
import subprocess
import sys

import pytest

# Each command line in a fork of one process that has imported everything.
DRIVER = """
import json, os, sys
from absl import flags
from jnas import run

run.define_run_flags()
flags.DEFINE_integer("epochs", 3, "n", lower_bound=1)
flags.DEFINE_float("rate", 0.1, "n")
flags.DEFINE_enum("space", "darts", ["darts", "nasbench201"], "s")
flags.DEFINE_string("fail", "", "an exception for main to raise")

class Odd(Exception):
    pass

def main():
    if flags.FLAGS.fail:
        raise errors[flags.FLAGS.fail]
    print(json.dumps(run.run_flags()))

errors = {
    "value": ValueError("x must be 1,\\n got 2."), "key": KeyError("x"),
    "os": FileNotFoundError(2, "No such file or directory", "/a/b"),
    "type": TypeError("bad"), "run": run.RunError("held"), "empty": ValueError(),
    "stop": run.Interrupted(15, "stopped at step 3"), "odd": Odd("inside"),
}
answers = []
for arguments in json.loads(sys.argv[1]):
    sys.stdout.flush()
    out = [os.memfd_create("out"), os.memfd_create("err")]
    child = os.fork()
    if not child:
        os.dup2(out[0], 1), os.dup2(out[1], 2)
        sys.argv[1:] = arguments
        try:
            run.launch(main)
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
            status = 1
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)  # taking the interpreter down would cost more than the line
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    answers.append([code, *(os.pread(fd, 1 << 20, 0).decode() for fd in out)])
print(json.dumps(answers))
"""
OK = "--workdir=w"
CASES = {
    # arguments: exit status, the whole of standard error
    (): (2, "--workdir must be given. Add --workdir=<folder>."),
    ("--workdr=x",): (
        2,
        "flag must be one that exists, got --workdr. Did you mean --workdir? "
        "--help lists them.",
    ),
    (OK, "--verbositi=2", "--q=1"): (
        2,
        "flag must be one that exists, got --verbositi. --help lists them.",
    ),
    (OK, "--epochs=many"): (
        2,
        "--epochs must be a positive integer, got 'many'. Write --epochs=<number>.",
    ),
    (OK, "--epochs=0"): (
        2,
        "--epochs must be a positive integer, got '0'. Write --epochs=<number>.",
    ),
    (OK, "--rate=fast"): (
        2,
        "--rate must be a number, got 'fast'. Write --rate=<number>.",
    ),
    (OK, "--space=dart"): (
        2,
        "--space must be one of darts, nasbench201, got 'dart'. Did you mean 'darts'?",
    ),
    (OK, "--debug=maybe"): (
        2,
        "--debug must be true or false, got 'maybe'. Write --debug=<value>.",
    ),
    (OK, "--seed"): (2, "Missing value for flag --seed. --help lists the flags."),
    (OK, "more"): (2, "arguments must be flags, got 'more'. Write --name=value."),
    (OK, "--plugins=no.py"): (
        1,
        "plugins must name existing .py files, got 'no.py'. Check the path.",
    ),
    (OK, "--fail=value"): (1, "x must be 1, got 2."),
    (OK, "--fail=key"): (1, "KeyError: 'x'"),
    (OK, "--fail=os"): (1, "[Errno 2] No such file or directory: '/a/b'"),
    (OK, "--fail=type"): (1, "bad"),
    (OK, "--fail=run"): (1, "held"),
    (OK, "--fail=empty"): (1, "ValueError"),
    (OK, "--fail=stop"): (143, "stopped at step 3"),
    (OK, "--fail=stop", "--debug"): (143, "stopped at step 3"),
}
OTHERS = [
    [OK],
    [OK, "--seed=3", "--debug", "--plugins=", "--epochs=5", "--verbosity=1"],
    [OK, "--fail=value", "--debug"],
    [OK, "--fail=odd"],
    ["--helpshort"],
]


def cpu_seconds():
    """Returns what processes took that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.fixture(scope="module")
def answers():
    """(arguments) -> [exit status, stdout, stderr]."""
    lines = [*map(list, CASES), *OTHERS]
    before = cpu_seconds()
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(lines)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert (cpu_seconds() - before) / len(lines) < 5
    found = json.loads(done.stdout)
    return {tuple(line): answer for line, answer in zip(lines, found, strict=True)}


@pytest.mark.parametrize("arguments", CASES, ids=" ".join)
def test_a_mistake_is_one_line_and_a_status(answers, arguments):
    """No traceback, no usage text, nothing on standard output."""
    status, line = CASES[arguments]
    assert answers[arguments] == [status, "", line + "\n"]


def test_the_flags_of_a_run_are_its_own(answers):
    """Not absl's, not workdir, seed and debug, which stand elsewhere."""
    defaults = {"plugins": [], "norm_group": "global", "epochs": 3, "rate": 0.1}
    defaults |= {"space": "darts", "fail": ""}
    status, out, _ = answers[tuple(OTHERS[0])]
    assert (status, json.loads(out)) == (0, defaults)
    status, out, _ = answers[tuple(OTHERS[1])]
    assert (status, json.loads(out)) == (0, {**defaults, "epochs": 5})


def test_debug_shows_where(answers):
    """The traceback is a flag away."""
    status, _, error = answers[tuple(OTHERS[2])]
    assert status == 1 and "Traceback" in error and "in main" in error


def test_an_error_of_ours_keeps_its_traceback(answers):
    """Only what a user can have caused is shortened."""
    status, _, error = answers[tuple(OTHERS[3])]
    assert status == 1 and "Traceback" in error and "inside" in error


def test_help_shows_the_shared_flags(answers):
    """They count as the launcher's."""
    _, out, _ = answers[tuple(OTHERS[4])]
    for name in ("--workdir", "--seed", "--plugins", "--[no]debug", "--epochs"):
        assert name in out
    assert "--verbosity" not in out
