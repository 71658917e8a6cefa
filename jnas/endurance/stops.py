"""SIGTERM and SIGINT during a step, a save or a compilation, once or twice."""

import json
import random
import signal
import time
from typing import Any, NamedTuple

from jnas.endurance import finals, kills, undisturbed

AIMS = ("step", "save", "compile", "twice")
SIGNALS = (signal.SIGTERM, signal.SIGINT)
GRACE = 10.0  # seconds that a run may take to stop
AT_ONCE = 1.0  # seconds that a run may take to stop after a second signal
_PAUSE = 0.2  # seconds between two signals


class Stopped(NamedTuple):
    """Result of one trial.

    Attributes:
      aim: one of ``AIMS``.
      signals: number of signals sent while the run was alive.
      seconds: time from the last signal to the exit.
      lost: number of steps in metrics.jsonl after the last checkpoint.
      wrong: failures and differences from the undisturbed run; empty if it survived.
    """

    aim: str
    signals: int
    seconds: float
    lost: int
    wrong: list[str]


def trials(
    whole: undisturbed.Undisturbed,
    place: undisturbed.Place,
    *,
    num_trials: int,
    seed: int,
) -> list[Stopped]:
    """Signals a run, checks its exit, resumes it to its end, and compares the results.

    Args:
      whole: the undisturbed run to compare with.
      place: where the trials run; workdirs of failed trials are kept.
      num_trials: number of trials; aims and signals take turns.
      seed: seed of the moments.
    """

    def one(number):
        draw = random.Random(f"stop {seed} {whole.kind.name} {number}")
        name = f"{whole.kind.name}_stop_{number}"
        place.remove(name)
        aim, signum = AIMS[number % 4], SIGNALS[number // 4 % 2]
        result = _trial(whole, place, name, draw, aim, signum)
        if not result.wrong:
            place.remove(name)
        return result

    return place.each(one, range(num_trials))


def _trial(whole, place, name, draw, aim, signum) -> Stopped:
    compiles = aim in ("compile", "twice")
    process = place.run((*whole.kind.line, *(["--nocache"] * compiles)), name)
    _wait(process, whole, draw, aim)
    signals, seconds, wrong = _send(process, signum, 2 if aim == "twice" else 1)
    if signals and "Traceback" in process.said:
        wrong.append(f"showed a traceback: {process.said[-1000:]}")
    lost = _lost(process.workdir)
    wrong += kills.compare(whole, place, name)
    wrong = [f"{process.workdir}: {w}" for w in wrong]
    return Stopped(aim, signals, seconds, lost, wrong)


def _send(process, signum, times) -> tuple[int, float, list[str]]:
    """Sends signals until the run ends; returns (signals sent, seconds, failures).

    The run may end before the second of two signals is sent.
    """
    signals, wrong = 0, []
    while process.running and signals < times:
        process.send(signum)
        began, signals = time.monotonic(), signals + 1
        process.wait_till(began - process.began + (_PAUSE if signals < times else 60))
    if not signals:
        return 0, 0.0, []
    ended = process.end(0.0)
    seconds = time.monotonic() - began
    if ended.status != 128 + signum:
        wrong.append(f"status {ended.status} after {signum}: {ended.last_line}")
    if seconds > (AT_ONCE if signals == 2 else GRACE):
        wrong.append(f"took {seconds:.1f} s to stop")
    return signals, seconds, wrong


def _wait(process, whole, draw, aim) -> None:
    """Waits for a random moment during the step, save or compilation of ``aim``."""
    if aim in ("compile", "twice"):
        process.wait_until(lambda: "compiling" in process.said, 120)
        process.wait_till(time.monotonic() - process.began + draw.uniform(0, 8))
        return
    undisturbed.wait_for_share(process, whole, draw.uniform(0.0, 0.8))
    pause = draw.uniform(0.0, 0.05 * (whole.seconds - whole.first))
    process.wait_till(time.monotonic() - process.began + pause)
    if aim == "save":
        folder = process.workdir / "checkpoints"
        process.wait_until(lambda: bool(list(folder.glob(".tmp-*"))), 60)


def _lost(workdir) -> int:
    """Returns the number of steps in metrics.jsonl after the last checkpoint."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    written = json.loads(lines[-1])["step"] if lines else 0
    return max(0, written - max(finals.steps(workdir), default=0))


def row(whole: undisturbed.Undisturbed, found: list[Stopped]) -> dict[str, Any]:
    """Returns the counts of one kind's trials, and the longest times to stop."""
    once = [one for one in found if one.signals == 1]
    twice = [one for one in found if one.signals == 2]

    def longest(stops):
        return round(max((one.seconds for one in stops), default=0.0), 2)

    return {
        "trial": f"signals, {whole.kind.name}",
        "tried": len(found),
        "survived": sum(not one.wrong for one in found),
        "met_alive": len(once) + len(twice),
        "longest_stop": longest(one for one in once if one.aim in AIMS[:2]),
        "longest_stop_in_a_compile": longest(o for o in once if o.aim in AIMS[2:]),
        "second_signals": len(twice),
        "longest_stop_by_a_second": longest(twice),
        "most_steps_lost": max((one.lost for one in found), default=0),
        "wrong": [line for one in found for line in one.wrong],
    }
