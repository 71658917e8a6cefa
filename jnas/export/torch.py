"""The weights of DARTS' published PyTorch networks, read and written without torch.

A state dict of ``NetworkCIFAR`` (https://github.com/quark0/darts, ``cnn/model.py``) has
an entry for each array: ``cells.3.preprocess0.op.1.weight``,
``cells.3._ops.5.op.2.weight`` and so on, kernels in the order output, input, rows,
columns. It travels as a .safetensors file, which holds arrays and no code. torch writes
one by

    state = torch.load("weights.pt", map_location="cpu", weights_only=True)
    safetensors.torch.save_file(state, "weights.safetensors")

Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055. torch counts the batches of each
norm (``num_batches_tracked``), jnas does not: the counts are written as 0 and not read.
"""

import os
import pathlib
import re
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from jnas import networks, types
from jnas.export import torch_names
from jnas.spaces import genotype as genotypes

OPERATIONS = (
    "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5",
    "sep_conv_7x7", "dil_conv_3x3", "dil_conv_5x5", "conv_7x1_1x7",
)  # fmt: skip
_COUNT = "num_batches_tracked"


class Weights(NamedTuple):
    """The arrays of a network, as ``networks.derived`` takes them.

    Attributes:
      size: of the network, inferred from the arrays.
      params: its parameters; with ``auxiliary`` where the file has that head.
      stats: its running statistics.
    """

    size: networks.Size
    params: types.Params
    stats: types.Params


def to_torch(
    genotype: genotypes.Genotype,
    size: networks.Size,
    params: types.Params,
    stats: types.Params,
) -> dict[str, np.ndarray]:
    """Returns the state dict of the reference's network with the same weights.

    Args:
      genotype: its cells.
      size: its size.
      params: as ``networks.derived(genotype, size).init`` returns them, with or without
        those of the auxiliary head.
      stats: likewise.

    Returns:
      torch's name -> array, as ``load_state_dict`` takes them (as tensors).

    Raises:
      ValueError: cells that the reference's network cannot have.
    """
    check(genotype)
    if size.stem != "small":
        raise ValueError(
            f"model must have the small stem, as DARTS' CIFAR network has, got "
            f"{size.stem}. Export another format."
        )
    naming, state = torch_names.Naming(genotype, size), {}
    for tree in (params, stats):
        for name, array in naming.flat(tree).items():
            state[naming(name)] = torch_names.to_torch_layout(np.asarray(array))
    for name in [n for n in state if n.endswith("running_mean")]:
        state[name.replace("running_mean", _COUNT)] = np.zeros((), np.int64)
    return dict(sorted(state.items()))


def from_torch(
    state: Mapping[str, np.ndarray], genotype: genotypes.Genotype
) -> Weights:
    """Returns the weights of a state dict of the reference's network.

    Args:
      state: torch's name -> array; a leading "module." is removed from the names.
      genotype: the cells that it was trained with.

    Returns:
      The size, which is inferred, and the weights.

    Raises:
      ValueError: cells that the reference's network cannot have, or an array that is
        missing, unknown or of another shape.
    """
    check(genotype)
    state = {name.removeprefix("module."): array for name, array in state.items()}
    size = infer_size(state)
    auxiliary = any(name.startswith("auxiliary_head.") for name in state)
    network = networks.derived(genotype, size, auxiliary=auxiliary)
    like = jax.eval_shape(network.init, jax.random.key(0))
    naming, flat = torch_names.Naming(genotype, size), {}
    wanted = naming.shapes(like[0]) | naming.shapes(like[1])
    _check_names(state, {naming(name): name for name in wanted})
    for name, shape in wanted.items():
        given = np.asarray(state[naming(name)])
        array = torch_names.from_torch_layout(given, shape.ndim)
        if array is None or array.shape != shape.shape:
            raise ValueError(
                f"weights must fit the genotype, got {naming(name)!r} of shape "
                f"{list(given.shape)}, which needs another. Give the genotype that the "
                "network was trained with."
            )
        flat[name] = np.ascontiguousarray(array, np.float32)
    return Weights(size, *(naming.tree(flat, tree) for tree in like))


