"""What each candidate of each edge adds to a network's cost, as arrays.

A cost that is a sum over edges is one product with the weights, so that whole
populations are counted at once, inside compiled programs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import ops, spaces, types
from jnas.networks import count, functional, network, skeletons
from jnas.networks import skeleton as skeleton_lib
from jnas.networks.cell import Place

_LEAST = 1e-30  # a weight below it counts as this one, whose logarithm is finite


class Costs(NamedTuple):
    """A cost of networks: base + sum(weights * edges).

    Attributes:
      base: of stem, preprocessing, residual layers and classifier.
      edges: f64[C, E, O], of each candidate in all the cells of its kind.
      space: of the cells; ``expected`` needs it.
    """

    base: float
    edges: np.ndarray
    space: spaces.CellSpace | None = None

    def of(self, weights: types.Weights) -> types.Array:
        """Returns the cost f32[] of one-hot weights f32[C, E, O]."""
        return self.base + (weights * jnp.asarray(self.edges, jnp.float32)).sum()

    def expected(self, weights: types.Weights) -> types.Array:
        """Returns the mean cost f32[] of cells that are drawn by mixing weights.

        ``of(derived_chances(space, weights))``: at one-hot weights the cost of that
        cell. It can be differentiated.

        Args:
          weights: f32[C, E, O], not negative.
        """
        return self.of(derived_chances(self.space, weights))


def derived_chances(space: spaces.CellSpace, weights: types.Weights) -> types.Weights:
    """Returns the probability of each candidate to be in a cell drawn by the weights.

    An edge draws its operation by its row, divided by the row's sum. Where a node keeps
    k of its inputs, ``none`` is left out of the row, and a subset S of k edges is drawn
    with probability prod_S max_o w / sum over subsets of the same: the product of what
    ``CellSpace.strongest`` ranks edges by, so that the derived cell is the most
    probable one. A node's probabilities sum to k.

    The chances are spread where the derived cell is one: while weights are nearly
    equal, the expected cost is that of the mean cell, and edges of nearly equal
    strength are mixed even when their operations are decided.

    Args:
      space: of the cells.
      weights: f32[C, E, O], not negative; rows need not sum to 1.

    Returns:
      f32[C, E, O].
    """
    tables, (c, e, o) = space.lookups, space.shape
    rows = jnp.asarray(weights).reshape(c * e, o)
    values = jnp.take_along_axis(rows, jnp.asarray(tables.values), axis=1)
    total = values.sum(-1, keepdims=True)
    shares = values / jnp.where(total > 0, total, 1)
    strength = jnp.log(jnp.maximum(values.max(-1), _LEAST))
    real = tables.subsets[:, :, 0] >= 0  # bool[T, subsets]
    products = jnp.where(real, strength[tables.subsets].sum(-1), -jnp.inf)
    subsets = jnp.where(real, jax.nn.softmax(products, -1), 0)
    kept = jnp.zeros(c * e).at[tables.subsets].add(subsets[..., None])
    flat = np.arange(c * e)[:, None]
    found = jnp.zeros((c * e, o)).at[flat, tables.values].set(shares * kept[:, None])
    return found.reshape(c, e, o)


class Spot(NamedTuple):
    """Where a candidate computes: equal ones cost the same.

    Attributes:
      operation: its registered name.
      features: F of its input and output.
      stride: 1 or 2.
      rows: of the image that it reads.
      columns: likewise.
    """

    operation: str
    features: int
    stride: int
    rows: int
    columns: int


def edge_costs(
    space: spaces.CellSpace,
    size: skeleton_lib.Size,
    image_shape: tuple[int, int, int],
    *,
    norm: ops.Norm = ops.TRAINING,
) -> dict[str, Costs]:
    """Counts the candidates of a space in the derived network of a size.

    Every edge that a cell names is counted, also one that nothing reaches.

    Args:
      space: of the cells.
      size: of the network.
      image_shape: rows, columns and channels of one image.
      norm: inside the cells and heads.

    Returns:
      ``parameters`` and ``macs`` (multiply-accumulates of one image by the rule of
      ``networks.count_macs``).
    """
    edges = {name: np.zeros(space.shape) for name in ("parameters", "macs")}
    known: dict[Spot, dict[str, int]] = {}
    for place, spot in spots(space, size, image_shape):
        if spot not in known:
            known[spot] = _counts(spot, norm)
        for name, counted in known[spot].items():
            edges[name][place] += counted
    encoding = np.zeros(len(space.sizes), np.int32)
    whole = network.derived(space.genotype(encoding), size, norm=norm)
    totals = count.measure(whole, image_shape)
    weights = np.asarray(space.weights(encoding))
    return {
        n: Costs(totals[n] - float((weights * e).sum()), e, space)
        for n, e in edges.items()
    }


def spots(
    space: spaces.CellSpace,
    size: skeleton_lib.Size,
    image_shape: tuple[int, int, int],
) -> list[tuple[tuple[int, int, int], Spot]]:
    """Lists every candidate of every cell of a network, ``none`` left out.

    Args:
      space: of the cells.
      size: of the network.
      image_shape: rows, columns and channels of one image.

    Returns:
      (index (cell, edge, operation) into f[C, E, O], Spot) of each.
    """
    width, found = len(space.concat), []
    stride = skeleton_lib.stem_of(space.num_inputs, size).strides[1]
    rows, columns = (-(-n // stride) for n in image_shape[:2])
    for place in skeletons.plan(
        space.skeleton, space.num_inputs, space.cells, width, size
    ):
        if isinstance(place, Place):
            found += _of_place(space, place, (rows, columns))
        if isinstance(place, int) or place.reduction:
            rows, columns = -(-rows // 2), -(-columns // 2)
    return found


def _of_place(space, place, size) -> list:
    """Lists the candidates of one cell that reads images of a size."""
    found = []
    for e, (source, _) in enumerate(space.edges):
        stride = 2 if place.reduction and source < space.num_inputs else 1
        halved = place.reduction and source >= space.num_inputs
        rows, columns = (-(-n // 2) for n in size) if halved else size
        for o, name in enumerate(space.candidates_of(place.cell, e)):
            if name != spaces.NONE:
                spot = Spot(name, place.features, stride, rows, columns)
                found.append(((place.cell, e, o), spot))
    return found


def _counts(spot: Spot, norm: ops.Norm) -> dict[str, int]:
    """Counts one candidate, without computing anything."""
    op = functional.operation(spot.operation, spot.features, spot.stride, norm=norm)
    params, stats = jax.eval_shape(op.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct(
        (1, spot.rows, spot.columns, spot.features), jnp.float32
    )
    macs = count.count_macs(
        lambda p, s, x, k: op.apply(p, s, x, train=False, key=k)[0],
        params,
        stats,
        image,
        jax.random.key(0),
    )
    return {"parameters": count.count_params(params), "macs": macs}
