"""Several processes open one workdir at once: one gets it, the others name it."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from typing import Any, NamedTuple

from jnas import run
from jnas.endurance import finals, kills, undisturbed

NUM_PROCESSES = 4
LIMIT = 2.0  # seconds from a loser's start to its end


class Race(NamedTuple):
    """Result of one race.

    Attributes:
      seconds: duration of each losing process, from start to end.
      wrong: failures; empty if there were none.
    """

    seconds: list[float]
    wrong: list[str]


def forked(folder: pathlib.Path, *, num_races: int) -> dict[str, Any]:
    """Races processes that have imported everything before the start.

    They are forked from a new process, since this one may have threads. The winner of
    each race is killed, and the folder must be free at once.

    Args:
      folder: folder for workdirs.
      num_races: number of races.
    """
    code = "import sys; from jnas.endurance import races; races._serve(*sys.argv[1:])"
    line = [sys.executable, "-c", code, str(folder), str(num_races)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise run.RunError(f"races must end, got {done.stderr.strip()[-300:]}")
    return _row("races", [Race(*race) for race in json.loads(done.stdout)])


def launchers(
    whole: undisturbed.Undisturbed, place: undisturbed.Place, *, num_races: int
) -> dict[str, Any]:
    """Races launchers as a user starts them, including Python's start and imports.

    Args:
      whole: the undisturbed run of the same command.
      place: where the races run.
      num_races: number of races.
    """
    found = [_race_launchers(whole, place) for _ in range(num_races)]
    return _row(f"races of launchers, {whole.kind.name}", found)


def _race_launchers(whole, place) -> Race:
    name = f"{whole.kind.name}_race"
    place.remove(name)
    started = [
        place.run(whole.kind.line, name, log=f"{name}_{i}")
        for i in range(NUM_PROCESSES)
    ]
    deadline = time.monotonic() + whole.seconds + 60
    while sum(p.running for p in started) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    winners = [p for p in started if p.running]
    losers = [p for p in started if not p.running]
    wrong = [] if len(winners) == 1 else [f"{len(winners)} winners"]
    ends = [p.end() for p in losers]
    if winners:
        winners[0].wait_until(lambda: bool(finals.steps(winners[0].workdir)), 60)
        winners[0].kill()
        holder = f"process {winners[0].pid} on {socket.gethostname()}"
        wrong += [e.last_line for e in ends if e.status != 1 or holder not in e.said]
    wrong += kills.compare(whole, place, name)
    return Race([e.seconds for e in ends], wrong)


def _row(trial: str, found: list[Race]) -> dict[str, Any]:
    seconds = [s for race in found for s in race.seconds]
    late = sum(s > LIMIT for s in seconds)
    return {
        "trial": trial,
        "tried": len(found),
        "survived": sum(not race.wrong for race in found),
        "processes_each": NUM_PROCESSES,
        "longest_refusal": round(max(seconds, default=0.0), 2),
        "refusals_beyond_2_s": late,
        "wrong": [line for race in found for line in race.wrong],
    }


def _serve(folder: str, num_races: str) -> None:
    """Runs all races in this process, and prints the results as JSON."""
    found = []
    for number in range(int(num_races)):
        found.append(_race_forks(pathlib.Path(folder) / f"race_{number % 5}"))
    print(json.dumps(found))


def _race_forks(workdir: pathlib.Path) -> Race:
    go = os.pipe()
    children = [_fork(workdir, go) for _ in range(NUM_PROCESSES)]
    os.close(go[0])
    os.close(go[1])  # end of file for all children: they start together
    results = [json.loads(_first_line(answer)) for _, answer in children]
    pids = [pid for pid, _ in children]
    winners = [pid for pid, (won, _, _) in zip(pids, results, strict=True) if won]
    wrong = [] if len(winners) == 1 else [f"{len(winners)} winners"]
    if winners:
        holder = f"process {winners[0]} on {socket.gethostname()}"
        wrong += [text for won, text, _ in results if not won and holder not in text]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    began = time.monotonic()
    with contextlib.suppress(run.RunError), run.open_run(workdir):
        return Race([s for won, _, s in results if not won], wrong)
    wrong.append(f"not free {time.monotonic() - began:.1f} s after kill -9")
    return Race([s for won, _, s in results if not won], wrong)


def _fork(workdir: pathlib.Path, go: tuple[int, int]) -> tuple[int, int]:
    """Returns a child's process id, and the file descriptor of its result."""
    answer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(answer[1])
        return pid, answer[0]
    os.close(go[1])
    os.read(go[0], 1)
    began = time.monotonic()

    def tell(won, text):
        line = json.dumps([won, text, time.monotonic() - began])
        os.write(answer[1], line.encode() + b"\n")
        time.sleep(600)  # until killed

    try:
        with run.open_run(workdir):
            tell(True, "")
    except run.RunError as error:
        tell(False, str(error))
    finally:
        os._exit(1)


def _first_line(fd: int) -> str:
    with os.fdopen(fd) as file:
        return file.readline()
