"""A small run of every kind, as the command that a user would type."""

import pathlib
import sys
from typing import NamedTuple

import numpy as np

from jnas import spaces
from jnas.discrete import tables

SEARCH, DISCRETE, SCRATCH, RETRAIN = "search", "discrete", "scratch", "retrain"
COMPARE, METHODS, TABLE, PROCESSES = "compare", "methods", "table", "processes"
NAMES = (SEARCH, DISCRETE, SCRATCH, RETRAIN, COMPARE, METHODS, TABLE, PROCESSES)
CHECKPOINT_SECONDS = 0.4
_PLUGIN = """from jnas import registry
from jnas.endurance import kinds

registry.SPACES.register(kinds.mini)
"""
_IMAGES = ("--data=digits", "--shrink=2", "--features=2")
_SHAPE = (*_IMAGES, "--layers=1", "--batch_size=64")
# three layers are the fewest with both cells of the space
_TINY = (*_IMAGES, "--space=tiny", "--layers=3", "--batch_size=64")


class Kind(NamedTuple):
    """A kind of run.

    Attributes:
      name: one of ``NAMES``.
      line: its command, without --workdir; its steps take a few seconds.
    """

    name: str
    line: tuple[str, ...]


def mini() -> spaces.CellSpace:
    """Returns a space of 27 cells: three edges with three operations each.

    Source: none; all of its cells can be trained in seconds.
    """
    names = ("none", "skip_connect", "nor_conv_1x1")
    return spaces.CellSpace("mini", ("cell",), 1, 2, names, None, (2,))


def prepare(folder: pathlib.Path, launchers: pathlib.Path) -> dict[str, Kind]:
    """Writes the files that the commands read, a plug-in and a table.

    Args:
      folder: folder for these files; created if missing.
      launchers: the folder of search.py and the other launchers.

    Returns:
      name -> kind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plugin, table = folder / "mini.py", folder / "table.npz"
    plugin.write_text(_PLUGIN)
    _write_table(table)
    own = ("--space=mini", f"--plugins={plugin}")
    judged = (f"--objective=table:{table}", "--signal=valid", "--report=valid,test")
    lines = {
        SEARCH: ("search", *_TINY, "--epochs=40"),
        DISCRETE: (
            "search_discrete", *_SHAPE, *own, "--objective=supernet", "--epochs=30",
            "--num_evaluations=3000",
        ),
        SCRATCH: (
            "search_discrete", *_SHAPE, *own, "--objective=scratch", "--epochs=2",
            "--num_proposals=4", "--num_evaluations=140",
        ),
        RETRAIN: (
            "retrain", *_TINY, "--genotype=random", "--epochs=120", "--noauxiliary",
        ),
        COMPARE: (
            "compare", *judged, "--num_runs=400", "--budget_evaluations=3000",
            "--controllers=regularized_evolution,local_search,reinforce,nsga2",
        ),
        METHODS: (
            "compare", *own, *judged, "--data=digits", "--features=2", "--layers=1",
            "--batch_size=64", "--methods=darts,gdas", "--num_seeds=2", "--epochs=12",
        ),
        TABLE: (
            "make_table", *_IMAGES, *own, "--layers=1", "--epochs=2",
            "--short_epochs=1", "--num_seeds=8",
        ),
        PROCESSES: (
            "search", *_SHAPE, *own, "--epochs=6", "--num_processes=2",
            "--num_devices=2",
        ),
    }  # fmt: skip
    return {name: Kind(name, _command(launchers, line)) for name, line in lines.items()}


def _command(launchers: pathlib.Path, line: tuple[str, ...]) -> tuple[str, ...]:
    often = f"--checkpoint_seconds={CHECKPOINT_SECONDS}"
    return (sys.executable, str(launchers / f"{line[0]}.py"), *line[1:], often)


def _write_table(path: pathlib.Path) -> None:
    space, draw = mini(), np.random.default_rng(0)
    num_rows = int(np.prod(space.sizes))
    metrics = {n: draw.uniform(10, 90, num_rows) for n in ("valid", "test", "seconds")}
    metrics = {name: values.astype(np.float32) for name, values in metrics.items()}
    table = tables.Table("mini", space.sizes, space.gene_names, metrics)
    tables.write_npz(path, table)
