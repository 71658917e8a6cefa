"""The rows of any space: one decision each, named, and as one table.

Weights are a pytree whose leaves end in an axis of options; a row is one vector along
it. A space of cells has one leaf f32[C, E, O], other spaces may have several leaves
with different numbers of options. What reads weights by name, or compares all rows at
once, does so through this module.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jnas import types
from jnas.spaces import lookups as lookup_tables


class Space(Protocol):
    """What every search space has; CellSpace, ChainSpace and ChoiceSpace are spaces.

    Weights are one array, or a dict of arrays, whose last axis is that of options.
    Genotypes are a ``genotype.Genotype`` of cells, or ``genotype_choices.Choices``.

    Attributes:
      name: written into its genotypes.
      sizes: number of values of each gene.
      gene_names: a name for each gene.
      choices: like the weights without their last axis, the option names of each row:
        a tuple of names for each row, in tuples for the leading axes of a leaf.
      supernet: key in ``registry.SUPERNETS``.
    """

    name: str
    sizes: tuple[int, ...]
    gene_names: tuple[str, ...]
    choices: Any
    supernet: str

    def weights(self, encoding: types.Encoding) -> types.Weights:
        """Converts an encoding i32[G] to one-hot weights; jittable and vmappable."""

    def strongest(self, weights: types.Weights) -> types.Encoding:
        """Derives an encoding i32[G] from weights; jittable and vmappable."""

    def genotype(self, encoding: types.Encoding) -> Any:
        """Converts an encoding to a genotype, on the host."""

    def encode(self, genotype: Any) -> np.ndarray:
        """Converts a genotype to its encoding i32[G], on the host."""


class Row(NamedTuple):
    """One decision.

    Attributes:
      group: what the report draws together: the cell, or the name of the leaf.
      name: of the row within its group, such as "0->2" or "block_03".
      options: names of its options, in the order of the weights' last axis.
    """

    group: str
    name: str
    options: tuple[str, ...]


def has_edges(space: Space) -> bool:
    """Returns whether a space is one of cells, whose rows are edges between states.

    Args:
      space: any space.
    """
    return hasattr(space, "edges")


def shapes(space: Space) -> Any:
    """Returns the weights' pytree as f32 ShapeDtypeStructs.

    Args:
      space: any space.
    """
    genes = jax.ShapeDtypeStruct((len(space.sizes),), jnp.int32)
    return jax.eval_shape(space.weights, genes)


def full(space: Space, value: Any, dtype: Any = None) -> types.Weights:
    """Returns weights of one value.

    Args:
      space: any space.
      value: of every entry.
      dtype: of the arrays; float32 when None.
    """
    return jax.tree.map(
        lambda one: jnp.full(one.shape, value, dtype or one.dtype), shapes(space)
    )


def rows(space: Space) -> tuple[Row, ...]:
    """Returns the rows of a space, leaf after leaf, in the order of ``flat``.

    Args:
      space: any space.
    """
    return tuple(row for leaf in _leaves(space) for row in leaf.rows)


def options(space: Space) -> tuple[str, ...]:
    """Returns a name for each option, once, in order of appearance.

    Where the rows form several groups, an option is ``group/option``.

    Args:
      space: any space.
    """
    return tuple(dict.fromkeys(n for row in _option_names(space) for n in row))


def _option_names(space) -> list[tuple[str, ...]]:
    """Returns the name by which each row's options are counted."""
    found = rows(space)
    if has_edges(space) or len({row.group for row in found}) == 1:
        return [row.options for row in found]
    return [tuple(f"{row.group}/{one}" for one in row.options) for row in found]


def where(space: Space, option: str) -> Any:
    """Returns bool arrays like the weights, true where an option has this name.

    Args:
      space: any space.
      option: one of ``options``.
    """
    names = iter(_option_names(space))
    found = []
    for leaf in _leaves(space):
        table = [[one == option for one in next(names)] for _ in leaf.rows]
        found.append(np.array(table, bool).reshape(leaf.shape))
    return jax.tree.unflatten(jax.tree.structure(shapes(space)), found)


def flat(space: Space, weights: types.Weights, fill: float = 0.0) -> Any:
    """Returns weights as one table, rows that are shorter than others filled up.

    Args:
      space: any space.
      weights: as NumPy or JAX arrays.
      fill: of entries that are no option of their row.

    Returns:
      [R, O] in the order of ``rows``, O the largest number of options.
    """
    leaves = jax.tree.leaves(weights)
    xp = np if all(isinstance(leaf, np.ndarray) for leaf in leaves) else jnp
    tables = [xp.reshape(leaf, (-1, leaf.shape[-1])) for leaf in leaves]
    if len(tables) == 1:
        return tables[0]
    most = max(table.shape[1] for table in tables)
    padded = [
        xp.pad(t, ((0, 0), (0, most - t.shape[1])), constant_values=fill)
        for t in tables
    ]
    return xp.concatenate(padded)


def unflat(space: Space, table: Any) -> types.Weights:
    """Returns the weights whose ``flat`` is a table; what fills it up is left out.

    Args:
      space: any space.
      table: [R, O].
    """
    like = shapes(space)
    found, first = [], 0
    for leaf in jax.tree.leaves(like):
        count = int(np.prod(leaf.shape[:-1], dtype=int))
        part = table[first : first + count, : leaf.shape[-1]]
        found.append(part.reshape(leaf.shape))
        first += count
    return jax.tree.unflatten(jax.tree.structure(like), found)


