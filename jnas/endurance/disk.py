"""A disk that becomes full during a run."""

import contextlib
import pathlib
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from jnas.endurance import kills, undisturbed
from jnas.run import checkpoint

MEGABYTES = 8
_LIMIT = 15.0  # seconds: a checkpoint interval and a call, on a slow machine
_FILL = "fill"


@contextlib.contextmanager
def small_disk(folder: pathlib.Path) -> Iterator[pathlib.Path | None]:
    """Mounts a small file system in memory; yields None where that is not allowed.

    Args:
      folder: where to mount it; created if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    line = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(line, capture_output=True, check=False).returncode == 0
    except OSError:
        done = False
    try:
        yield folder if done else None
    finally:
        if done:
            subprocess.run(["umount", str(folder)], check=True)


def fill(folder: pathlib.Path, leave: int) -> None:
    """Fills the disk of a folder, except for about ``leave`` bytes."""
    block = bytes(1 << 16)
    with (folder / _FILL).open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(block) == len(block):
                pass
        file.truncate(max(0, file.tell() - leave))


def trials(
    whole: undisturbed.Undisturbed,
    place: undisturbed.Place,
    *,
    num_trials: int,
    seed: int,
) -> dict[str, Any]:
    """Fills the disk during a run, checks its exit, frees the disk and resumes the run.

    Args:
      whole: the undisturbed run to compare with.
      place: where the trials run, one at a time.
      num_trials: number of trials.
      seed: seed of the moments, and of the bytes left free.
    """
    name, seconds, wrong = f"{whole.kind.name}_disk", [], []
    for number in range(num_trials):
        draw = random.Random(f"disk {seed} {whole.kind.name} {number}")
        with small_disk(place.folder / name) as disk:
            if disk is None:
                return {
                    "trial": f"full disk, {whole.kind.name}",
                    "tried": 0,
                    "survived": 0,
                    "skipped": "a tmpfs cannot be mounted here",
                    "wrong": [],
                }
            took, faults = _trial(whole, place._replace(folder=disk), draw)
            seconds.append(took)
            wrong.append(faults)
    shutil.rmtree(place.folder / name)
    return {
        "trial": f"full disk, {whole.kind.name}",
        "tried": num_trials,
        "survived": sum(not w for w in wrong),
        "longest_stop": round(max(seconds, default=0.0), 2),
        "wrong": [line for lines in wrong for line in lines],
    }


def _trial(whole, place, draw) -> tuple[float, list[str]]:
    process = place.run(whole.kind.line, "run")
    undisturbed.wait_for_share(process, whole, draw.uniform(0.0, 0.6))
    fill(place.folder, draw.choice((0, 4096, 20_000)))
    began = time.monotonic()
    ended = process.end(60.0)
    seconds, wrong = time.monotonic() - began, []
    if ended.status != 1 or seconds > _LIMIT:
        wrong.append(f"status {ended.status} after {seconds:.1f} s")
    line = ended.last_line
    if "bytes free" not in line or str(process.workdir) not in line:
        wrong.append(f"did not name path and free bytes: {line}")
    if "Traceback" in ended.said:
        wrong.append(f"showed a traceback: {ended.said[-1000:]}")
    (place.folder / _FILL).unlink()
    latest = checkpoint.Checkpoints(process.workdir / "checkpoints").latest()
    if latest is None:
        wrong.append("no undamaged checkpoint is left")
    return seconds, wrong + kills.compare(whole, place, "run")
