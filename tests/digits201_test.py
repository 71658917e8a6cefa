"""The embedded benchmark is what its recipe gives: five rows are trained again."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jnas import networks, spaces
from jnas.discrete import tables
from jnas.studies import make_table

SPACE = spaces.zoo.nasbench201()
TABLE = tables.load("digits201")


def test_its_columns():
    """Every cell, both budgets, three seeds, seconds and parameters."""
    assert TABLE.num_rows == SPACE.num_architectures and TABLE.sizes == SPACE.sizes
    for part in make_table.SPLITS:
        for epochs in make_table.TableSettings().budgets:
            seeds = [TABLE.column(f"{part}_{epochs}_seed{i}") for i in range(3)]
            mean = np.mean(seeds, 0)
            np.testing.assert_allclose(
                TABLE.column(f"{part}_{epochs}"), mean, atol=1e-3
            )
            assert 0 <= np.min(seeds) and np.max(seeds) <= 100
    assert (TABLE.column("seconds") > 0).all()


def test_equal_graphs_have_one_result():
    """Isomorphic cells share all measured figures except the number of parameters."""
    first = spaces.representatives(SPACE)
    for name, column in TABLE.metrics.items():
        if name != "parameters":
            np.testing.assert_array_equal(column, column[first], err_msg=name)


def test_parameters_are_those_of_the_networks():
    """Against the count of derived networks, for ten cells."""
    shape = networks.Size(8, 1, 10, channels=1)
    for number in np.random.default_rng(1).choice(15_625, 10, replace=False):
        genotype = SPACE.genotype(spaces.encoding.from_index(int(number), SPACE.sizes))
        counted = networks.measure(networks.derived(genotype, shape), (8, 8, 1))
        assert TABLE.column("parameters")[number] == counted["parameters"]


# Trains rows, seed 0, by the recipe; prints their scores.
TRAIN = """
import json, sys
from jnas import data, spaces
from jnas.studies import make_table

train = make_table.trainer(
    data.load("digits"), spaces.zoo.nasbench201(), make_table.TableSettings(), seed=0
)
print(json.dumps([train([int(number)], [0])[0][0].tolist() for number in sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def again(users_environment):
    """Trains five rows, worst to best, compiled as the table's own were."""
    cells = np.unique(spaces.representatives(SPACE))
    ranked = cells[np.argsort(TABLE.column("test_12")[cells], kind="stable")]
    drawn = ranked[np.linspace(0, len(ranked) - 1, 5).round().astype(int)]
    line = [sys.executable, "-c", TRAIN, *map(str, drawn)]
    done = subprocess.run(line, capture_output=True, text=True, env=users_environment)
    assert done.returncode == 0, done.stderr
    return drawn, np.array(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_rows_trained_again(again):
    """Each is within the seeds' noise; on the machine that made them, equal."""
    drawn, scores = again
    for b, epochs in enumerate(make_table.TableSettings().budgets):
        for p, part in enumerate(make_table.SPLITS):
            name = f"{part}_{epochs}"
            seeds = np.stack([TABLE.column(f"{name}_seed{i}") for i in range(3)])
            # the table's own noise: deviation over seeds, pooled over all cells
            noise = np.sqrt(seeds.var(0, ddof=1).mean())
            apart = scores[:, b, p] - seeds[0, drawn]
            # another machine rounds otherwise, and a training amplifies that to
            # another draw of the noise: a difference of two has deviation 1.4 noise
            assert np.sqrt((apart**2).mean()) < 2.5 * noise, name
            assert np.abs(apart).max() < 6 * noise, name
            # and the rows tell cells apart: shuffled rows do not fit
            shuffled = scores[:, b, p] - np.roll(seeds[0, drawn], 1)
            assert np.sqrt((shuffled**2).mean()) > np.sqrt((apart**2).mean()), name
