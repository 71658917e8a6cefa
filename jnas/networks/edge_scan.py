"""The scan over a group's edges, forwards and backwards, each one ``lax.scan``.

A single body is compiled, however many edges there are. Edges are sorted by source:

    states      0    1  |  2    3           0 and 1 are the inputs, 2 and 3 the nodes
    edge     first
    0 -> 2    yes    add shared(0) to 2 and 3, stacked(0) to 2     |          ^
    0 -> 3           add stacked(0) to 3                           |          |
    1 -> 2    yes    add shared(1) to 2 and 3, stacked(1) to 2     | forward  | backward
    1 -> 3           add stacked(1) to 3                           |          |
    2 -> 3    yes    add shared(2) to 3, stacked(2) to 3           v          |

Downwards, every edge into a source comes before the edges that leave it, so a state is
complete when it is read. Upwards, every edge that leaves a target comes before the
edges that enter it, so its gradient is complete when it is read.

The gradient is written by hand: the backward scan computes each edge again, from the
one state that the edge reads. All of these states lie in the result, so the result is
all that is kept (with the arguments), and the gradient of the states is accumulated in
place. Autodiff of the scan would keep every intermediate of every edge (493 MB against
50 for a cell of 16 features, 32x32 pixels, batch 16), and add whole buffers where one
state changes. The backward scan is plain JAX, so forward mode goes through it.

Where ``skip_zeros`` is set, a stacked candidate whose weight is zero is not computed.
Its weight then enters the edge as a bare number, of value zero: its gradient is the sum
of the target's, and does not depend on the candidate's output. So does that of every
other candidate of weight zero, as in the code of GDAS.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnas.networks import edge_group


class _Route(NamedTuple):
    """A group's edges as arrays, for a scan over them.

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


def _route(group: edge_group.EdgeGroup, lead: int, num_inputs: int) -> _Route:
    """Numbers the states of a group whose buffer starts with ``lead`` inputs."""
    shift = num_inputs - lead
    own = group.edges[0].source >= num_inputs or lead
    source = edge_group.ints(e.source - (shift if own else 0) for e in group.edges)
    return _Route(
        edge_group.ints(e.index for e in group.edges),
        source,
        edge_group.ints(e.target - shift for e in group.edges),
        np.append(True, source[1:] != source[:-1]),
    )


def build_scan(group: edge_group.EdgeGroup, lead: int, num_inputs: int) -> Callable:
    """Builds (params, weights, states, inputs, noise) -> states with the edges added.

    ``states`` starts with ``lead`` inputs of the cell (none where they have another
    size than the nodes; edges then read them from ``inputs``, which is None otherwise).
    ``noise`` is (key, rate f32[] of dropout, rate f32[] of drop path), each None where
    nothing needs it.

    Args:
      group: the edges.
      lead: num_inputs where inputs and nodes have one size, 0 elsewhere.
      num_inputs: of the cell.

    Returns:
      The function; states f32[lead + nodes, B, H, W, F], weights f32[E, O].
    """
    scan = _EdgeScan(group, lead, num_inputs)

    @jax.custom_vjp
    def run(params, weights, states, inputs, noise):
        return scan.forward(params, weights, states, inputs, noise)

    def keep(params, weights, states, inputs, noise):
        # not run: its rule would be in the way of a forward mode over this gradient
        states = scan.forward(params, weights, states, inputs, noise)
        return states, (params, weights, states, inputs, noise)

    run.defvjp(keep, scan.backward)
    return run


