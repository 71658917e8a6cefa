"""A supernet split on one row: a copy of its parameters for each of the row's options.

Source: Zhao, Wang, Tian, Fonseca and Guo 2021, arXiv:2006.06863, section 3.
"""

import jax
import jax.numpy as jnp

from jnas import spaces, types
from jnas.networks.network import Supernet
from jnas.spaces import rows as rows_lib


def check_split(space: spaces.Space, row: int) -> None:
    """Refuses a row that an architecture may be without.

    Args:
      space: that is searched.
      row: number of a row, in the order of ``rows.rows``.

    Raises:
      ValueError: no such row, or one that a node may leave out.
    """
    named = rows_lib.rows(space)
    if not 0 <= row < len(named):
        raise ValueError(
            f"split must be a row of space {space.name}, from 0 to {len(named) - 1}, "
            f"got {row}. Choose another."
        )
    tables = rows_lib.tables(space)
    subsets = tables.subsets[tables.choices[row]]
    if not (subsets == row).any(-1)[(subsets >= 0).any(-1)].all():
        raise ValueError(
            f"split must be a row that every architecture of {space.name} has, got "
            f"{row} ({named[row].group}/{named[row].name}), which a node may leave out."
            " Choose another, such as the first edge into a node that keeps all."
        )


def split(supernet: Supernet, row: int) -> Supernet:
    """Splits a supernet into one of its own parameters for each option of a row.

    params leaf [O, ...], O options of the row;
    apply(params, x, weights) = supernet.apply(sum_o weights[row, o] params[o], ...)

    At one-hot weights that is the copy of the row's option, whose gradient reaches that
    copy alone. At other weights the copies are mixed, by the row divided by its sum.

    Args:
      supernet: of any space.
      row: number of the row, in the order of ``rows.rows``.

    Raises:
      ValueError: no such row, or one that architectures may be without.

    Source: arXiv:2006.06863, section 3.
    """
    space = supernet.space
    check_split(space, row)
    count = len(rows_lib.rows(space)[row].options)

    def init(key):
        return jax.vmap(supernet.init)(jax.random.split(key, count))

    def apply(params, x, weights, **given):
        own = rows_lib.flat(space, weights)[row][:count]
        own = own / jnp.where(own.sum() > 0, own.sum(), 1)

        def mixed(leaf):  # no matrix product, which accelerators round
            shares = own.astype(leaf.dtype).reshape(-1, *[1] * (leaf.ndim - 1))
            return (shares * leaf).sum(0)

        return supernet.apply(jax.tree.map(mixed, params), x, weights, **given)

    calibrated = None
    if supernet.calibrated is not None:

        def calibrated(count):
            return split(supernet.calibrated(count), row)

    return Supernet(init, apply, space, split=row, calibrated=calibrated)


def copied(params: types.Params, like: types.Params) -> types.Params:
    """Returns the parameters of a supernet as those of each copy of a split one.

    Args:
      params: of the supernet before it is split.
      like: of the split supernet.
    """
    return jax.tree.map(lambda p, q: jnp.broadcast_to(p, q.shape), params, like)
