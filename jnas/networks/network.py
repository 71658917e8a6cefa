"""The networks: a stem, layers of cells, heads; as supernet or of one genotype.

``networks/plan.py`` says where the layers stand, ``networks/stage.py`` what runs as one
program.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jnas import genotype as genotype_lib
from jnas import ops, spaces, types
from jnas.networks import cell, functional, heads, mixed, stage
from jnas.networks import plan as plan_lib
from jnas.networks import switched as switched_lib
from jnas.networks.plan import Shape as Shape


class Supernet(NamedTuple):
    """A supernet as pure functions.

    Attributes:
      init: key -> params.
      apply: (params, x f32[B, H, W, channels], weights f32[C, E, O], *, key=None) ->
        outputs f32[B, num_classes]. It normalises by the batch alone, in training and
        in evaluation. key is needed only by random candidates.
      layers: (name, count, mixture) of each stage, for inheriting.
    """

    init: Callable
    apply: Callable
    layers: tuple


class Network(NamedTuple):
    """The network of one genotype as pure functions.

    Attributes:
      init: key -> (params, stats); stats are the running statistics.
      apply: (params, stats, x f32[B, H, W, channels], *, train, key=None,
        drop_path_rate=None) -> ((outputs, auxiliary), stats), outputs f32[B,
        num_classes]; auxiliary likewise in training, None otherwise or without the
        auxiliary head.
    """

    init: Callable
    apply: Callable


class _Group(NamedTuple):
    """The cells of one stage, which share one program, or a residual layer."""

    name: str
    count: int
    layer: cell.Layer
    mixture: mixed.Mixture | None
    last: int  # number of the group's last layer
    out_features: int


def supernet(
    space: spaces.CellSpace,
    shape: Shape,
    *,
    norm: ops.Norm = ops.SEARCH,
    normalise_pools: bool | None = None,
    remat: bool = False,
    dtype: jnp.dtype | None = None,
) -> Supernet:
    """Builds the network that computes every candidate of every edge.

    Args:
      space: its cells.
      shape: its size.
      norm: inside the cells; without statistics.
      normalise_pools: whether a norm follows each pool; None means as the papers do,
        for cells of two inputs (DARTS) but not for cells of one (NAS-Bench-201).
      remat: whether each cell is computed again for the gradient, so that between
        cells nothing but their outputs is kept.
      dtype: of the activations, None for that of the images; parameters, statistics
        and outputs stay as they are.

    Returns:
      The supernet, a pure function of its parameters.

    Raises:
      ValueError: a candidate keeps statistics; an odd number of features.
    """
    normalise = _default(normalise_pools, space.num_inputs)

    def build(place):
        return cell.supernet_cell(space, place, norm=norm, normalise=normalise)

    width = len(space.concat)
    plan = plan_lib.plan(space.num_inputs, len(space.cells), width, shape)
    groups = _groups(plan, plan_lib.stage_of, build, ops.STEM, width, remat)
    stem = _stem(space.num_inputs, shape, ops.STEM)
    classifier = heads.classifier(
        groups[-1].out_features, shape.num_classes, _head_norm(space.num_inputs, norm)
    )
    core = _chain(stem, groups, classifier, None, dtype)

    def init(key):
        return core.init(key)[0]

    # nothing in a supernet keeps statistics: a structure without leaves
    _, stats = jax.eval_shape(core.init, jax.random.key(0))

    def apply(params, x, weights, *, key=None):
        context = cell.Context(weights=weights)
        return core.apply(params, stats, x, context, key)[0][0]

    return Supernet(init, apply, tuple((g.name, g.count, g.mixture) for g in groups))


def derived(
    genotype: genotype_lib.Genotype,
    shape: Shape,
    *,
    auxiliary: bool = False,
    norm: ops.Norm = ops.TRAINING,
    stem_norm: ops.Norm = ops.TRAINING,
    normalise_pools: bool = False,
    remat: bool = False,
    dtype: jnp.dtype | None = None,
) -> Network:
    """Builds the network of one genotype, with its own operations only.

    Args:
      genotype: its cells; the second, where there is one, makes the reductions.
      shape: its size.
      auxiliary: whether the auxiliary head is trained with it; two-input cells only.
      norm: inside the cells and heads.
      stem_norm: of the stem and of the residual layers.
      normalise_pools: whether a norm follows each pool, as inside a DARTS supernet.
      remat: whether each cell is computed again for the gradient.
      dtype: of the activations, None for that of the images; parameters, statistics
        and outputs stay as they are.

    Raises:
      ValueError: an auxiliary head on a network that has no place for one.
    """
    cells = [c for _, c in genotype.cells]
    num_inputs = cells[0].num_inputs

    def build(place):
        own = cells[place.cell]
        return cell.derived_cell(own, place, norm=norm, normalise=normalise_pools)

    # every cell of a network has the width of its own concat
    widths = [len(c.concat) for c in cells]
    plan = plan_lib.plan(num_inputs, len(cells), widths, shape)
    groups = _groups(plan, None, build, stem_norm, widths, remat)
    if auxiliary and num_inputs == 1:
        raise ValueError(
            "auxiliary must be False for cells of one input, got True. "
            "NAS-Bench-201's network has no auxiliary head."
        )
    at = 2 * shape.num_layers // 3
    head = None
    if auxiliary:
        features = next(g.out_features for g in groups if g.last == at)
        head = at, heads.auxiliary(features, shape.num_classes, norm)
    classifier = heads.classifier(
        groups[-1].out_features, shape.num_classes, _head_norm(num_inputs, norm)
    )
    stem = _stem(num_inputs, shape, stem_norm)
    core = _chain(stem, groups, classifier, head, dtype)

    def apply(params, stats, x, *, train, key=None, drop_path_rate=None):
        context = cell.Context(drop_path_rate=drop_path_rate, train=train)
        return core.apply(params, stats, x, context, key)

    return Network(core.init, apply)


def switched(
    space: spaces.CellSpace,
    shape: Shape,
    *,
    norm: ops.Norm = ops.TRAINING,
    stem_norm: ops.Norm = ops.TRAINING,
    normalise_pools: bool = False,
) -> Callable[[types.Weights], Network]:
    """Builds the network of any one cell of a space, chosen at run time.

    ``switched(space, shape)(weights)`` computes what ``derived`` computes for the
    genotype of these one-hot weights, but its parameters are those of every candidate,
    of which the chosen ones alone have a gradient. Weights may be traced.

    Args:
      space: its cells.
      shape: its size.
      norm: inside the cells and heads.
      stem_norm: of the stem and of the residual layers.
      normalise_pools: whether a norm follows each pool, as inside a DARTS supernet.

    Returns:
      weights f32[C, E, O] -> Network; one init serves all weights.
    """

    def build(place):
        return switched_lib.switched_cell(
            space, place, norm=norm, normalise=normalise_pools
        )

    width = len(space.concat)
    plan = plan_lib.plan(space.num_inputs, len(space.cells), width, shape)
    groups = _groups(plan, None, build, stem_norm, width, False)
    classifier = heads.classifier(
        groups[-1].out_features, shape.num_classes, _head_norm(space.num_inputs, norm)
    )
    core = _chain(
        _stem(space.num_inputs, shape, stem_norm), groups, classifier, None, None
    )

    def network(weights):
        weights = spaces.prune(space, weights)

        def apply(params, stats, x, *, train, key=None, drop_path_rate=None):
            context = cell.Context(weights, drop_path_rate, train)
            return core.apply(params, stats, x, context, key)

        return Network(core.init, apply)

    return network


def one_shot(
    space: spaces.CellSpace,
    shape: Shape,
    *,
    norm: ops.Norm = ops.SEARCH,
    normalise_pools: bool | None = None,
) -> Supernet:
    """Builds the supernet whose weights are one-hot: it computes the chosen candidates.

    The same function as ``supernet`` at one-hot weights, with parameters by edge and
    candidate instead of stacked; several times faster where cells are taken in turn.

    Args:
      space: its cells.
      shape: its size.
      norm: inside the cells; without statistics.
      normalise_pools: as ``supernet`` has it.

    Returns:
      The supernet; its ``layers`` are empty, and nothing inherits from it.
    """
    network = switched(
        space,
        shape,
        norm=norm,
        stem_norm=ops.STEM,
        normalise_pools=_default(normalise_pools, space.num_inputs),
    )
    empty = jnp.zeros(space.shape)
    _, stats = jax.eval_shape(network(empty).init, jax.random.key(0))

    def apply(params, x, weights, *, key=None):
        outputs, _ = network(weights).apply(params, stats, x, train=True, key=key)
        return outputs[0]

    return Supernet(lambda key: network(empty).init(key)[0], apply, ())


def _default(given: bool | None, num_inputs: int) -> bool:
    return num_inputs == 2 if given is None else given


def _head_norm(num_inputs: int, norm: ops.Norm) -> ops.Norm | None:
    """NAS-Bench-201 ends in norm and ReLU, with scale and bias; DARTS in nothing."""
    return None if num_inputs == 2 else dataclasses.replace(norm, affine=True)


def _stem(num_inputs: int, shape: Shape, norm: ops.Norm) -> functional.Functional:
    """A 3x3 convolution and a norm; three times as wide for cells of two inputs."""
    width = shape.features * (3 if num_inputs == 2 else 1)

    def build(rngs):
        conv = ops.Conv(shape.channels, width, (3, 3), rngs=rngs)
        return ops.stack(conv, norm(width, rngs=rngs))

    return functional.functional(build)


def _groups(
    plan: list,
    alike: Callable | None,
    build: Callable,
    norm: ops.Norm,
    width: int | list,
    remat: bool,
) -> list:
    """Groups consecutive layers that are equal, or that ``alike`` maps to one value."""
    groups, number, last_features = [], -1, None
    for _, run in itertools.groupby(plan, alike):
        places = list(run)
        number += len(places)
        if isinstance(places[0], int):
            out, mixture = places[0], None
            layer = cell.residual_layer(last_features, out, norm=norm)
        else:
            first = places[0]
            own = width if isinstance(width, int) else width[first.cell]
            out = own * first.features
            cells = [build(place) for place in places]
            wide = out if alike is None else max(out, *first.in_features)
            inner = first._replace(in_features=(wide, wide), after_reduction=False)
            layer = stage.stage(cells, build(inner), out_features=out, remat=remat)
            mixture = cells[0].mixture
        name = f"layers_{number - len(places) + 1:02d}"
        groups.append(_Group(name, len(places), layer, mixture, number, out))
        last_features = out
    return groups


def _chain(stem, groups, classifier, auxiliary, dtype) -> cell.Layer:
    """Puts stem, groups of layers and heads together."""
    fixed = {"stem": stem, "classifier": classifier}
    if auxiliary:
        fixed["auxiliary"] = auxiliary[1]
    names = [*fixed, *(g.name for g in groups)]

    def init(key):
        inits = [f.init for f in fixed.values()] + [g.layer.init for g in groups]
        keys = jax.random.split(key, len(names))
        made = {n: f(k) for n, f, k in zip(names, inits, keys, strict=True)}
        return {n: m[0] for n, m in made.items()}, {n: m[1] for n, m in made.items()}

    def apply(params, stats, x, context, key):
        new_stats, extra = dict(stats), None

        def run(name, x):
            y, new_stats[name] = fixed[name].apply(
                params[name], stats[name], x, train=context.train
            )
            return y

        states = (run("stem", x if dtype is None else x.astype(dtype)),) * 2
        for i, group in enumerate(groups):
            ticket = None if key is None else jax.random.fold_in(key, i)
            states, new_stats[group.name] = group.layer.apply(
                params[group.name], stats[group.name], states, context, ticket
            )
            if auxiliary and context.train and group.last == auxiliary[0]:
                extra = run("auxiliary", states[1])
        return (run("classifier", states[1]), extra), new_stats

    return cell.Layer(init, apply)
