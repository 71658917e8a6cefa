"""What a person reads after a run: closing tables and one self-contained page."""

from jnas.report.html import write_report
from jnas.report.tables import Table, markdown

__all__ = ["Table", "markdown", "write_report"]
