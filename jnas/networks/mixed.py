"""All candidates of all edges of one cell: where the supernet spends its time.

Edges are walked by source node, sources in order, which is a topological order: when an
edge is reached, every edge into its source has been added. Candidates without
parameters (pools and their norm, skip) are the same tensor on every edge that leaves a
source, so they are computed at its first edge and added to all of its targets at once.
Candidates with parameters keep them stacked over edges, one array per operation, and
one ``lax.scan`` runs over the edges: a single body is compiled, however many edges
there are. Where candidates differ from edge to edge, each run of equal consecutive
edges is a scan of its own.
"""

import itertools
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnas import types
from jnas.networks import functional

NONE = "none"  # adds nothing; takes part in the softmax alone


class Edge(NamedTuple):
    """One edge of a cell: its row in the weights, its two states, its candidates."""

    index: int
    source: int
    target: int
    candidates: tuple[str, ...]


class Mixture(NamedTuple):
    """The edges of one cell as pure functions.

    Attributes:
      init: key -> params.
      apply: (params, inputs, weights f32[E, O], key) -> nodes f32[num_nodes, ...];
        inputs are f32[num_inputs, B, H, W, F].
      segments: how the edges are grouped.
    """

    init: Callable
    apply: Callable
    segments: tuple


class Segment(NamedTuple):
    """Consecutive edges with equal candidates and stride, run by one scan."""

    name: str
    edges: tuple[Edge, ...]
    shared: dict[int, functional.Functional]  # candidate column -> no parameters
    stacked: dict[int, functional.Functional]  # candidate column -> parameters
    stride: int


def mixture(
    edges: tuple[Edge, ...],
    *,
    num_inputs: int,
    num_nodes: int,
    features: int,
    stride: int,
    norm: Callable,
    normalise: bool,
) -> Mixture:
    """Builds the mixed operations of one cell.

    node_t = sum over edges (s, t), candidates o of weights[e, o] * op_o(state_s).

    Args:
      edges: all edges of the cell.
      num_inputs: states 0 to num_inputs - 1 are the cell's inputs.
      num_nodes: the states that follow.
      features: F of every state.
      stride: of the edges that leave an input; the others have stride 1.
      norm: builds the normalisation; it must keep no statistics.
      normalise: whether pools are followed by a norm.

    Raises:
      ValueError: a candidate keeps statistics, which a supernet must not.
    """
    segments = _segments(edges, num_inputs, features, stride, norm, normalise)

    def init(key):
        keys = jax.random.split(key, len(segments))
        return {
            s.name: _init_segment(k, s) for k, s in zip(keys, segments, strict=True)
        }

    def apply(params, inputs, weights, key=None):
        shape = (num_nodes, *_strided(inputs.shape[1:], stride))
        nodes = jnp.zeros(shape, inputs.dtype)
        # At stride 1 all states have one shape and live in one buffer.
        joined = stride == 1
        states = jnp.concatenate([inputs, nodes]) if joined else nodes
        for number, segment in enumerate(segments):
            from_input = segment.edges[0].source < num_inputs
            states = _apply_segment(
                segment,
                params[segment.name],
                states,
                inputs if from_input and not joined else None,
                weights,
                None if key is None else jax.random.fold_in(key, number),
                offset=0 if joined else num_inputs,
            )
        return states[num_inputs:] if joined else states

    return Mixture(init, apply, segments)


