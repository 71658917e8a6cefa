"""Derives a cell by the accuracy that a supernet loses: DARTS-PT.

Edge after edge, in a random order, the candidate whose removal costs the most
validation accuracy is kept and the others are removed. Then, node after node, the
edges whose removal costs the least are removed. Between two decisions the supernet is
tuned, its logits too.

Source: Wang et al. 2021, arXiv:2108.04392, algorithm 1 and its released code.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import registry, spaces, types
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.hooks import signal as signal_lib
from jnas.spaces import rows as rows_lib
from jnas.training import devices as devices_lib


def num_decisions(space: spaces.CellSpace) -> int:
    """Returns how many decisions derive a cell; all cells are decided side by side.

    Args:
      space: the space of cells.
    """
    return len(space.edges) + len(_choosing_nodes(space))


@registry.HOOKS.register
def project(
    search: hook_lib.Search, *, every: int = 5, num_batches: int | None = None
) -> hook_lib.Hook:
    """Builds the hook that derives a cell, one decision per cell at a time.

    It narrows ``state.mask``. A decided edge has one candidate left, a removed edge
    none:

      start     edges decided   nodes decided
      1 1 1 1   0 0 1 0         0 0 1 0
      1 1 1 1   0 1 0 0         0 0 0 0         one row an edge, two inputs of a node
      1 1 1 1   0 0 1 0         0 0 1 0         that keeps two

    The accuracy without a candidate is that of weights_of(state) with one entry set to
    0; the other weights are not divided by their new sum.

    Args:
      search: in a space of cells, whose supernet is trained.
      every: epochs between two decisions.
      num_batches: batches of the validation split that accuracies are computed on;
        None for all whole batches.

    Raises:
      ValueError: a space that is not one of cells.

    Source: arXiv:2108.04392 and its released code. Differs: accuracies are those of the
    same images for all candidates, not augmented; there each has crops of its own.
    """
    return build(search, every, num_batches=num_batches)


def build(
    search: hook_lib.Search,
    every: int,
    *,
    num_batches: int | None = None,
    over_members: Callable | None = None,
    due: Callable | None = None,
) -> hook_lib.Hook:
    """Builds the hook of ``project``.

    Args:
      search: as there.
      every: as there.
      num_batches: as there.
      over_members: (function, members with a leading axis) -> results likewise;
        ``devices.mapped`` when None.
      due: of the Hook.
    """
    space = search.space
    if not rows_lib.has_edges(space):
        raise ValueError(
            f"hook project must have a space of cells, got {space.name}, whose rows "
            "are no edges. Use another method."
        )
    over_members = over_members or devices_lib.mapped

    def accuracies(clock, split, key, state, keep):
        """Returns f32[N]: accuracies with weights times keep f32[N, C, E, O]."""
        batches = signal_lib.fixed_batches(
            split, search.augment, search.batch_size, num_batches
        )
        weights = search.weights_of(state)
        inputs = signal_lib.without_dropout(search.variant_inputs(clock))
        apply = functools.partial(search.supernet.apply, state.params)

        def member(keep):
            return signal_lib.signal(
                key, search.task, apply, batches, weights * keep, inputs
            )

        return over_members(member, keep)

    def call(key, clock, state, carry, split):
        measured = functools.partial(accuracies, clock, split)
        return _decide(space, measured, key, state), carry, {}, False

    rows = functools.partial(
        signal_lib.fixed_rows, batch_size=search.batch_size, num_batches=num_batches
    )
    if num_batches is None:
        rows = np.arange
    return hook_lib.Hook(
        every, lambda state: (), call, removes=True, rows=rows, due=due
    )


def segment(space: spaces.CellSpace, every: int) -> tuple[int, Callable]:
    """Returns the number of epochs of a tuning, and the hook that decides in it.

    The first decision is made before the tuning, the last before its last epoch; after
    that one the hook decides what is left, of a search that ended early.

    Args:
      space: the space of cells.
      every: epochs between two decisions.

    Returns:
      (epochs, 81 in the DARTS space for every fifth; Search -> Hook).
    """
    epochs = every * (num_decisions(space) - 1) + 1

    def due(epoch):
        return ((epoch + 1) % every == 0) | (epoch == epochs - 1)

    return epochs, functools.partial(build, every=min(every, epochs), due=due)


def _decide(space, accuracies, key, state) -> Any:
    """Makes the next decision in each cell: edges first, then nodes."""
    by_edge = functools.partial(_decide_edge, space, accuracies)
    by_node = functools.partial(_decide_node, space, accuracies)
    if not _choosing_nodes(space):
        by_node = _nothing_left
    for cell in range(len(space.cells)):
        key, own = jax.random.split(key)
        state = jax.lax.cond(
            (state.mask[cell].sum(-1) > 1).any(),
            functools.partial(by_edge, cell),
            functools.partial(by_node, cell),
            own,
            state,
        )
    return state


def _nothing_left(cell, key, state) -> Any:
    """Decides nothing."""
    del cell, key
    return state


def _decide_edge(space, accuracies, cell, key, state) -> Any:
    """Keeps the candidate whose removal costs the most, on one undecided edge.

    Member o of O has weights times 1, but 0 at [cell, edge, o]:

      member 0: 0 1 1 1    member 1: 1 0 1 1    ...    (the row of the edge)
    """
    *_, num_ops = space.shape
    undecided = state.mask[cell].sum(-1) > 1
    edge = _one_of(key, undecided)
    keep = jnp.ones((num_ops, *space.shape))
    keep = keep.at[jnp.arange(num_ops), cell, edge].set(1 - jnp.eye(num_ops))
    found = accuracies(key, state, keep)
    left = state.mask[cell, edge]
    best = jnp.where(left, found, jnp.inf).argmin()
    row = jnp.arange(num_ops) == best
    return state._replace(mask=state.mask.at[cell, edge].set(row))


def _decide_node(space, accuracies, cell, key, state) -> Any:
    """Removes the edge whose removal costs the least, until a node has num_kept.

    Member e of E has weights times 1, but 0 in all of [cell, e].
    """
    _, num_edges, _ = space.shape
    nodes = _choosing_nodes(space)
    into = jnp.asarray([[t == n for _, t in space.edges] for n in nodes])
    keep = jnp.ones((num_edges, *space.shape))
    keep = keep.at[jnp.arange(num_edges), cell].set((1 - jnp.eye(num_edges))[..., None])

    def inputs_left(state):
        return (into & state.mask[cell].any(-1)).sum(-1)

    node = _one_of(key, inputs_left(state) > space.num_kept)

    def drop(state):
        found = accuracies(key, state, keep)
        present = into[node] & state.mask[cell].any(-1)
        # of equal accuracies the last edge is removed, as in the released code
        worst = jnp.where(present, found, -jnp.inf)[::-1].argmax()
        mask = state.mask.at[cell, num_edges - 1 - worst].set(False)
        return state._replace(mask=mask)

    return jax.lax.while_loop(
        lambda state: inputs_left(state)[node] > space.num_kept, drop, state
    )


def _one_of(key: types.Key, open_: types.Array) -> types.Array:
    """Draws i32[], the index of a True entry, uniformly; 0 where there is none."""
    noise = jax.random.uniform(key, open_.shape)
    return jnp.where(open_, noise, -1).argmax()


def _choosing_nodes(space: spaces.CellSpace) -> list[int]:
    """Returns the nodes with more inputs than they keep."""
    if space.num_kept is None:
        return []
    first, last = space.num_inputs, space.num_inputs + space.num_nodes
    return [node for node in range(first, last) if node > space.num_kept]
