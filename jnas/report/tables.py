"""Tables of names and numbers, written as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Table(NamedTuple):
    """A table; each row has as many cells as the header.

    Attributes:
      header: the names of the columns.
      rows: rows of strings, numbers, booleans or None.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


def from_records(records: Sequence[Mapping[str, Any]]) -> Table:
    """Makes a table of dicts, with a column for every key in order of appearance."""
    header = list(dict.fromkeys(key for record in records for key in record))
    return Table(header, [[record.get(key) for key in header] for record in records])


def cell(value: Any) -> str:
    """Writes one value: numbers with four significant digits, None as "-".

    Example:
      >>> [cell(v) for v in (0.123456, 0.5, 1234567, 1234567.0, None, True)]
      ['0.1235', '0.5000', '1,234,567', '1,234,567', '-', 'yes']
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if 1e3 <= abs(value) < 1e15:
            return f"{value:,.0f}"
        return f"{value:#.4g}".rstrip(".")
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {cell(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value))
    return str(value)


def is_number(value: Any) -> bool:
    """Returns whether a cell is a number, which is aligned on the right."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def numeric_columns(table: Table) -> list[bool]:
    """Returns for each column whether its cells are all numbers or None."""
    columns = ([row[i] for row in table.rows] for i in range(len(table.header)))
    return [
        any(map(is_number, column))
        and all(value is None or is_number(value) for value in column)
        for column in columns
    ]


def check(table: Table) -> None:
    """Raises ValueError if a row and the header differ in length."""
    for number, row in enumerate(table.rows):
        if len(row) != len(table.header):
            raise ValueError(
                f"row must have {len(table.header)} cells, got {len(row)} in row "
                f"{number}. Give each column a value, or None."
            )


def markdown(table: Table) -> str:
    """Writes a table with aligned columns, numbers on the right.

    Bars in a cell are escaped and line breaks replaced, so that the table stays valid.

    Args:
      table: the table to write.

    Returns:
      The lines of the table, without a line break at the end.

    Raises:
      ValueError: a row and the header differ in length.

    Example:
      >>> print(markdown(Table(["method", "accuracy"], [["darts", 0.5], ["none", 1]])))
      | method | accuracy |
      |:-------|---------:|
      | darts  |   0.5000 |
      | none   |        1 |
    """
    check(table)
    right = numeric_columns(table)
    grid = [[_plain(cell(v)) for v in row] for row in (table.header, *table.rows)]
    widths = [max(3, *map(len, column)) for column in zip(*grid, strict=True)]
    lines = ["| " + " | ".join(map(_pad, row, widths, right)) + " |" for row in grid]
    rule = [
        "-" * (width + 1) + ":" if last else ":" + "-" * (width + 1)
        for width, last in zip(widths, right, strict=True)
    ]
    return "\n".join([lines[0], "|" + "|".join(rule) + "|", *lines[1:]])


def _pad(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
