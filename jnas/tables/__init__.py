"""Benchmarks: what was measured for every cell of a space, in one file."""

from jnas import registry
from jnas.tables.convert import from_nasbench201 as from_nasbench201
from jnas.tables.convert import from_nats_csv as from_nats_csv
from jnas.tables.table import Table as Table
from jnas.tables.table import read_npz as read_npz
from jnas.tables.table import write_npz as write_npz


def load(spec: str) -> Table:
    """Loads a table by name or file.

    Args:
      spec: a name of ``registry.TABLES`` ("digits201", a user's own), or the path of an
        npz file.

    Raises:
      KeyError: no such name.
      ValueError: no such file, or not a table.
    """
    if spec.endswith(".npz") or "/" in spec:
        return read_npz(spec)
    return registry.TABLES[spec]()
