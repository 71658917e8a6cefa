"""The benchmark that is in the box; no network is needed for it."""

import importlib.resources

from jnas import registry
from jnas.discrete.tables import table as table_lib


@registry.TABLES.register
def digits201() -> table_lib.Table:
    """Returns NAS-Bench-201's 15,625 cells, trained from scratch on the digits.

    Metrics ``valid_E`` and ``test_E``, in percent, for E of 3 and 12 epochs, each a
    training of its own: means of three seeds; ``valid_E_seedI`` are the seeds. Equal
    graphs were trained once. ``seconds`` of a training and its evaluation with 12
    epochs, and ``parameters``. How it was made, and how it relates to others, is told
    in ``digits201.md`` beside the file.
    """
    folder = importlib.resources.files("jnas.discrete.tables")
    with importlib.resources.as_file(folder / "digits201.npz") as path:
        return table_lib.read_npz(path, name="digits201")
