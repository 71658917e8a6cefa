"""Tests of successive halving over cells: the plan, the scores, resuming."""

import jax.numpy as jnp
import numpy as np

from jnas import data, run, spaces
from jnas.studies import halve_cells, train_scratch
from jnas.training import rungs

SPACE = spaces.CellSpace(
    "mini", ("cell",), 1, 2, ("none", "skip_connect", "nor_conv_1x1"), None, (2,)
)
SETTINGS = train_scratch.RetrainSettings(
    features=2, layers=1, batch_size=16, epochs=2, learning_rate=0.1, auxiliary=False,
    drop_path_rate=0.0, cutout=0,
)  # fmt: skip


def contest(cells):
    """Returns a contest of cells on a few digits, halved once."""
    digits = data.shrink(data.load("digits"), 2)
    split = jnp.asarray(digits.x_train[:64]), jnp.asarray(digits.y_train[:64])
    held = jnp.asarray(digits.x_train[64:128]), jnp.asarray(digits.y_train[64:128])
    plan = rungs.halving(len(cells), min_epochs=1, max_epochs=2, eta=2)
    return digits, halve_cells.Contest(SPACE, np.array(cells), plan, (split, held))


CELLS = [[2, 0, 2], [1, 1, 1], [2, 0, 2], [2, 2, 2]]


def open_run(folder):
    """Opens a run of a seed."""
    return run.open_run(folder, settings={}, seed=1, data_digest="digits")


def test_the_better_half_is_trained_further(tmp_path):
    """Equal cells have equal scores; the last rung has the best of the first."""
    digits, made = contest(CELLS)
    with open_run(tmp_path / "whole") as one:
        finished = halve_cells.halve_cells(one, "halving", made, digits, SETTINGS)
    with open_run(tmp_path / "whole") as one:  # the phase has ended: nothing is trained
        again = halve_cells.halve_cells(one, "halving", made, digits, SETTINGS)
    assert again == finished
    assert [one["epochs"] for one in finished].count(2) == 2
    assert finished[0]["encoding"] == finished[2]["encoding"] == CELLS[0]
    first, second = (finished[i] for i in (0, 2))
    if first["epochs"] == second["epochs"]:
        assert first["score"] == second["score"]
    ranked = halve_cells.ranked(finished)
    assert [one["epochs"] for one in ranked] == [2, 2, 1, 1]
    assert ranked[0]["score"] >= ranked[1]["score"]
