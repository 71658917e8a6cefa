"""Weight entanglement: candidates that share the largest of their kernels.

The members of a family (``ops.family``) on one edge, with kernels k_1 < ... < k_n and
weights a_1, ..., a_n, are one operation, that of k_n with its parameters W:

    W_mix = sum_i a_i pad(crop_i(W))

where crop_i takes the k_i by k_i taps in the centre and pad puts zeros around them. So
the weights multiply kernels instead of outputs, and the family costs its largest member
alone. What members have alike (the 1x1 convolutions of ``sep_conv``) is used as it is.
A bias beside such a kernel is multiplied by sum_i a_i.

Nothing multiplies the output. A norm inside the operation therefore takes the scale of
W_mix away (but for its epsilon): it is the ratio of a family's weights that matters,
and the family's sum is next to no weight of the family against other candidates. A
family whose weights are all zero gives zeros.

Source: Sukthanker et al. 2024, arXiv:2312.10440, section 3, and its released code.
Differs: a bias is multiplied by the weights' sum, as in the first version of that code;
in the later one it is not, which the norm after it cannot tell. A candidate without
another member of its family on its edge is multiplied by its weight, as any other.
"""

import collections
import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from jnas import registry, types
from jnas.networks import functional, low_rank


class Family(NamedTuple):
    """Candidates of one edge that share the parameters of the largest.

    Attributes:
      columns: of the members' weights.
      names: of the members.
      name: of the member with the largest kernels, whose parameters all use.
      op: that member.
      shapes: of each member's parameters.
      windows: of each parameter, by which the weights f32[M] of the M members multiply
        it: f32[M, rows, columns, 1, ...] is one in a member's taps and zero around
        them, f32[M] of ones goes with a bias; None where members are alike.
    """

    columns: tuple[int, ...]
    names: tuple[str, ...]
    name: str
    op: functional.Functional
    shapes: tuple[types.Params, ...]
    windows: tuple[np.ndarray | None, ...]

    def mixed(self, params: types.Params, weights: types.Array) -> types.Params:
        """Mixes the members' kernels.

        Args:
          params: of the largest member.
          weights: f32[M], of the members.

        Returns:
          The parameters of the one operation that computes the family.
        """
        leaves, treedef = jax.tree.flatten(low_rank.merged(params))
        scaled = [
            leaf if window is None else leaf * _share(window, weights, leaf.dtype)
            for leaf, window in zip(leaves, self.windows, strict=True)
        ]
        return jax.tree.unflatten(treedef, scaled)

    def cut(self, params: types.Params, name: str) -> types.Params:
        """Takes the parameters of one member.

        Args:
          params: of the largest member.
          name: of the member.

        Returns:
          Those of the member by itself.
        """
        shapes = self.shapes[self.names.index(name)]
        return jax.tree.map(_centre, low_rank.merged(params), shapes)


def families(
    names: tuple[str, ...], ops: Mapping[int, functional.Functional]
) -> tuple[Family, ...]:
    """Finds the candidates of one edge that are entangled.

    Args:
      names: of all columns.
      ops: column -> operation.

    Returns:
      One Family for each two or more operations of one declared family.

    Raises:
      ValueError: members that differ in more than the size of their kernels.
    """
    found = collections.defaultdict(list)
    for column in ops:
        make = registry.OPERATIONS.get(names[column])
        if getattr(make, "family", None) is not None:
            found[make.family].append(column)
    return tuple(_family(own, names, ops) for own in found.values() if len(own) > 1)


def _family(columns, names, ops) -> Family:
    """Builds the family of some columns."""
    own, shapes = tuple(names[c] for c in columns), [_shapes(ops[c]) for c in columns]
    size = [sum(math.prod(a.shape) for a in jax.tree.leaves(one)) for one in shapes]
    largest = int(np.argmax(size))
    for name, one in zip(own, shapes, strict=True):
        _check(own[largest], shapes[largest], name, one)
    return Family(
        tuple(columns),
        own,
        own[largest],
        ops[columns[largest]],
        tuple(shapes),
        _windows(shapes[largest], shapes),
    )


def _shapes(op) -> types.Params:
    """Returns the shapes of an operation's parameters, without factors beside them."""
    return jax.eval_shape(
        lambda key: low_rank.merged(op.init(key)[0]), jax.random.key(0)
    )


def _windows(largest, shapes) -> tuple:
    """Builds ``Family.windows``."""
    members = [jax.tree.leaves(one) for one in shapes]
    paths, leaves = zip(*jax.tree_util.tree_leaves_with_path(largest), strict=True)
    differ = [
        any(one[i].shape != leaf.shape for one in members)
        for i, leaf in enumerate(leaves)
    ]
    # where a kernel is mixed, what is beside it belongs to the same convolution
    parents = {path[:-1] for path, mixes in zip(paths, differ, strict=True) if mixes}
    found = []
    for i, (path, leaf) in enumerate(zip(paths, leaves, strict=True)):
        if differ[i]:
            taps = [_taps(leaf.shape, one[i].shape) for one in members]
            found.append(np.stack(taps))
        else:
            inside = path[:-1] in parents
            found.append(np.ones(len(members)) if inside else None)
    return tuple(found)


def _taps(whole: tuple, own: tuple) -> np.ndarray:
    """Returns f[rows, columns, 1, ...]: one in the taps of a smaller kernel."""
    taps = np.ones(own[:2])
    margins = [((n - k) // 2,) * 2 for n, k in zip(whole[:2], own[:2], strict=True)]
    return np.pad(taps, margins).reshape(*whole[:2], *(1,) * (len(whole) - 2))


def _share(window, weights, dtype) -> types.Array:
    """Returns sum_i a_i window_i."""
    return sum(
        one.astype(dtype) * weight
        for one, weight in zip(window, weights.astype(dtype), strict=True)
    )


def _centre(leaf: types.Array, like: types.Array) -> types.Array:
    """Takes the taps in the centre."""
    starts = [(n - k) // 2 for n, k in zip(leaf.shape, like.shape, strict=True)]
    cut = (slice(s, s + k) for s, k in zip(starts, like.shape, strict=True))
    return leaf[tuple(cut)]


def _check(largest: str, whole, name: str, own) -> None:
    """Refuses members of a family that differ in more than the size of kernels."""
    alike = jax.tree.structure(whole) == jax.tree.structure(own)
    if not alike or not all(
        jax.tree.leaves(jax.tree.map(lambda a, b: _fits(a.shape, b.shape), whole, own))
    ):
        raise ValueError(
            f"operations {largest!r} and {name!r} of one family must differ in the "
            "rows and columns of their kernels alone, by even numbers, got other "
            "parameters. Declare another family for one of them."
        )


def _fits(whole: tuple, own: tuple) -> bool:
    if whole == own:
        return True
    return (
        len(whole) == len(own) > 2
        and whole[2:] == own[2:]
        and all(n >= k and (n - k) % 2 == 0 for n, k in zip(whole, own, strict=True))
    )
