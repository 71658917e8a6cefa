"""Names of a network's arrays that a person can read, one entry a cell and edge.

A network stacks the arrays of equal cells on a leading axis, so that they are one loop;
a supernet also stacks those of equal edges. In a file each has an entry of its own:

  stem.conv.kernel
  cell_05.preprocess_0.norm.mean
  cell_05.edge_2_from_0.sep_conv_3x3.layers_1.kernel
  residual_05.conv_0.conv.kernel              (between NAS-Bench-201's stages)
  reduction_05.layers_0.kernel                (between those of the skeleton mobile)
  classifier.kernel

Cells are counted from 0 over the whole network, reductions between stages included. A
second edge with the same states and operation is ``edge_2_from_0_again_1``.
"""

import collections
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jnas import networks, types
from jnas.networks import skeletons
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_choices

Names = Callable[[types.Params], list[np.ndarray]]

# layers of ``ops.stack`` that have a name of their own
_STEM = {"layers_0": "conv", "layers_1": "norm"}
_CLASSIFIER = {
    "layers_0": "norm",
    "layers_1": "",
    "layers_2": "pooling",
    "layers_3": "",
}  # "": the linear map
_RELU_CONV_NORM = {"layers_1": "conv", "layers_2": "norm"}


class _Block(NamedTuple):
    """The layers whose arrays are under one key of a network's tree.

    Attributes:
      numbers: of its layers, counted over the network.
      edges: keys below "nodes" -> (names of edge and operation, whether they are
        stacked on an axis, the remaining keys); None in a residual layer.
    """

    numbers: tuple[int, ...]
    edges: Callable | None


def of_network(
    genotype: genotypes.Genotype | genotype_choices.Choices, size: networks.Size
) -> Names:
    """Returns the names of the arrays of a genotype's network.

    Args:
      genotype: its cells; the arrays of other networks are named by their paths.
      size: its size.

    Returns:
      (params or stats, as arrays or shapes) -> for each leaf, in JAX's order, an array
      of names whose axes are the leaf's stacked axes.
    """
    if isinstance(genotype, genotype_choices.Choices):
        return of_paths
    cells = [cell for _, cell in genotype.cells]
    plan = skeletons.plan(
        genotype.skeleton,
        genotype.num_inputs,
        [name for name, _ in genotype.cells],
        [len(cell.concat) for cell in cells],
        size,
    )
    blocks, first = {}, 0
    for place, run in itertools.groupby(plan):
        last = first + len(list(run))
        edges = None if isinstance(place, int) else _own_edges(cells[place.cell])
        blocks[f"layers_{first:02d}"] = _Block(tuple(range(first, last)), edges)
        first = last
    return _names(blocks)


def of_supernet(supernet: networks.Supernet) -> Names:
    """Returns the names of the arrays of a supernet; see ``of_network``.

    Args:
      supernet: as ``networks.supernet`` builds it.
    """
    if not supernet.layers:
        return of_paths
    blocks, first = {}, 0
    for name, count, mixture in supernet.layers:
        edges = None if mixture is None else _stacked_edges(mixture)
        blocks[name] = _Block(tuple(range(first, first + count)), edges)
        first += count
    return _names(blocks)


def of_paths(tree: types.Params) -> list[np.ndarray]:
    """Returns the names of arrays of which none is stacked: their paths, by dots.

    Args:
      tree: params or stats, as arrays or shapes.
    """
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    return [np.array(_joined([], [_key(one) for one in path], {})) for path in paths]


def _key(entry: Any) -> Any:
    """Returns the key, attribute or number of one step of a path."""
    names = ("key", "name", "idx")
    return next(getattr(entry, name) for name in names if hasattr(entry, name))


def flatten(tree: types.Params, names: Names) -> dict[str, np.ndarray]:
    """Returns the arrays of a tree by name, unstacked.

    Args:
      tree: params or stats.
      names: of its leaves.

    Raises:
      ValueError: two arrays would have one name.
    """
    flat: dict[str, np.ndarray] = {}
    leaves = jax.tree.leaves(tree)
    for leaf, own in zip(leaves, names(tree), strict=True):
        leaf = np.asarray(leaf)
        for place in np.ndindex(own.shape):
            name = str(own[place])
            if name in flat:
                raise ValueError(
                    f"arrays of a network must have different names, got two {name!r}. "
                    "Rename the operation."
                )
            flat[name] = np.asarray(leaf[place])
    return flat


