"""PyTorch's names of the arrays of DARTS' CIFAR network, and the layouts of its arrays.

Kernels are in the order output, input, rows, columns; a depthwise kernel has one input.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jnas import networks, types
from jnas.models import names as names_lib
from jnas.networks import skeleton
from jnas.spaces import genotype as genotypes

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_EDGE = re.compile(r"edge_(\d+)_from_(\d+)(?:_again_(\d+))?")
_HALVING = {"even": "conv_1", "odd": "conv_2", "norm": "bn"}  # FactorizedReduce
_AUXILIARY_LINEAR = "9"  # number of that head's linear layer


class Naming:
    """Translates the names of ``models.names`` to torch's, for one network."""

    def __init__(self, genotype: genotypes.Genotype, size: networks.Size):
        """Takes the network's cells and its size."""
        cells = [cell for _, cell in genotype.cells]
        names = [name for name, _ in genotype.cells]
        widths = [len(cell.concat) for cell in cells]
        self.cells = cells
        self.places = skeleton.plan(2, names, widths, size)
        self.names = names_lib.of_network(genotype, size)

    def __call__(self, name: str) -> str:
        """Returns torch's name of an array of ``models.names``."""
        part, *middle, leaf = name.split(".")
        if part == "stem":
            where = "stem.0" if middle == ["conv"] else "stem.1"
        elif part == "classifier":
            where = part
        elif part == "auxiliary":
            classifies = middle == [_AUXILIARY_LINEAR]
            where = "classifier" if classifies else f"features.{middle[0]}"
            where = f"auxiliary_head.{where}"
        else:
            number = int(part.removeprefix("cell_"))
            where = f"cells.{number}.{self._inside(number, *middle)}"
        return f"{where}.{_LEAVES[leaf]}"

    def _inside(self, number: int, block: str, *layer: str) -> str:
        """Returns torch's name of a layer inside a cell."""
        place = self.places[number]
        if block.startswith("preprocess"):
            halves = block == "preprocess_0" and place.after_reduction
            own = _HALVING if halves else {"conv": "op.1", "norm": "op.2"}
            return f"{block.replace('_', '')}.{own[layer[0]]}"
        operation, inner = layer
        if operation == "skip_connect":
            inner = _HALVING[inner]
        else:
            inner = inner.removeprefix("layers_")
            inner = inner if operation == "conv_7x1_1x7" else f"op.{inner}"
        return f"_ops.{self._edge(place.cell, block, operation)}.{inner}"

    def _edge(self, kind: int, block: str, operation: str) -> int:
        """Returns the number of an edge: the reference's edges are in that order."""
        target, source, again = _EDGE.fullmatch(block).groups(default="0")
        edge = int(source), int(target), operation
        edges = self.cells[kind].edges
        return [i for i, one in enumerate(edges) if tuple(one) == edge][int(again)]

    def flat(self, tree: types.Params) -> dict[str, np.ndarray]:
        """Returns arrays by the names of ``models.names``."""
        rest, head = _parted(tree)
        own = {f"auxiliary.{n}.{k}": a for n, h in head.items() for k, a in h.items()}
        return names_lib.flatten(rest, self.names) | own

    def shapes(self, tree: types.Params) -> dict[str, Any]:
        """Returns shapes and dtypes by the names of ``models.names``."""
        rest, head = _parted(tree)
        own = {f"auxiliary.{n}.{k}": a for n, h in head.items() for k, a in h.items()}
        return names_lib.shapes(rest, self.names) | own

    def tree(self, flat: Mapping[str, np.ndarray], like: types.Params) -> types.Params:
        """Returns arrays in the structure of ``like``."""
        rest, head = _parted(like)
        made = names_lib.unflatten(flat, rest, self.names)
        if head:
            made["auxiliary"] = {
                "layers": {
                    n: {k: flat[f"auxiliary.{n}.{k}"] for k in h}
                    for n, h in head.items()
                }
            }
        return made


def _parted(tree: types.Params) -> tuple[types.Params, dict]:
    """Parts a network's arrays from the layers of its auxiliary head."""
    rest = {key: value for key, value in tree.items() if key != "auxiliary"}
    return rest, tree.get("auxiliary", {}).get("layers", {})


def to_torch_layout(array: np.ndarray) -> np.ndarray:
    """Puts output features first: f[F, 1, k, k] of a depthwise kernel f[k, k, F].

    Args:
      array: of jnas.
    """
    if array.ndim == 3:
        return array.transpose(2, 0, 1)[:, None]
    return array.transpose({4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[array.ndim])


def from_torch_layout(array: np.ndarray, rank: int) -> np.ndarray | None:
    """Does the opposite; None where the array has not the axes of that rank.

    Args:
      array: of torch.
      rank: number of axes of jnas' array.
    """
    if rank == 3:
        fits = array.ndim == 4 and array.shape[1] == 1
        return array[:, 0].transpose(1, 2, 0) if fits else None
    if array.ndim != rank:
        return None
    return array.transpose({4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[rank])
