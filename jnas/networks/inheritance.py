"""A derived network that starts from the supernet's trained parameters."""

import itertools

import jax
import jax.numpy as jnp

from jnas import spaces, types
from jnas.networks import low_rank, network, skeletons
from jnas.networks import mixture as mixture_lib
from jnas.networks import skeleton as skeleton_lib
from jnas.spaces import genotype as genotype_lib


def inherit(
    supernet: network.Supernet,
    params: types.Params,
    genotype: genotype_lib.Genotype,
    size: skeleton_lib.Size,
) -> types.Params:
    """Takes the parameters of one genotype's network from a supernet's.

    ``derived(genotype, size, norm=SEARCH, stem_norm=STEM, normalise_pools=...)`` with
    them computes what the supernet computes with the genotype's one-hot weights.
    Kernels that candidates share are cut, factors of low rank added to their kernels.

    Args:
      supernet: the supernet.
      params: its parameters.
      genotype: a cell of its space.
      size: the supernet's size.

    Returns:
      The derived network's params.
    """
    cells = [c for _, c in genotype.cells]
    names, width = [name for name, _ in genotype.cells], len(cells[0].concat)
    plan = skeletons.plan(genotype.skeleton, genotype.num_inputs, names, width, size)
    own = {n: p for n, p in params.items() if n in ("stem", "classifier")}
    layers = iter(_each_layer(supernet, params))
    number = 0
    for place, run in itertools.groupby(plan):
        count = len(list(run))
        own_layers = list(itertools.islice(layers, count))
        name, number = f"layers_{number:02d}", number + count
        if isinstance(place, int):
            own[name] = own_layers[0][1]
            continue

        def cut(nodes, mixture, place=place):
            return {
                str(i): mixture_lib.edge_params(mixture, nodes, *edge)
                for i, edge in enumerate(cells[place.cell].edges)
                if edge[2] != spaces.NONE
            }

        nodes = [cut(nodes, mixture) for mixture, _, nodes in own_layers]
        own[name] = {f"cell_{i:02d}": p for i, (_, p, _) in enumerate(own_layers) if p}
        own[name]["nodes"] = (
            nodes[0] if count == 1 else jax.tree.map(lambda *a: jnp.stack(a), *nodes)
        )
    return own


def widen(key: types.Key, params: types.Params, like: types.Params) -> types.Params:
    """Makes parameters wider, by copies of features drawn at random.

    Existing features keep their positions. All axes that grow from one length to
    another get copies of the same features, so that an operation's layers match.

    Args:
      key: consumed.
      params: a pytree of arrays.
      like: of the same structure; arrays that are as long or longer on each axis.

    Returns:
      A pytree of the shapes of ``like``; a leaf of equal shape is the one of params.

    Source: Chen et al. 2021, arXiv:2006.10355, section 3.4, after Net2Net, Chen et al.
    2016, arXiv:1511.05641. Differs: one draw for all layers of equal width, where its
    code draws for each; as there, the copies are not divided by their number.
    """

    def one(leaf, wide):
        for axis, (old, new) in enumerate(zip(leaf.shape, wide.shape, strict=True)):
            if old != new:
                drawn = jax.random.fold_in(jax.random.fold_in(key, old), new)
                copies = jax.random.randint(drawn, (new - old,), 0, old)
                rows = jnp.concatenate([jnp.arange(old), copies])
                leaf = jnp.take(leaf, rows, axis)
        return leaf

    return jax.tree.map(one, params, like)


def _each_layer(supernet: network.Supernet, params: types.Params) -> list:
    """Lists (mixture, params of the preprocessing, of the nodes) of each layer.

    A residual layer is (None, its params, None).
    """
    layers = []
    for name, count, mixture in supernet.layers:
        own = params[name]
        if mixture is None:
            layers.append((None, own, None))
            continue
        for i in range(count):
            nodes = own["nodes"]
            if count > 1:
                nodes = jax.tree.map(lambda leaf, i=i: leaf[i], nodes)
            preprocessing = low_rank.merged(own.get(f"cell_{i:02d}", {}))
            layers.append((mixture, preprocessing, nodes))
    return layers
