"""The bundled benchmark, which needs no download."""

import importlib.resources

from jnas import registry
from jnas.discrete.tables import table as table_lib


@registry.TABLES.register
def digits201() -> table_lib.Table:
    """Returns NAS-Bench-201's 15,625 cells, trained from scratch on the digits.

    Metrics ``valid_E`` and ``test_E`` are accuracies in percent after E epochs, 3 and
    12 in separate trainings: means of three seeds; ``valid_E_seedI`` are single seeds.
    Isomorphic cells were trained once. ``seconds`` is the time of training and
    evaluation with 12 epochs, ``parameters`` the number of parameters. The file
    ``digits201.md`` beside the table describes how it was made, and how it correlates
    with other benchmarks.
    """
    folder = importlib.resources.files("jnas.discrete.tables")
    with importlib.resources.as_file(folder / "digits201.npz") as path:
        return table_lib.read_npz(path, name="digits201")
