"""Deriving a cell by what a supernet loses: DARTS-PT.

Edge after edge, in a random order, the candidate whose removal costs the most
validation accuracy is kept and the others are taken out; then, node after node, the
edges whose removal costs least. Between two decisions the supernet is tuned.

Source: Wang et al. 2021, arXiv:2108.04392, algorithm 1 and its released code.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jnas import networks, spaces, types
from jnas.data import augment as augment_lib
from jnas.data import batches
from jnas.gradient import mixing
from jnas.training import devices as devices_lib


def num_decisions(space: spaces.CellSpace) -> int:
    """Returns how many decisions make a cell; all cells are decided side by side.

    Args:
      space: of the cells.
    """
    return len(space.edges) + len(_choosing_nodes(space))


def project(
    supernet: networks.Supernet,
    eval_relaxation: types.Relaxation,
    *,
    augment: augment_lib.Augment,
    batch_size: int,
    interval: int,
    num_batches: int | None = None,
    variant_inputs: Callable = lambda clock: networks.VariantInputs(),
    over_members: Callable | None = None,
) -> Callable:
    """Builds the answer, at ends of epochs, that decides a cell.

    ``answer(key, clock, state, split) -> state`` narrows ``state.mask``: a decided edge
    has one candidate left, a removed edge none. What is removed is left out of the sum,
    and the other weights stay as they are.

    Args:
      supernet: trained.
      eval_relaxation: the relaxation that weighs the candidates, without draws.
      augment: gives mean and deviation of the images.
      batch_size: images of a forward pass.
      interval: epochs of tuning before each decision.
      num_batches: of the validation split that judge; None for all that are whole.
      variant_inputs: Clock -> what the edge variant needs.
      over_members: (function, members with a leading axis) -> results likewise;
        ``program.together``, a vmap, on accelerators, ``in_turn`` on CPU when None.

    Source: arXiv:2108.04392. Differs: the supernet is tuned before the first decision
    too; ``none`` is not a candidate where nodes choose inputs.
    """
    space = supernet.space
    over_members = over_members or devices_lib.default_over_runs()
    num_cells, num_edges, num_ops = space.shape
    nodes = _choosing_nodes(space)
    is_none = jnp.asarray(space.where(spaces.NONE)) & (space.num_kept is not None)
    into = jnp.asarray([[t == n for _, t in space.edges] for n in nodes])

    def accuracies(key, clock, state, split, members):
        """f32[N]: accuracy with weights times each of members f32[N, C, E, O]."""
        images, labels = split
        rows = batches.spread(len(labels), batch_size, num_batches)
        images, labels = augment_lib.normalise(images[rows], augment), labels[rows]
        weights = mixing.eval_weights(space, eval_relaxation, state.logits, state.mask)
        inputs = variant_inputs(clock)
        if inputs.skip_dropout is not None:
            inputs = inputs._replace(skip_dropout=jnp.float32(0))

        def member(keep):
            def right(batch):
                found = supernet.apply(
                    state.params,
                    batch[0],
                    weights * keep,
                    key=key,
                    variant_inputs=inputs,
                )
                return (found.argmax(-1) == batch[1]).mean()

            return jax.lax.map(right, (images, labels)).mean()

        return over_members(member, members)

    def decide_edge(key, clock, state, split, cell):
        undecided = state.mask[cell].sum(-1) > 1
        edge = _one_of(key, undecided)
        members = jnp.ones((num_ops, *space.shape))
        members = members.at[jnp.arange(num_ops), cell, edge].set(1 - jnp.eye(num_ops))
        found = accuracies(key, clock, state, split, members)
        left = state.mask[cell, edge] & ~is_none[cell, edge]
        best = jnp.where(left, found, jnp.inf).argmin()
        row = jnp.where(undecided.any(), jnp.arange(num_ops) == best, left)
        return state._replace(mask=state.mask.at[cell, edge].set(row))

    def decide_node(key, clock, state, split, cell):
        def inputs_left(state):
            return (into & state.mask[cell].any(-1)).sum(-1)

        node = _one_of(key, inputs_left(state) > space.num_kept)

        def drop(state):
            members = jnp.ones((num_edges, *space.shape))
            members = members.at[jnp.arange(num_edges), cell].set(
                (1 - jnp.eye(num_edges))[..., None]
            )
            found = accuracies(key, clock, state, split, members)
            present = into[node] & state.mask[cell].any(-1)
            # the last of equals goes, as in the released code
            worst = jnp.where(present, found, -jnp.inf)[::-1].argmax()
            mask = state.mask.at[cell, num_edges - 1 - worst].set(False)
            return state._replace(mask=mask)

        return jax.lax.while_loop(
            lambda state: inputs_left(state)[node] > space.num_kept, drop, state
        )

    def decide(key, clock, state, split):
        number = (clock.epoch + 1) // interval
        for cell in range(num_cells):
            key, own = jax.random.split(key)
            given = own, clock, state, split
            if not nodes:
                state = decide_edge(*given, cell)
                continue
            state = jax.lax.cond(
                number <= num_edges,
                lambda *given, cell=cell: decide_edge(*given, cell),
                lambda *given, cell=cell: decide_node(*given, cell),
                *given,
            )
        return state

    def answer(key, clock, state, split):
        due = (clock.epoch + 1) % interval == 0
        return jax.lax.cond(
            due, decide, lambda *given: given[2], key, clock, state, split
        )

    return answer


def _one_of(key: types.Key, open_: types.Array) -> types.Array:
    """i32[]: one of those that are open, drawn uniformly; 0 where none is."""
    noise = jax.random.uniform(key, open_.shape)
    return jnp.where(open_, noise, -1).argmax()


def _choosing_nodes(space: spaces.CellSpace) -> list[int]:
    """The nodes with more inputs than they keep."""
    if space.num_kept is None:
        return []
    first, last = space.num_inputs, space.num_inputs + space.num_nodes
    return [node for node in range(first, last) if node > space.num_kept]
