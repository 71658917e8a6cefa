"""Watches a gradient search for collapse, at the ends of its epochs.

A collapsing search fills its cell with skip connections. Two early signs are a growing
largest eigenvalue of the validation loss's Hessian in the architecture, and a supernet
that loses accuracy, or another signal, when its weights become one-hot.

Source: Zela et al. 2020, arXiv:1909.09656, sections 4 and 5.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import registry, spaces, types
from jnas.data import task as task_lib
from jnas.data import tasks
from jnas.gradient import curvature
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.hooks import rise as rise_lib
from jnas.gradient.hooks import signal as signal_lib
from jnas.spaces import rows as rows_lib

COUNT = "count_"  # prefix of an operation's name


def watched(task: task_lib.Task) -> tuple[str, ...]:
    """Returns the names of what the watch evaluates, of which counts are not.

    Args:
      task: names the signal.
    """
    signal = task.signal
    return "eigenvalue", f"supernet_{signal}", f"one_hot_{signal}", "discretization_gap"


WATCHED = watched(tasks.CLASSIFICATION)


class Watched(NamedTuple):
    """Results of the last K evaluations, the oldest first.

    Attributes:
      eigenvalues: f32[K]; NaN where there was no evaluation yet.
      epochs: i32[K]; -1 where there was no evaluation yet. After a roll back it counts
        on from the epoch that was restored.
      encodings: i32[K, G], the cells derived at these epochs.
      stopped: bool[], whether the search ends.
      answer: i32[G], the cell that a stopped search returns.
      repeated: i32[], epochs that the search was rolled back by, all in all.
      snapshots: states at these epochs, with a leading axis K; None where no rule
        restores them.
    """

    eigenvalues: types.Array
    epochs: types.Array
    encodings: types.Array
    stopped: types.Array
    answer: types.Encoding
    repeated: types.Array
    snapshots: Any = None


def build(
    search: hook_lib.Search,
    every: int,
    *,
    rise: rise_lib.Rise | None = None,
    decide: Callable | None = None,
    metrics: tuple[str, ...] = (),
    num_batches: int = 4,
    num_iterations: int = 10,
    snapshots: bool = False,
    batch_of: Callable | None = None,
    shift: float = 0.0,
    **how: Any,
) -> hook_lib.Hook:
    """Builds the watch over a gradient search, and a rule that acts on its results.

    Every evaluation uses the same validation images, not augmented, unless ``batch_of``
    draws those of the eigenvalue, and the weights that a cell is derived from: no
    sampling, no perturbation, no regularizer.

      supernet_SIGNAL    = signal(weights),  weights = weights_of(state)
      one_hot_SIGNAL     = signal(space.weights(selection(space, weights)))
      discretization_gap = supernet_SIGNAL - one_hot_SIGNAL
      eigenvalue         = largest of the Hessian d2 L_valid / d logits d logits,
                           plus shift
      count_OPERATION    = its rows in the derived cells

    Args:
      search: that is watched; dropout of its edge variant is set to 0.
      every: epochs between two evaluations.
      rise: the rule that ``decide`` follows, which says how many results the carry
        holds.
      decide: (state, Watched) -> (state, Watched, values), called after an evaluation;
        None disables it.
      metrics: names of its values.
      num_batches: batches of the accuracies, at most.
      num_iterations: Lanczos iterations; 10 find the largest eigenvalue to a few
        percent.
      snapshots: whether the carry holds states too.
      batch_of: (key, split, augment, batch_size) -> the eigenvalue's batch; None takes
        the first of the fixed ones.
      shift: is added to the eigenvalue.
      **how: other fields of the Hook.
    """
    rise = rise or rise_lib.Rise()
    space, length = search.space, rise.length or rise.compared
    task, names = search.task, watched(search.task)

    def init(state):
        return _no_results(space, length, state if snapshots else None)

    def call(key, clock, state, carry, split):
        batches = signal_lib.fixed_batches(
            split, search.augment, search.batch_size, num_batches
        )
        weights = search.weights_of(state)
        encoding = search.selection(space, weights)
        cell = space.weights(encoding)
        inputs = signal_lib.without_dropout(search.variant_inputs(clock))
        apply = functools.partial(search.supernet.apply, state.params)
        batch = jax.tree.map(lambda array: array[0], batches)
        if batch_of is not None:
            own = jax.random.fold_in(key, 2)  # those of the eigenvalue are 0 and 1
            batch = batch_of(own, split, search.augment, search.batch_size)
        largest = shift + _eigenvalue(
            key, task, apply, search.weights_of, state, batch, inputs, num_iterations
        )
        before, after = _signals(key, task, apply, batches, weights, cell, inputs)
        values = (largest, before, after, before - after)
        values = dict(zip(names, values, strict=True)) | _counts(space, cell)
        carry = _appended(carry, clock, state, largest, encoding)
        if decide is not None:
            state, carry, more = decide(state, carry)
            values |= more
        return state, carry, values, carry.stopped

    return hook_lib.Hook(
        every,
        init,
        call,
        (*names, *_count_names(space), *metrics),
        rows=np.arange
        if batch_of
        else lambda n: signal_lib.fixed_rows(n, search.batch_size, num_batches),
        found=lambda carry: (carry.stopped, carry.answer),
        **how,
    )


@registry.HOOKS.register
def watch(
    search: hook_lib.Search,
    *,
    every: int | None = None,
    num_batches: int = 4,
    num_iterations: int = 10,
) -> hook_lib.Hook | None:
    """Builds the hook that checks for collapse, and leaves the search as it is.

    Args:
      search: that is watched.
      every: epochs between two evaluations; None takes the search's interval, of which
        0 disables the hook.
      num_batches: batches of the accuracies, at most.
      num_iterations: Lanczos iterations.

    Source: Zela et al. 2020, arXiv:1909.09656, section 4.
    """
    interval = search.interval if every is None else every
    if not interval:
        return None
    return build(
        search, interval, num_batches=num_batches, num_iterations=num_iterations
    )


def _eigenvalue(
    key, task, apply, weights_of, state, batch, inputs, num_iterations
) -> types.Array:
    """Estimates the largest eigenvalue on a batch, in the architecture."""
    op_key, start_key = jax.random.split(key)
    images, labels = batch

    def loss(arch):
        weights = weights_of(state._replace(logits=arch))
        outputs = apply(images, weights, key=op_key, variant_inputs=inputs)
        return task.loss(outputs, labels).mean()

    return curvature.dominant_eigenvalue(
        jax.grad(loss), state.logits, start_key, num_iterations=num_iterations
    )


def _signals(key, task, apply, batches, weights, cell, inputs) -> tuple:
    """Computes the signal of the supernet, and with a cell's one-hot weights."""
    signal = functools.partial(signal_lib.signal, key, task, apply, batches)
    alone = signal_lib.without_auxiliary_skip(inputs)
    return signal(weights, inputs), signal(cell, alone)


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
    num_genes = len(space.sizes)
    return Watched(
        jnp.full(length, jnp.nan, jnp.float32),
        jnp.full(length, -1, jnp.int32),
        jnp.zeros((length, num_genes), jnp.int32),
        jnp.zeros((), bool),
        jnp.zeros(num_genes, jnp.int32),
        jnp.zeros((), jnp.int32),
        jax.tree.map(lambda a: jnp.stack([a] * length), snapshot),
    )


def _appended(old, clock, state, eigenvalue, encoding) -> Watched:
    """Appends an evaluation and drops the oldest one: [e1 ... eK], e -> [e2 ... e]."""

    def shift(past, new):
        return jnp.concatenate([past[1:], jnp.asarray(new, past.dtype)[None]])

    kept = old.snapshots
    if kept is not None:
        kept = jax.tree.map(shift, kept, state)
    return old._replace(
        eigenvalues=shift(old.eigenvalues, eigenvalue),
        epochs=shift(old.epochs, clock.epoch),
        encodings=shift(old.encodings, encoding),
        snapshots=kept,
    )
