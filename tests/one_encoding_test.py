"""One encoding: a gradient search's logits and genotype go on in the other families."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, gradient, networks, spaces
from jnas.discrete import controllers, objectives, search, tables
from jnas.training import optimizers, program

SPACE = spaces.CellSpace(
    "mini", ("cell",), 1, 2, ("none", "skip_connect", "nor_conv_1x1"), None, (2,)
)


@pytest.fixture(scope="module")
def logits():
    """Those of a short first-order search on random images."""
    supernet = networks.supernet(SPACE, networks.Size(2, 1, 2, channels=1))
    made = gradient.gradient_search(
        supernet,
        gradient.Pieces(optimizers.momentum_sgd(0.025), optimizers.adam_l2(0.3)),
        augment=data.Augment((0.5,), (0.3,)),
        num_examples=(16, 16),
        batch_size=8,
        num_epochs=4,
    )
    parts = tuple(
        (jax.random.uniform(jax.random.key(i), (16, 4, 4, 1)), jnp.arange(16) % 2)
        for i in range(2)
    )
    state, _ = program.run(made, made.init(jax.random.key(0)), parts)
    return state.inner.logits


@pytest.fixture(scope="module")
def table():
    """A score for each of the 27 cells, all different."""
    scores = np.random.default_rng(0).permutation(27).astype(np.float32)
    return tables.Table("made", SPACE.sizes, SPACE.gene_names, {"valid": scores})


def test_logits_start_reinforce(logits):
    """The policy's probabilities are the softmax rows of the supernet, edge by edge."""
    policy = spaces.gene_logits(SPACE, logits)
    learner = controllers.reinforce(SPACE.sizes, initial_logits=policy)
    state = learner.init(jax.random.key(0))
    np.testing.assert_allclose(state.chances, jax.nn.softmax(logits[0], -1), atol=1e-6)
    # what it draws most often is what the gradient search derives
    keys = jax.random.split(jax.random.key(1), 4000)
    drawn = jax.vmap(lambda key: learner.ask(key, state)[0])(keys)
    often = [np.bincount(drawn[:, g], minlength=3).argmax() for g in range(3)]
    np.testing.assert_array_equal(often, SPACE.discretize(logits))


def test_its_genotype_seeds_evolution_and_one_table_scores_all(logits, table):
    """The found cell is evolution's first member; three families read the same rows."""
    genotype = SPACE.genotype(SPACE.discretize(logits))
    found = SPACE.encode(genotype)
    objective = objectives.table(table, ["valid"])
    own = float(objective(jax.random.key(0), jnp.asarray(found)[None])[0, 0])
    assert own == table.metrics["valid"][spaces.encoding.index(found, SPACE.sizes)]
    policy = spaces.gene_logits(SPACE, logits)
    learners = {
        "evolution": controllers.regularized_evolution(
            SPACE.sizes, population_size=5, initial=found[None]
        ),
        "reinforce": controllers.reinforce(SPACE.sizes, initial_logits=policy),
    }
    for name, learner in learners.items():
        _, history = search.discrete_search(
            jax.random.key(2), learner, objective, num_rounds=60
        )
        if name == "evolution":
            np.testing.assert_array_equal(history.encodings[0, 0], found)
            assert float(history.scores[0, 0, 0]) == own
        best, score = search.best(history)
        row = spaces.encoding.index(np.asarray(best), SPACE.sizes)
        assert table.metrics["valid"][row] == float(score) == history.scores.max()
        if name == "evolution":
            assert float(score) >= own
