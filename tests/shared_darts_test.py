"""Shared weights in the DARTS space: trained by SPOS and ENAS, scored, rescored."""

import numpy as np
import pytest

from jnas import data, run, spaces
from jnas.studies import search_discrete

TRAINERS = {
    "spos": dict(trainer="random_search", recalibrate=1),
    "enas": dict(trainer="enas_lstm", controller_rounds=2, controller="enas_lstm",
                 rescore=3, screening_batches=1, num_proposals=6),
}  # fmt: skip


def searched(folder, space, **changes):
    """Searches digits of 4 pixels a side by shared weights; returns what was found."""
    settings = search_discrete.DiscreteSettings(
        **dict(controller="regularized_evolution", num_evaluations=12, features=2,
               layers=3, epochs=1, batch_size=256) | changes
    )  # fmt: skip
    digits = data.shrink(data.load("digits"), 2)
    with run.open_run(folder) as r:
        found = search_discrete.search_cells(r, space, settings, dataset=digits)
        search_discrete.close(r, found, settings, dataset=digits)
    return found


def check(folder, space, found):
    """Every evaluation is a cell of the space; the best of them is the result."""
    lines = (folder / search_discrete.EVALUATIONS).read_text().splitlines()
    assert len(lines) == found.result["evaluations"] == 12
    encoding = space.encode(found.genotype)
    assert (np.asarray(encoding) < np.array(space.sizes)).all()
    assert 0 < found.result["one_shot_accuracy"] <= 1
    assert (folder / "report.html").stat().st_size > 0


@pytest.mark.parametrize("trainer", TRAINERS)
def test_cells_of_two_inputs(trainer, tmp_path):
    """The genes of the DARTS space, with fewer nodes and candidates."""
    space = spaces.zoo.tiny()
    check(tmp_path, space, searched(tmp_path, space, **TRAINERS[trainer]))


@pytest.mark.slow
def test_the_darts_space(tmp_path):
    """All of its candidates; minutes of compiling, so by one trainer alone."""
    space = spaces.zoo.darts()
    check(tmp_path, space, searched(tmp_path, space, **TRAINERS["enas"]))
