"""Watching a gradient search for collapse, at the end of its epochs.

A collapsing search fills its cell with skip connections. What tells it early: the
largest eigenvalue of the validation loss's Hessian in the architecture rises, and the
accuracy of the supernet falls when its weights become one-hot.

Source: Zela et al. 2020, arXiv:1909.09656, sections 4 and 5.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnas import networks, types
from jnas.data import augment as augment_lib
from jnas.data import batches
from jnas.gradient import curvature, mixing
from jnas.gradient.hooks import rise as rise_lib

WATCHED = (
    "eigenvalue",
    "supernet_accuracy",
    "one_hot_accuracy",
    "discretization_gap",
)
COUNT = "count_"  # prefix of an operation's name


class Watched(NamedTuple):
    """What was seen.

    Attributes:
      values: name -> f32[], at the last look.
      eigenvalues: f32[K] of the last K looks, the oldest first; NaN before the first.
      epochs: i32[K] of these looks.
      encodings: i32[K, G], the cells at these looks.
      stopped: bool[], whether the search is to end.
      answer: i32[G], the cell that a stopped search rolls back to.
      snapshots: of the state at these looks, with a leading axis K; None where nothing
        rolls back to them.
    """

    values: dict[str, types.Array]
    eigenvalues: types.Array
    epochs: types.Array
    encodings: types.Array
    stopped: types.Array
    answer: types.Encoding
    snapshots: Any = None


class Watch(NamedTuple):
    """Who looks, and what follows from it.

    Attributes:
      begin: state -> Watched, before the first epoch.
      look: (key, Clock, state, (images, labels)) -> Watched.
      answer: (key, Clock, state, (images, labels)) -> state.
    """

    begin: Callable[[Any], Watched]
    look: Callable[..., Watched]
    answer: Callable[..., Any]


def watch(
    supernet: networks.Supernet,
    eval_relaxation: types.Relaxation,
    selection: types.Selection,
    *,
    augment: augment_lib.Augment,
    batch_size: int,
    variant_inputs: Callable = lambda clock: networks.VariantInputs(),
    interval: int = 1,
    num_batches: int = 4,
    num_iterations: int = 10,
    rise: rise_lib.Rise | None = None,
    answer: Callable | None = None,
    snapshots: bool = False,
) -> Watch:
    """Builds the watch over a gradient search.

    It looks at the same validation images each time, not augmented, with the weights
    that a cell is derived from: no sampling, no perturbation, no regularizer.

    Args:
      supernet: what is searched.
      eval_relaxation: a relaxation that draws nothing.
      selection: derives a cell.
      augment: gives mean and deviation.
      batch_size: images of a forward pass, and of the eigenvalue.
      variant_inputs: Clock -> what the edge variant needs; dropout is left out.
      interval: epochs from one look to the next, the last of the search being one where
        it divides them; 0 for none, where answer needs none.
      num_batches: for the accuracies, as far as there are images.
      num_iterations: of Lanczos; 10 find the largest eigenvalue to a few percent.
      rise: how many looks are remembered.
      answer: to what was seen, as Watch has it; None for none.
      snapshots: whether states are remembered.
    """
    space = supernet.space
    rise = rise or rise_lib.Rise()
    names = tuple(COUNT + name for name in space.operations)
    where = np.stack([space.where(name) for name in space.operations]) * 1.0

    def outputs(params, images, weights, inputs, key):
        inputs = inputs._replace(
            skip_dropout=None if inputs.skip_dropout is None else jnp.float32(0)
        )
        return supernet.apply(params, images, weights, key=key, variant_inputs=inputs)

    def eigenvalue(key, params, arch, mask, images, labels, inputs):
        op_key, start_key = jax.random.split(key)

        def loss(arch):
            weights = mixing.eval_weights(space, eval_relaxation, arch, mask)
            found = outputs(params, images, weights, inputs, op_key)
            losses = optax.softmax_cross_entropy_with_integer_labels(found, labels)
            return losses.mean()

        return curvature.dominant_eigenvalue(
            jax.grad(loss), arch, start_key, num_iterations=num_iterations
        )

    def accuracy(key, params, weights, images, labels, inputs):
        def one(batch):
            found = outputs(params, batch[0], weights, inputs, key)
            return (found.argmax(-1) == batch[1]).mean()

        return jax.lax.map(one, (images, labels)).mean()

    def begin(state):
        size = rise.length
        num_genes = len(space.sizes)
        more = ("weight_decay",) if snapshots else ()
        values = (*WATCHED, *names, *more)
        return Watched(
            {name: jnp.full((), jnp.nan, jnp.float32) for name in values},
            jnp.full(size, jnp.nan, jnp.float32),
            jnp.full(size, -1, jnp.int32),
            jnp.zeros((size, num_genes), jnp.int32),
            jnp.zeros((), bool),
            jnp.zeros(num_genes, jnp.int32),
            jax.tree.map(lambda a: jnp.stack([a] * size), state) if snapshots else None,
        )

    def see(key, clock, state, split):
        images, labels = split
        rows = batches.spread(len(labels), batch_size, num_batches)
        images, labels = augment_lib.normalise(images[rows], augment), labels[rows]
        weights = mixing.eval_weights(space, eval_relaxation, state.logits, state.mask)
        encoding = selection(space, weights)
        cell = space.weights(encoding)
        inputs = variant_inputs(clock)
        alone = inputs._replace(
            auxiliary_skip=None if inputs.auxiliary_skip is None else jnp.float32(0)
        )
        largest = eigenvalue(
            key, state.params, state.logits, state.mask, images[0], labels[0], inputs
        )
        before = accuracy(key, state.params, weights, images, labels, inputs)
        after = accuracy(key, state.params, cell, images, labels, alone)
        values = dict(
            zip(WATCHED, (largest, before, after, before - after), strict=True)
        )
        counts = jnp.einsum("nceo,ceo->n", where, cell)
        values |= dict(zip(names, counts, strict=True))
        old = state.watched

        def shift(past, new):
            return jnp.concatenate([past[1:], jnp.asarray(new, past.dtype)[None]])

        kept = old.snapshots
        if kept is not None:
            now = state._replace(watched=None)
            kept = jax.tree.map(shift, kept, now)
        return old._replace(
            values=old.values | values,
            eigenvalues=shift(old.eigenvalues, largest),
            epochs=shift(old.epochs, clock.epoch),
            encodings=shift(old.encodings, encoding),
            snapshots=kept,
        )

    def look(key, clock, state, split):
        if interval == 0:
            return state.watched
        if interval == 1:
            return see(key, clock, state, split)
        due = (clock.epoch + 1) % interval == 0
        return jax.lax.cond(
            due, see, lambda *given: given[2].watched, key, clock, state, split
        )

    return Watch(begin, look, answer or (lambda key, clock, state, split: state))
