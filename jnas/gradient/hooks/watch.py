"""Watches a gradient search for collapse, at the ends of its epochs.

A collapsing search fills its cell with skip connections. Two early signs are a growing
largest eigenvalue of the validation loss's Hessian in the architecture, and a supernet
that loses accuracy when its weights become one-hot.

Source: Zela et al. 2020, arXiv:1909.09656, sections 4 and 5.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnas import networks, spaces, types
from jnas.data import augment as augment_lib
from jnas.gradient import curvature
from jnas.gradient.hooks import accuracy as accuracy_lib
from jnas.gradient.hooks import rise as rise_lib
from jnas.spaces import rows as rows_lib

WATCHED = (
    "eigenvalue",
    "supernet_accuracy",
    "one_hot_accuracy",
    "discretization_gap",
)
COUNT = "count_"  # prefix of an operation's name


class Watched(NamedTuple):
    """Results of the last K evaluations, the oldest first.

    Attributes:
      values: name -> f32[], of the last evaluation.
      eigenvalues: f32[K]; NaN where there was no evaluation yet.
      epochs: i32[K]; -1 where there was no evaluation yet.
      encodings: i32[K, G], the cells derived at these epochs.
      stopped: bool[], whether the search ends.
      answer: i32[G], the cell that a stopped search returns.
      snapshots: states at these epochs, with a leading axis K; None where no hook
        restores them.
    """

    values: dict[str, types.Array]
    eigenvalues: types.Array
    epochs: types.Array
    encodings: types.Array
    stopped: types.Array
    answer: types.Encoding
    snapshots: Any = None


class Watch(NamedTuple):
    """Evaluates a search at ends of epochs, then calls a hook.

    Attributes:
      begin: state -> Watched, before the first epoch.
      evaluate: (key, Clock, state, (images, labels)) -> Watched.
      hook: (key, Clock, state, (images, labels)) -> state. It reads and may change
        state.watched.
      rows: number N of images of a split -> the rows of it that are evaluated.
    """

    begin: Callable[[Any], Watched]
    evaluate: Callable[..., Watched]
    hook: Callable[..., Any]
    rows: Callable[[int], np.ndarray]


def watch(
    supernet: networks.Supernet,
    weights_of: Callable[[Any], types.Weights],
    selection: types.Selection,
    *,
    rise: rise_lib.Rise,
    augment: augment_lib.Augment,
    batch_size: int,
    variant_inputs: Callable = lambda clock: networks.VariantInputs(),
    interval: int = 1,
    num_batches: int = 4,
    num_iterations: int = 10,
    hook: Callable | None = None,
    reads_all: bool = False,
    snapshots: bool = False,
) -> Watch:
    """Builds the watch over a gradient search.

    Every evaluation uses the same validation images, not augmented, and the weights
    that a cell is derived from: no sampling, no perturbation, no regularizer.

      supernet_accuracy  = accuracy(weights),  weights = weights_of(state)
      one_hot_accuracy   = accuracy(space.weights(selection(space, weights)))
      discretization_gap = supernet_accuracy - one_hot_accuracy
      eigenvalue         = largest of the Hessian d2 L_valid / d logits d logits
      count_OPERATION    = its edges in the derived cells

    Args:
      supernet: the network that is searched.
      weights_of: state -> the weights that a cell is derived from.
      selection: derives a cell from the weights.
      rise: the rule that the hook decides by; Watched holds ``rise.length`` results.
      augment: mean and standard deviation that images are normalised with.
      batch_size: images of a forward pass, and of the eigenvalue.
      variant_inputs: Clock -> what the edge variant needs; dropout is set to 0.
      interval: epochs between two evaluations, counted from the start; 0 disables
        evaluations, for a hook that needs none.
      num_batches: batches of the accuracies, at most.
      num_iterations: Lanczos iterations; 10 find the largest eigenvalue to a few
        percent.
      hook: called after each epoch, as Watch.hook; None disables it.
      reads_all: whether the hook evaluates all images of the split.
      snapshots: whether Watched holds states too.
    """
    space = supernet.space

    def begin(state):
        return _no_results(space, rise.length, state if snapshots else None)

    def evaluate(key, clock, state, split):
        batches = accuracy_lib.fixed_batches(split, augment, batch_size, num_batches)
        weights = weights_of(state)
        encoding = selection(space, weights)
        cell = space.weights(encoding)
        inputs = accuracy_lib.without_dropout(variant_inputs(clock))
        apply = functools.partial(supernet.apply, state.params)
        largest = _eigenvalue(
            key, apply, weights_of, state, batches, inputs, num_iterations
        )
        before, after = _accuracies(key, apply, batches, weights, cell, inputs)
        values = (largest, before, after, before - after)
        values = dict(zip(WATCHED, values, strict=True)) | _counts(space, cell)
        return _appended(state, clock, values, encoding)

    def rows(count):
        if reads_all:
            return np.arange(count)
        return accuracy_lib.fixed_rows(count, batch_size, num_batches)

    return Watch(begin, _every(interval, evaluate), hook or _no_hook, rows)


def _eigenvalue(
    key, apply, weights_of, state, batches, inputs, num_iterations
) -> types.Array:
    """Estimates the largest eigenvalue on the first batch, in the architecture."""
    op_key, start_key = jax.random.split(key)
    images, labels = (array[0] for array in batches)

    def loss(arch):
        weights = weights_of(state._replace(logits=arch))
        outputs = apply(images, weights, key=op_key, variant_inputs=inputs)
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
        return losses.mean()

    return curvature.dominant_eigenvalue(
        jax.grad(loss), state.logits, start_key, num_iterations=num_iterations
    )


def _accuracies(key, apply, batches, weights, cell, inputs) -> tuple:
    """Computes the accuracy of the supernet, and with a cell's one-hot weights."""
    accuracy = functools.partial(accuracy_lib.accuracy, key, apply, batches)
    alone = accuracy_lib.without_auxiliary_skip(inputs)
    return accuracy(weights, inputs), accuracy(cell, alone)


