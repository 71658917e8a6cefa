"""kill -9 at random moments, then the same line again."""

import random
from typing import Any, NamedTuple

from jnas.endurance import finals, undisturbed


class Killed(NamedTuple):
    """One trial.

    Attributes:
      kills: that met the run alive.
      after_checkpoint: of them, those after something had been saved.
      wrong: what differs from the undisturbed run; empty when all was survived.
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
    """Kills a run in a new workdir, runs the line again to its end, and compares.

    The moment is uniform: in one trial of four from the start to the end of the
    undisturbed run, in the others from its first checkpoint to its end. Every fourth
    is killed a second time. The workdirs of failed trials stay.

    Args:
      whole: the undisturbed run.
      place: where.
      num_trials: how many.
      seed: of the moments.
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
    while not kills:  # a run that was faster than this moment is killed earlier
        place.remove(name)
        kills, after_checkpoint = _kill(whole, place, name, moment)
        moment *= 0.8
    if number % 4 == 1:
        left = max(0.0, end - moment)
        more = _kill(whole, place, name, draw.uniform(begin, begin + left))
        kills, after_checkpoint = kills + more[0], after_checkpoint + more[1]
    return Killed(kills, after_checkpoint, compare(whole, place, name))


def _kill(whole, place, name, moment) -> tuple[int, int]:
    """Returns how many runs it killed, none or one, and after a checkpoint."""
    process = place.run(whole.kind.line, name)
    process.wait_till(moment)
    killed = process.kill()
    return int(killed), int(killed and bool(finals.steps(process.workdir)))


def compare(
    whole: undisturbed.Undisturbed, place: undisturbed.Place, name: str
) -> list[str]:
    """Runs the line to its end in a disturbed workdir, and names what differs."""
    try:
        process = place.run(whole.kind.line, name, log=again(name))
        final = undisturbed.finish(process)
    except RuntimeError as error:
        return [str(error)]
    wrong = finals.differences(final, whole.final)
    return [f"{process.workdir}: {line}" for line in wrong]


def again(name: str) -> str:
    """Names the log of the start that goes on in a workdir."""
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
