"""What each option of each row adds to a network's cost, as arrays.

A cost that is a sum over rows is one product with the weights, so that whole
populations are counted at once, inside compiled programs.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import ops, registry, spaces, types
from jnas.networks import count, functional, network
from jnas.networks import skeleton as skeleton_lib
from jnas.spaces import rows as rows_lib

_LEAST = 1e-30  # a weight below it counts as this one, whose logarithm is finite
_CHECKED = 3  # random architectures whose counted cost must be the sum


class Costs(NamedTuple):
    """A cost of networks: base + sum(weights * options).

    Attributes:
      base: of everything outside the options, such as stem and classifier.
      options: f64 arrays like the weights, of each option; in a space of cells in all
        the cells of its kind.
      space: of the weights; ``expected`` needs it.
    """

    base: float
    options: Any
    space: spaces.Space | None = None

    def of(self, weights: types.Weights) -> types.Array:
        """Returns the cost f32[] of one-hot weights."""
        products = jax.tree.map(
            lambda w, cost: (w * jnp.asarray(cost, jnp.float32)).sum(),
            weights,
            self.options,
        )
        first, *others = jax.tree.leaves(products)
        return self.base + sum(others, first)

    def expected(self, weights: types.Weights) -> types.Array:
        """Returns the mean cost f32[] of architectures drawn by mixing weights.

        ``of(derived_chances(space, weights))``: at one-hot weights the cost of that
        architecture. It can be differentiated.

        Args:
          weights: of the space, not negative.
        """
        return self.of(derived_chances(self.space, weights))

    def table(self) -> np.ndarray:
        """Returns f64[R, O], the options of all rows; what fills them up is 0."""
        return rows_lib.flat(self.space, jax.tree.map(np.asarray, self.options))


def derived_chances(space: spaces.Space, weights: types.Weights) -> types.Weights:
    """Returns the probability of each option to be in a network drawn by the weights.

    A row draws its option by its weights, divided by their sum. Where a node of a cell
    keeps k of its inputs, ``none`` is left out of the row, and a subset S of k edges is
    drawn with probability prod_S max_o w / sum over subsets of the same: the product of
    what ``CellSpace.strongest`` ranks edges by, so that the derived cell is the most
    probable one. A node's probabilities sum to k.

    The chances are spread where the derived cell is one: while weights are nearly
    equal, the expected cost is that of the mean cell, and edges of nearly equal
    strength are mixed even when their operations are decided.

    Args:
      space: of the weights.
      weights: not negative; rows need not sum to 1.

    Returns:
      Arrays like the weights.
    """
    tables = rows_lib.tables(space)
    rows = rows_lib.flat(space, jax.tree.map(jnp.asarray, weights))
    count, o = rows.shape
    values = jnp.take_along_axis(rows, jnp.asarray(tables.values), axis=1)
    if (tables.values < 0).any():  # rows of fewer options than others
        values = jnp.where(tables.values >= 0, values, 0)
    total = values.sum(-1, keepdims=True)
    shares = values / jnp.where(total > 0, total, 1)
    strength = jnp.log(jnp.maximum(values.max(-1), _LEAST))
    real = tables.subsets[:, :, 0] >= 0  # bool[T, subsets]
    products = jnp.where(real, strength[tables.subsets].sum(-1), -jnp.inf)
    subsets = jnp.where(real, jax.nn.softmax(products, -1), 0)
    kept = jnp.zeros(count).at[tables.subsets].add(subsets[..., None])
    flat = np.arange(count)[:, None]
    places = np.where(tables.values < 0, o, tables.values)  # beyond the end: dropped
    found = (
        jnp.zeros((count, o)).at[flat, places].set(shares * kept[:, None], mode="drop")
    )
    return rows_lib.unflat(space, found)


class Spot(NamedTuple):
    """Where a candidate computes: equal ones cost the same.

    Attributes:
      operation: its registered name.
      features: F of its output.
      stride: 1 or 2.
      rows: of the image that it reads.
      columns: likewise.
      in_features: F of its input in a chain; 0 in a cell, whose operations keep F.
    """

    operation: str
    features: int
    stride: int
    rows: int
    columns: int
    in_features: int = 0

    def build(self, norm: ops.Norm) -> functional.Functional:
        """Builds the candidate.

        Args:
          norm: inside it.
        """
        return functional.operation(
            self.operation,
            self.features,
            self.stride,
            norm=norm,
            in_features=self.in_features or None,
        )

    @property
    def image(self) -> tuple[int, int, int, int]:
        """The shape of what it reads, at batch 1."""
        return 1, self.rows, self.columns, self.in_features or self.features


def option_costs(
    space: spaces.Space,
    size: skeleton_lib.Size,
    image_shape: tuple[int, int, int],
    *,
    norm: ops.Norm = ops.TRAINING,
) -> dict[str, Costs]:
    """Counts the options of a space in the derived network of a size.

    Every edge that a cell names is counted, also one that nothing reaches. A space of
    one's own is counted by its derived networks, one for each option.

    Args:
      space: of the options.
      size: of the network.
      image_shape: rows, columns and channels of one image.
      norm: inside the operations of cells and chains.

    Returns:
      ``parameters`` and ``macs`` (multiply-accumulates of one image by the rule of
      ``networks.count_macs``).

    Raises:
      ValueError: a space whose costs are no sum over its rows, or that has no derived
        network to count.
    """
    if space.supernet not in registry.SPOTS:
        return _by_difference(space, size, image_shape)
    zeros = np.zeros(rows_lib.tables(space).values.shape[:1] + (width(space),))
    found = {name: zeros.copy() for name in ("parameters", "macs")}
    known: dict[Spot, dict[str, int]] = {}
    for place, spot in spots(space, size, image_shape):
        if spot not in known:
            known[spot] = _counts(spot, norm)
        for name, counted in known[spot].items():
            found[name][place] += counted
    encoding = np.zeros(len(space.sizes), np.int32)
    whole = network.derived(space.genotype(encoding), size, norm=norm)
    totals = count.measure(whole, image_shape)
    one_hot = rows_lib.flat(space, jax.tree.map(np.asarray, space.weights(encoding)))
    return {
        name: Costs(
            totals[name] - float((one_hot * table).sum()),
            rows_lib.unflat(space, table),
            space,
        )
        for name, table in found.items()
    }


def width(space: spaces.Space) -> int:
    """Returns the largest number of options of a row.

    Args:
      space: any space.
    """
    return max(len(row.options) for row in rows_lib.rows(space))


def spots(
    space: spaces.Space,
    size: skeleton_lib.Size,
    image_shape: tuple[int, int, int],
) -> list[tuple[tuple[int, int], Spot]]:
    """Lists every candidate of a network, ``none`` left out.

    Args:
      space: of cells, a chain, or one whose supernet is in ``registry.SPOTS``.
      size: of the network.
      image_shape: rows, columns and channels of one image.

    Returns:
      (index (row, option) into the table of ``rows.flat``, Spot) of each.
    """
    return registry.SPOTS[space.supernet](space, size, image_shape)


def _by_difference(space, size, image_shape) -> dict[str, Costs]:
    """Counts the derived network of each option, and checks that costs add up."""
    if space.supernet not in registry.DERIVED:
        raise ValueError(
            f"space {space.name} must have a derived network for its costs, got none "
            f"of {space.supernet!r}. Register one in registry.DERIVED."
        )

    def measure(encoding):
        built = network.derived(space.genotype(encoding), size)
        return count.measure(built, image_shape)

    tables = rows_lib.tables(space)
    base = np.zeros(len(space.sizes), np.int32)
    first, names = measure(base), ("parameters", "macs")
    found = {name: np.zeros((len(tables.values), width(space))) for name in names}
    for row, (gene,) in enumerate(tables.operations):
        for value in range(1, space.sizes[gene]):
            encoding = base.copy()
            encoding[gene] = value
            counted, option = measure(encoding), tables.values[row, value]
            for name in names:
                found[name][row, option] = counted[name] - first[name]
    costs = {
        name: Costs(first[name], rows_lib.unflat(space, found[name]), space)
        for name in names
    }
    for seed in range(_CHECKED):
        encoding = spaces.encoding.sample(jax.random.key(seed), space.sizes)
        one_hot = jax.tree.map(np.asarray, space.weights(encoding))
        table, counted = rows_lib.flat(space, one_hot), measure(np.asarray(encoding))
        for name in names:
            total = first[name] + float((table * found[name]).sum())
            if total != counted[name]:
                raise ValueError(
                    f"{name} of space {space.name} must be a sum over its choices for "
                    f"a limit, got {counted[name]:,} where the sum is {total:,.0f}. "
                    "Search without limits, or make choices that do not interact."
                )
    return costs


def _counts(spot: Spot, norm: ops.Norm) -> dict[str, int]:
    """Counts one candidate, without computing anything."""
    op = spot.build(norm)
    params, stats = jax.eval_shape(op.init, jax.random.key(0))
    macs = count.count_macs(
        lambda p, s, x, k: op.apply(p, s, x, train=False, key=k)[0],
        params,
        stats,
        jax.ShapeDtypeStruct(spot.image, jnp.float32),
        jax.random.key(0),
    )
    return {"parameters": count.count_params(params), "macs": macs}
