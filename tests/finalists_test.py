"""Finalists: which cells are trained, and that the best of them is found."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, networks, registry, run, spaces
from jnas.spaces import genotype_text
from jnas.studies import cells, finalists, train_scratch

SPACE = spaces.CellSpace(
    "mini", ("cell",), 1, 2, ("none", "skip_connect", "nor_conv_1x1"), None, (2,)
)
TRAINING = train_scratch.RetrainSettings(
    features=2, layers=1, batch_size=16, epochs=3, learning_rate=0.1, auxiliary=False,
    drop_path_rate=0.0, cutout=0,
)  # fmt: skip


def drawn(count, seed=0):
    """Draws the mixing weights of some searches, f64[S, C, E, O]."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(SPACE.shape[-1]), (count, *SPACE.shape[:2]))


def digits():
    """Returns a few digits of 4x4 pixels."""
    whole = data.shrink(data.load("digits"), 2)
    return data.Dataset(
        "few", whole.x_train[:80], whole.y_train[:80], whole.x_test, whole.y_test, 10
    )


def test_searches_take_turns():
    """The likeliest of each, then the second of each; a cell is there once."""
    weights = drawn(2)
    chosen = finalists._take_turns(SPACE, weights, 5, ())
    each = [networks.likeliest(SPACE, one, 5) for one in weights]
    forms = [spaces.canonical(SPACE, encoding) for _, encoding in chosen]
    assert len(set(forms)) == 5
    assert [seed for seed, _ in chosen[:2]] == [0, 1]
    np.testing.assert_array_equal(chosen[0][1], each[0][0])
    np.testing.assert_array_equal(chosen[1][1], each[1][0])
    same = finalists._take_turns(SPACE, np.stack([weights[0]] * 2), 3, ())
    assert [seed for seed, _ in same] == [0, 0, 0]


def test_the_best_on_held_out_images_wins(tmp_path):
    """Of all finalists, which are all trained to the end; figures name each."""
    with run.open_run(tmp_path, settings={}, seed=1, data_digest="few") as one:
        winner = finalists.choose(one, SPACE, digits(), drawn(1), 4, TRAINING)
    rows = winner.figures["finalists"]
    best = max(row["accuracy"] for row in rows)
    assert rows[winner.figures["winner"]]["accuracy"] == best
    assert len(rows) == 4
    found = genotype_text.short_form(SPACE.genotype(winner.encoding))
    assert rows[winner.figures["winner"]]["genotype"] == found


def test_no_cell_within_the_limits(tmp_path):
    """Limits that only empty cells keep are refused before anything is trained."""
    size = networks.Size(2, 1, 10, 1)
    none_or_conv = SPACE.with_operations(["none", "nor_conv_1x1"])
    costs = networks.option_costs(none_or_conv, size, (4, 4, 1))["parameters"]
    limit = networks.limit("parameters", costs.base, costs)
    weights = np.full((1, *none_or_conv.shape), 0.5)
    with run.open_run(tmp_path, settings={}, seed=1, data_digest="few") as one:
        with pytest.raises(ValueError, match="limits must leave one cell"):
            finalists.choose(
                one, none_or_conv, digits(), weights, 2, TRAINING, limits=[limit]
            )


def test_the_recipe_of_the_space():
    """Finalists train as the next command does, with fewer epochs and no head."""
    settings = finalists.FinalistSettings(finalists=2, finalist_epochs=1)
    genotype = registry.SPACES["compact"]().genotype([2, 0, 2, 1, 0, 1])
    numbers = {"features": 4, "layers": 1}
    found = finalists.training(genotype, digits(), numbers, settings)
    assert (found.epochs, found.features, found.layers) == (1, 4, 1)
    assert found.augment == "none" and found.warmup_epochs == 0
    assert not found.auxiliary and found.drop_path_rate == 0
    assert found.batch_size == 30  # half of the 60 images that train


def test_finalists_that_diverge_are_said(tmp_path, capsys):
    """The likeliest is taken then, and no accuracy is shown for it."""
    wild = dataclasses.replace(TRAINING, learning_rate=1e30, clip_norm=0.0)
    with run.open_run(tmp_path, settings={}, seed=1, data_digest="few") as one:
        winner = finalists.choose(one, SPACE, digits(), drawn(1), 2, wild)
    assert winner.figures["winner"] == 0
    assert winner.figures["finalists"][0]["accuracy"] is None
    assert "every finalist diverged" in capsys.readouterr().err


def test_random_connected_cells_compute_something():
    """Uniform among cells with a path; a space of nothing gives nothing."""
    few = SPACE.with_operations(["none", "nor_conv_1x1"])
    found = cells.random_connected(few, 40, seed=0)
    assert len(found) == 40
    for one in found:
        weights = few.weights(jnp.asarray(few.encode(one)))
        assert np.asarray(spaces.prune(few, weights)).sum() > 0
    first = cells.random_cells(few, 80, seed=0)
    assert any(one not in found for one in first)  # some had no path
    assert found == cells.random_connected(few, 40, seed=0)
    assert cells.random_connected(SPACE.with_operations(["none"]), 3, seed=0) == []
    assert cells.random_connected(few, 0, seed=0) == []
