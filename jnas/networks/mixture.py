"""All candidates of all edges of one cell: where the supernet spends its time.

Edges are sorted by source, which is a topological order: every edge into a source comes
before the edges that leave it. Consecutive edges with equal candidates and stride are
one group, for which ``networks/edge_scan.py`` builds the scan; their parameters are
stacked, one array for each parameter of each operation.
"""

import itertools
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jnas import spaces, types
from jnas.networks import edge_group, edge_scan, entangle, functional, low_rank
from jnas.networks.edge_group import Edge as Edge
from jnas.networks.edge_variant import NOTHING as NOTHING
from jnas.networks.edge_variant import PLAIN as PLAIN
from jnas.networks.edge_variant import EdgeVariant as EdgeVariant
from jnas.networks.edge_variant import VariantInputs as VariantInputs

AUXILIARY = "auxiliary_skip"  # parameters of the skip that no logit moves


class Mixture(NamedTuple):
    """The edges of one cell as pure functions.

    Attributes:
      init: key -> params.
      apply: (params, inputs, weights f32[E, O], key, VariantInputs) -> nodes
        f32[num_nodes, ...]; inputs are f32[num_inputs, B, H, W, F].
      groups: how the edges are grouped.
    """

    init: Callable
    apply: Callable
    groups: tuple[edge_group.EdgeGroup, ...]


