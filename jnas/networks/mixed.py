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

    # At stride 1 all states have one shape and live in one buffer.
    lead = num_inputs if stride == 1 else 0
    runs = [_segment_function(s, lead, num_inputs) for s in segments]

    def apply(params, inputs, weights, key=None):
        shape = (num_nodes, *_strided(inputs.shape[1:], stride))
        nodes = jnp.zeros(shape, inputs.dtype)
        states = jnp.concatenate([inputs, nodes]) if lead else nodes
        for number, (segment, run) in enumerate(zip(segments, runs, strict=True)):
            apart = segment.edges[0].source < num_inputs and not lead
            states = run(
                params[segment.name],
                weights,
                states,
                inputs if apart else None,
                None if key is None else jax.random.fold_in(key, number),
            )
        return states[lead:]

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


class _Route(NamedTuple):
    """A segment's edges as arrays, for a scan over them.

    Attributes:
      row: of each edge in the weights.
      source: of each edge, in the buffer that it reads.
      target: of each edge, among the states.
      first: whether it is the first edge that leaves its source.
    """

    row: np.ndarray
    source: np.ndarray
    target: np.ndarray
    first: np.ndarray


def _route(segment: Segment, lead: int, num_inputs: int) -> _Route:
    """Numbers the states of a segment whose buffer starts with ``lead`` inputs."""
    shift = num_inputs - lead
    own = segment.edges[0].source >= num_inputs or lead
    source = np.array([e.source - (shift if own else 0) for e in segment.edges])
    return _Route(
        np.array([e.index for e in segment.edges]),
        source,
        np.array([e.target - shift for e in segment.edges]),
        np.append(True, source[1:] != source[:-1]),
    )


