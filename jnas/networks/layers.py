"""A network's assembly from a stem, groups of layers and heads.

The builders of ``networks/network.py`` choose them.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax

from jnas import ops
from jnas.networks import cell, functional, skeleton, stage
from jnas.networks import mixture as mixture_lib
from jnas.networks.skeleton import Size


class Group(NamedTuple):
    """The cells of one stage, which share one program, or a reduction between two."""

    name: str
    count: int
    layer: cell.Layer
    mixture: mixture_lib.Mixture | None
    last: int  # number of the group's last layer
    out_features: int


def stem(num_inputs: int, size: Size, norm: ops.Norm) -> functional.Functional:
    """Builds what a network does to its images before the first cell.

    Args:
      num_inputs: of the cells.
      size: of the network; it names the stem.
      norm: after each convolution.

    Returns:
      images -> one state, or the two that the first cell reads.
    """
    made = skeleton.stem_of(num_inputs, size)
    return functional.functional(lambda rngs: made.build(norm, rngs))


def groups(
    plan: list,
    alike: Callable | None,
    build: Callable,
    reduction: Callable,
    norm: ops.Norm,
    width: int | list,
    remat: bool,
) -> list:
    """Groups consecutive layers that are equal, or that ``alike`` maps to one value.

    Args:
      plan: of ``networks.plan``.
      alike: place -> what the layers of a group share; None compares places.
      build: place -> cell.Cell.
      reduction: (in_features, features, norm=) -> layer between two stages.
      norm: of reductions.
      width: states in a cell's output, one number or one for each kind.
      remat: whether cells are computed again for the gradient.
    """
    groups, number, last_features = [], -1, None
    for _, run in itertools.groupby(plan, alike):
        places = list(run)
        number += len(places)
        if isinstance(places[0], int):
            out, mixture = places[0], None
            layer = reduction(last_features, out, norm=norm)
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
        groups.append(Group(name, len(places), layer, mixture, number, out))
        last_features = out
    return groups


def chain(stem, groups, classifier, auxiliary, dtype) -> cell.Layer:
    """Puts stem, groups of layers and heads together.

    Args:
      stem: images -> features, or those of both inputs of the first cell.
      groups: the layers, first to last.
      classifier: features -> outputs.
      auxiliary: (layer's number, head), or None.
      dtype: of the activations; None keeps that of the images.

    Returns:
      A Layer of (params, stats, images, context, key) -> ((outputs, auxiliary
      outputs or None), stats).
    """
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

        states = run("stem", x if dtype is None else x.astype(dtype))
        states = states if isinstance(states, tuple) else (states, states)
        for i, (group, own) in enumerate(_contexts(groups, context)):
            group_key = None if key is None else jax.random.fold_in(key, i)
            states, new_stats[group.name] = group.layer.apply(
                params[group.name], stats[group.name], states, own, group_key
            )
            if auxiliary and context.train and group.last == auxiliary[0]:
                extra = run("auxiliary", states[1])
        return (run("classifier", states[1]), extra), new_stats

    return cell.Layer(init, apply)


def _contexts(groups: list, context: cell.Context) -> list:
    """Lists (group, its context): that of the network, with its own cells' weights."""
    if context.layers is None:
        return [(group, context) for group in groups]
    found, first = [], 0
    for group in groups:
        last = first + (group.count if group.mixture else 0)
        found.append((group, context._replace(layers=context.layers[first:last])))
        first = last
    return found