def mixture(
    edges: tuple[Edge, ...],
    *,
    num_inputs: int,
    num_nodes: int,
    features: int,
    stride: int,
    norm: Callable,
    normalise: bool,
    variant: EdgeVariant = PLAIN,
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
      variant: how candidates are combined.

    Raises:
      ValueError: a candidate keeps statistics, which a supernet must not; features
        that ``variant.partial`` does not divide.
    """
    if features % variant.partial:
        raise ValueError(
            f"features must be a multiple of partial={variant.partial}, got "
            f"{features}. Choose another number of either."
        )
    build = _builder(features // variant.partial, norm, normalise, variant)
    groups = _groups(edges, num_inputs, stride, build, variant)

    def init(key):
        keys = jax.random.split(key, len(groups))
        return {g.name: _init_group(k, g) for k, g in zip(keys, groups, strict=True)}

    apply = _apply(groups, num_inputs, num_nodes, stride, variant)
    return Mixture(init, apply, groups)


def _apply(groups, num_inputs, num_nodes, stride, variant) -> Callable:
    """Builds ``Mixture.apply``: the groups' scans, one after another."""
    # At stride 1 all states have one shape and live in one buffer.
    lead = num_inputs if stride == 1 else 0
    scans = [edge_scan.build_scan(group, lead, num_inputs) for group in groups]

    def apply(params, inputs, weights, key=None, extra=NOTHING):
        weights = _extended(weights, variant, extra)
        shape = (num_nodes, *_strided(inputs.shape[1:], stride))
        nodes = jnp.zeros(shape, inputs.dtype)
        states = jnp.concatenate([inputs, nodes]) if lead else nodes
        for number, (group, scan) in enumerate(zip(groups, scans, strict=True)):
            apart = group.edges[0].source < num_inputs and not lead
            noise = (
                None if key is None else jax.random.fold_in(key, number),
                extra.skip_dropout if group.dropped else None,
                extra.drop_path if group.drop_path else None,
            )
            own = params[group.name]
            states = scan(own, weights, states, inputs if apart else None, noise)
        return states[lead:]

    return apply


def _strided(shape: tuple, stride: int) -> tuple:
    b, h, w, f = shape
    return b, -(-h // stride), -(-w // stride), f


def _extended(weights: types.Weights, variant: EdgeVariant, inputs: VariantInputs):
    """Adds the columns that no logit weighs, as ``_columns`` names them."""
    more = []
    if variant.partial > 1:
        more.append(weights.sum(-1, keepdims=True))
    if variant.auxiliary_skip:
        factor = jnp.asarray(inputs.auxiliary_skip, weights.dtype)
        more.append(jnp.broadcast_to(factor, (len(weights), 1)))
    return jnp.concatenate([weights, *more], -1) if more else weights


def _columns(candidates: tuple[str, ...], variant: EdgeVariant) -> tuple[str, ...]:
    """Names the columns of the weights."""
    bypass = ("bypass",) * (variant.partial > 1)
    return candidates + bypass + (AUXILIARY,) * variant.auxiliary_skip


def _builder(features, norm, normalise, variant) -> Callable:
    """Returns (name, stride) -> the operation."""

    def build(name, stride):
        name = spaces.SKIP if name == AUXILIARY else name
        op = functional.operation(
            name, features, stride, norm=norm, normalise=normalise
        )
        return low_rank.adapt(op, variant.lora_rank)

    return build


def _groups(edges, num_inputs, stride, build, variant):
    """Groups consecutive edges with equal candidates and stride."""
    by_source = sorted(edges, key=lambda e: (e.source, e.target))

    def kind(edge):
        return edge.candidates, stride if edge.source < num_inputs else 1

    return tuple(
        _group(f"edges_{number}", tuple(group), step, build, variant)
        for number, ((_, step), group) in enumerate(itertools.groupby(by_source, kind))
    )


def _group(name, edges, stride, build, variant) -> edge_group.EdgeGroup:
    """Builds the candidates of one group and sorts them into shared and stacked."""
    candidates = edges[0].candidates
    names = _columns(candidates, variant)
    bypass = len(candidates) if variant.partial > 1 else None
    ops = {
        column: build(candidate, stride)
        for column, candidate in enumerate(names)
        if candidate != spaces.NONE and column != bypass
    }
    for column, op in ops.items():
        _check_pure(names[column], op)
    dropped = tuple(
        column
        for column, op in ops.items()
        if variant.skip_dropout and names[column] == spaces.SKIP and not op.has_params
    )
    families = entangle.families(names, ops) if variant.entangled else ()
    apart = {column for family in families for column in family.columns}
    stacked = {
        c: op
        for c, op in ops.items()
        if (op.has_params or op.draws or c in dropped or variant.drop_path)
        and c not in apart
    }
    return edge_group.EdgeGroup(
        name,
        edges,
        names,
        shared={c: op for c, op in ops.items() if c not in {*stacked, *apart}},
        stacked=stacked,
        stride=stride,
        partial=variant.partial,
        bypass=bypass,
        dropped=dropped,
        skip_zeros=variant.skip_zeros,
        drop_path=variant.drop_path,
        families=families,
    )


def _check_pure(name: str, op: functional.Functional) -> None:
    if op.has_stats:
        raise ValueError(
            f"operation {name!r} must keep no statistics in a supernet, got some. "
            "Normalise with the norm it is given."
        )


def _init_group(key, group):
    inits = {group.names[c]: op.init for c, op in group.stacked.items()}
    inits |= {family.name: family.op.init for family in group.families}
    keys = jax.random.split(key, max(1, len(inits)))
    return {
        name: jax.vmap(lambda k, init=init: init(k)[0])(
            jax.random.split(k, len(group.edges))
        )
        for k, (name, init) in zip(keys, inits.items(), strict=False)
    }


def edge_params(
    mixture: Mixture, params: types.Params, source: int, target: int, name: str
) -> types.Params:
    """Takes one candidate's parameters on one edge from a mixture's.

    They are those of the operation by itself: kernels that candidates share are cut,
    and factors of low rank are added to their kernels.

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
    for group in mixture.groups:
        for row, edge in enumerate(group.edges):
            if (edge.source, edge.target) == (source, target):
                own = jax.tree.map(operator.itemgetter(row), params[group.name])
                return group.own_params(own, name)
    raise KeyError(f"edge must be one of the cell's, got {(source, target)}.")
