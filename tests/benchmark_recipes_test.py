"""The benchmark of recipes: how they are written, a small run, what it refuses."""

import json

import forks
import pytest

from jnas.bench import recipes

LINE = ["--data=digits", "--shrink=2", "--num_seeds=2", "--num_random=2", "--epochs=1",
        "--retrain_epochs=1", "--features=2", "--space=nasbench201"]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "recipe", "name"),
    [
        ("random", ("random", 0.3, 0), "random"),
        ("darts:0", ("darts", 0.0, 0), "darts"),
        ("drnas:0.3:6", ("drnas", 0.3, 6), "drnas, frozen 0.3, 6 finalists"),
        ("random:0:2", ("random", 0.0, 2), "random, 2 finalists"),
    ],
)
def test_recipes_as_they_are_written(text, recipe, name):
    """METHOD:FROZEN_RATE:FINALISTS, and what a table calls them."""
    found = recipes.read(text)
    assert found == recipes.Recipe(*recipe) and found.name == name


@pytest.mark.parametrize(
    "text", ["", "darts:x", "darts:0.3:", "darts:2", "darts:0:1:1"]
)
def test_recipes_that_are_not_written_so(text):
    """Refused in one line that says how."""
    with pytest.raises(ValueError, match="recipes must be METHOD:FROZEN_RATE"):
        recipes.read(text)


def test_an_unknown_method():
    """The nearest is guessed."""
    with pytest.raises(KeyError, match="drnas"):
        recipes.read("drna:0.3")


def test_p_against_random_cells():
    """Welch's t by hand: means 0.5 and 0.8, variances 0.01, three each, 4 degrees."""
    rows = [
        {"recipe": "random", "seeds": [0.4, 0.5, 0.6]},
        {"recipe": "drnas", "seeds": [0.7, 0.8, 0.9]},
    ]
    drawn, found = recipes.with_p(rows)
    t = 0.3 / (0.02 / 3) ** 0.5
    # the integral of Student's density of 4 degrees of freedom in closed form
    s = t / (4 + t * t) ** 0.5
    assert drawn["p"] is None and drawn["n"] == 3
    assert found["p"] == pytest.approx(1 - s * (3 - s * s) / 2)
    assert recipes.with_p(rows[1:])[0]["p"] is None


@pytest.mark.slow
def test_a_small_run_and_another_in_its_folder(tmp_path):
    """A row a recipe and a baseline; trainings of other settings are not taken over."""
    line = [*LINE, f"--workdir={tmp_path / 'bench'}"]
    done = forks.launch(
        "benchmark_recipes", *line, "--recipes=random,drnas:0:1", limit=600
    )
    assert done.status == 0, done.err
    found = json.loads(done.out.splitlines()[-1])["rows"]
    assert [row["recipe"] for row in found] == [
        "random", "drnas, 1 finalists", "plain_cnn", "resnet", "mobilenet_v2"
    ]  # fmt: skip
    assert [row["n"] for row in found] == [2, 2, 2, 2, 2]
    assert found[0]["p"] is None and all(0 < row["p"] <= 1 for row in found[1:])
    again = forks.launch(
        "benchmark_recipes", *line, "--recipes=random", "--retrain_epochs=2", limit=600
    )
    assert again.status == 1 and "must be those" in again.err