def apart(weights: types.Weights) -> list[types.Weights]:
    """Returns the weights of each architecture.

    Args:
      weights: with a leading axis of N architectures.
    """
    count = len(jax.tree.leaves(weights)[0])
    return [jax.tree.map(lambda leaf, i=i: leaf[i], weights) for i in range(count)]


def stacked(each: Sequence[types.Weights]) -> types.Weights:
    """Returns weights as NumPy arrays with a leading axis of architectures.

    Args:
      each: weights of one architecture each.
    """
    return jax.tree.map(lambda *leaves: np.stack(leaves), *each)


def named(space: Space, weights: types.Weights) -> dict[str, Any]:
    """Returns weights by name: group -> row -> option -> weight, in the genes' order.

    Args:
      space: any space.
      weights: of one architecture.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    host = jax.tree.map(np.asarray, weights)
    own_rows, table = rows(space), flat(space, host)
    order = range(len(own_rows))
    if not has_edges(space):
        order = np.argsort(tables(space).operations[:, 0])
    for row, values in ((own_rows[i], table[i]) for i in order):
        pairs = zip(row.options, values.tolist(), strict=False)
        own = {option: round(float(value), 5) for option, value in pairs}
        found.setdefault(row.group, {})[row.name] = own
    return found


def tables(space: Space) -> lookup_tables.Tables:
    """Returns the look-up tables of any space, whose edges are its rows.

    A space without tables of its own must have one gene a row: they are read off its
    one-hot weights.

    Args:
      space: any space.

    Raises:
      ValueError: a gene that changes no row, or several, or a row that no gene or
        several genes change.
    """
    own = getattr(space, "lookups", None)
    return _read_off(space) if own is None else own


def _read_off(space) -> lookup_tables.Tables:
    """Reads which row, and which of its options, each value of each gene chooses."""
    sizes = space.sizes
    base = np.zeros((1, len(sizes)), np.int32)
    each = [(gene, value) for gene, size in enumerate(sizes) for value in range(size)]
    encodings = np.repeat(base, len(each), 0)
    encodings[np.arange(len(each)), [gene for gene, _ in each]] = [v for _, v in each]
    with jax.ensure_compile_time_eval():  # also while something else is traced
        many = jax.vmap(space.weights)(jnp.asarray(encodings))
        many = jax.tree.map(np.asarray, many)
    found = [flat(space, one) for one in apart(many)]
    names, first = rows(space), found[0]
    values = np.full((len(names), max(sizes)), -1, np.int32)
    genes = np.full(len(names), -1, np.int32)
    start = 0
    for gene, size in enumerate(sizes):
        own = np.stack(found[start : start + size])
        start += size
        moved = np.flatnonzero((own != first).any((0, 2)))
        if size == 1:  # no value to compare with: the rows that are left, in order
            moved = np.flatnonzero(
                (genes < 0) & ([len(r.options) == 1 for r in names])
            )[:1]
        if len(moved) != 1 or genes[moved[0]] >= 0:
            raise ValueError(
                f"gene {space.gene_names[gene]} of space {space.name} must choose the "
                f"option of one row of its own, got {len(moved)} rows. Give each row "
                "one gene, or the space its own lookups."
            )
        row = int(moved[0])
        genes[row], values[row, :size] = gene, own[:, row].argmax(-1)
    if (genes < 0).any():
        lost = names[int(np.flatnonzero(genes < 0)[0])]
        raise ValueError(
            f"row {lost.group}/{lost.name} of space {space.name} must have a gene, got "
            "none that changes it. Give each row one gene."
        )
    count = np.arange(len(names), dtype=np.int32)
    return lookup_tables.Tables(
        tuple(space.gene_names),
        tuple(sizes),
        count,
        count[:, None, None],
        values,
        np.full(len(names), -1, np.int32),
        genes[:, None],
    )


class _Leaf(NamedTuple):
    """The rows of one leaf, and the leaf's shape."""

    shape: tuple[int, ...]
    rows: Sequence[Row]


def _leaves(space) -> list[_Leaf]:
    like = shapes(space)
    paths, treedef = jax.tree_util.tree_flatten_with_path(like)
    named = getattr(space, "row_names", None)
    names = [None] * len(paths) if named is None else treedef.flatten_up_to(named)
    each = treedef.flatten_up_to(space.choices)
    found = []
    for (path, leaf), own, options_of in zip(paths, names, each, strict=True):
        label = "/".join(str(_key(entry)) for entry in path)
        rows_of = []
        for place in np.ndindex(leaf.shape[:-1]):
            chosen = _at(options_of, place)
            text = _at(own, place) if own is not None else _numbered(label, place)
            group, _, name = str(text).rpartition("/")
            rows_of.append(Row(group or space.name, name, tuple(chosen)))
        found.append(_Leaf(leaf.shape, rows_of))
    return found


def _at(nested: Any, place: tuple[int, ...]) -> Any:
    for index in place:
        nested = nested[index]
    return nested


def _numbered(label: str, place: tuple[int, ...]) -> str:
    if not place:
        return label
    return f"{label}/{'-'.join(map(str, place))}"


def _key(entry: Any) -> Any:
    for name in ("key", "name", "idx"):
        if hasattr(entry, name):
            return getattr(entry, name)
    return entry
