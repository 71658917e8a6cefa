"""Charts of runs: each is an ``altair.Chart`` that a notebook displays.

Text from files is data of a chart and never part of its expressions. Colours come from
the theme of the report or notebook.
"""

from jnas.report.charts.comparison import comparison, traces
from jnas.report.charts.confusion import confusion
from jnas.report.charts.curves import curves, eigenvalue, entropy, incumbents
from jnas.report.charts.pareto import pareto
from jnas.report.charts.weights import operation_counts, weights

__all__ = [
    "comparison",
    "confusion",
    "curves",
    "eigenvalue",
    "entropy",
    "incumbents",
    "operation_counts",
    "pareto",
    "traces",
    "weights",
]
