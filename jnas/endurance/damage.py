"""Random damage to checkpoints: a run must detect, report and not resume from it."""

import json
import pathlib
import random
import shutil
from typing import Any

from absl import logging

from jnas.endurance import finals, kills, undisturbed
from jnas.run import checkpoint, files, manifest


def flip(path: pathlib.Path, draw: random.Random) -> None:
    """Flips one bit."""
    data = bytearray(path.read_bytes())
    where = draw.randrange(8 * len(data))
    data[where // 8] ^= 1 << where % 8
    path.write_bytes(data)


def truncate(path: pathlib.Path, draw: random.Random) -> None:
    """Removes a random number of bytes at the end."""
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data))])


def delete(path: pathlib.Path, draw: random.Random) -> None:
    """Removes the file."""
    del draw
    path.unlink()


def empty(path: pathlib.Path, draw: random.Random) -> None:
    """Removes all bytes."""
    del draw
    path.write_bytes(b"")


def spoil_manifest(path: pathlib.Path, draw: random.Random) -> None:
    """Makes the manifest invalid JSON, or JSON of another type or with other values."""
    step = path
    while not (step / manifest.NAME).exists():
        step = step.parent
    path = step / manifest.NAME
    text = path.read_text()
    body = json.loads(text)
    body["step"] += 1
    kinds = [text[:-3], text.replace(":", ";", 1), "[]", "null", "{}", "NaN", "\0"]
    kinds += [json.dumps(body), "[" * 100_000, text.replace('"', "'"), text + "{}"]
    path.write_text(draw.choice(kinds))


DAMAGES = (flip, truncate, delete, empty, spoil_manifest)


class _Heard:
    """Collects absl's warnings while the context is open."""

    def __enter__(self) -> list[str]:
        self.lines: list[str] = []
        self._handler = logging.PythonHandler()
        self._handler.emit = lambda record: self.lines.append(record.getMessage())
        logger = logging.get_absl_logger()
        self._before, logger.propagate = logger.propagate, False
        logger.addHandler(self._handler)
        return self.lines

    def __exit__(self, *_: Any) -> None:
        logger = logging.get_absl_logger()
        logger.removeHandler(self._handler)
        logger.propagate = self._before


def spoil_newest(
    checkpoints: pathlib.Path, damage: Any, draw: random.Random
) -> pathlib.Path:
    """Damages a random file of the newest step; returns its path."""
    newest = checkpoints / str(finals.steps(checkpoints.parent)[-1])
    paths = sorted(p for p in newest.rglob("*") if p.is_file() and p.stat().st_size)
    path = draw.choice(paths)
    damage(path, draw)
    return path


def look(workdir: pathlib.Path, *, num_trials: int, seed: int) -> dict[str, Any]:
    """Damages copies of a run's checkpoints, and checks that the older step is found.

    Args:
      workdir: folder of a run with two undamaged checkpoints; it is not changed.
      num_trials: number of trials; the kinds of damage take turns.
      seed: seed of the files and places that are damaged.

    Returns:
      The counts; "wrong" lists each damage after which the older step was not found, or
      no warning named step, file and reason.
    """
    older, newest = finals.steps(workdir)[-2:]
    copy = workdir.with_name(f"{workdir.name}_spoilt") / "checkpoints"
    wrong = []
    for number in range(num_trials):
        draw = random.Random(f"damage {seed} {number}")
        shutil.rmtree(copy.parent, ignore_errors=True)
        shutil.copytree(workdir / "checkpoints", copy)
        damage = DAMAGES[number % len(DAMAGES)]
        path = spoil_newest(copy, damage, draw)
        if damage is spoil_manifest:
            path = copy / str(newest) / manifest.NAME
        name = path.relative_to(copy / str(newest)).as_posix()
        with _Heard() as warnings:
            found = checkpoint.Checkpoints(copy).latest()
        expected = f"checkpoint {newest} is damaged ({name}: "
        if found.step != older or not any(expected in line for line in warnings):
            wrong.append(f"{damage.__name__} of {name}: took {found.step}, {warnings}")
    shutil.rmtree(copy.parent)
    return {
        "trial": "damage",
        "tried": num_trials,
        "survived": num_trials - len(wrong),
        "wrong": wrong,
    }


def resume(
    whole: undisturbed.Undisturbed,
    place: undisturbed.Place,
    *,
    num_trials: int,
    seed: int,
) -> dict[str, Any]:
    """Kills a run, damages its newest checkpoint, and resumes it to its end.

    Args:
      whole: the undisturbed run to compare with.
      place: where the trials run.
      num_trials: number of trials.
      seed: seed of the moments and damages.
    """

    def one(number):
        name = f"{whole.kind.name}_spoilt_{number}"
        draw = random.Random(f"resume {seed} {number}")
        checkpoints = _kill_late(whole, place, name)
        spoil_newest(checkpoints, DAMAGES[number % len(DAMAGES)], draw)
        wrong = kills.compare(whole, place, name)
        if "is damaged" not in place.log(kills.again(name)).read_text():
            wrong.append(f"{name}: the damage was not reported")
        return wrong

    wrong = place.each(one, range(num_trials))
    return {
        "trial": f"resumed after damage, {whole.kind.name}",
        "tried": num_trials,
        "survived": sum(not w for w in wrong),
        "wrong": [line for lines in wrong for line in lines],
    }


def refuse(
    whole: undisturbed.Undisturbed, place: undisturbed.Place, *, seed: int
) -> dict[str, Any]:
    """Damages all checkpoints of a killed run: the command must not start a new run."""
    name = f"{whole.kind.name}_lost"
    checkpoints = _kill_late(whole, place, name)
    draw = random.Random(f"refuse {seed}")
    for step in finals.steps(checkpoints.parent):
        flip(checkpoints / str(step) / manifest.NAME, draw)
    before = _content(checkpoints)
    ended = place.run(whole.kind.line, name).end()
    wrong = []
    if ended.status != 1 or "must include an undamaged one" not in ended.last_line:
        wrong.append(f"status {ended.status}: {ended.last_line}")
    if _content(checkpoints) != before:
        wrong.append("checkpoints were changed")
    return {
        "trial": f"all damaged, {whole.kind.name}",
        "tried": 1,
        "survived": int(not wrong),
        "wrong": wrong,
    }


def _kill_late(whole, place, name) -> pathlib.Path:
    """Kills a run as soon as it has two checkpoints."""
    place.remove(name)
    process = place.run(whole.kind.line, name)
    process.wait_until(lambda: len(finals.steps(process.workdir)) > 1, 600)
    if not process.kill():
        raise files.RunError(
            f"{name} must have two checkpoints when killed, got the end of the run. "
            "Use a longer run."
        )
    return process.workdir / "checkpoints"


def _content(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
