"""Shared weights: uniform paths and a controller's own, and what they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnas import data, networks, spaces
from jnas.discrete import controllers, objectives, shared_weights
from jnas.training import program

SPACE = spaces.CellSpace(
    "mini", ("cell",), 1, 1, ("none", "skip_connect", "nor_conv_1x1"), None, (1,)
)
SHAPE = networks.Size(2, 1, 2, channels=1)
AUGMENT = data.Augment((0.0,), (1.0,))
SUPERNET = networks.one_shot(SPACE, SHAPE)


def part(count):
    """Dark and bright images, which a linear classifier tells apart."""
    labels = jnp.arange(count) % 2
    noise = jax.random.uniform(jax.random.key(count), (count, 4, 4, 1))
    return labels[:, None, None, None] + 0.5 * noise, labels


PARTS = part(32), part(24)


def trained(controller, num_epochs, rate=0.05):
    """Returns the program and the state at its end."""
    made = shared_weights.shared_training(
        SPACE,
        SUPERNET,
        controller,
        optimizer=optax.sgd(rate),
        augment=AUGMENT,
        num_examples=(32, 24),
        batch_size=8,
        num_epochs=num_epochs,
    )
    state, metrics = program.run(made, made.init(jax.random.key(0)), PARTS)
    return state.inner, metrics


def test_uniform_paths_train_the_shared_weights():
    """Cells that pass their input on learn the task; the one that does not cannot."""
    state, metrics = trained(controllers.random_search(SPACE.sizes), 6)
    assert int(state.controller) == 24  # a cell a step
    assert set(metrics) == set(shared_weights.METRICS)
    images, labels = PARTS[1]
    objective = objectives.one_shot_accuracy(
        SPACE, SUPERNET, state.params, images, labels
    )
    none, skip, conv = objective(jax.random.key(0), jnp.arange(3)[:, None])[:, 0]
    assert float(none) == 0.5 and float(skip) > 0.9 and float(conv) > 0.9


def test_a_controllers_own_samples_move_its_policy():
    """REINFORCE is told validation accuracies and turns away from the dead cell."""
    learner = controllers.reinforce(SPACE.sizes, learning_rate=0.1, num_proposals=4)
    state, _ = trained(learner, 8)
    chances = np.asarray(state.controller.chances[0])
    assert chances[0] < 0.15 and chances.sum() - 1 < 1e-5


def test_only_the_sampled_candidates_move():
    """A step with one cell leaves the kernels of other candidates as they were."""
    fixed = controllers.random_search(SPACE.sizes, initial=jnp.array([[1]] * 99))
    state, _ = trained(fixed, 1)
    names = [n for n in state.params if n.startswith("layers")]
    before = shared_weights.shared_training(
        SPACE, SUPERNET, fixed, optimizer=optax.sgd(0.05), augment=AUGMENT,
        num_examples=(32, 24), batch_size=8, num_epochs=1,
    ).init(jax.random.key(0)).inner.params  # fmt: skip
    cells = [n for n in names if "nodes" in state.params[n]]
    assert len(cells) == 3
    for name in cells:
        was, now = (p[name]["nodes"]["0"] for p in (before, state.params))
        jax.tree.map(np.testing.assert_array_equal, was, now)
    stems = (jax.tree.leaves(p["stem"]) for p in (before, state.params))
    assert any(bool((a != b).any()) for a, b in zip(*stems, strict=True))


def test_the_gradient_is_the_mean_over_cells():
    """Two proposals of one cell move the weights as one does."""
    rows = jnp.array([[2]] * 99)
    one = controllers.random_search(SPACE.sizes, initial=rows)
    two = controllers.random_search(SPACE.sizes, initial=rows, num_proposals=2)
    found = [trained(c, 1)[0].params for c in (one, two)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *found)
