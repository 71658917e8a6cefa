"""kill -9 at random moments, after which the same command must resume the run."""

import random
from typing import Any, NamedTuple

from jnas.endurance import finals, undisturbed


class Killed(NamedTuple):
    """Result of one trial.

    Attributes:
      kills: number of kills while the run was alive.
      after_checkpoint: number of these kills after the first checkpoint.
      wrong: differences from the undisturbed run; empty if the run survived.
    """

    kills: int
    after_checkpoint: int
    wrong: list[str]


def trials(
    whole: undisturbed.Undisturbed,
    place: undisturbed.Place,
    *,
    num_trials: int,
    seed: int,
) -> list[Killed]:
    """Kills a run in a new workdir, resumes it to its end, and compares the results.

    Of a run of several processes they are killed in turn. The moment is uniform: in
    every fourth trial between the start and the end of the undisturbed run, in the
    others between its first checkpoint and its end. Every fourth run is killed a second
    time. Workdirs of failed trials are kept.

    Args:
      whole: the undisturbed run to compare with.
      place: where the trials run.
      num_trials: number of trials.
      seed: seed of the moments.
    """

    def one(number):
        draw = random.Random(f"{seed} {whole.kind.name} {number}")
        name = f"{whole.kind.name}_kill_{number}"
        place.remove(name)
        result = _trial(whole, place, name, draw, number)
        if not result.wrong:
            place.remove(name)
        return result

    return place.each(one, range(num_trials))


def _trial(whole, place, name, draw, number) -> Killed:
    begin, end = (0.0 if number % 4 == 0 else whole.first), whole.seconds
    moment = draw.uniform(begin, end)
    kills = after_checkpoint = 0
    while not kills:  # the run ended before this moment: try an earlier one
        place.remove(name)
        kills, after_checkpoint = _kill(whole, place, name, moment, number)
        moment *= 0.8
    if number % 4 == 1:
        left = max(0.0, end - moment)
        more = _kill(whole, place, name, draw.uniform(begin, begin + left), number)
        kills, after_checkpoint = kills + more[0], after_checkpoint + more[1]
    return Killed(kills, after_checkpoint, compare(whole, place, name))


def _kill(whole, place, name, moment, victim) -> tuple[int, int]:
    """Returns the number of kills (0 or 1), and of kills after a checkpoint."""
    process = place.run(whole.kind.line, name)
    process.wait_till(moment)
    killed = process.kill(victim)
    return int(killed), int(killed and bool(finals.steps(process.workdir)))


def compare(
    whole: undisturbed.Undisturbed, place: undisturbed.Place, name: str
) -> list[str]:
    """Resumes the run of a disturbed workdir to its end, and lists the differences."""
    try:
        process = place.run(whole.kind.line, name, log=again(name))
        final = undisturbed.finish(process)
    except RuntimeError as error:
        return [str(error)]
    wrong = finals.differences(final, whole.final)
    return [f"{process.workdir}: {line}" for line in wrong]


def again(name: str) -> str:
    """Returns the name of the log of the resumed run in a workdir."""
    return f"{name}_again"


def row(whole: undisturbed.Undisturbed, found: list[Killed]) -> dict[str, Any]:
    """Returns the counts of one kind's trials."""
    wrong = [line for one in found for line in one.wrong]
    return {
        "trial": f"kill -9, {whole.kind.name}",
        "tried": len(found),
        "survived": sum(not one.wrong for one in found),
        "kills": sum(one.kills for one in found),
        "kills_after_a_checkpoint": sum(one.after_checkpoint for one in found),
        "seconds_undisturbed": round(whole.seconds, 1),
        "wrong": wrong,
    }
