"""Metrics on disk: JSON lines, and the same values for TensorBoard."""

import io
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from absl import logging

from jnas.run import events as events_lib
from jnas.run import files
from jnas.run import observers as observers_lib

NAME, WEIGHTS = "metrics.jsonl", "weights.jsonl"
_FLUSH_SECONDS = 5.0  # between flushes of TensorBoard's file
_OWN = ("step", "phase", "best", "cell")


class Found(NamedTuple):
    """The architecture that a search has come to, for display.

    Attributes:
      cell: short text of the cell.
      text: full text of the cell; equal texts mean equal cells.
      picture: () -> the cell as the bytes of a PNG file.
      weights: cell -> edge -> operation -> mixing weight.
      seed: number of the seed that has these weights, of several seeds in one program.
      score: its score, higher is better; None where there is none to compare by.
      best: text of the score.
    """

    cell: str = ""
    text: str | None = None
    picture: Callable[[], bytes] | None = None
    weights: Mapping[str, Any] | None = None
    seed: int | None = None
    score: float | None = None
    best: str = ""

    def better_than(self, best: Sequence) -> bool:
        """Returns whether the score is finite and above the first of ``best``."""
        known = self.score is not None and math.isfinite(self.score)
        return known and (not best or self.score > best[0])


NOTHING = Found()


def scalars(metrics: Mapping[str, Any]) -> dict[str, float | int]:
    """Fetches metrics from the device.

    Args:
      metrics: name -> number or array of size one.

    Raises:
      ValueError: a metric is no number, or has a reserved name: step, phase, best,
        cell.
    """
    values = {}
    fetched = jax.device_get(dict(metrics))  # device_get sorts by name
    for name in metrics:
        value = fetched[name]
        if name in _OWN:
            raise ValueError(
                f"metric must not be named {', '.join(_OWN)}, got {name!r}. Rename it."
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
    """Returns the lines of a workdir's metrics, oldest first.

    An incomplete last line is skipped. A value that was NaN or infinite is None.
    """
    path = workdir / NAME
    return _sound(path.read_bytes(), path) if path.exists() else []


class Lines:
    """A file of JSON lines, each with its ``step``; used by one process at a time."""

    def __init__(self, path: pathlib.Path, *, step: int):
        """Opens the file to resume after a step.

        An incomplete last line and lines beyond the step are removed; the resumed run
        writes them again.

        Args:
          path: path of the file; created with its first line.
          step: the global step from which the run resumes; 0 for a new run.
        """
        self._path = path
        self._file: io.TextIOWrapper | None = None
        self.num_lines = 0
        if path.exists():
            before = path.read_bytes()
            lines = [line for line in _sound(before, path) if line["step"] <= step]
            text = "".join(map(_encode, lines))
            if text.encode() != before:
                files.write_text(path, text)
            self.num_lines = len(lines)

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends a line, flushed."""
        with files.writing(self._path):
            if self._file is None:
                self._file = self._path.open("a", encoding="utf-8")
            self._file.write(_encode(line))
            self._file.flush()
        self.num_lines += 1

    def sync(self) -> None:
        """Waits until all lines are on disk."""
        if self._file:
            with files.writing(self._path):
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file; may be called more than once."""
        file, self._file = self._file, None
        if file:
            with files.writing(self._path):
                file.close()


class Metrics:
    """The metrics of one run: metrics.jsonl, weights.jsonl and TensorBoard's file.

    JSON has no NaN and no infinity: both are written as null, so that every JSON
    parser can read the file; TensorBoard's file leaves them out.
    """

    def __init__(
        self, workdir: pathlib.Path, *, step: int, observers: Sequence[str] = ()
    ):
        """Opens metrics.jsonl and weights.jsonl to resume after a step.

        Args:
          workdir: an existing folder.
          step: the global step from which the run resumes; 0 for a new run.
          observers: names of those that see each line.

        Raises:
          KeyError: an observer that is not registered; the nearest is guessed.
        """
        self._observe = observers_lib.Observers(workdir, observers)
        self._lines = Lines(workdir / NAME, step=step)
        self._weights = Lines(workdir / WEIGHTS, step=step)
        self._events = events_lib.Events(workdir, step=step)
        self._shown = False

    @property
    def num_lines(self) -> int:
        """The number of lines of metrics.jsonl."""
        return self._lines.num_lines

    def write(
        self,
        step: int,
        phase: str,
        values: Mapping[str, float | int],
        found: Found = NOTHING,
        *,
        best: Sequence = (),
    ) -> None:
        """Writes a line, flushed, and the same values for TensorBoard.

        Args:
          step: the global step.
          phase: the phase's name.
          values: metrics as from ``scalars``.
          found: the architecture that the search has come to.
          best: the best score so far, its text and its cell; or nothing.
        """
        line = {"step": step, "phase": phase, **files.plain(values)}
        if found.cell:
            line |= {"cell": found.cell}
        if best:
            line |= {"best": best[1]}
        self._lines.write(line)
        self._observe(line)
        if found.weights is not None:
            weights = {"step": step, "phase": phase, "weights": found.weights}
            more = {} if found.seed is None else {"seed": found.seed}
            self._weights.write(files.plain(weights | more))
        self._shown = False
        self.show(step, phase, values, found)

    def show(
        self,
        step: int,
        phase: str,
        values: Mapping[str, float | int],
        found: Found = NOTHING,
    ) -> None:
        """Writes only for TensorBoard; the arguments are those of ``write``.

        Weights and picture, which take space, are written once for each line.
        """
        self._events.scalars(step, phase, values)
        if found.weights is not None and not self._shown:
            self._events.weights(step, phase, found.weights)
        if found.picture is not None and not self._shown:
            self._events.cell(step, phase, found.text, found.picture)
        self._shown = True
        self._events.flush(every=_FLUSH_SECONDS)

    def sync(self) -> None:
        """Waits until all lines are on disk."""
        self._lines.sync()
        self._weights.sync()
        self._events.flush()

    def close(self) -> None:
        """Closes all files; may be called more than once."""
        self._lines.close()
        self._weights.close()
        self._events.close()


def _encode(line: Mapping[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"


def _sound(data: bytes, path: pathlib.Path) -> list[dict[str, Any]]:
    """Parses the lines; skips damaged ones, such as an incomplete last line."""
    lines, damaged = [], []
    for number, raw in enumerate(data.splitlines(), start=1):
        try:
            line = json.loads(raw)
            if not isinstance(line["step"], int):
                raise ValueError("step is no integer")
        except (ValueError, KeyError, TypeError, RecursionError):
            damaged.append(number)
        else:
            lines.append(line)
    if damaged:
        text = "%s: skipped %d damaged lines, the first is line %d"
        logging.warning(text, path.name, len(damaged), damaged[0])
    return lines
