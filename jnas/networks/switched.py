"""A cell that computes one candidate of each edge, chosen by its weights at run time.

Its parameters are those of every candidate; a conditional on each edge runs the chosen
one. So one compiled program trains any cell of a space at the cost of that cell, as
long as cells are computed one after another: under ``vmap`` a conditional becomes a
selection, which computes every branch.
"""

import operator

import jax
import jax.numpy as jnp
from jax import lax

from jnas import ops, spaces
from jnas.networks import cell, functional


def switched_cell(
    space: spaces.CellSpace, place: cell.Place, *, norm: ops.Norm, normalise: bool
) -> cell.Cell:
    """Builds a cell whose edges compute the candidate that their weights choose.

    A row of zeros, or one on ``none``, is no edge. Drop path applies to every operation
    except the identity.

    Args:
      space: the space of cells.
      place: the cell's position.
      norm: of everything inside it; may keep statistics.
      normalise: whether pools are followed by a norm.
    """
    edges = [
        _candidates(space, place, i, norm=norm, normalise=normalise)
        for i in range(len(space.edges))
    ]

    def init(key):
        return _init(jax.random.split(key, len(edges)), edges)

    def apply(params, stats, inputs, context, key):
        rows = context.weights[place.cell]
        chosen = jnp.where((rows != 0).any(-1), rows.argmax(-1) + 1, 0)
        shape = cell.node_shape(inputs[-1], place)
        nodes = [jnp.zeros(shape, inputs[-1].dtype)] * space.num_nodes
        states, new_stats = [*inputs, *nodes], {}
        for i, (source, target) in enumerate(space.edges):
            edge_key = None if key is None else jax.random.fold_in(key, i)
            y, new_stats[str(i)] = lax.switch(
                chosen[i],
                _branches(space.candidates_of(place.cell, i), edges[i], shape, context),
                params[str(i)],
                stats[str(i)],
                states[source],
                edge_key,
            )
            states[target] = states[target] + y
        return jnp.concatenate([states[i] for i in space.concat], -1), new_stats

    preprocess = cell.preprocessing(place, space.num_inputs, norm)
    return cell.Cell(place, preprocess, init, apply)


def _init(keys, edges) -> tuple:
    """Initialises all edges, those of equal candidates as one: compiled once."""
    numbers: dict[tuple, list[int]] = {}
    for i, modules in enumerate(edges):
        numbers.setdefault(tuple(modules.items()), []).append(i)
    made = {}
    for modules, alike in numbers.items():
        init = jax.vmap(lambda key, modules=modules: cell.init_all(key, dict(modules)))
        whole = init(keys[jnp.array(alike)])
        for place, i in enumerate(alike):
            made[i] = jax.tree.map(operator.itemgetter(place), whole)
    return tuple({str(i): made[i][j] for i in range(len(edges))} for j in range(2))


def _candidates(space, place, edge, *, norm, normalise) -> dict:
    """Builds the operations of one edge, by name."""
    source, _ = space.edges[edge]
    stride = 2 if place.reduction and source < space.num_inputs else 1
    return {
        name: functional.operation(
            name, place.features, stride, norm=norm, normalise=normalise
        )
        for name in space.candidates_of(place.cell, edge)
        if name != spaces.NONE
    }


def _branches(names, operations, shape, context) -> list:
    """Lists an edge's branches: no operation, then one for each candidate."""
    nothing = _nothing(shape)
    return [nothing] + [
        _branch(name, operations[name], context) if name in operations else nothing
        for name in names
    ]


def _nothing(shape: tuple[int, ...]):
    def branch(params, stats, x, key):
        del params, key  # no operation
        return jnp.zeros(shape, x.dtype), stats

    return branch


def _branch(name: str, op: functional.Functional, context: cell.Context):
    def branch(params, stats, x, key):
        y, new = cell.apply_operation(op, params[name], stats[name], x, context, key)
        return y.astype(x.dtype), stats | {name: new}

    return branch
