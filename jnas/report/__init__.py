"""Reports of runs: tables, charts, and one HTML file with all of them."""

import importlib

from jnas.report.found import evaluations_table, front_table, seeds_table
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
    "evaluations_table",
    "front_table",
    "load",
    "load_all",
    "markdown",
    "seeds_table",
    "to_svg",
    "write_report",
]


def __getattr__(name: str):
    """Imports ``report.charts`` at its first use, since importing Altair is slow."""
    if name == "charts":
        return importlib.import_module("jnas.report.charts")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
