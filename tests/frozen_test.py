"""A contract of all methods: in frozen epochs the logits keep their bits.

Logits that hooks move are none of it: hooks are left out.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, gradient, networks, registry, spaces
from jnas.gradient import resolve, search, search_pieces
from jnas.training import program

SPACE = spaces.CellSpace(
    "mini", ("cell",), 2, 2, ("none", "skip_connect", "nor_conv_1x1"), 2, (2, 3)
)
PLAIN = data.Augment((0.0,), (1.0,))
EPOCHS, FROZEN = 4, 2


def stand_in(space):
    """outputs = x . tanh(sum weights P), for P f32[C, E, O, F, K]: quick to compile."""

    def apply(params, x, weights, *, key=None, variant_inputs=None):
        hidden = jnp.einsum("ceo,ceofk->fk", weights, params)
        return x.reshape(len(x), -1) @ jnp.tanh(hidden)

    return networks.Supernet(
        lambda key: jax.random.normal(key, (*space.shape, 4, 3)), apply, space
    )


def history(method, space):
    """The states before the first epoch and after each, and the steps that move."""
    pieces = resolve.resolve(method, space, steps_per_epoch=2, epochs=EPOCHS)
    pieces = dataclasses.replace(pieces, frozen_epochs=FROZEN)
    made = search.gradient_search(
        stand_in(space),
        pieces,
        augment=PLAIN,
        num_examples=(8, 8),
        batch_size=4,
        num_epochs=EPOCHS,
        masks=True,
    )
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(2, 8, 2, 2, 1)), jnp.float32)
    splits = tuple((images[i], jnp.arange(8) % 3) for i in range(2))
    seen = []

    def observe(step, state, metrics, epoch_ended):
        inner = state.inner
        seen.append(jax.device_get((inner.params, inner.logits, inner.logits_opt)))

    state = made.init(jax.random.key(0))
    observe(0, state, {}, False)
    program.run(made, state, splits, observe=observe)
    return seen, search_pieces.moving_steps(pieces, EPOCHS, 2)[0]


def differ(old, new):
    """Whether any bit differs."""
    leaves = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
    return any(not np.array_equal(a, b) for a, b in leaves)


@pytest.mark.parametrize("name", list(registry.METHODS))
def test_frozen_logits_keep_their_bits(name):
    """Two epochs in which the parameters move alone; then the logits move, too.

    Their optimizer waits as well. Method by method, with the pieces of each.
    """
    # rules on the parameters' gradient look inside a real supernet
    method = dataclasses.replace(registry.METHODS[name](), weight_regularizers=())
    seen, moving = history(method, gradient.space_of(method, SPACE))
    assert len(seen) == EPOCHS + 1 and moving <= (EPOCHS - FROZEN) * 2
    for before, after in zip(seen[:FROZEN], seen[1:], strict=False):
        assert differ(before[0], after[0])
        assert not differ(before[1:], after[1:])
    if moving:
        assert differ(seen[FROZEN][1], seen[-1][1])


@pytest.mark.parametrize("name", list(registry.METHODS))
def test_each_stage_has_its_share_of_frozen_epochs(name):
    """``--frozen_rate=0.5`` of each stage's epochs, and none of a projection's."""
    method = registry.METHODS[name]()
    method = dataclasses.replace(
        method, frozen_rate=0.5, features=12, layers=1, epochs=12, batch_size=4
    )
    setting = gradient.Setting(networks.Size(12, 1, 2, channels=1), PLAIN, (8, 8))
    made = gradient.build_segments(method, gradient.space_of(method, SPACE), setting)
    wanted = [round(0.5 * round(12 * stage.epochs_rate)) for stage in method.stages]
    wanted += [0] * bool(method.projection_epochs)
    assert [segment.pieces.frozen_epochs for segment in made] == wanted
