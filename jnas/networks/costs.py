"""What each candidate of each edge adds to a network's cost, as arrays.

A cost that is a sum over edges is one product with the weights, so that whole
populations are counted at once, inside compiled programs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import ops, spaces, types
from jnas.networks import count, functional, network
from jnas.networks import skeleton as skeleton_lib


class Costs(NamedTuple):
    """A cost of networks: base + sum(weights * edges).

    Attributes:
      base: of stem, preprocessing, residual layers and classifier.
      edges: f64[C, E, O], of each candidate in all the cells of its kind.
    """

    base: float
    edges: np.ndarray

    def of(self, weights: types.Weights) -> types.Array:
        """Returns the cost f32[] of one-hot weights f32[C, E, O]."""
        return self.base + (weights * jnp.asarray(self.edges, jnp.float32)).sum()


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
    width = len(space.concat)
    plan = skeleton_lib.plan(space.num_inputs, space.cells, width, size)
    edges = {name: np.zeros(space.shape) for name in ("parameters", "macs")}
    stride = skeleton_lib.stem_of(space.num_inputs, size).strides[1]
    rows, columns = (-(-n // stride) for n in image_shape[:2])
    for place in plan:
        if not isinstance(place, int):
            for name, counted in _place(space, place, (rows, columns), norm).items():
                edges[name][place.cell] += counted
        if isinstance(place, int) or place.reduction:
            rows, columns = -(-rows // 2), -(-columns // 2)
    encoding = np.zeros(len(space.sizes), np.int32)
    whole = network.derived(space.genotype(encoding), size, norm=norm)
    totals = count.measure(whole, image_shape)
    weights = np.asarray(space.weights(encoding))
    return {
        n: Costs(totals[n] - float((weights * e).sum()), e) for n, e in edges.items()
    }


def _place(space, place, size, norm) -> dict[str, np.ndarray]:
    """Counts the candidates of one cell that reads images of a size."""
    found = {name: np.zeros(space.shape[1:]) for name in ("parameters", "macs")}
    for e, (source, _) in enumerate(space.edges):
        stride = 2 if place.reduction and source < space.num_inputs else 1
        halved = place.reduction and source >= space.num_inputs
        rows, columns = (-(-n // 2) for n in size) if halved else size
        image = jax.ShapeDtypeStruct((1, rows, columns, place.features), jnp.float32)
        for o, name in enumerate(space.candidates_of(place.cell, e)):
            if name == spaces.NONE:
                continue
            op = functional.operation(name, place.features, stride, norm=norm)
            params, stats = jax.eval_shape(op.init, jax.random.key(0))
            found["parameters"][e, o] = count.count_params(params)
            found["macs"][e, o] = count.count_macs(
                lambda p, s, x, k, op=op: op.apply(p, s, x, train=False, key=k),
                params,
                stats,
                image,
                jax.random.key(0),
            )
    return found
