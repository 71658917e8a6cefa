"""What each candidate of each edge computes in one forward pass of a cell."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jnas import types
from jnas.networks import edge_group, partial
from jnas.networks import mixture as mixture_lib


def statistics(
    mixture: mixture_lib.Mixture,
    statistic: Callable[[types.Array], types.Array],
    params: types.Params,
    inputs: types.Array,
    nodes: types.Array,
    key: types.Key | None = None,
) -> types.Array:
    """Evaluates a statistic of the output of every candidate, at given states.

    The candidates of one edge are computed one after another and the edges of a group
    in a loop, so that one output at a time is in memory. Random candidates draw what
    they draw in ``mixture.apply`` with the same key; dropout is off, and with partial
    channels an output is that of the candidate, before it is widened.

    Args:
      mixture: the edges of the cell.
      statistic: output f32[B, H, W, F] -> an array of a fixed shape [...].
      params: of the mixture.
      inputs: f32[num_inputs, B, H, W, F].
      nodes: f32[num_nodes, B, h, w, F], as ``mixture.apply`` gives.
      key: that of ``mixture.apply``.

    Returns:
      f32[E, O, ...]; ``none`` gives zeros to the statistic.
    """
    found = {}
    for number, group in enumerate(mixture.groups):
        own = None if key is None else jax.random.fold_in(key, number)
        states, first = inputs, 0
        if inputs.shape[1:] == nodes.shape[1:]:
            states = jnp.concatenate([inputs, nodes])
        elif group.edges[0].source >= len(inputs):
            states, first = nodes, len(inputs)
        sources = edge_group.ints(edge.source - first for edge in group.edges)
        rows = _of_group(group, statistic, params[group.name], states, sources, own)
        found |= {edge.index: row for edge, row in zip(group.edges, rows, strict=True)}
    return jnp.stack([found[index] for index in sorted(found)])


def _of_group(group, statistic, params, states, sources, key) -> types.Array:
    """Evaluates the statistic on the edges of a group, f32[edges, O, ...]."""
    ops = group.shared | group.stacked
    families = {column: one for one in group.families for column in one.columns}
    keys = None if key is None else jax.random.split(key, len(sources))

    def of_edge(args):
        params, source, key = args
        x = partial.narrow(states[source], group.partial)
        b, h, w, f = x.shape
        shape = b, -(-h // group.stride), -(-w // group.stride), f
        each = []
        for column, name in enumerate(group.edges[0].candidates):
            y = jnp.zeros(shape, x.dtype)
            if column in ops:
                own = None if key is None else jax.random.fold_in(key, column)
                y, _ = ops[column].apply(params.get(name, {}), {}, x, key=own)
            elif column in families:  # by the family's kernels, cut to its own
                one = families[column]
                hot = jnp.float32(np.array(one.columns) == column)
                y, _ = one.op.apply(one.mixed(params[one.name], hot), {}, x)
            each.append(statistic(y))
        return jnp.stack(each)

    return jax.lax.map(of_edge, (params, jnp.asarray(sources), keys))
