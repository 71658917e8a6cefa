"""The walk over a segment's edges, forwards and backwards, each as one ``lax.scan``.

A single body is compiled, however many edges there are. Candidates without parameters
(pools and their norm, skip) are the same tensor on every edge that leaves a source, so
they are computed at its first edge and added to all of its targets at once.

The gradient is written by hand: it walks the edges backwards and computes each edge
again, from the one state that the edge reads. All of these states lie in the result, so
the result is all that is kept, and the gradient of the states is accumulated in place.
Autodiff of the scan would keep every intermediate of every edge (493 MB against 50 for
a cell of 16 features, 32x32 pixels, batch 16), and add whole buffers where one state
changes. The walk backwards is plain JAX, so forward mode goes through it.

Where ``skip_zeros`` is set, a candidate with parameters whose weight is zero is not
computed. Its weight then enters the edge as a bare number, of value zero: its gradient
is the sum of the target's, and does not know the candidate's output. So does that of
every other candidate of weight zero, as in the code of GDAS.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnas import ops
from jnas.networks import functional, partial


class Edge(NamedTuple):
    """One edge of a cell: its row in the weights, its two states, its candidates."""

    index: int
    source: int
    target: int
    candidates: tuple[str, ...]


class Segment(NamedTuple):
    """Consecutive edges with equal candidates and stride, run by one scan."""

    name: str
    edges: tuple[Edge, ...]
    names: tuple[str, ...]  # of the columns of the weights
    shared: dict[int, functional.Functional]  # candidate column -> no parameters
    stacked: dict[int, functional.Functional]  # candidate column -> parameters
    stride: int
    partial: int = 1  # k: F / k features go through the candidates
    bypass: int | None = None  # column of what goes past them
    dropped: tuple[int, ...] = ()  # stacked columns under dropout
    skip_zeros: bool = False


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
    source = _ints(e.source - (shift if own else 0) for e in segment.edges)
    return _Route(
        _ints(e.index for e in segment.edges),
        source,
        _ints(e.target - shift for e in segment.edges),
        np.append(True, source[1:] != source[:-1]),
    )


def _ints(values: Iterable[int]) -> np.ndarray:
    """Makes i32, the same whether or not JAX computes in 64 bits."""
    return np.array(list(values), np.int32)


def walk(segment: Segment, lead: int, num_inputs: int) -> Callable:
    """Builds (params, weights, states, inputs, noise) -> states with the edges added.

    ``states`` starts with ``lead`` inputs of the cell (none where they have another
    size than the nodes; edges then read them from ``inputs``, which is None otherwise).
    ``noise`` is (key, dropout rate f32[]), each None where nothing needs it.

    Args:
      segment: the edges.
      lead: num_inputs where inputs and nodes have one size, 0 elsewhere.
      num_inputs: of the cell.

    Returns:
      The function; states f32[lead + nodes, B, H, W, F], weights f32[E, O].
    """
    route, names = _route(segment, lead, num_inputs), segment.names
    past = [] if segment.bypass is None else [segment.bypass]
    shared_columns = _ints([*segment.shared, *past])
    num_sources = int(route.source.max()) + 1
    every_edge = bool(segment.stacked) or segment.skip_zeros

    @jax.jit
    def shared(x):
        """The shared candidates' outputs at one source, and what goes past them."""
        narrow = partial.narrow(x, segment.partial)
        outputs = [op.apply({}, {}, narrow)[0] for op in segment.shared.values()]
        outputs = [partial.widen(y, segment.partial) for y in outputs]
        if past:
            outputs.append(partial.bypass(x, segment.partial, segment.stride))
        return tuple(outputs)

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

    def candidate(column, params, row, x, noise):
        """One candidate's weighted output."""
        key, rate = noise
        ticket = None if key is None else jax.random.fold_in(key, column)
        # an operation that only draws has an entry without leaves
        own = params.get(names[column], {})
        y, _ = segment.stacked[column].apply(own, {}, x, key=ticket)
        if column in segment.dropped:
            y = ops.dropout(ticket, y, rate)
        return row[column].astype(x.dtype) * y.astype(x.dtype)

    @jax.jit  # traced once, for the forward walk, the backward walk and both levels
    def stacked(params, row, x, noise):
        """What an edge adds to its target."""
        narrow = partial.narrow(x, segment.partial)
        b, h, w, f = narrow.shape
        total = nothing = jnp.zeros(
            (b, -(-h // segment.stride), -(-w // segment.stride), f), x.dtype
        )
        for column in segment.stacked:

            def compute(params, row, narrow, noise, column=column):
                return candidate(column, params, row, narrow, noise)

            if segment.skip_zeros:
                total += lax.cond(
                    row[column] != 0,
                    compute,
                    lambda *_: nothing,
                    *(params, row, narrow, noise),
                )
            else:
                total += compute(params, row, narrow, noise)
        if segment.skip_zeros:
            total += jnp.where(row == 0, row, 0).sum().astype(x.dtype)
        return partial.widen(total, segment.partial)

    def table(params, weights, num_nodes, noise):
        """The scan's inputs: each edge's number, params, row, fan-out and noise."""
        rows = weights[route.row]
        fan_out = jnp.zeros((num_sources, num_nodes, len(shared_columns)), rows.dtype)
        at = route.source, route.target - lead
        fan_out = fan_out.at[at].set(rows[:, shared_columns])
        keys, rate = noise
        if keys is not None:
            keys = jax.random.split(keys, len(segment.edges))
        if rate is not None:
            rate = jnp.broadcast_to(rate, len(segment.edges))
        return (
            _Route(*map(jnp.asarray, route)),
            params,
            rows,
            fan_out[route.source],
            (keys, rate),
        )

    def forward(params, weights, states, inputs, noise):
        def body(states, edge):
            at, params, row, fan_out, noise = edge
            x = (states if inputs is None else inputs)[at.source]
            if shared_columns.size:
                states = lax.cond(
                    at.first,
                    add_shared,
                    lambda states, *_: states,
                    states,
                    fan_out,
                    x,
                )
            if every_edge:
                states = states.at[at.target].add(stacked(params, row, x, noise))
            return states, None

        return _scan(body, states, table(params, weights, len(states) - lead, noise))

    def backward(kept, d_states):
        params, weights, states, inputs, noise = kept
        every = states if inputs is None else inputs

        def body(carry, edge):
            at, params, row, fan_out, noise = edge
            d_states, d_inputs = carry
            x, d_x = every[at.source], 0
            d_params, d_row, d_fan_out = jax.tree.map(
                jnp.zeros_like, (params, row, fan_out)
            )
            if every_edge:
                _, pull = jax.vjp(lambda *a: stacked(*a, noise), params, row, x)
                d_params, d_row, d_x = pull(d_states[at.target])
            if shared_columns.size:

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
        edges = table(params, weights, len(states) - lead, noise)
        (d_states, d_inputs), (d_params, d_rows, d_fan_outs) = _scan(
            body, (d_states, zeros), edges, reverse=True
        )
        d_fan_out = jnp.zeros((num_sources, *d_fan_outs.shape[1:]), d_rows.dtype)
        d_fan_out = d_fan_out.at[route.source].add(d_fan_outs)
        columns = d_fan_out[route.source, route.target - lead]
        if segment.skip_zeros:
            columns = jnp.where(weights[route.row][:, shared_columns] == 0, 0, columns)
        d_rows = d_rows.at[:, shared_columns].add(columns)
        d_weights = jnp.zeros_like(weights).at[route.row].add(d_rows)
        return d_params, d_weights, d_states, d_inputs, (None, None)

    @jax.custom_vjp
    def run(params, weights, states, inputs, noise):
        return forward(params, weights, states, inputs, noise)[0]

    def keep(params, weights, states, inputs, noise):
        # not run: its rule would be in the way of a forward mode over this gradient
        states, _ = forward(params, weights, states, inputs, noise)
        return states, (params, weights, states, inputs, noise)

    run.defvjp(keep, backward)
    return run


def _scan(body: Callable, carry, table, *, reverse: bool = False) -> tuple:
    """Scans over edges; a single edge is not a loop."""
    if len(table[2]) > 1:
        return lax.scan(body, carry, table, reverse=reverse)
    carry, out = body(carry, jax.tree.map(lambda leaf: leaf[0], table))
    return carry, jax.tree.map(lambda leaf: leaf[None], out)
