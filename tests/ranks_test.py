"""Tests of the plug-in that compares a supernet's ranking with a table."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jnas import data, gradient, networks, registry, spaces
from jnas.discrete import tables
from jnas.gradient import hooks, mixing, relaxations
from jnas.training import program

PLUGIN = pathlib.Path(__file__).parents[1] / "experiments/plugins/ranks.py"
SPACE = spaces.ChoiceSpace("mine", {"a": ("p", "q", "r"), "b": ("p", "q")}, "mine")
CELLS = np.array([[a, b] for a in range(3) for b in range(2)], np.int32)
TRUTH = np.float32([3, 1, 4, 0, 5, 9])
WORTH = {"a": np.float32([0.0, 1.0, 3.0]), "b": np.float32([0.5, 2.7])}
LOGITS = {"a": np.float32([0.3, -0.2, 0.1]), "b": np.float32([0.0, 0.7])}
IMAGES = np.linspace(0.5, 1.5, 8, dtype=np.float32).reshape(8, 1, 1, 1)


def total(weights):
    """The worth of an architecture, or of a mixture."""
    return sum((weights[name] * WORTH[name]).sum() for name in WORTH)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the hook measures of a supernet whose output is worth times the image."""
    path = tmp_path_factory.mktemp("ranks") / "truth.npz"
    table = tables.Table("mine", SPACE.sizes, SPACE.gene_names, {"t": TRUTH}, CELLS)
    tables.write_npz(path, table)
    registry.load_plugins([str(PLUGIN)])

    def apply(params, images, weights, *, key=None, variant_inputs=None):
        return params * total(weights) * images.mean((1, 2, 3))[:, None]

    task = data.Task(
        1,
        lambda outputs, targets: (outputs[:, 0] - targets) ** 2,
        {"value": lambda outputs, targets: outputs[:, 0]},
    )
    search = hooks.Search(
        networks.Supernet(None, apply, SPACE),
        mixing.build_weights_of(SPACE, relaxations.softmax), None,
        data.Augment((0.0,), (1.0,)), 4, 1, task=task,
    )  # fmt: skip
    hook = registry.HOOKS["ranks"](search, table=f"table:{path}", metric="t")
    state = gradient.GradientState(jnp.float32(2), LOGITS, (), (), None)
    clock = program.Clock(jnp.int32(0), jnp.float32(0), jnp.int32(0))
    after, _, values, stop = jax.jit(hook.call)(
        jax.random.key(0), clock, state, (), (jnp.asarray(IMAGES), jnp.ones(8))
    )
    assert not stop and set(values) == set(hook.metrics)
    assert jax.tree.all(jax.tree.map(np.array_equal, after.logits, LOGITS))
    return {name: float(one) for name, one in values.items()}


def tau(scores):
    """Kendall's tau-a with the truth, pair by pair."""
    pairs = [
        np.sign(scores[i] - scores[j]) * np.sign(TRUTH[i] - TRUTH[j])
        for i in range(6)
        for j in range(i)
    ]
    return np.mean(pairs)


def test_rankings_are_those_of_loops(found):
    """Of the cell alone, of the product of its weights, of counts of an operation."""
    a, b = CELLS.T
    alone = WORTH["a"][a] + WORTH["b"][b]
    product = LOGITS["a"][a] + LOGITS["b"][b]  # the rows' sums are the same for all
    assert found["tau_shared"] == pytest.approx(tau(alone))
    assert found["tau_weights"] == pytest.approx(tau(product))
    assert found["tau_shared"] == pytest.approx(stats.kendalltau(alone, TRUTH)[0])
    counts = {
        "p": (a == 0) + 1 * (b == 0),
        "q": (a == 1) + 1 * (b == 1),
        "r": 1 * (a == 2),
    }
    for name, count in counts.items():
        assert found[f"tau_{name}"] == pytest.approx(tau(-count)), name
    scores = 2 * alone * IMAGES.mean()
    assert found["shared_mean"] == pytest.approx(scores.mean(), rel=1e-5)
    assert found["shared_best"] == pytest.approx(scores.max(), rel=1e-5)


def test_the_pull_is_the_gradient_of_the_mean_loss(found):
    """By central differences, mean over the rows that have the operation."""

    def loss(logits):
        weights = {k: np.exp(v) / np.exp(v).sum() for k, v in logits.items()}
        return ((2 * total(weights) * IMAGES.ravel() - 1) ** 2).mean()

    def slope(name, place):
        moved = []
        for sign in (1, -1):
            logits = {k: np.float64(v) for k, v in LOGITS.items()}
            logits[name][place] += sign * 1e-5
            moved.append(loss(logits))
        return (moved[0] - moved[1]) / 2e-5

    for place, name in enumerate("pqr"):
        each = [slope(row, place) for row in "ab" if place < len(LOGITS[row])]
        assert found[f"pull_{name}"] == pytest.approx(np.mean(each), rel=1e-3), name
