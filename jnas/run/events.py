"""Writes TensorBoard event files without TensorFlow."""

import math
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jnas.run import files

_PICTURE_SECONDS = 10.0


class Events:
    """The event file of one process; created with the first event."""

    def __init__(self, workdir: pathlib.Path, *, step: int):
        """Stores where to write; creates no file yet.

        Readers drop events beyond the step in the files of earlier processes.

        Args:
          workdir: an existing folder.
          step: the global step from which the run resumes; 0 for a new run.
        """
        self._workdir = workdir
        self._step = step
        self._writer: Any = None
        self._drawn: str | None = None
        self._flushed = self._drew = -math.inf

    def scalars(self, step: int, phase: str, values: Mapping[str, float | int]) -> None:
        """Writes each finite value as ``phase/name``.

        NaN and infinity are left out, as TensorBoard cannot draw them and its writer
        prints a line for each between those of the run; metrics.jsonl has null there.
        """
        for name, value in values.items():
            if math.isfinite(value):
                self._write(step, "scalar", f"{phase}/{name}", value)

    def weights(self, step: int, phase: str, weights: Mapping[str, Any]) -> None:
        """Writes a histogram of each cell's mixing weights, of those that are finite.

        Args:
          step: the global step.
          phase: the phase's name.
          weights: cell -> edge -> operation -> weight.
        """
        for cell, edges in weights.items():
            rows = [value for edge in edges.values() for value in edge.values()]
            rows = [value for value in rows if math.isfinite(value)]
            if rows:
                bins = np.linspace(0.0, max(1.0, *rows), 31)
                tag = f"{phase}/weights_{cell}"
                self._write(step, "histogram", tag, np.array(rows), bins)

    def cell(
        self, step: int, phase: str, text: str | None, picture: Callable[[], bytes]
    ) -> None:
        """Writes a picture of the cell, if it differs from the last one written.

        At most once in ten seconds, since drawing takes longer than a small epoch.

        Args:
          step: the global step.
          phase: the phase's name.
          text: text form of the cell; equal texts mean equal cells.
          picture: () -> the bytes of a PNG file.
        """
        now = time.monotonic()
        if text != self._drawn and now - self._drew >= _PICTURE_SECONDS:
            self._drawn, self._drew = text, now
            self._write(step, "image", f"{phase}/cell", picture())

    def flush(self, *, every: float = 0.0) -> None:
        """Writes all buffered events to disk.

        Args:
          every: least number of seconds between two flushes; an earlier call does
            nothing. A flush takes milliseconds, a small step takes one.
        """
        now = time.monotonic()
        if self._writer and now - self._flushed >= every:
            self._flushed = now
            with files.writing(self._workdir / "events"):
                self._writer.flush()

    def close(self) -> None:
        """Closes the file; may be called more than once."""
        writer, self._writer = self._writer, None
        if writer:
            with files.writing(self._workdir / "events"):
                writer.close()

    def _write(self, step: int, kind: str, tag: str, *content: Any) -> None:
        from tensorboardX import summary  # imported late: it takes a tenth of a second

        make = {"image": _picture}.get(kind) or getattr(summary, kind)
        self._put(step, summary=make(tag, *content))

    def _put(self, step: int, **content: Any) -> None:
        from tensorboardX.proto import event_pb2

        writer = self._writer or self._open()
        event = event_pb2.Event(step=step, wall_time=time.time(), **content)
        with files.writing(self._workdir / "events"):
            writer.write_event(event)

    def _open(self) -> Any:
        from tensorboardX import event_file_writer
        from tensorboardX.proto import event_pb2

        prefix = str(self._workdir / "events")
        with files.writing(self._workdir / "events"):
            self._writer = event_file_writer.EventsWriter(prefix, f".{os.getpid()}")
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._put(self._step + 1, session_log=start)
        return self._writer


def _picture(tag: str, png: bytes) -> Any:
    """Returns a summary of a PNG, whose size is in the bytes after the signature."""
    from tensorboardX.proto import summary_pb2

    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    image = summary_pb2.Summary.Image(
        height=height, width=width, colorspace=4, encoded_image_string=png
    )
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, image=image)])
