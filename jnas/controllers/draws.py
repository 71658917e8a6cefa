"""What the controllers share: random genes from raw bits, first proposals, scores.

A controller draws all its random words in one call and cuts them up: many small draws
cost more than the search itself when thousands of runs share one program.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from jnas import types


def below(bits: types.Array, limits: types.Array) -> types.Array:
    """Turns random words into integers in [0, limits).

    floor(bits * limit / 2**32), by the 24 leading bits: a value's chance differs from
    1 / limit by at most 2**-24.

    Args:
      bits: u32[...].
      limits: integers below 2**24, broadcast against bits.

    Returns:
      i32[...].
    """
    unit = (bits >> 8).astype(jnp.float32) * jnp.float32(2**-24)  # exact, below 1
    limits = jnp.asarray(limits, jnp.int32)
    drawn = (unit * limits.astype(jnp.float32)).astype(jnp.int32)
    return jnp.minimum(drawn, limits - 1)  # the product may round up to the limit


def mutation(sizes: tuple[int, ...]) -> Callable:
    """Builds (bits u32[P, 2], encodings i32[P, G]) -> i32[P, G], one gene changed.

    As ``spaces.encoding.mutate``: gene and new value are uniform, the old value and
    genes of one value excepted.

    Args:
      sizes: number of values of each gene.

    Raises:
      ValueError: no gene has two values.
    """
    free = np.flatnonzero(np.array(sizes) > 1).astype(np.int32)
    if not free.size:
        raise ValueError(
            f"sizes must have a gene of two values or more, got {sizes}. "
            "There is nothing to search."
        )
    limits, genes = jnp.array(sizes, jnp.int32), np.arange(len(sizes))

    def mutate(bits, encodings):
        gene = jnp.asarray(free)[below(bits[:, 0], len(free))]
        step = 1 + below(bits[:, 1], limits[gene] - 1)
        moved = (encodings + step[:, None]) % limits
        return jnp.where(genes == gene[:, None], moved, encodings)

    return mutate


def first_proposals(
    sizes: tuple[int, ...], initial: types.Array | None, *, most: int
) -> Callable:
    """Builds (numbers i32[P], bits u32[P, G]) -> i32[P, G]: given rows, then uniform.

    Args:
      sizes: number of values of each gene.
      initial: i32[K, G], or None for none.
      most: largest K.

    Raises:
      ValueError: rows of another shape, too many, or a gene out of its range.
    """
    rows = np.zeros((0, len(sizes)), np.int32) if initial is None else initial
    rows = np.asarray(rows)
    fits = rows.ndim == 2 and rows.shape[1] == len(sizes) and len(rows) <= most
    if not fits or not ((rows >= 0) & (rows < np.array(sizes))).all():
        raise ValueError(
            f"initial must be at most {most} encodings of {len(sizes)} genes inside "
            f"sizes, got shape {rows.shape}. Encode genotypes with space.encode."
        )
    count, table = len(rows), jnp.asarray(rows, jnp.int32)

    def propose(numbers, bits):
        drawn = below(bits, jnp.array(sizes, jnp.int32))
        if not count:
            return drawn
        given = table[jnp.minimum(numbers, count - 1)]
        return jnp.where((numbers < count)[:, None], given, drawn)

    return propose


def signal(scores: types.Scores) -> types.Array:
    """Returns the first metric f32[P], NaN replaced by -inf.

    Args:
      scores: f32[P, M].
    """
    return jnp.where(jnp.isnan(scores[:, 0]), -jnp.inf, scores[:, 0])


def check(name: str, value: int, low: int, high: int) -> None:
    """Raises ValueError unless value is an integer from low to high.

    Args:
      name: in the message.
      value: to be checked.
      low: smallest.
      high: largest.
    """
    if not isinstance(value, int) or not low <= value <= high:
        raise ValueError(
            f"{name} must be an integer from {low} to {high}, got {value!r}. "
            "Choose another."
        )