def unflatten(
    flat: Mapping[str, np.ndarray], like: types.Params, names: Names
) -> types.Params:
    """Returns the tree whose ``flatten`` is ``flat``.

    Args:
      flat: name -> array, checked against ``shapes`` before.
      like: the tree of arrays or shapes.
      names: of its leaves.
    """
    leaves = []
    for own in names(like):
        rows = [flat[str(name)] for name in own.flat]
        leaves.append(np.stack(rows).reshape(own.shape + rows[0].shape))
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def shapes(like: types.Params, names: Names) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shape and type of every array by name.

    Args:
      like: the tree of arrays or shapes.
      names: of its leaves.
    """
    found = {}
    for leaf, own in zip(jax.tree.leaves(like), names(like), strict=True):
        one = jax.ShapeDtypeStruct(leaf.shape[own.ndim :], leaf.dtype)
        found |= dict.fromkeys(map(str, own.flat), one)
    return found


def _names(blocks: Mapping[str, _Block]) -> Names:
    def names(tree):
        paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
        return [_of_leaf([entry.key for entry in path], blocks) for path in paths]

    return names


def _of_leaf(keys: Sequence[Any], blocks: Mapping[str, _Block]) -> np.ndarray:
    """Returns the names of one leaf, an array whose axes are those that are stacked."""
    top, *rest = keys
    if top not in blocks:  # stem or classifier
        return np.array(_joined([top], rest, _STEM if top == "stem" else _CLASSIFIER))
    block = blocks[top]
    part, *below = rest
    if block.edges is None:
        if part == "branch":  # of the skeleton mobile
            return np.array(_joined([f"reduction_{block.numbers[0]:02d}"], below, {}))
        layer = f"residual_{block.numbers[0]:02d}"
        return np.array(_joined([layer, _counted(part)], below, _RELU_CONV_NORM))
    if part != "nodes":  # cell_00 of the block: the preprocessing of one cell
        cell = f"cell_{block.numbers[int(part.removeprefix('cell_'))]:02d}"
        which, *below = below
        return np.array(_joined([cell, _counted(which)], below, _RELU_CONV_NORM))
    edges, stacked, below = block.edges(below)
    cells = [f"cell_{number:02d}" for number in block.numbers]
    rows = [[_joined([cell, edge], below, {}) for edge in edges] for cell in cells]
    found = np.array(rows if stacked else [row[0] for row in rows])
    return found if len(cells) > 1 else np.asarray(found[0])


def _joined(first: list[str], keys: Sequence[Any], renames: Mapping[str, str]) -> str:
    """Joins keys by dots: ``layers, 1`` is ``layers_1``, or what renames say."""
    words: list[str] = []
    for key in keys:
        if isinstance(key, int) and words:
            words[-1] += f"_{key}"
        else:
            words.append(str(key))
    words[:1] = [renames.get(word, word) for word in words[:1]]
    return ".".join(filter(None, [*first, *words]))


def _counted(name: str) -> str:
    """Separates a number from a word: conv0 is conv_0."""
    word = name.rstrip("0123456789")
    return f"{word}_{name[len(word) :]}" if word != name else name


def _own_edges(cell: genotypes.Cell) -> Callable:
    """Builds a derived cell's ``_Block.edges``, whose keys are numbers of edges."""
    seen: collections.Counter = collections.Counter()
    edges = []
    for source, target, operation in cell.edges:
        again = seen[source, target, operation]
        seen[source, target, operation] += 1
        more = f"_again_{again}" if again else ""
        edges.append(f"edge_{target}_from_{source}{more}.{operation}")

    def of(keys):
        return [edges[int(keys[0])]], False, keys[1:]

    return of


def _stacked_edges(mixture: Any) -> Callable:
    """Builds a supernet cell's ``_Block.edges``, whose keys are group, operation."""
    groups = {group.name: group.edges for group in mixture.groups}

    def of(keys):
        group, operation, *rest = keys
        return (
            [f"edge_{e.target}_from_{e.source}.{operation}" for e in groups[group]],
            True,
            rest,
        )

    return of
