"""Shared by the controllers: random genes, first proposals, scores, checks.

With thousands of runs in one program, generating random words costs more than the
search itself. So a controller draws one or two words of 32 bits per proposal and
derives all its random integers from them.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jnas import types

_BITS = 32
_SPARE = 14  # bits of a word that are kept unused, so that draws are almost uniform


def integers(
    key: types.Key, num_proposals: int, limits: Sequence, bounds: Sequence[int]
) -> list[types.Array]:
    """Draws integers in [0, limit), several from each random word.

    A word x in [0, 2**32) gives floor(x limit / 2**32); the remainder, x limit mod
    2**32, is the word for the next integer. A new word is drawn where less than 14 bits
    would remain, so that the probability of a value differs from 1 / limit by a factor
    of at most 1 + 2**-14.

    Args:
      key: consumed.
      num_proposals: number P of proposals.
      limits: integers or i32[P], or functions of the list of earlier draws.
      bounds: the largest possible value of each limit, from 1 to 2**16.

    Returns:
      One i32[P] for each limit.
    """
    groups, room = [], 0.0
    for index, bound in enumerate(bounds):
        need = math.log2(bound)
        if not groups or room < need:
            groups.append([])
            room = max(float(_BITS - _SPARE), need)
        groups[-1].append(index)
        room -= need
    words = jax.random.bits(key, (num_proposals, len(groups)))
    drawn: list[types.Array] = [jnp.zeros(())] * len(limits)
    for column, group in enumerate(groups):
        word = words[:, column]
        for index in group:
            limit = limits[index]
            limit = limit(drawn) if callable(limit) else limit
            drawn[index], word = _cut(word, jnp.asarray(limit, jnp.uint32))
    return drawn


def _cut(word: types.Array, limit: types.Array) -> tuple[types.Array, types.Array]:
    """Returns the high and the low 32 bits of word * limit, by halves of 16 bits."""
    low = (word & 0xFFFF) * limit
    high = (word >> 16) * limit + (low >> 16)
    return (high >> 16).astype(jnp.int32), (high << 16) | (low & 0xFFFF)


def encodings(
    key: types.Key, num_proposals: int, sizes: tuple[int, ...]
) -> types.Array:
    """Draws encodings i32[P, G] uniformly.

    Args:
      key: consumed.
      num_proposals: number P of proposals.
      sizes: number of values of each gene.
    """
    return jnp.stack(integers(key, num_proposals, sizes, sizes), -1)


def mutate(
    rows: types.Array, sizes: tuple[int, ...], gene: types.Array, step: types.Array
) -> types.Array:
    """Changes one gene of each row to another value.

    Args:
      rows: i32[P, G].
      sizes: number of values of each gene.
      gene: i32[P], index of the gene to change.
      step: i32[P], added to the gene modulo its size; from 1 to the size - 1.

    Returns:
      i32[P, G].
    """
    limits = jnp.array(sizes, jnp.int32)
    moved = rows + step[:, None]
    moved = jnp.where(moved >= limits, moved - limits, moved)
    return jnp.where(jnp.arange(len(sizes)) == gene[:, None], moved, rows)


def check_sizes(sizes: tuple[int, ...]) -> np.ndarray:
    """Returns the indices of the genes with more than one value, i32.

    Args:
      sizes: number of values of each gene.

    Raises:
      ValueError: there is no such gene, or a gene has more than 65,536 values.
    """
    free = np.flatnonzero(np.array(sizes) > 1).astype(np.int32)
    if not free.size or max(sizes) > 2**16:
        raise ValueError(
            "sizes must have a gene of two values or more, and none of more than 65536,"
            f" got {sizes}. Use a space within these limits."
        )
    return free


def first_proposals(
    sizes: tuple[int, ...], initial: types.Array | None, *, most: int
) -> Callable:
    """Builds a function that proposes ``initial`` first, then drawn encodings.

    The function is (numbers of the proposals i32[P], drawn encodings i32[P, G]) ->
    encodings i32[P, G].

    Args:
      sizes: number of values of each gene.
      initial: i32[K, G]; None means no initial encodings.
      most: largest K.

    Raises:
      ValueError: initial has a wrong shape or too many rows, or a gene is out of range.
    """
    rows = np.zeros((0, len(sizes)), np.int32) if initial is None else initial
    rows = np.asarray(rows)
    fits = rows.ndim == 2 and rows.shape[1] == len(sizes) and len(rows) <= most
    fits = fits and np.issubdtype(rows.dtype, np.integer)
    if not fits or not ((rows >= 0) & (rows < np.array(sizes))).all():
        raise ValueError(
            f"initial must be at most {most} encodings of {len(sizes)} genes inside "
            f"sizes, got shape {rows.shape}. Make them with space.encode."
        )
    count, table = len(rows), jnp.asarray(rows, jnp.int32)

    def propose(numbers, drawn):
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
      name: name of the value in the message.
      value: the value to check.
      low: smallest allowed value.
      high: largest allowed value.
    """
    if not isinstance(value, int | np.integer) or not low <= value <= high:
        raise ValueError(
            f"{name} must be an integer from {low} to {high}, got {value!r}. "
            "Choose another value."
        )


def check_rate(name: str, value: float, *, most: float = 1) -> None:
    """Raises ValueError unless value is from 0 to most.

    Args:
      name: name of the value in the message.
      value: the value to check.
      most: largest allowed value.
    """
    if not 0 <= value <= most:
        raise ValueError(
            f"{name} must be from 0 to {most}, got {value!r}. Choose another value."
        )
