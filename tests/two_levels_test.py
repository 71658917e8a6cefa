"""Scores at two levels against a plain loop, and as a search by shared weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, directions, networks, run, spaces
from jnas.discrete import controllers, objectives, search
from jnas.studies import search_discrete
from jnas.training import program

SIZES = (4, 3, 5)
TABLE = np.random.default_rng(0).permutation(60).reshape(SIZES).astype(np.float32)
SPACE = spaces.CellSpace(
    "mini", ("cell",), 1, 1, ("none", "skip_connect", "nor_conv_1x1"), None, (1,)
)


def full(key, encodings):
    """A table of scores, and a second column."""
    del key
    scores = jnp.asarray(TABLE)[tuple(encodings.T)]
    return jnp.stack([scores, -scores], 1)


full.metrics = directions.Metric("best"), directions.Metric("worst")


def noisy(key, encodings):
    """The table with noise, one draw a round; NaN where the first gene is 3."""
    noise = 20 * jax.random.normal(key, (len(encodings),))
    scores = full(key, encodings)[:, 0] + noise
    return jnp.where(encodings[:, 0] == 3, jnp.nan, scores)[:, None]


def test_rounds_are_the_plain_loop():
    """Random rounds of 12, the best 3 by a noisy score in full: RSPS by hand."""
    objective = objectives.rescored(noisy, full, count=3)
    assert objectives.columns(objective) == full.metrics
    controller = controllers.random_search(SIZES, num_proposals=12)
    history = search.discrete_search(
        jax.random.key(0), controller, objective, num_rounds=6
    )[1]
    _, rounds_key = jax.random.split(jax.random.key(0))
    keys = jax.random.split(rounds_key, (6, 2))
    for number in range(6):
        cells = np.asarray(history.encodings[number])
        screen_key, _ = jax.random.split(keys[number, 1])
        values = np.asarray(noisy(screen_key, jnp.asarray(cells)))[:, 0]
        ranked = sorted(
            range(12), key=lambda i: -values[i] if values[i] == values[i] else np.inf
        )
        wanted = np.full((12, 2), -np.inf, np.float32)
        for i in ranked[:3]:
            score = TABLE[tuple(cells[i])]
            wanted[i] = score, -score
        np.testing.assert_array_equal(history.scores[number], wanted)


def test_screening_draws_one_batch_a_round():
    """Of the round's key, for all its cells; as many images as are asked for."""
    size = networks.Size(2, 1, 2, channels=1)
    net = networks.one_shot(SPACE, size)
    params = program.once(net.init)(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (40, 4, 4, 1))
    labels = np.arange(40) % 2
    objective = jax.jit(
        objectives.one_shot_accuracy(SPACE, net, params, images, labels, num_drawn=8)
    )
    cells = jnp.array([[1], [2], [1]])
    for seed in range(3):
        key = jax.random.key(seed)
        scores = objective(key, cells)[:, 0]
        rows = jax.random.permutation(jax.random.split(key)[0], 40)[:8]
        wanted = []
        for cell in cells:
            outputs = net.apply(params, images[rows], SPACE.weights(cell))
            wanted.append(float((outputs.argmax(-1) == labels[rows]).mean()))
        np.testing.assert_allclose(scores, wanted, atol=1e-6)
        assert scores[0] == scores[2]


SETTINGS = search_discrete.DiscreteSettings(
    controller="random_search", num_evaluations=20, num_proposals=10, features=2,
    layers=1, epochs=1, batch_size=64, rescore=2, screening_batches=1,
)  # fmt: skip


def test_a_search_rescores(tmp_path):
    """Two of ten cells of a round have a score; the rest is no cause for a warning."""
    digits = data.shrink(data.load("digits"), 2)
    with run.open_run(tmp_path / "own") as r:
        found = search_discrete.search_cells(r, SPACE, SETTINGS, dataset=digits)
    lines = (tmp_path / "own" / "evaluations.jsonl").read_text().splitlines()
    scored = ["null" not in line.partition('"scores"')[2] for line in lines]
    assert len(lines) == 20 and sum(scored[:10]) == sum(scored[10:]) == 2
    assert found.result["evaluations"] == 20
    assert not [one for one in found.result["warnings"] if "counted as" in one]
    few = dataclasses.replace(SETTINGS, num_proposals=1)
    with (
        run.open_run(tmp_path / "few") as r,
        pytest.raises(
            ValueError, match="rescore must be at most the 1 cells of a round"
        ),
    ):
        search_discrete.search_cells(r, SPACE, few, dataset=digits)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(objective="scratch"), "rescore must be 0 without the objective supernet"),
        (dict(max_parameters=10_000), "rescore must be 0 in a search with limits"),
        (dict(objective="scratch", rescore=0, controller_rounds=5),
         "controller_rounds must be 0 without the objective supernet, got 5"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(changes, message):
    """Before anything runs."""
    with pytest.raises(ValueError, match=message):
        search_discrete.check(dataclasses.replace(SETTINGS, **changes))


def test_count_is_checked():
    """Of the builder."""
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        objectives.rescored(noisy, full, count=0)