class _EdgeScan:
    """The two scans of ``build_scan``.

    An edge adds to its target t, and the first edge of a source s to every node n:

        states[t] += edge_output(params_e, row_e, states[s])
        states[n] += sum_i fan_out[s, n, i] source_outputs(states[s])[i]

    where fan_out f32[sources, nodes, shared columns] holds the weights of the shared
    columns, zero where no edge leads from s to n.
    """

    def __init__(self, group, lead, num_inputs):
        self.group, self.lead = group, lead
        self.route = _route(group, lead, num_inputs)
        self.columns = group.shared_columns
        self.num_sources = int(self.route.source.max()) + 1
        # traced once, for the forward scan, the backward scan and both levels
        self.source_outputs = jax.jit(group.source_outputs)
        self.edge_output = jax.jit(group.edge_output)

    def forward(self, params, weights, states, inputs, noise):
        """Adds every edge to its target."""

        def body(states, edge):
            at, params, row, fan_out, noise = edge
            x = (states if inputs is None else inputs)[at.source]
            if self.columns.size:
                states = lax.cond(
                    at.first,
                    self._add_shared,
                    lambda states, *_: states,
                    states,
                    fan_out,
                    x,
                )
            if self.group.has_edge_outputs:
                y = self.edge_output(params, row, x, noise)
                states = states.at[at.target].add(y)
            return states, None

        num_nodes = len(states) - self.lead
        return _scan(body, states, self._table(params, weights, num_nodes, noise))[0]

    def backward(self, kept, d_states):
        """Pulls the gradient of the states back to all arguments of the scan."""
        params, weights, states, inputs, noise = kept
        every = states if inputs is None else inputs

        def body(carry, edge):
            at = edge[0]
            d_states, d_inputs = carry
            d_edge, d_x = self._pull_edge(edge, every[at.source], d_states)
            if inputs is None:
                d_states = d_states.at[at.source].add(d_x)
            else:
                d_inputs = d_inputs.at[at.source].add(d_x)
            return (d_states, d_inputs), d_edge

        zeros = None if inputs is None else jnp.zeros_like(inputs)
        edges = self._table(params, weights, len(states) - self.lead, noise)
        (d_states, d_inputs), (d_params, d_rows, d_fan_outs) = _scan(
            body, (d_states, zeros), edges, reverse=True
        )
        d_weights = self._d_weights(weights, d_rows, d_fan_outs)
        return d_params, d_weights, d_states, d_inputs, (None, None, None)

    def _table(self, params, weights, num_nodes, noise):
        """Makes the scan's inputs: each edge's route, params, row, fan-out, noise."""
        rows = weights[self.route.row]
        shape = self.num_sources, num_nodes, len(self.columns)
        at = self.route.source, self.route.target - self.lead
        fan_out = (
            jnp.zeros(shape, rows.dtype)
            .at[at]
            .set(rows[:, self.columns], unique_indices=True)
        )
        keys, *rates = noise
        count = len(self.group.edges)
        if keys is not None:
            keys = jax.random.split(keys, count)
        rates = [None if r is None else jnp.broadcast_to(r, count) for r in rates]
        return (
            _Route(*map(jnp.asarray, self.route)),
            params,
            rows,
            fan_out[self.route.source],
            (keys, *rates),
        )

    def _add_shared(self, states, fan_out, x):
        """Adds the outputs at one source to the nodes; fan_out f32[nodes, columns]."""
        fan_out = fan_out.astype(x.dtype)[..., None, None, None, None]
        total = sum(fan_out[:, i] * y for i, y in enumerate(self.source_outputs(x)))
        return states.at[self.lead :].add(total)

    def _pull_shared(self, d_nodes, fan_out, x):
        """Returns the gradients of ``_add_shared`` with respect to fan_out and x."""
        outputs, pull = jax.vjp(self.source_outputs, x)
        d_fan_out = jnp.array([[jnp.vdot(d, y) for y in outputs] for d in d_nodes])
        scale = fan_out.astype(x.dtype)
        d_outputs = (
            sum(scale[node, i] * d for node, d in enumerate(d_nodes))
            for i in range(len(outputs))
        )
        return d_fan_out, pull(tuple(d_outputs))[0]

    def _pull_edge(self, edge, x, d_states):
        """Returns one edge's gradients: of (params, row, fan_out), and of x."""
        at, params, row, fan_out, noise = edge
        d_params, d_row, d_fan_out = jax.tree.map(
            jnp.zeros_like, (params, row, fan_out)
        )
        d_x = 0
        if self.group.has_edge_outputs:
            _, pull = jax.vjp(
                lambda *args: self.edge_output(*args, noise), params, row, x
            )
            d_params, d_row, d_x = pull(d_states[at.target])
        if self.columns.size:

            def first(d_nodes):
                d_fan_out, more = self._pull_shared(d_nodes, fan_out, x)
                return d_fan_out.astype(fan_out.dtype), d_x + more

            def later(d_nodes):
                return d_fan_out, d_x + jnp.zeros_like(x)

            d_nodes = d_states[self.lead :]
            d_fan_out, d_x = lax.cond(at.first, first, later, d_nodes)
        return (d_params, d_row, d_fan_out), d_x

    def _d_weights(self, weights, d_rows, d_fan_outs):
        """Adds up the weights' gradients: of the edges' rows and of the fan-outs."""
        route = self.route
        d_fan_out = jnp.zeros((self.num_sources, *d_fan_outs.shape[1:]), d_rows.dtype)
        # not all edges of a source, of which the later ones have zeros: the order in
        # which a GPU adds to one place is not fixed
        firsts = np.flatnonzero(route.first)
        d_fan_out = d_fan_out.at[route.source[firsts]].set(
            d_fan_outs[firsts], unique_indices=True
        )
        d_columns = d_fan_out[route.source, route.target - self.lead]
        if self.group.skip_zeros:
            zero = weights[route.row][:, self.columns] == 0
            d_columns = jnp.where(zero, 0, d_columns)
        d_rows = d_rows.at[:, self.columns].add(d_columns, unique_indices=True)
        return jnp.zeros_like(weights).at[route.row].set(d_rows, unique_indices=True)


def _scan(body: Callable, carry, table, *, reverse: bool = False) -> tuple:
    """Scans over edges; a single edge is not a loop."""
    if len(table[2]) > 1:
        return lax.scan(body, carry, table, reverse=reverse)
    carry, out = body(carry, jax.tree.map(lambda leaf: leaf[0], table))
    return carry, jax.tree.map(lambda leaf: leaf[None], out)
