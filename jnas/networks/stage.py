"""Cells in a row: one program, however many cells.

Cells of equal places are one ``lax.scan``. So are all cells of a supernet's stage: they
have the same inner nodes and differ in their preprocessing alone, for the first reads
what lies before the stage, and the second of the first stage reads the stem, which has
fewer features than a cell's output. The first cell's inputs are then preprocessed
before the scan, the later ones' inside; the stem and the kernels that read it are
widened by zeros, which changes no value.
"""

import jax
import jax.numpy as jnp

from jnas import types
from jnas.networks import cell as cell_lib


def stage(
    cells: list[cell_lib.Cell],
    inner: cell_lib.Cell,
    *,
    out_features: int,
    remat: bool,
) -> cell_lib.Layer:
    """Puts cells with equal inner nodes in a row.

    Args:
      cells: at least one.
      inner: a cell that stands between two of them, whose preprocessing all but the
        first share; it reads states that are wide enough for what any of them reads.
      out_features: F of a cell's output.
      remat: whether each cell's inner values are computed again for the gradient,
        instead of being kept.

    Returns:
      The layer. Its params are ``cell_00``, ``cell_01``, ... (the preprocessing of
      each) and ``nodes``, stacked over the cells where there are several.
    """
    first, count = cells[0], len(cells)
    alike = all(c.place == first.place for c in cells)
    names = [f"cell_{i:02d}" for i in range(count)]
    parts = [{f"preprocess{i}": p for i, p in enumerate(c.preprocess)} for c in cells]
    shared = parts[0] if alike else dict(zip(parts[0], inner.preprocess, strict=True))
    _, width = inner.place.in_features

    def init(key):
        nodes_key, *keys = jax.random.split(key, count + 1)
        made = [cell_lib.init_all(k, p) for k, p in zip(keys, parts, strict=True)]
        params, stats = (
            {n: m[i] for n, m in zip(names, made, strict=True) if m[i]}
            for i in range(2)
        )
        nodes = (
            first.init(nodes_key)
            if count == 1
            else jax.vmap(first.init)(jax.random.split(nodes_key, count))
        )
        params["nodes"], stats["nodes"] = nodes
        return params, stats

    def preprocess(parts, params, stats, states, context):
        if not parts:
            return (states[1],), {}
        inputs, new_stats = [], {}
        for (name, part), state in zip(parts.items(), states, strict=True):
            y, new_stats[name] = part.apply(
                params[name], stats[name], state, train=context.train
            )
            inputs.append(y)
        return tuple(inputs), new_stats

    def first_inputs(params, stats, states, context):
        own = params.get(names[0], {}), stats.get(names[0], {})
        return preprocess(parts[0], *own, states, context)

    def one(params, stats, states, context, key):
        """The whole of a single cell."""
        inputs, own = first_inputs(params, stats, states, context)
        nodes = params["nodes"], stats["nodes"]
        out, new_nodes = first.apply(*nodes, inputs, context, key)
        new_stats = {"nodes": new_nodes} | ({names[0]: own} if own else {})
        return (states[1] if parts[0] else out, out), new_stats

    def row(params, stats, states, context, key):
        """All cells, by a scan."""
        nodes = params["nodes"], stats["nodes"]
        keys = None if key is None else jax.random.split(key, count)
        given, before, own = None, states, {}
        later = names if parts[0] else []
        if not alike:
            given, own = first_inputs(params, stats, states, context)
            before = (_widened(states[1], width),) * 2
            later = [names[1], *names[1:]]  # the first of them is not read
        like = jax.eval_shape(lambda: cell_lib.init_all(jax.random.key(0), shared))
        outer = tuple(
            _stacked([t[n] for n in later], shapes)
            for t, shapes in zip((params, stats), like, strict=True)
        )

        def body(states, each):
            number, (own_params, own_stats), nodes, key = each

            def inside(states):
                return preprocess(shared, own_params, own_stats, states, context)

            if alike:
                inputs, own = inside(states)
            else:
                inputs, own = jax.lax.cond(
                    number == 0, lambda _: (given, own_stats), inside, states
                )
            out, new_nodes = first.apply(*nodes, inputs, context, key)
            out = _widened(out, before[1].shape[-1])
            return (states[1] if shared else out, out), (own, new_nodes)

        table = jnp.arange(count), outer, nodes, keys
        states, (owns, new_nodes) = jax.lax.scan(
            jax.checkpoint(body) if remat else body, before, table
        )
        states = tuple(state[..., :out_features] for state in states)
        new_stats = {"nodes": new_nodes}
        for i, name in enumerate(names if parts[0] else []):
            new_stats[name] = jax.tree.map(lambda leaf, i=i: leaf[i], owns)
        return states, new_stats | ({} if alike else {names[0]: own})

    def single(params, stats, states, context, key):
        def run(params, stats, states):
            return one(params, stats, states, context, key)

        return (jax.checkpoint(run) if remat else run)(params, stats, states)

    return cell_lib.Layer(init, single if count == 1 else row)


def _widened(x: types.Array, features: int) -> types.Array:
    """Adds features of zeros."""
    if x.shape[-1] == features:
        return x
    return jnp.pad(x, ((0, 0),) * 3 + ((0, features - x.shape[-1]),))


def _stacked(trees: list, like: types.Params) -> types.Params:
    """Stacks pytrees whose leaves are widened by zeros to the shapes of ``like``."""

    def stack(like, *leaves):
        grown = (
            jnp.pad(a, [(0, n - m) for n, m in zip(like.shape, a.shape, strict=True)])
            for a in leaves
        )
        return jnp.stack(list(grown))

    return jax.tree.map(stack, like, *trees) if trees else {}
