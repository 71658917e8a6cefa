"""Metrics have a direction: whether more of one is better, or less.

Scores that a controller sees are higher for what is better, whatever the metric; what
is written, printed and drawn is the metric itself, with its direction beside it.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

MAXIMIZE, MINIMIZE = "maximize", "minimize"
_COSTS = {  # words of a name, as in "valid_seconds_12" or "latency_ms"
    *("parameters", "parameter", "params", "param", "macs", "mac", "madds"),
    *("flops", "mflops", "gflops", "flop", "latency", "seconds", "time", "energy"),
    *("memory", "loss", "losses", "error", "errors"),
}
_GAINS = {"accuracy", "acc", "score"}  # last words, whatever comes before


class Metric(NamedTuple):
    """A metric and its direction.

    Attributes:
      name: name of the metric, without its direction.
      direction: "maximize" or "minimize".
    """

    name: str
    direction: str = MAXIMIZE

    @property
    def sign(self) -> int:
        """1 to maximise, -1 to minimise: sign * value is higher for what is better."""
        return -1 if self.direction == MINIMIZE else 1

    @property
    def label(self) -> str:
        """The name with an arrow to the better end, for tables and axes."""
        return f"{self.name} {'↓' if self.direction == MINIMIZE else '↑'}"


def declared(name: str, costs: Collection[str] = ()) -> Metric:
    """Returns a metric with the direction that its declaration or its name gives.

    Args:
      name: name of the metric.
      costs: names that are declared to be minimised, such as those of a table.

    Example:
      >>> declared("seconds_12").direction, declared("valid_12").direction
      ('minimize', 'maximize')
    """
    words = re.split(r"[^a-z]+", name.lower())
    named = bool(_COSTS.intersection(words)) and words[-1] not in _GAINS
    return Metric(name, MINIMIZE if named or name in costs else MAXIMIZE)


def parse(text: str, costs: Collection[str] = ()) -> Metric:
    """Reads a metric as a flag names it.

    Args:
      text: "NAME", whose direction is the declared one, or "minimize:NAME",
        "maximize:NAME", which override it. "-NAME" is another way to write
        "minimize:NAME".
      costs: as for ``declared``.

    Raises:
      ValueError: a word before the colon that is no direction, or no name.

    Example:
      >>> parse("parameters"), parse("maximize:parameters").sign
      (Metric(name='parameters', direction='minimize'), 1)
    """
    direction, colon, name = text.partition(":")
    if text.startswith("-"):
        direction, colon, name = MINIMIZE, ":", text[1:]
    if not colon:
        return declared(text, costs)
    if direction not in (MAXIMIZE, MINIMIZE) or not name:
        raise ValueError(
            f"metric must be NAME, {MINIMIZE}:NAME or {MAXIMIZE}:NAME, got {text!r}. "
            "Correct it."
        )
    return Metric(name, direction)
