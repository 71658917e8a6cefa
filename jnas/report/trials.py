"""The trials of a tuning, as a chart of parallel coordinates needs them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jnas.report import numbers
from jnas.report import runs as runs_lib


class Trial(NamedTuple):
    """A trial that has an accuracy.

    Attributes:
      name: such as "trial 3".
      values: name -> number, what was tuned; last the score, such as valid_accuracy.
      epochs: that it was trained for; 0 if unknown.
    """

    name: str
    values: Mapping[str, float]
    epochs: float


def known(run: runs_lib.RunFiles) -> list[Trial]:
    """Returns the trials of a run, the least accurate first.

    Trials that diverged, and lines of a damaged file, are left out.

    Args:
      run: the run.

    Example:
      >>> known(runs_lib.RunFiles("a", trials=[
      ...     {"trial": 0, "settings": {"mixup": 0.2}, "valid_accuracy": 0.5},
      ...     {"trial": 1, "settings": {"mixup": 0.1}, "valid_accuracy": None}]))
      [Trial(name='trial 0', values={'mixup': 0.2, 'valid_accuracy': 0.5}, epochs=0.0)]
    """
    score, found = f"valid_{run.signal}", []
    for line in run.trials:
        given = line.get("settings")
        values = {
            name: numbers.number(value)
            for name, value in (given if isinstance(given, dict) else {}).items()
        } | {score: numbers.number(line.get(score))}
        same = not found or values.keys() == found[0].values.keys()
        if len(values) > 1 and None not in values.values() and same:
            epochs = numbers.number(line.get("epochs")) or 0.0
            found.append(Trial(f"trial {line['trial']}", values, epochs))
    return sorted(found, key=lambda one: one.values[score])


def logarithmic(run: runs_lib.RunFiles) -> set[str]:
    """Returns the names of the numbers whose range was logarithmic.

    Args:
      run: its run.json holds the ranges.
    """
    settings: Any = run.run.get("settings")
    ranges = settings.get("tune") if isinstance(settings, dict) else None
    texts = [one for one in ranges or () if isinstance(one, str)]
    return {
        one.split(":")[0].strip() for one in texts if one.split(":")[1:2] == ["log"]
    }
