"""Tests of how a run names and shows its cells."""

import json

import jax.numpy as jnp
import numpy as np

from jnas import directions, spaces
from jnas.spaces import genotype_text, published, rows
from jnas.studies import cells, evaluations


def test_a_found_cell_is_told_by_score_skips_and_operations():
    """DARTS_V2 has two skip connections in the normal cell, three in the other."""
    found = cells.found(published.genotype("DARTS_V2"), 0.97345, seed=2)
    assert found.best == "0.9735" and found.score == 0.97345
    assert found.cell.startswith("skips 5 (normal: 5 sep_conv_3x3, 2 skip_")
    assert found.seed == 2 and found.weights is None


def test_weights_have_the_names_of_their_edges_and_operations():
    """Each edge its own candidates, as RobustDARTS' S1 has them."""
    space = spaces.zoo.nasbench201()
    weights = np.arange(30, dtype=np.float32).reshape(1, 6, 5) / 30
    named = rows.named(space, weights)
    assert list(named) == ["cell"]
    assert list(named["cell"]) == ["0->1", "0->2", "1->2", "0->3", "1->3", "2->3"]
    assert named["cell"]["1->2"] == dict(
        zip(space.operations, (0.33333, 0.36667, 0.4, 0.43333, 0.46667), strict=True)
    )


METRICS = directions.Metric("valid"), directions.Metric("parameters", "minimize")


def evaluated():
    """Two rounds of two cells; the first cell twice, one score not finite."""
    space = spaces.zoo.nasbench201()
    encodings = jnp.array([[[0] * 6, [1] * 6], [[0] * 6, [3] * 6]], jnp.int32)
    scores = jnp.array([[[1.0, -9], [2, -8]], [[3, -7], [-jnp.inf, -6]]])
    return evaluations.collect(encodings, scores, METRICS, space)


def test_every_evaluation_is_kept_in_order_with_its_cell_and_its_metrics():
    """Repeats too; a metric has its own sign, and one that is not finite is null."""
    found = evaluated()
    lines = [json.loads(json.dumps(found.line(i))) for i in range(4)]
    assert [line["encoding"] for line in lines] == [[0] * 6, [1] * 6, [0] * 6, [3] * 6]
    assert [line["scores"] for line in lines] == [
        {"valid": 1.0, "parameters": 9.0},
        {"valid": 2.0, "parameters": 8.0},
        {"valid": 3.0, "parameters": 7.0},
        {"valid": None, "parameters": 6.0},
    ]
    assert [line["evaluation"] for line in lines] == [0, 1, 2, 3]
    string = lines[1]["genotype"]
    assert string == "|skip_connect~0|+|skip_connect~0|skip_connect~1|+" + "".join(
        ("|", *(f"skip_connect~{i}|" for i in range(3)))
    )
    assert lines[1]["cell"] == "cell: 6 skip_connect"
    back = cells.find(string, space="nasbench201", seed=0)
    assert found.space.encode(back).tolist() == [1] * 6


def test_the_front_has_the_directions_of_its_metrics():
    """Evaluation 2 has the best metric and the fewest parameters of those known."""
    found = evaluations.front(evaluated(), 2)
    assert [one["evaluation"] for one in found["front"]] == [2]
    assert found["directions"] == {"valid": "maximize", "parameters": "minimize"}


def test_the_result_is_the_best_by_the_first_metric():
    """With all its metrics, and their directions."""
    result = evaluations.result(evaluated())
    assert (result["valid"], result["parameters"], result["evaluations"]) == (3, 7, 4)
    assert genotype_text.from_json(result["genotype"]).space == "nasbench201"