def write(path: str | os.PathLike, state: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict as a .safetensors file.

    Args:
      path: of the file.
      state: name -> array.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in state.items()}
    data = safetensors_numpy.save(arrays, metadata={"format": "pt"})
    pathlib.Path(path).write_bytes(data)


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a .safetensors file.

    Args:
      path: of the file.

    Raises:
      ValueError: it is a file of torch.save, which could run any code, or damaged.
    """
    path = pathlib.Path(path)
    if path.suffix in (".pt", ".pth", ".bin", ".pkl", ".tar", ".ckpt"):
        raise ValueError(
            f"weights must be a .safetensors file, got {str(path)!r}: reading a file "
            "of torch.save can run any code. Convert it where torch is installed: "
            f"state = torch.load({str(path)!r}, map_location='cpu', "
            "weights_only=True); "
            "safetensors.torch.save_file(state, 'weights.safetensors')."
        )
    if not path.is_file():
        raise ValueError(
            f"weights must be an existing .safetensors file, got {str(path)!r}. Check "
            "the path."
        )
    try:
        return safetensors_numpy.load(path.read_bytes())
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        first = " ".join(str(error).split())[:120]
        raise ValueError(
            f"weights must be a .safetensors file of float32 arrays, got "
            f"{str(path)!r}: {first}. Write it again with safetensors.torch.save_file."
        ) from error


def infer_size(state: Mapping[str, np.ndarray]) -> networks.Size:
    """Returns the size of the network of a state dict.

    Args:
      state: torch's name -> array.

    Raises:
      ValueError: it is not one of the reference's CIFAR network.
    """
    shapes = {name: np.shape(array) for name, array in state.items()}
    stem = shapes.get("stem.0.weight", ())
    linear = shapes.get("classifier.weight", ())
    cells = [int(m[1]) for n in shapes if (m := re.match(r"cells\.(\d+)\.", n))]
    if len(stem) != 4 or len(linear) != 2 or stem[0] % 3 or not cells:
        found = ", ".join(sorted(shapes)[:3]) or "none"
        raise ValueError(
            "weights must be a state dict of the CIFAR network, with stem.0.weight, "
            f"cells.* and classifier.weight, got arrays {found}. Save "
            "model.state_dict()."
        )
    layers = max(cells) + 1
    return networks.Size(stem[0] // 3, layers, linear[0], channels=stem[1])


def check(genotype: genotypes.Genotype) -> None:
    """Checks that the reference's network can have these cells.

    Args:
      genotype: its cells.

    Raises:
      ValueError: not two cells of two inputs, two edges a node, in order, of the
        reference's operations.
    """
    found = ""
    if not isinstance(genotype, genotypes.Genotype):
        raise ValueError(
            "genotype must be one of DARTS' PyTorch network, got choices of space "
            f"{genotype.space}. Export another format."
        )
    if genotype.num_inputs != 2 or len(genotype.cells) != 2:
        found = f"{len(genotype.cells)} cells of {genotype.num_inputs} inputs"
    for name, cell in genotype.cells:
        targets = [target for _, target, _ in cell.edges]
        others = sorted({op for *_, op in cell.edges} - set(OPERATIONS))
        if targets != sorted(targets) or {targets.count(t) for t in targets} != {2}:
            found = found or f"edges into the nodes {targets} of {name!r}"
        if others:
            found = found or f"the operation {others[0]!r} of {name!r}"
    if found:
        raise ValueError(
            "genotype must be one of DARTS' PyTorch network, a normal and a reduction "
            f"cell with two edges a node, in order, got {found}. Export another format."
        )


def _check_names(state: Mapping[str, np.ndarray], wanted: Mapping[str, str]) -> None:
    missing = sorted(set(wanted) - set(state))
    more = sorted(n for n in set(state) - set(wanted) if not n.endswith(_COUNT))
    if missing or more:
        what = f"no {missing[0]!r}" if missing else f"also {more[0]!r}"
        raise ValueError(
            f"weights must hold the {len(wanted)} arrays of the genotype's network, "
            f"got {what}. Give the genotype that the network was trained with."
        )
