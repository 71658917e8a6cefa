"""Cells in a row: one program, however many cells.

Cells of equal places are one ``lax.scan``. So are all cells of a supernet's stage: they
have the same inner nodes and differ in their preprocessing alone.

    before the stage                 in the scan
    states ---> preprocessing 0 ---> inputs 0 --> nodes 0 --+
                                                            | states
                +-------------------------------------------+
                +-> preprocessing 1 -> inputs 1 -> nodes 1 -+
                                                            | states
                +-------------------------------------------+
                +-> preprocessing 2 -> ...

The first cell reads the states before the stage, which may have another size, so its
inputs are preprocessed before the scan; the scan's first step takes them as they are.
The second cell of the first stage also reads the stem, which has fewer features than a
cell's output: the stem and the kernels that read it are widened by zeros, which changes
no value.
"""

from typing import NamedTuple

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
      inner: a cell between two of them, whose preprocessing all but the first share;
        it reads states that are wide enough for what any of them reads.
      out_features: F of a cell's output.
      remat: whether each cell's inner values are computed again for the gradient,
        instead of being kept.

    Returns:
      The layer. Its params are ``cell_00``, ``cell_01``, ... (the preprocessing of
      each) and ``nodes``, stacked over the cells where there are several.
    """
    own = tuple(_named(c.preprocess) for c in cells)
    equal = all(c.place == cells[0].place for c in cells)
    built = _Stage(
        cells=tuple(cells),
        names=tuple(f"cell_{i:02d}" for i in range(len(cells))),
        own=own,
        shared=own[0] if equal else _named(inner.preprocess),
        equal=equal,
        width=inner.place.in_features[1],
        out_features=out_features,
        remat=remat,
    )
    return cell_lib.Layer(built.init, built.single if len(cells) == 1 else built.row)


class _Stage(NamedTuple):
    """The functions of ``stage``.

    Attributes:
      cells: first to last.
      names: keys of their preprocessing in params and stats.
      own: name -> module, the preprocessing of each cell.
      shared: name -> module, the preprocessing inside the scan.
      equal: whether all cells have the first's place, and so its preprocessing.
      width: F of the states that the scan carries.
      out_features: F of a cell's output.
      remat: whether cells are computed again for the gradient.
    """

    cells: tuple
    names: tuple
    own: tuple
    shared: dict
    equal: bool
    width: int
    out_features: int
    remat: bool

    def init(self, key):
        """Initialises (params, stats) of all cells."""
        first, count = self.cells[0], len(self.cells)
        nodes_key, *keys = jax.random.split(key, count + 1)
        made = [cell_lib.init_all(k, p) for k, p in zip(keys, self.own, strict=True)]
        params, stats = (
            {n: m[i] for n, m in zip(self.names, made, strict=True) if m[i]}
            for i in range(2)
        )
        params["nodes"], stats["nodes"] = (
            first.init(nodes_key)
            if count == 1
            else jax.vmap(first.init)(jax.random.split(nodes_key, count))
        )
        return params, stats

    def single(self, params, stats, states, context, key):
        """Applies a stage of one cell."""

        if context.layers is not None:
            context = context._replace(layers=context.layers[0])

        def run(params, stats, states):
            inputs, own = self._first_inputs(params, stats, states, context)
            nodes = params["nodes"], stats["nodes"]
            out, new_nodes = self.cells[0].apply(*nodes, inputs, context, key)
            new_stats = {"nodes": new_nodes} | ({self.names[0]: own} if own else {})
            return (states[1] if self.own[0] else out, out), new_stats

        return (jax.checkpoint(run) if self.remat else run)(params, stats, states)

    def row(self, params, stats, states, context, key):
        """Applies all cells by a scan."""
        count = len(self.cells)
        nodes = params["nodes"], stats["nodes"]
        keys = None if key is None else jax.random.split(key, count)
        given, carry, own = None, states, {}
        if not self.equal:
            given, own = self._first_inputs(params, stats, states, context)
            carry = (_widened(states[1], self.width),) * 2

        def body(states, step):
            return self._step(given, context, states, *step)

        steps = self._stacked_preprocessing(params, stats), nodes, keys
        states, (owns, new_nodes) = jax.lax.scan(
            jax.checkpoint(body) if self.remat else body,
            carry,
            (jnp.arange(count), *steps, context.layers),
        )
        states = tuple(state[..., : self.out_features] for state in states)
        new_stats = {"nodes": new_nodes}
        for i, name in enumerate(self.names if self.own[0] else []):
            new_stats[name] = jax.tree.map(lambda leaf, i=i: leaf[i], owns)
        return states, new_stats | ({} if self.equal else {self.names[0]: own})

    def _first_inputs(self, params, stats, states, context):
        """Preprocesses the inputs of the first cell."""
        name = self.names[0]
        own = params.get(name, {}), stats.get(name, {})
        return _preprocess(self.own[0], *own, states, context)

    def _stacked_preprocessing(self, params, stats) -> tuple:
        """Stacks (params, stats) of the preprocessing inside the scan over cells."""
        names = self.names if self.own[0] else []
        if not self.equal:
            names = [names[1], *names[1:]]  # the first of them is not read
        like = jax.eval_shape(lambda: cell_lib.init_all(jax.random.key(0), self.shared))
        return tuple(
            _stacked([tree[n] for n in names], shapes)
            for tree, shapes in zip((params, stats), like, strict=True)
        )

    def _step(self, given, context, states, number, own, nodes, key, weights):
        """Applies one cell; ``given`` are the first's inputs where cells differ."""
        own_params, own_stats = own
        context = context._replace(layers=weights)

        def inside(states):
            return _preprocess(self.shared, own_params, own_stats, states, context)

        if self.equal:
            inputs, new_own = inside(states)
        else:
            inputs, new_own = jax.lax.cond(
                number == 0, lambda _: (given, own_stats), inside, states
            )
        out, new_nodes = self.cells[0].apply(*nodes, inputs, context, key)
        out = _widened(out, states[1].shape[-1])
        return (states[1] if self.shared else out, out), (new_own, new_nodes)


def _named(preprocess: tuple) -> dict:
    return {f"preprocess{i}": module for i, module in enumerate(preprocess)}


def _preprocess(modules, params, stats, states, context) -> tuple:
    """Brings each state to the cell's features and size; returns inputs and stats."""
    if not modules:
        return (states[1],), {}
    inputs, new_stats = [], {}
    for (name, module), state in zip(modules.items(), states, strict=True):
        y, new_stats[name] = module.apply(
            params[name], stats[name], state, train=context.train
        )
        inputs.append(y)
    return tuple(inputs), new_stats


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
