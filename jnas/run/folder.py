"""Checks that a folder can be the workdir of a run, before anything is written."""

import os
import pathlib
import re

from jnas.run import files, lock, metrics, record

RESULT = "result.json"
CHECKPOINTS = "checkpoints"
OWN = (record.NAME, RESULT, metrics.NAME, metrics.WEIGHTS, CHECKPOINTS)
_CLOSING = (
    "genotype.json",
    "cell.svg",
    "report.html",
    "traces.svg",
    "traces.json",
    "evaluations.jsonl",
    "front.json",
    "genotype_seed_0.json",
    "table.npz",
    "model",
    "supernet",
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check(workdir: str | os.PathLike) -> None:
    """Raises the errors of ``open_run`` about the workdir, without opening the run.

    A launcher calls it before it reads plugins and data, which can take long. It
    creates no folder and takes no lock; ``open_run`` checks again.

    Args:
      workdir: as for ``open_run``.

    Raises:
      RunError: the folder cannot be created or written, another process uses it, or it
        holds files but no run.
    """
    folder = _named(workdir)
    if os.path.isdir(folder):
        lock.check_free(make(workdir))
        return
    above = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
    if not os.path.isdir(above) or not os.access(above, os.W_OK | os.X_OK):
        raise _unfit(workdir, f"{str(above)!r}, in which none can be created, for")


def make(workdir: str | os.PathLike) -> pathlib.Path:
    """Creates the folder of a run if it is missing, and checks it.

    Args:
      workdir: the path that the user gave. Any ``..`` is resolved first, so that the
        folders before it are not created.

    Returns:
      The folder: it can be written, and holds a run or none of a run's files.

    Raises:
      RunError: the folder cannot be created or written, or holds files but no run.
    """
    folder = _named(workdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise _unfit(workdir, f"{error.strerror} for") from error
    ours = sorted(names.intersection((*OWN, *_CLOSING)))
    if ours and record.NAME not in names:
        raise files.RunError(
            f"workdir must be new or hold a run, got {os.fspath(workdir)!r} with "
            f"{', '.join(ours)} but no {record.NAME}. Use another --workdir."
        )
    for name in names.intersection((*OWN, lock.NAME)):
        sound = os.path.isdir if name == CHECKPOINTS else os.path.isfile
        if not sound(folder / name):
            kind = "folder" if name == CHECKPOINTS else "file"
            raise files.RunError(
                f"{name} must be a {kind}, got something else at "
                f"{str(folder / name)!r}. Remove it, or use another --workdir."
            )
    return folder


def _named(workdir: str | os.PathLike) -> pathlib.Path:
    """Returns the path that a user gave, with ``~`` and ``..`` resolved."""
    text = os.fspath(workdir)
    if not text.strip() or _UNPRINTABLE.search(text):
        raise files.RunError(
            f"workdir must name a folder, got {text!r}. Use printable characters, "
            "as in --workdir=runs/first."
        )
    try:
        folder = pathlib.Path(text).expanduser()
    except RuntimeError as error:
        raise _unfit(workdir, "no such user for") from error
    if ".." in folder.parts:
        folder = pathlib.Path(os.path.realpath(folder))
    return folder


def _unfit(workdir: str | os.PathLike, reason: str) -> files.RunError:
    return files.RunError(
        f"workdir must be a folder that can be written, got {reason} "
        f"{os.fspath(workdir)!r}. Use another --workdir."
    )
