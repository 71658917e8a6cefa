"""Observers: functions of a user that see each line of metrics.jsonl as it is written.

An observer is registered by a plug-in and named by ``--observers``:

    @registry.OBSERVERS.register
    def csv(workdir):
        file = (workdir / "loss.csv").open("a")

        def observe(line):
            print(line["step"], line.get("valid_loss"), sep=",", file=file, flush=True)

        return observe

A run that is resumed builds its observers again. One that raises is left out from then
on, and said: it must not end a search.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from jnas import registry

Observe = Callable[[Mapping[str, Any]], Any]


class Observers:
    """The observers of one run."""

    def __init__(self, workdir: pathlib.Path, names: Sequence[str] = ()):
        """Builds them.

        Args:
          workdir: folder of the run.
          names: keys in ``registry.OBSERVERS``.

        Raises:
          KeyError: an observer that is not registered; the nearest is guessed.
          ValueError: one that raises.
        """
        self._own = {}
        for name in names:
            build = registry.OBSERVERS[name]
            try:
                self._own[name] = build(workdir)
            except Exception as error:
                raise ValueError(
                    f"observer {name} must start, got {type(error).__name__}: {error}. "
                    "Install what it needs, or leave it out."
                ) from error

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Gives all of them a line: step, phase and metrics, JSON values."""
        for name, observe in list(self._own.items()):
            try:
                observe(dict(line))
            except Exception as error:
                logging.warning(
                    "observer %s is left out from now on: %s: %s",
                    name,
                    type(error).__name__,
                    error,
                )
                del self._own[name]
