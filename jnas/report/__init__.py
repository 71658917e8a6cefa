"""What a person reads after a run: closing tables, charts, and one page of all."""

import importlib

from jnas.report.fronts import cells
from jnas.report.html import write_report
from jnas.report.runs import RunFiles, load, load_all
from jnas.report.spreads import compare
from jnas.report.svg import to_svg
from jnas.report.tables import Table, markdown

__all__ = [
    "RunFiles",
    "Table",
    "cells",
    "compare",
    "load",
    "load_all",
    "markdown",
    "to_svg",
    "write_report",
]


def __getattr__(name: str):
    """Imports ``report.charts`` when it is first used: Altair takes a while."""
    if name == "charts":
        return importlib.import_module("jnas.report.charts")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
