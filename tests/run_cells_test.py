"""Tests of how a run names and shows its cells."""

import json

import jax.numpy as jnp
import numpy as np

from jnas import spaces
from jnas.spaces import published
from jnas.studies import cells, rounds


def test_a_found_cell_is_told_by_score_skips_and_operations():
    """DARTS_V2 has two skip connections in the normal cell, three in the other."""
    found = cells.found(published.genotype("DARTS_V2"), 0.97345, seed=2)
    assert found.best.startswith("0.9735, skips 5 (normal: 5 sep_conv_3x3, 2 skip_")
    assert found.seed == 2 and found.weights is None


def test_weights_have_the_names_of_their_edges_and_operations():
    """Each edge its own candidates, as RobustDARTS' S1 has them."""
    space = spaces.zoo.nasbench201()
    weights = np.arange(30, dtype=np.float32).reshape(1, 6, 5) / 30
    named = cells.named_weights(space, weights)
    assert list(named) == ["cell"]
    assert list(named["cell"]) == ["0->1", "0->2", "1->2", "0->3", "1->3", "2->3"]
    assert named["cell"]["1->2"] == dict(
        zip(space.operations, (0.33333, 0.36667, 0.4, 0.43333, 0.46667), strict=True)
    )


def test_what_was_evaluated_is_told_once_a_cell():
    """In the order of the first time; what is not finite is null."""
    space = spaces.zoo.nasbench201()
    encodings = jnp.array([[[0] * 6, [1] * 6], [[0] * 6, [3] * 6]], jnp.int32)
    scores = jnp.array([[[1.0, -9], [2, -8]], [[3, -7], [-jnp.inf, -6]]])
    state = rounds.SearchState((), (), encodings, scores)
    lines = rounds.evaluations(state, ["valid", "-parameters"], space)
    assert json.loads(json.dumps(lines)) == [
        {
            "evaluation": 0,
            "cell": "cell: 6 none",
            "scores": {"valid": 1.0, "-parameters": -9.0},
        },
        {
            "evaluation": 1,
            "cell": "cell: 6 skip_connect",
            "scores": {"valid": 2.0, "-parameters": -8.0},
        },
        {
            "evaluation": 3,
            "cell": "cell: 6 nor_conv_3x3",
            "scores": {"valid": None, "-parameters": -6.0},
        },
    ]