def _counts(space, cell) -> dict[str, types.Array]:
    """Counts each option in one-hot weights."""
    options = rows_lib.options(space)
    where = [rows_lib.flat(space, rows_lib.where(space, name)) for name in options]
    table = rows_lib.flat(space, cell)
    counts = jnp.einsum("nro,ro->n", np.stack(where) * 1.0, table)
    return dict(zip(_count_names(space), counts, strict=True))


def _count_names(space: spaces.Space) -> tuple[str, ...]:
    return tuple(COUNT + name for name in rows_lib.options(space))


def _no_results(space, length, snapshot) -> Watched:
    """Builds a Watched of ``length`` evaluations that have not happened yet."""
    more = () if snapshot is None else ("weight_decay",)
    names = (*WATCHED, *_count_names(space), *more)
    num_genes = len(space.sizes)
    return Watched(
        {name: jnp.full((), jnp.nan, jnp.float32) for name in names},
        jnp.full(length, jnp.nan, jnp.float32),
        jnp.full(length, -1, jnp.int32),
        jnp.zeros((length, num_genes), jnp.int32),
        jnp.zeros((), bool),
        jnp.zeros(num_genes, jnp.int32),
        jax.tree.map(lambda a: jnp.stack([a] * length), snapshot),
    )


def _appended(state, clock, values, encoding) -> Watched:
    """Appends an evaluation to state.watched and drops the oldest one.

    [e1 e2 ... eK], e  ->  [e2 ... eK e]
    """
    old = state.watched

    def shift(past, new):
        return jnp.concatenate([past[1:], jnp.asarray(new, past.dtype)[None]])

    kept = old.snapshots
    if kept is not None:
        kept = jax.tree.map(shift, kept, state._replace(watched=None))
    return old._replace(
        values=old.values | values,
        eigenvalues=shift(old.eigenvalues, values["eigenvalue"]),
        epochs=shift(old.epochs, clock.epoch),
        encodings=shift(old.encodings, encoding),
        snapshots=kept,
    )


def _every(interval, evaluate) -> Callable:
    """Evaluates at every interval-th end of an epoch; 0 never does."""

    def when_due(key, clock, state, split):
        if interval == 0:
            return state.watched
        if interval == 1:
            return evaluate(key, clock, state, split)
        due = (clock.epoch + 1) % interval == 0
        return jax.lax.cond(
            due, evaluate, lambda *given: given[2].watched, key, clock, state, split
        )

    return when_due


def _no_hook(key, clock, state, split):
    return state
