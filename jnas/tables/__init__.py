"""Benchmarks: what was measured for every cell of a space, in one file."""

from jnas.tables.table import Table as Table
from jnas.tables.table import read_npz as read_npz
from jnas.tables.table import write_npz as write_npz