def _segment_function(segment: Segment, lead: int, num_inputs: int) -> Callable:
    """Builds (params, weights, states, inputs, key) -> states with the edges added.

    ``states`` starts with ``lead`` inputs of the cell (none where they have another
    size than the nodes; edges then read them from ``inputs``, which is None otherwise).

    Its gradient walks the edges backwards and computes each edge again, from the one
    state that it reads. All of these lie in the result, so that the result is all that
    is kept; the gradient of the states is accumulated in place. Autodiff of the scan
    would keep every intermediate of every edge, and add whole buffers where one state
    changes.
    """
    route, names = _route(segment, lead, num_inputs), segment.edges[0].candidates
    shared_columns = np.array(list(segment.shared), int)
    num_sources = int(route.source.max()) + 1

    @jax.jit
    def shared(x):
        """The shared candidates' outputs at one source."""
        return tuple(op.apply({}, {}, x)[0] for op in segment.shared.values())

    def add_shared(states, fan_out, x):
        """Adds fan_out f32[nodes, shared candidates] of the outputs to the nodes."""
        fan_out = fan_out.astype(x.dtype)[..., None, None, None, None]
        total = sum(fan_out[:, i] * y for i, y in enumerate(shared(x)))
        return states.at[lead:].add(total)

    def pull_shared(d_nodes, fan_out, x):
        """The gradients of ``add_shared`` in fan_out and x."""
        outputs, pull = jax.vjp(shared, x)
        d_fan_out = jnp.array([[jnp.vdot(d, y) for y in outputs] for d in d_nodes])
        scale = fan_out.astype(x.dtype)
        d_outputs = (
            sum(scale[node, i] * d for node, d in enumerate(d_nodes))
            for i in range(len(outputs))
        )
        return d_fan_out, pull(tuple(d_outputs))[0]

    @jax.jit  # traced once, for the forward walk, the backward walk and both levels
    def stacked(params, row, x, key):
        """What an edge adds to its target."""
        total = 0
        for column, op in segment.stacked.items():
            ticket = None if key is None else jax.random.fold_in(key, column)
            # an operation that only draws has an entry without leaves
            y, _ = op.apply(params.get(names[column], {}), {}, x, key=ticket)
            total = total + row[column].astype(x.dtype) * y.astype(x.dtype)
        return total

    def table(params, weights, num_nodes, key):
        """The scan's inputs: each edge's number, params, row, fan-out and key."""
        rows = weights[route.row]
        fan_out = jnp.zeros((num_sources, num_nodes, len(shared_columns)), rows.dtype)
        at = route.source, route.target - lead
        fan_out = fan_out.at[at].set(rows[:, shared_columns])
        keys = None if key is None else jax.random.split(key, len(segment.edges))
        return (
            _Route(*map(jnp.asarray, route)),
            params,
            rows,
            fan_out[route.source],
            keys,
        )

    def forward(params, weights, states, inputs, key):
        def body(states, edge):
            at, params, row, fan_out, key = edge
            x = (states if inputs is None else inputs)[at.source]
            if segment.shared:
                states = lax.cond(
                    at.first,
                    add_shared,
                    lambda states, *_: states,
                    states,
                    fan_out,
                    x,
                )
            if segment.stacked:
                states = states.at[at.target].add(stacked(params, row, x, key))
            return states, None

        return _scan(body, states, table(params, weights, len(states) - lead, key))

    def backward(kept, d_states):
        params, weights, states, inputs, key = kept
        every = states if inputs is None else inputs

        def body(carry, edge):
            at, params, row, fan_out, key = edge
            d_states, d_inputs = carry
            x, d_x = every[at.source], 0
            d_params, d_row, d_fan_out = jax.tree.map(
                jnp.zeros_like, (params, row, fan_out)
            )
            if segment.stacked:
                _, pull = jax.vjp(lambda *a: stacked(*a, key), params, row, x)
                d_params, d_row, d_x = pull(d_states[at.target])
            if segment.shared:

                def first(d_nodes):
                    d_fan_out, more = pull_shared(d_nodes, fan_out, x)
                    return d_fan_out.astype(fan_out.dtype), d_x + more

                def later(d_nodes):
                    return d_fan_out, d_x + jnp.zeros_like(x)

                d_fan_out, d_x = lax.cond(at.first, first, later, d_states[lead:])
            if inputs is None:
                d_states = d_states.at[at.source].add(d_x)
            else:
                d_inputs = d_inputs.at[at.source].add(d_x)
            return (d_states, d_inputs), (d_params, d_row, d_fan_out)

        zeros = None if inputs is None else jnp.zeros_like(inputs)
        edges = table(params, weights, len(states) - lead, key)
        (d_states, d_inputs), (d_params, d_rows, d_fan_outs) = _scan(
            body, (d_states, zeros), edges, reverse=True
        )
        d_fan_out = jnp.zeros((num_sources, *d_fan_outs.shape[1:]), d_rows.dtype)
        d_fan_out = d_fan_out.at[route.source].add(d_fan_outs)
        columns = d_fan_out[route.source, route.target - lead]
        d_rows = d_rows.at[:, shared_columns].add(columns)
        d_weights = jnp.zeros_like(weights).at[route.row].add(d_rows)
        return d_params, d_weights, d_states, d_inputs, None

    @jax.custom_vjp
    def run(params, weights, states, inputs, key):
        return forward(params, weights, states, inputs, key)[0]

    def keep(params, weights, states, inputs, key):
        # not run: its rule would be in the way of a forward mode over this gradient
        states, _ = forward(params, weights, states, inputs, key)
        return states, (params, weights, states, inputs, key)

    run.defvjp(keep, backward)
    return run


def _scan(body: Callable, carry, table, *, reverse: bool = False) -> tuple:
    """Scans over edges; a single edge is not a loop."""
    if len(table[2]) > 1:
        return lax.scan(body, carry, table, reverse=reverse)
    carry, out = body(carry, jax.tree.map(lambda leaf: leaf[0], table))
    return carry, jax.tree.map(lambda leaf: leaf[None], out)


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
