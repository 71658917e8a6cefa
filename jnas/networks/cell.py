"""One cell of a network, and the residual layer, as pure functions.

A cell has two steps: preprocessing brings the outputs of the two preceding layers to
the cell's features and size; the inner nodes are computed from the result. The cells of
a stage share the program of the second step (``networks/stage.py``).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnas import ops, spaces, types
from jnas.networks import functional, low_rank, outputs
from jnas.networks import mixture as mixture_lib
from jnas.spaces import genotype as genotype_lib


class Context(NamedTuple):
    """The inputs of one forward pass that every layer receives.

    Attributes:
      weights: f32[C, E, O] mixing weights; None in a derived network.
      drop_path_rate: f32[] probability; None disables drop path.
      train: whether batch statistics are used and updated.
      variant_inputs: of the supernet's edge variant.
      layers: f32[L, E, O] mixing weights of the cells themselves, first to last, which
        replace ``weights``; inside a cell its own f32[E, O]. None where cells of a kind
        share their weights.
      statistic: output of a candidate f32[B, H, W, F] -> array; a supernet's cells then
        give it, f32[E, O, ...], for each candidate in place of statistics. None in all
        else.
    """

    weights: types.Weights | None = None
    drop_path_rate: types.Array | None = None
    train: bool = True
    variant_inputs: mixture_lib.VariantInputs = mixture_lib.NOTHING
    layers: types.Array | None = None
    statistic: Callable | None = None


class Layer(NamedTuple):
    """One layer as pure functions.

    Attributes:
      init: key -> (params, stats).
      apply: (params, stats, states, context, key) -> (states, stats), where states
        are the outputs f32[B, H, W, F] of the two preceding layers.
    """

    init: Callable
    apply: Callable


class Place(NamedTuple):
    """The position of a cell in the network; cells of equal places share a program.

    Attributes:
      cell: index of the cell's type among the space's cells.
      features: F of its states.
      in_features: F of the outputs of the two preceding layers.
      reduction: whether edges from its inputs halve the image.
      after_reduction: whether the preceding layer halved the image, so that input 0
        is twice as large as input 1.
    """

    cell: int
    features: int
    in_features: tuple[int, int]
    reduction: bool
    after_reduction: bool


class Cell(NamedTuple):
    """One cell as pure functions.

    Attributes:
      place: its position.
      preprocess: one module for each input; empty where a cell reads its one input
        as it is.
      init: key -> (params, stats) of the inner nodes.
      apply: (params, stats, inputs, context, key) -> (output f32[B, H, W, F], stats),
        where inputs are the preprocessed f32[B, H, W, F].
      mixture: the mixture inside a supernet's cell; None in a derived cell.
    """

    place: Place
    preprocess: tuple[functional.Functional, ...]
    init: Callable
    apply: Callable
    mixture: mixture_lib.Mixture | None = None


@functools.lru_cache(maxsize=256)
def preprocessing(
    place: Place, num_inputs: int, norm: ops.Norm
) -> tuple[functional.Functional, ...]:
    """Builds the functions that bring each input to a cell's features and size.

    Args:
      place: the cell's position.
      num_inputs: of the cell; a single input is read as it is.
      norm: of everything inside it.
    """
    if num_inputs == 1:
        return ()
    before, last = place.in_features

    def first(rngs):
        if place.after_reduction:
            return ops.FactorizedReduce(before, place.features, norm=norm, rngs=rngs)
        return ops.relu_conv_norm(before, place.features, norm=norm, rngs=rngs)

    def second(rngs):
        return ops.relu_conv_norm(last, place.features, norm=norm, rngs=rngs)

    return functional.functional(first), functional.functional(second)


def init_all(key: types.Key, modules: dict[str, functional.Functional]) -> tuple:
    """Initialises modules; returns their params and stats by name.

    Args:
      key: consumed.
      modules: name -> module.
    """
    keys = jax.random.split(key, max(1, len(modules)))
    made = {n: p.init(k) for k, (n, p) in zip(keys, modules.items(), strict=False)}
    return {n: m[0] for n, m in made.items()}, {n: m[1] for n, m in made.items()}


def _joined(inputs: list, nodes: list, concat: tuple[int, ...]) -> types.Array:
    """The cell's output: the states named by concat, side by side in the features."""
    every = [*inputs, *nodes]
    return jnp.concatenate([every[i] for i in concat], -1)


def supernet_cell(
    space: spaces.CellSpace,
    place: Place,
    *,
    norm: ops.Norm,
    normalise: bool,
    variant: mixture_lib.EdgeVariant = mixture_lib.PLAIN,
) -> Cell:
    """Builds a cell that computes every candidate of every edge.

    Args:
      space: the space of cells.
      place: the cell's position.
      norm: of everything inside it.
      normalise: whether pools are followed by a norm.
      variant: how candidates are combined.
    """
    edges = tuple(
        mixture_lib.Edge(i, source, target, space.candidates_of(place.cell, i))
        for i, (source, target) in enumerate(space.edges)
    )
    mixture = mixture_lib.mixture(
        edges,
        num_inputs=space.num_inputs,
        num_nodes=space.num_nodes,
        features=place.features,
        stride=2 if place.reduction else 1,
        norm=norm,
        normalise=normalise,
        variant=variant,
    )

    def apply(params, stats, inputs, context, key):
        weights = context.layers
        if weights is None:
            weights = context.weights[place.cell]
        stacked = jnp.stack(inputs)
        nodes = mixture.apply(params, stacked, weights, key, context.variant_inputs)
        if context.statistic is not None:
            stats = outputs.statistics(
                mixture, context.statistic, params, stacked, nodes, key
            )
        return _joined(inputs, list(nodes), space.concat), stats

    preprocess = tuple(
        low_rank.adapt(op, variant.lora_rank)
        for op in preprocessing(place, space.num_inputs, norm)
    )
    return Cell(place, preprocess, lambda key: (mixture.init(key), {}), apply, mixture)


