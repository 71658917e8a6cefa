"""Rows of a chart in Altair's form, and the sizes that all charts share."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
from altair.utils import schemapi

from jnas.report import numbers

WIDTH, HEIGHT = 520, 260


def values(rows: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    """Returns rows with rounded numbers as the data of a chart.

    Args:
      rows: name -> text, number, None or a list of numbers.
    """
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    with schemapi.debug_mode(False):  # skips validating each row, which is slow
        return alt.InlineData(values=plain)


def words(name: str) -> str:
    """Returns a metric's name for an axis.

    Example:
      >>> words("valid_accuracy")
      'valid accuracy'
    """
    return numbers.text(name).replace("_", " ")


def tooltip(name: str, title: str) -> alt.Tooltip:
    """Returns a tooltip entry of a number, with four digits."""
    return alt.Tooltip(f"{name}:Q", title=title, format=".4~g")


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return numbers.text(value)
    return numbers.short(value) if isinstance(value, float) else value
