"""A cell that computes one candidate of each edge, named by its weights at run time.

Its parameters are those of every candidate; a conditional on each edge runs the chosen
one. One compiled program so trains any cell of a space, and costs what the cell costs,
as long as cells are taken in turn: under ``vmap`` a conditional becomes a selection,
which computes every branch.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jnas import ops, spaces
from jnas.networks import cell, functional


def switched_cell(
    space: spaces.CellSpace, place: cell.Place, *, norm: ops.Norm, normalise: bool
) -> cell.Cell:
    """Builds a cell whose edges compute the candidate that their weights name.

    A row of zeros, or one on ``none``, is no edge. Drop path falls on every operation
    but the identity.

    Args:
      space: the space of cells.
      place: where the cell stands.
      norm: of everything inside it; may keep statistics.
      normalise: whether pools are followed by a norm.
    """
    stride = 2 if place.reduction else 1
    edges = [
        {
            name: functional.operation(
                name,
                place.features,
                stride if source < space.num_inputs else 1,
                norm=norm,
                normalise=normalise,
            )
            for name in space.candidates_of(place.cell, i)
            if name != spaces.NONE
        }
        for i, (source, _) in enumerate(space.edges)
    ]

    def init(key):
        keys = jax.random.split(key, len(edges))
        made = [cell.init_all(k, e) for k, e in zip(keys, edges, strict=True)]
        return tuple({str(i): m[j] for i, m in enumerate(made)} for j in range(2))

    def apply(params, stats, inputs, context, key):
        rows = context.weights[place.cell]
        chosen = jnp.where((rows != 0).any(-1), rows.argmax(-1) + 1, 0)
        b, h, w, f = inputs[-1].shape
        size = b, -(-h // stride), -(-w // stride), f
        nodes = [jnp.zeros(size, inputs[-1].dtype)] * space.num_nodes
        states, new_stats = [*inputs, *nodes], {}
        for i, (source, target) in enumerate(space.edges):
            names = space.candidates_of(place.cell, i)
            branches = [_nothing(size)]
            for name in names:
                op = edges[i].get(name)
                branches.append(_branch(name, op, context) if op else branches[0])
            ticket = None if key is None else jax.random.fold_in(key, i)
            y, new_stats[str(i)] = lax.switch(
                chosen[i],
                branches,
                params[str(i)],
                stats[str(i)],
                states[source],
                ticket,
            )
            states[target] = states[target] + y
        return jnp.concatenate([states[i] for i in space.concat], -1), new_stats

    preprocess = cell.preprocessing(place, space.num_inputs, norm)
    return cell.Cell(place, preprocess, init, apply)


def _nothing(size: tuple[int, ...]):
    def branch(params, stats, x, key):
        del params, key  # no operation
        return jnp.zeros(size, x.dtype), stats

    return branch


def _branch(name: str, op: functional.Functional, context: cell.Context):
    drops = context.drop_path_rate is not None
    drops = drops and not isinstance(op.module, ops.Identity)

    def branch(params, stats, x, key):
        op_key, drop_key = (None, None) if key is None else jax.random.split(key)
        y, new = op.apply(params[name], stats[name], x, train=context.train, key=op_key)
        if drops:
            y = ops.drop_path(drop_key, y, context.drop_path_rate)
        return y.astype(x.dtype), stats | {name: new}

    return branch
