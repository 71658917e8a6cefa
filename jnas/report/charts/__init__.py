"""Charts of runs: each an ``altair.Chart`` that a notebook shows by itself.

Text from files is data of a chart and never part of its expressions. No colours are
chosen here but by meaning; a page or a notebook gives the theme.
"""

from jnas.report.charts.comparison import comparison, traces
from jnas.report.charts.curves import curves, eigenvalue, entropy, incumbents
from jnas.report.charts.pareto import pareto
from jnas.report.charts.weights import operation_counts, weights

__all__ = [
    "comparison",
    "curves",
    "eigenvalue",
    "entropy",
    "incumbents",
    "operation_counts",
    "pareto",
    "traces",
    "weights",
]
