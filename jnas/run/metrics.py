"""Metrics on disk: one JSON object a line, and the same scalars for TensorBoard."""

import json
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import jax
from absl import logging
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from jnas.run import files

NAME = "metrics.jsonl"
_OWN = ("step", "phase", "best")


def scalars(metrics: Mapping[str, Any]) -> dict[str, float | int]:
    """Fetches metrics from the device.

    Args:
      metrics: name -> number or array of size one.

    Raises:
      ValueError: a metric that is no number, or that is named like a line's own keys.
    """
    values = {}
    fetched = jax.device_get(dict(metrics))  # in the order of the names; not the user's
    for name in metrics:
        value = fetched[name]
        if name in _OWN:
            raise ValueError(
                f"metric must have a name of its own, got {name!r}. Rename it."
            )
        number = value.item() if getattr(value, "size", 0) == 1 else value
        if not isinstance(number, int | float):
            raise ValueError(
                f"metric {name!r} must be one number, got {type(value).__name__}. "
                "Reduce it first."
            )
        values[name] = number
    return values


def read(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the lines of a workdir's metrics, oldest first; a torn last one is left.

    A value that was NaN or infinite is None.
    """
    path = workdir / NAME
    return _sound(path.read_bytes()) if path.exists() else []


class Metrics:
    """The metrics of one run; used by one process at a time.

    JSON has no NaN and no infinity: both are written as null, so that any reader can
    read the file. TensorBoard gets them as they are.
    """

    def __init__(self, workdir: pathlib.Path, *, step: int):
        """Opens the file for going on after a step.

        A torn last line is cut, and so is what lies beyond the step: it will be written
        again.

        Args:
          workdir: an existing folder.
          step: the global step from which the run goes on; 0 for the start.
        """
        self._workdir = workdir
        self._step = step
        self._events: event_file_writer.EventsWriter | None = None
        path = workdir / NAME
        if path.exists():
            before = path.read_bytes()
            lines = [line for line in _sound(before) if line["step"] <= step]
            text = "".join(map(_encode, lines))
            if text.encode() != before:
                files.write_text(path, text)
        self._file = path.open("a", encoding="utf-8")

    def write(
        self,
        step: int,
        phase: str,
        values: Mapping[str, float | int],
        best: str | None = None,
    ) -> None:
        """Writes a line, flushed, and the scalars ``phase/name`` for TensorBoard.

        Args:
          step: the global step.
          phase: the phase's name.
          values: of ``scalars``.
          best: the best cell so far, in short.
        """
        line = {"step": step, "phase": phase, **files.plain(values)}
        self._file.write(_encode(line if best is None else {**line, "best": best}))
        self._file.flush()
        events = self._events or self._open_events()
        for name, value in values.items():
            events.write_event(
                _event(step, summary=summary.scalar(f"{phase}/{name}", value))
            )
        events.flush()

    def sync(self) -> None:
        """Waits until all lines are on disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes both files; more than once is allowed."""
        self._file.close()
        if self._events:
            self._events.close()
            self._events = None

    def _open_events(self) -> event_file_writer.EventsWriter:
        """Starts an event file; TensorBoard drops older files' events beyond here."""
        prefix = str(self._workdir / "events")
        self._events = event_file_writer.EventsWriter(prefix, f".{os.getpid()}")
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._events.write_event(_event(self._step + 1, session_log=start))
        return self._events


def _event(step: int, **content: Any) -> event_pb2.Event:
    return event_pb2.Event(step=step, wall_time=time.time(), **content)


def _encode(line: Mapping[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"


def _sound(data: bytes) -> list[dict[str, Any]]:
    """Parses the lines; one that is no metrics line, as a torn last, is left out."""
    lines = []
    for number, raw in enumerate(data.splitlines(), start=1):
        try:
            line = json.loads(raw)
            if not isinstance(line["step"], int):
                raise ValueError("step is no integer")
        except (ValueError, KeyError, TypeError, RecursionError):
            logging.warning("%s: line %d is damaged and left out", NAME, number)
        else:
            lines.append(line)
    return lines
