"""The networks of cells: a stem, layers of cells, heads; as supernet or derived.

``networks/skeletons.py`` defines the order of the layers, ``networks/stage.py`` which
cells run as one program.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jnas import ops, registry, spaces, types
from jnas.networks import cell, heads, inside, mixture, skeletons
from jnas.networks import layers as layers_lib
from jnas.networks import skeleton as skeleton_lib
from jnas.networks import switched as switched_lib
from jnas.networks.network import Network, Supernet
from jnas.networks.skeleton import Size
from jnas.spaces import genotype as genotype_lib

NAME = "cells"  # key in the registries of networks


@registry.SUPERNETS.register(name=NAME)
def supernet(
    space: spaces.CellSpace,
    size: Size,
    *,
    norm: ops.Norm = ops.SEARCH,
    stem_norm: ops.Norm = ops.STEM,
    normalise_pools: bool | None = None,
    remat: bool = False,
    dtype: jnp.dtype | None = None,
    variant: mixture.EdgeVariant = mixture.PLAIN,
) -> Supernet:
    """Builds the network that computes every candidate of every edge.

    Args:
      space: its cells.
      size: its size.
      norm: inside the cells; without statistics.
      stem_norm: of the stem and of the reductions between stages; likewise.
      normalise_pools: whether a norm follows each pool; None follows the papers: True
        for cells of two inputs (DARTS), False for cells of one (NAS-Bench-201).
      remat: whether each cell is computed again for the gradient, so that only the
        cells' outputs are kept.
      dtype: of the activations; None keeps that of the images. Parameters, statistics
        and outputs keep theirs.
      variant: how the candidates of an edge are combined.

    Returns:
      The supernet, a pure function of its parameters.

    Raises:
      ValueError: a candidate keeps statistics or gives the wrong shape; an odd number
        of features, or one that ``variant.partial`` does not divide; a kind of cell
        that no layer is of.
    """
    normalise = _default(normalise_pools, space.num_inputs)

    def build(place):
        return cell.supernet_cell(
            space, place, norm=norm, normalise=normalise, variant=variant
        )

    width = len(space.concat)
    skeleton = skeletons.of(space.skeleton, space.num_inputs)
    plan = skeleton.plan(space.cells, width, size)
    groups = layers_lib.groups(
        plan,
        skeleton_lib.stage_of,
        build,
        skeleton.reduction,
        stem_norm,
        width,
        remat,
    )
    core = _core(skeleton, groups, space.num_inputs, size, norm, stem_norm, dtype=dtype)

    def init(key):
        return core.init(key)[0]

    # nothing in a supernet keeps statistics: a structure without leaves
    _, stats = jax.eval_shape(core.init, jax.random.key(0))

    def apply(params, x, weights, *, key=None, variant_inputs=mixture.NOTHING):
        context = cell.Context(weights=weights, variant_inputs=variant_inputs)
        return core.apply(params, stats, x, context, key)[0][0]

    layers = tuple((g.name, g.count, g.mixture) for g in groups)
    kinds = tuple(place.cell for place in plan if not isinstance(place, int))
    look = _inside(core, stats, groups)
    own = inside.Inside(inside.of_cells(layers), kinds, *look)
    return Supernet(init, apply, space, layers, own)


def _inside(core, stats, groups) -> tuple[Callable, Callable]:
    """Builds ``apply`` and ``statistics`` of ``networks/inside.py``."""

    def apply(params, x, layers, *, key=None, variant_inputs=mixture.NOTHING):
        context = cell.Context(layers=layers, variant_inputs=variant_inputs)
        return core.apply(params, stats, x, context, key)[0][0]

    def statistics(
        params, x, weights, statistic, *, key=None, variant_inputs=mixture.NOTHING
    ):
        context = cell.Context(
            weights=weights, variant_inputs=variant_inputs, statistic=statistic
        )
        found = core.apply(params, stats, x, context, key)[1]
        each = [(g, found[g.name]["nodes"]) for g in groups if g.mixture]
        return jnp.concatenate([f if g.count > 1 else f[None] for g, f in each])

    return apply, statistics


@registry.DERIVED.register(name=NAME)
def derived(
    genotype: genotype_lib.Genotype,
    size: Size,
    *,
    auxiliary: bool = False,
    norm: ops.Norm = ops.TRAINING,
    stem_norm: ops.Norm = ops.TRAINING,
    normalise_pools: bool = False,
    constants: bool = False,
    remat: bool = False,
    dtype: jnp.dtype | None = None,
) -> Network:
    """Builds the network of one genotype, with its own operations only.

    Args:
      genotype: its cells; the second, where there is one, makes the reductions.
      size: its size.
      auxiliary: whether the auxiliary head is trained with it; two-input cells only.
      norm: inside the cells and heads.
      stem_norm: of the stem and of the reductions between stages.
      normalise_pools: whether a norm follows each pool, as inside a DARTS supernet.
      constants: whether an operation that reads a node that nothing reaches adds its
        norm's bias, as in NAS-Bench-201's own networks (``networks.cell``).
      remat: whether each cell is computed again for the gradient.
      dtype: of the activations; None keeps that of the images. Parameters, statistics
        and outputs keep theirs.

    Raises:
      GenotypeError: the space is not registered and the inputs are not certain.
      ValueError: an auxiliary head for cells of one input; a kind of cell that no
        layer is of.
    """
    cells, num_inputs = [c for _, c in genotype.cells], genotype.num_inputs
    states = genotype_lib.States(num_inputs, genotype.num_nodes)

    def build(place):
        return cell.derived_cell(
            cells[place.cell],
            states,
            place,
            norm=norm,
            normalise=normalise_pools,
            constants=constants,
        )

    # every cell of a network has the width of its own concat
    widths = [len(c.concat) for c in cells]
    names = [name for name, _ in genotype.cells]
    skeleton = skeletons.of(genotype.skeleton, num_inputs)
    groups = layers_lib.groups(
        skeleton.plan(names, widths, size),
        None,
        build,
        skeleton.reduction,
        stem_norm,
        widths,
        remat,
    )
    if auxiliary and num_inputs == 1:
        raise ValueError(
            "auxiliary must be False for cells of one input, got True. "
            "NAS-Bench-201's network has no auxiliary head."
        )
    head = _auxiliary(groups, size, norm) if auxiliary else None
    core = _core(
        skeleton, groups, num_inputs, size, norm, stem_norm, head=head, dtype=dtype
    )

    def apply(params, stats, x, *, train, key=None, drop_path_rate=None):
        context = cell.Context(drop_path_rate=drop_path_rate, train=train)
        return core.apply(params, stats, x, context, key)

    return Network(core.init, apply)


@registry.SWITCHED.register(name=NAME)
def switched(
    space: spaces.CellSpace,
    size: Size,
    *,
    norm: ops.Norm = ops.TRAINING,
    stem_norm: ops.Norm = ops.TRAINING,
    normalise_pools: bool | None = False,
) -> Callable[[types.Weights], Network]:
    """Builds the network of any one cell of a space, chosen at run time.

    ``switched(space, size)(weights)`` computes what ``derived`` computes for the
    genotype of these one-hot weights, but its parameters are those of every candidate,
    of which the chosen ones alone have a gradient. Weights may be traced.

    Args:
      space: its cells.
      size: its size.
      norm: inside the cells and heads.
      stem_norm: of the stem and of the reductions between stages.
      normalise_pools: whether a norm follows each pool, as inside a DARTS supernet;
        None follows the papers, as in ``supernet``.

    Returns:
      weights f32[C, E, O] -> Network; one init serves all weights.
    """
    normalise = _default(normalise_pools, space.num_inputs)

    def build(place):
        return switched_lib.switched_cell(space, place, norm=norm, normalise=normalise)

    width = len(space.concat)
    skeleton = skeletons.of(space.skeleton, space.num_inputs)
    plan = skeleton.plan(space.cells, width, size)
    groups = layers_lib.groups(
        plan, None, build, skeleton.reduction, stem_norm, width, False
    )
    core = _core(skeleton, groups, space.num_inputs, size, norm, stem_norm)

    def network(weights):
        weights = spaces.prune(space, weights)

        def apply(params, stats, x, *, train, key=None, drop_path_rate=None):
            context = cell.Context(weights, drop_path_rate, train)
            return core.apply(params, stats, x, context, key)

        return Network(core.init, apply)

    return network


def _default(given: bool | None, num_inputs: int) -> bool:
    return num_inputs == 2 if given is None else given


def _core(
    skeleton, groups, num_inputs, size, norm, stem_norm, *, head=None, dtype=None
):
    """Puts a stem, groups of layers and a classifier together."""
    classifier = skeleton.classifier(groups[-1].out_features, size, norm)
    stem = layers_lib.stem(num_inputs, size, stem_norm)
    return layers_lib.chain(stem, groups, classifier, head, dtype)


def _auxiliary(groups, size, norm) -> tuple:
    """Builds (number of the layer that it reads, auxiliary head)."""
    at = 2 * size.num_layers // 3
    features = next(g.out_features for g in groups if g.last == at)
    imagenet = skeleton_lib.stem_of(2, size).imagenet_head
    return at, heads.auxiliary(features, size.num_classes, norm, imagenet=imagenet)
