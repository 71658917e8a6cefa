"""What a person reads after a run: closing tables and one self-contained page."""

from jnas.report.html import write_report
from jnas.report.pieces import methods_table as methods_table
from jnas.report.tables import Table, markdown

__all__ = ["Table", "markdown", "write_report"]