def _strided(shape: tuple, stride: int) -> tuple:
    b, h, w, f = shape
    return b, -(-h // stride), -(-w // stride), f


def _segments(edges, num_inputs, features, stride, norm, normalise):
    by_source = sorted(edges, key=lambda e: (e.source, e.target))

    def kind(edge):
        return edge.candidates, stride if edge.source < num_inputs else 1

    segments = []
    for (candidates, step), group in itertools.groupby(by_source, kind):
        ops = {
            column: functional.operation(
                name, features, step, norm=norm, normalise=normalise
            )
            for column, name in enumerate(candidates)
            if name != NONE
        }
        for column, op in ops.items():
            _check_pure(candidates[column], op)
        segment = Segment(
            f"edges_{len(segments)}",
            tuple(group),
            {c: op for c, op in ops.items() if not (op.has_params or op.draws)},
            {c: op for c, op in ops.items() if op.has_params or op.draws},
            step,
        )
        segments.append(segment)
    return tuple(segments)


def _check_pure(name: str, op: functional.Functional) -> None:
    _, stats = jax.eval_shape(op.init, jax.random.key(0))
    if jax.tree.leaves(stats):
        raise ValueError(
            f"operation {name!r} must keep no statistics in a supernet, got some. "
            "Normalise with the norm it is given."
        )


def _init_segment(key, segment):
    names = segment.edges[0].candidates
    keys = jax.random.split(key, max(1, len(segment.stacked)))
    return {
        names[column]: jax.vmap(lambda k, op=op: op.init(k)[0])(
            jax.random.split(k, len(segment.edges))
        )
        for k, (column, op) in zip(keys, segment.stacked.items(), strict=False)
    }


def _apply_segment(segment, params, states, inputs, weights, key, *, offset):
    """Adds a segment's edges to states, which start at state number ``offset``."""
    edges, names = segment.edges, segment.edges[0].candidates
    rows = weights[np.array([e.index for e in edges])]
    target = np.array([e.target - offset for e in edges])
    source = np.array([e.source - (offset if inputs is None else 0) for e in edges])
    first = np.array([i == 0 or source[i] != source[i - 1] for i in range(len(edges))])
    fan_out = _fan_out(segment, rows, source, target, states.shape[0])

    def add_shared(states, x, fan_out):
        for i, op in enumerate(segment.shared.values()):
            y, _ = op.apply({}, {}, x)
            states = states + fan_out[:, i, None, None, None, None] * y
        return states

    def body(states, edge):
        x = (states if inputs is None else inputs)[edge["source"]]
        if segment.shared:
            states = lax.cond(
                edge["first"], add_shared, lambda s, *_: s, states, x, edge["fan_out"]
            )
        total = 0
        for column, op in segment.stacked.items():
            ticket = edge["key"]
            ticket = None if ticket is None else jax.random.fold_in(ticket, column)
            # an operation that only draws has an entry without leaves
            y, _ = op.apply(edge["params"].get(names[column], {}), {}, x, key=ticket)
            total = total + edge["row"][column] * y
        if segment.stacked:
            states = states.at[edge["target"]].add(total)
        return states, None

    table = dict(
        params=params,
        row=rows,
        source=source,
        target=target,
        first=first,
        fan_out=fan_out[source],
        key=None if key is None else jax.random.split(key, len(edges)),
    )
    if len(edges) > 1:
        return lax.scan(body, states, table)[0]
    only = jax.tree.map(lambda leaf: leaf[0], table)
    return body(states, only | dict(first=True))[0]


def _fan_out(segment, rows, source, target, num_states) -> types.Array:
    """Weights f32[sources, states, shared] of what each source adds to each state."""
    columns = np.array(list(segment.shared), int)
    shape = (int(source.max()) + 1, num_states, len(columns))
    return jnp.zeros(shape, rows.dtype).at[source, target].set(rows[:, columns])


def edge_params(
    mixture: Mixture, params: types.Params, source: int, target: int, name: str
) -> types.Params:
    """Cuts one candidate's parameters on one edge out of a mixture's.

    Args:
      mixture: the mixture.
      params: its parameters, as ``mixture.init`` gives.
      source: state the edge leaves.
      target: state it reaches.
      name: the candidate.

    Returns:
      The candidate's own parameters; {} where it has none.

    Raises:
      KeyError: no such edge.
    """
    for segment in mixture.segments:
        for row, edge in enumerate(segment.edges):
            if (edge.source, edge.target) == (source, target):
                stacked = params[segment.name].get(name, {})
                return jax.tree.map(operator.itemgetter(row), stacked)
    raise KeyError(f"edge must be one of the cell's, got {(source, target)}.")
