"""The networks of chains: supernet, network of one genotype, and switched network.

Equal positions in a row are one loop, so that a body is compiled once for each kind of
position, whatever the length of the chain.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jnas import ops, registry, spaces, types
from jnas.networks import cell, chain, functional, inside, mixture
from jnas.networks.network import Network, Supernet
from jnas.networks.skeleton import Size
from jnas.spaces import genotype_choices

NAME = spaces.ChainSpace.supernet
STEM, HEAD = "stem", "head"  # keys of parameters
_EDGES = (  # of an edge variant
    "partial",
    "auxiliary_skip",
    "skip_dropout",
    "entangled",
    "lora_rank",
    "drop_path",
)


@registry.SUPERNETS.register(name=NAME)
def supernet(
    space: spaces.ChainSpace,
    size: Size,
    *,
    norm: ops.Norm = ops.SEARCH,
    stem_norm: ops.Norm = ops.STEM,
    remat: bool = False,
    dtype: jnp.dtype | None = None,
    variant: mixture.EdgeVariant = mixture.PLAIN,
) -> Supernet:
    """Builds the network that computes every operation of every position.

    x <- sum over operations o of weights[o] * op_o(x), position after position.

    Args:
      space: the chain.
      size: of the network; ``num_layers`` is not read.
      norm: inside the operations; without statistics.
      stem_norm: of stem and head; likewise.
      remat: whether each position is computed again for the gradient.
      dtype: of the activations; None keeps that of the images.
      variant: only ``skip_zeros`` can be set: operations of weight zero are not
        computed, and their weights have the gradient of ``networks/edge_scan.py``.

    Raises:
      ValueError: an operation that keeps statistics or cannot change its features; a
        variant of edges.
    """
    for name in _EDGES:
        if getattr(variant, name) != getattr(mixture.PLAIN, name):
            raise ValueError(
                f"{name} must be left out for space {space.name}, whose positions have "
                f"no edges, got {getattr(variant, name)}. Use another method."
            )
    blocks = chain.plan(space, size)
    runs, built = chain.runs(blocks), _built(blocks, norm)
    for name, op in ((n, o) for made in built.values() for n, o in made.items()):
        if op.has_stats:
            raise ValueError(
                f"operation {name!r} must keep no statistics in a supernet, got some. "
                "Use the norm that it is given."
            )
    stem = chain.stem(space, size, stem_norm)
    head = chain.head(space, size, blocks[-1].features, stem_norm)
    mixed = _mixed(variant.skip_zeros)

    def init(key):
        keys = iter(jax.random.split(key, len(runs) + 2))
        params = {STEM: stem.init(next(keys))[0]}
        for run in runs:
            made = _init_run(next(keys), built[run.block], len(run.positions))
            params[run.name] = made[0]
        return params | {HEAD: head.init(next(keys))[0]}

    def apply(params, x, weights, *, key=None, variant_inputs=mixture.NOTHING):
        del variant_inputs  # a chain has no edge variants that take any
        x = x if dtype is None else x.astype(dtype)
        x, _ = stem.apply(params[STEM], {}, x)
        for run in runs:
            step = _position(built[run.block], mixed)
            step = jax.checkpoint(step) if remat else step
            rows = chain.row_of(space, weights, run.positions)
            keys = _keys(key, run.positions)
            x, _ = _repeat(step, x, (params[run.name],), (rows, keys))
        return head.apply(params[HEAD], {}, x)[0]

    return Supernet(init, apply, space, inside=_inside(runs, built))


@registry.DERIVED.register(name=NAME)
def derived(
    genotype: genotype_choices.Choices,
    size: Size,
    *,
    norm: ops.Norm = ops.TRAINING,
    stem_norm: ops.Norm = ops.TRAINING,
    remat: bool = False,
    dtype: jnp.dtype | None = None,
) -> Network:
    """Builds the network of one genotype of a chain, with its own operations only.

    Drop path drops the branches of inverted residuals whose input is added.

    Args:
      genotype: of a registered space.
      size: of the network; ``num_layers`` is not read.
      norm: inside the operations.
      stem_norm: of stem and head.
      remat: whether each position is computed again for the gradient.
      dtype: of the activations; None keeps that of the images.

    Raises:
      GenotypeError: its space is not registered.
    """
    space = genotype_choices.space_of(genotype)
    blocks = chain.plan(space, size)
    stem = chain.stem(space, size, stem_norm)
    head = chain.head(space, size, blocks[-1].features, stem_norm)
    modules = {STEM: stem}
    for name, block in zip(space.gene_names, blocks, strict=True):
        modules[name] = block.operation(genotype[name], norm)
    modules[HEAD] = head

    def apply(params, stats, x, *, train, key=None, drop_path_rate=None):
        x = x if dtype is None else x.astype(dtype)
        rate, new = (drop_path_rate if train else None), {}
        for number, (name, op) in enumerate(modules.items()):
            own = None if key is None else jax.random.fold_in(key, number)

            def step(params, stats, x, key, op=op):
                return _apply(op, params, stats, x, rate, key, train)

            step = jax.checkpoint(step) if remat else step
            x, new[name] = step(params[name], stats[name], x, own)
        return (x, None), new

    return Network(lambda key: cell.init_all(key, modules), apply)


@registry.SWITCHED.register(name=NAME)
def switched(
    space: spaces.ChainSpace,
    size: Size,
    *,
    norm: ops.Norm = ops.TRAINING,
    stem_norm: ops.Norm = ops.TRAINING,
) -> Callable[[types.Weights], Network]:
    """Builds the network of any one genotype of a chain, chosen at run time.

    Args:
      space: the chain.
      size: of the network; ``num_layers`` is not read.
      norm: inside the operations.
      stem_norm: of stem and head.

    Returns:
      weights -> Network; one init serves all weights.
    """
    blocks = chain.plan(space, size)
    runs, built = chain.runs(blocks), _built(blocks, norm)
    ends = {
        STEM: chain.stem(space, size, stem_norm),
        HEAD: chain.head(space, size, blocks[-1].features, stem_norm),
    }

    def init(key):
        end_key, *keys = jax.random.split(key, len(runs) + 1)
        params, stats = cell.init_all(end_key, ends)
        for run, own in zip(runs, keys, strict=True):
            params[run.name], stats[run.name] = _init_run(
                own, built[run.block], len(run.positions)
            )
        return params, stats

    def network(weights):
        def apply(params, stats, x, *, train, key=None, drop_path_rate=None):
            rate, new = (drop_path_rate if train else None), {}

            def end(name, x):
                y, new[name] = ends[name].apply(
                    params[name], stats[name], x, train=train
                )
                return y

            x = end(STEM, x)
            for run in runs:
                step = _chosen(built[run.block], rate, train)
                rows = chain.row_of(space, weights, run.positions).argmax(-1)
                keys = _keys(key, run.positions)
                own = params[run.name], stats[run.name]
                x, new[run.name] = _repeat(step, x, own, (rows, keys))
            return (end(HEAD, x), None), new

        return Network(init, apply)

    return network


def _inside(runs, built) -> inside.Inside:
    """Lists the operations of each run; a chain has neither cells nor edges."""
    return inside.Inside(
        tuple(
            inside.Candidate(name, (run.name, name), int(len(run.positions) > 1))
            for run in runs
            for name, op in built[run.block].items()
            if op.has_params
        )
    )


def _built(blocks, norm) -> dict[chain.Block, dict[str, functional.Functional]]:
    """Builds the operations of each kind of position, by name."""
    return {
        block: {name: block.operation(name, norm) for name in block.options}
        for block in dict.fromkeys(blocks)
    }


def _init_run(key, modules, count) -> tuple:
    """Initialises the operations of a run, stacked where it has several positions."""
    if count == 1:
        return cell.init_all(key, modules)
    keys = jax.random.split(key, count)
    return jax.vmap(lambda key: cell.init_all(key, modules))(keys)


def _keys(key, positions) -> types.Array | None:
    """Returns a key for each position; None without one."""
    if key is None:
        return None
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.array(positions))


def _repeat(step, x, own, each) -> tuple:
    """Applies (x, (*own, *each) of one position) -> (x, info) along a run.

    Args:
      step: of one position.
      x: input of the first.
      own: trees that are stacked only where the run has several positions, as is info.
      each: arrays with a leading axis of positions, or None.
    """
    if len(each[0]) > 1:
        return lax.scan(step, x, (*own, *each))
    return step(x, (*own, *jax.tree.map(lambda a: a[0], each)))


def _position(modules, mixed) -> Callable:
    """Builds (x, (params, row, key)) -> (x, None), the sum of all operations."""

    def step(x, args):
        params, row, key = args
        total = None
        for number, (name, op) in enumerate(modules.items()):

            def compute(x, op=op, name=name):
                return op.apply(params[name], {}, x, key=key)[0]

            y = mixed(compute, row[number].astype(x.dtype), x)
            total = y if total is None else total + y
        return total, None

    return step


def _mixed(skip_zeros: bool) -> Callable:
    """Builds (function, weight, x) -> weight * function(x)."""
    if not skip_zeros:
        return lambda compute, weight, x: weight * compute(x)

    def skipping(compute, weight, x):
        shape = jax.eval_shape(compute, x)
        return lax.cond(
            weight == 0,
            # a bare number of value zero: its gradient is the sum of the output's
            lambda x: jnp.full(shape.shape, weight, shape.dtype),
            lambda x: weight * compute(x),
            x,
        )

    return skipping


def _chosen(modules, rate, train) -> Callable:
    """Builds (x, (params, stats, option, key)) -> (x, stats): one operation alone."""

    def branch(name):
        def run(params, stats, x, key):
            y, new = _apply(
                modules[name], params[name], stats[name], x, rate, key, train
            )
            return y, stats | {name: new}

        return run

    def step(x, args):
        params, stats, option, key = args
        branches = [branch(name) for name in modules]
        return lax.switch(option, branches, params, stats, x, key)

    return step


def _apply(op, params, stats, x, rate, key, train) -> tuple:
    """Applies an operation; drop path drops the branch beside an added input."""
    y, new = op.apply(params, stats, x, train=train, key=key)
    if rate is not None and isinstance(op.module, ops.InvertedResidual):
        y = x + ops.drop_path(jax.random.fold_in(key, 1), y - x, rate)
    return y, new
