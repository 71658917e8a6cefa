"""Tabular benchmarks: measured metrics of every cell of a space, in one file."""

from jnas import registry
from jnas.discrete.tables.convert import from_nasbench201 as from_nasbench201
from jnas.discrete.tables.convert import from_nats_csv as from_nats_csv
from jnas.discrete.tables.embedded import digits201 as digits201
from jnas.discrete.tables.table import Table as Table
from jnas.discrete.tables.table import read_npz as read_npz
from jnas.discrete.tables.table import write_npz as write_npz

_READERS = {"nasbench201": from_nasbench201, "nats_csv": from_nats_csv}


def load(spec: str) -> Table:
    """Loads a table by name or file.

    Args:
      spec: a name of ``registry.TABLES`` ("digits201", a user's own); the path of an
        npz file; or "nasbench201:PATH", "nats_csv:PATH", converted while reading.

    Raises:
      KeyError: no table of that name is registered.
      ValueError: the file does not exist or is no table.
    """
    kind, colon, path = spec.partition(":")
    if colon and kind in _READERS:
        return _READERS[kind](path)
    if spec.endswith(".npz"):
        return read_npz(spec)
    try:
        return registry.TABLES[spec]()
    except registry.UnknownName as error:
        raise registry.UnknownName(
            f"{error} Or use PATH.npz, nasbench201:PATH or nats_csv:PATH."
        ) from None
