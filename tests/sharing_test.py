"""Shared weights: uniform paths and a controller's own, and what they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas import data, networks, spaces, types
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


def trained(controller, num_epochs, rate=0.05, **phases):
    """Returns the state at the end of a training, and its last metrics."""
    made = phased(controller, num_epochs, rate, **phases)
    state, metrics = program.run(made, made.init(jax.random.key(0)), PARTS)
    return state.inner, metrics


def phased(controller, num_epochs, rate, **phases):
    """Returns the program."""
    return shared_weights.shared_training(
        SPACE,
        SUPERNET,
        controller,
        optimizer=optax.sgd(rate),
        augment=AUGMENT,
        num_examples=(32, 24),
        batch_size=8,
        num_epochs=num_epochs,
        **phases,
    )


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


def test_the_lstm_of_enas_turns_away_from_the_dead_cell():
    """In phases: an epoch of weights, then rounds of the controller."""
    learner = controllers.enas_lstm(SPACE.sizes, learning_rate=0.02)
    state, metrics = trained(learner, 6, controller_rounds=10)
    assert set(metrics) == set(shared_weights.METRICS)
    keys = jax.random.split(jax.random.key(1), 50)
    asked = jax.vmap(lambda key: learner.ask(key, state.controller))(keys)
    assert (asked == 0).mean() < 0.15  # a third at the start


def test_phases_are_the_plain_loop():
    """Steps train the first of the asked cells; rounds score on one batch a cell."""
    told, cells = {}, jnp.array([[1], [2]])

    def tell(state, encodings, scores):
        jax.debug.callback(lambda i, s: told.update({int(i): s[:, 0]}), state, scores)
        return state + 1

    fixed = types.Controller(
        lambda key: jnp.int32(0), lambda key, state: cells + 0 * state, tell
    )
    made = phased(fixed, 2, rate=0.002, controller_rounds=2)
    state, metrics = program.run(made, made.init(jax.random.key(0)), PARTS)
    jax.effects_barrier()
    assert int(state.inner.controller) == len(told) == 4  # two rounds an epoch, no step
    only = controllers.random_search(SPACE.sizes, initial=jnp.array([[1]] * 99))
    alone, _ = trained(only, 2, rate=0.002)
    jax.tree.map(np.testing.assert_array_equal, state.inner.params, alone.params)
    # the second epoch's two rounds read its validation batches 0, 1, 2 and 0
    key = jax.random.fold_in(jax.random.split(state.key, 3)[2], 1)
    order = jax.random.fold_in(jax.random.split(key)[0], 1)
    rows = np.asarray(jax.random.permutation(order, 24)).reshape(3, 8)
    wanted = []
    for place, cell in enumerate([1, 2, 1, 2]):
        images, labels = (part[rows[place % 3]] for part in PARTS[1])
        outputs = SUPERNET.apply(alone.params, images, SPACE.weights(jnp.array([cell])))
        wanted.append(float((outputs.argmax(-1) == labels).mean()))
    assert len(set(wanted)) > 2
    np.testing.assert_allclose(np.concatenate([told[2], told[3]]), wanted, atol=1e-6)
    assert float(metrics["valid_accuracy"]) == pytest.approx(np.mean(wanted))