def apply_operation(
    op: functional.Functional,
    params: types.Params,
    stats: types.Params,
    x: types.Array,
    context: Context,
    key: types.Key | None,
) -> tuple[types.Array, types.Params]:
    """Applies an operation and, where it is not the identity, drop path.

    Args:
      op: the operation.
      params: its parameters.
      stats: its statistics.
      x: f32[B, H, W, F].
      context: of the forward pass.
      key: consumed; None where nothing is random.

    Returns:
      (output f32[B, H / stride, W / stride, F], stats).
    """
    op_key, drop_key = (None, None) if key is None else jax.random.split(key)
    y, stats = op.apply(params, stats, x, train=context.train, key=op_key)
    dropped = context.drop_path_rate is not None
    if dropped and not isinstance(op.module, ops.Identity):
        y = ops.drop_path(drop_key, y, context.drop_path_rate)
    return y, stats


def derived_cell(
    cell: genotype_lib.Cell,
    states: genotype_lib.States,
    place: Place,
    *,
    norm: ops.Norm,
    normalise: bool,
    constants: bool = False,
) -> Cell:
    """Builds a cell that computes its own operations only.

    A node that no edge enters is zero. An operation that reads such a node adds nothing
    unless ``constants`` is on, where its norm adds its bias: a trained constant, as in
    the released code of NAS-Bench-201, arXiv:2001.00326. It reaches the output in 2,140
    of that benchmark's 15,625 cells, and in no cell of the DARTS space. Drop path
    applies to every operation except the identity.

    Args:
      cell: its edges.
      states: the numbers of its inputs and nodes.
      place: its position.
      norm: of everything inside it.
      normalise: whether pools are followed by a norm, as they are in a supernet.
      constants: whether operations on a node that nothing reaches are computed.
    """
    live = [(i, e) for i, e in enumerate(cell.edges) if e[2] != spaces.NONE]
    modules = {
        str(i): functional.operation(
            name,
            place.features,
            2 if place.reduction and source < states.num_inputs else 1,
            norm=norm,
            normalise=normalise,
        )
        for i, (source, _, name) in live
    }

    def apply(params, stats, inputs, context, key):
        sums: list[Any] = [*inputs, *([None] * states.num_nodes)]
        new_stats = {}
        zero = jnp.zeros(node_shape(inputs[-1], place), inputs[-1].dtype)
        for i, (source, target, _) in sorted(live, key=lambda item: item[1][1]):
            x, n = sums[source], str(i)
            if x is None and not constants:
                continue
            x = zero if x is None else x
            edge_key = None if key is None else jax.random.fold_in(key, i)
            y, new_stats[n] = apply_operation(
                modules[n], params[n], stats[n], x, context, edge_key
            )
            sums[target] = y if sums[target] is None else sums[target] + y
        nodes = [zero if s is None else s for s in sums[states.num_inputs :]]
        # statistics of an operation that nothing reaches stay as they are
        return _joined(inputs, nodes, cell.concat), stats | new_stats

    preprocess = preprocessing(place, states.num_inputs, norm)
    return Cell(place, preprocess, lambda key: init_all(key, modules), apply)


def node_shape(last: types.Array, place: Place) -> tuple[int, int, int, int]:
    """Returns the shape of a cell's nodes.

    Args:
      last: f32[B, H, W, F], the cell's last input.
      place: the cell's position.
    """
    b, h, w, f = last.shape
    return (b, -(-h // 2), -(-w // 2), f) if place.reduction else (b, h, w, f)


def residual_layer(in_features: int, features: int, *, norm: ops.Norm) -> Layer:
    """Builds the block of stride 2 between two stages of NAS-Bench-201's network.

    ReLU, 3x3 convolution, norm, twice; beside it 2x2 average pooling and a 1x1
    convolution without norm. Differs: at odd sizes the pooling's last window holds
    the pixels that are there.

    Args:
      in_features: F of its input.
      features: F of its output.
      norm: its normalisation.
    """

    def conv(first, stride):
        return lambda rngs: ops.relu_conv_norm(
            first, features, (3, 3), stride=stride, norm=norm, rngs=rngs
        )

    modules = {
        "conv0": functional.functional(conv(in_features, 2)),
        "conv1": functional.functional(conv(features, 1)),
        "shortcut": functional.functional(
            lambda rngs: ops.Conv(in_features, features, rngs=rngs)
        ),
    }

    def apply(params, stats, states, context, key):
        del key  # nothing random
        x, new_stats = states[1], {}

        def run(name, x):
            y, new_stats[name] = modules[name].apply(
                params[name], stats[name], x, train=context.train
            )
            return y

        main = run("conv1", run("conv0", x))
        odd = max(x.shape[1] % 2, x.shape[2] % 2)
        pooled = ops.avg_pool(x, window=2, stride=2, margins=(0, odd))
        out = run("shortcut", pooled) + main
        return (out, out), new_stats

    return Layer(lambda key: init_all(key, modules), apply)


def single_layer(name: str, module: functional.Functional) -> Layer:
    """Builds a layer of one module that reads the preceding layer's output alone.

    Args:
      name: of the module, in params and stats.
      module: f32[B, H, W, F] -> f32[B, h, w, G].
    """

    def apply(params, stats, states, context, key):
        del key  # nothing random
        out, new = module.apply(
            params[name], stats[name], states[1], train=context.train
        )
        return (out, out), {name: new}

    return Layer(lambda key: init_all(key, {name: module}), apply)
