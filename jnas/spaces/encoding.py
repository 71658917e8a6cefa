"""Operations of controllers on encodings of any space: sample, mutate, cross over.

An encoding is i32[G] with gene g in [0, sizes[g]); every value is valid, so nothing
here repairs or rejects. ``sizes`` is a static tuple of positive integers. All functions
but ``index`` and ``from_index`` may be jitted and vmapped.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jnas import types

Sizes = tuple[int, ...]


def sample(key: types.Key, sizes: Sizes) -> types.Encoding:
    """Draws an encoding uniformly.

    Args:
      key: consumed.
      sizes: the number of values of each gene.

    Returns:
      i32[G].
    """
    return jax.random.randint(key, (len(sizes),), 0, jnp.array(sizes), jnp.int32)


def mutate(key: types.Key, encoding: types.Encoding, sizes: Sizes) -> types.Encoding:
    """Changes one gene to another value; gene and value are drawn uniformly.

    Genes with only one value are never chosen.

    Args:
      key: consumed.
      encoding: i32[G].
      sizes: the number of values of each gene.

    Returns:
      i32[G], at Hamming distance 1.

    Raises:
      ValueError: every gene has only one value.

    Source: Real et al., 2019, arXiv:1802.01548, section 3.1. Differs: there a mutation
    may draw the old value; here it never does, as in NAS-Bench-201's baseline.
    """
    free = np.flatnonzero(np.array(sizes) > 1)
    if free.size == 0:
        raise ValueError(
            f"sizes must have a gene of two values or more, got {sizes}. "
            "Use a space with a choice to search."
        )
    gene_key, value_key = jax.random.split(key)
    gene = jax.random.choice(gene_key, jnp.array(free, jnp.int32))
    size = jnp.array(sizes, jnp.int32)[gene]
    step = jax.random.randint(value_key, (), 1, size, jnp.int32)
    return encoding.at[gene].set((encoding[gene] + step) % size)


def crossover(
    key: types.Key, first: types.Encoding, second: types.Encoding
) -> types.Encoding:
    """Takes each gene from either parent with probability 1/2.

    Args:
      key: consumed.
      first: i32[G].
      second: i32[G].

    Returns:
      i32[G].

    Source: Syswerda, 1989, uniform crossover.
    """
    return jnp.where(jax.random.bernoulli(key, shape=first.shape), first, second)


def neighbours(encoding: types.Encoding, sizes: Sizes) -> types.Array:
    """Returns every encoding at Hamming distance 1, ordered by gene, then by value.

    Args:
      encoding: i32[G].
      sizes: the number of values of each gene.

    Returns:
      i32[N, G] with N = sum(size - 1).
    """
    genes = np.repeat(np.arange(len(sizes)), np.array(sizes) - 1)
    others = np.concatenate([np.arange(size - 1) for size in sizes]).astype(np.int32)
    values = others + (others >= encoding[genes])
    rows = jnp.tile(encoding, (len(genes), 1))
    return rows.at[np.arange(len(genes)), genes].set(values)


def distance(first: types.Encoding, second: types.Encoding) -> types.Array:
    """Counts the genes that differ (Hamming distance).

    Args:
      first: i32[..., G].
      second: i32[..., G].

    Returns:
      i32[...].
    """
    return jnp.sum(first != second, axis=-1, dtype=jnp.int32)


def index(encoding: types.Encoding, sizes: Sizes) -> int:
    """Returns an encoding's number in mixed radix, first gene slowest; on the host.

    Args:
      encoding: i32[G].
      sizes: the number of values of each gene.

    Returns:
      A Python integer in [0, prod(sizes)), which may exceed 64 bits.

    Raises:
      ValueError: the encoding has a wrong length, or a gene is out of its range.

    Example:
      >>> index([1, 0, 2], (2, 3, 4))
      14
    """
    genes = _genes(encoding, sizes)
    number = 0
    for gene, size in zip(genes, sizes, strict=True):
        number = number * size + gene
    return number


def from_index(number: int, sizes: Sizes) -> np.ndarray:
    """Returns the encoding whose ``index`` is ``number``; on the host.

    Args:
      number: an integer in [0, prod(sizes)).
      sizes: the number of values of each gene.

    Returns:
      i32[G].

    Raises:
      ValueError: the number is out of range.
    """
    total = math.prod(sizes)
    if not 0 <= number < total:
        raise ValueError(
            f"index must be from 0 to {total - 1}, got {number}. "
            "Use an index in this range."
        )
    genes = []
    for size in reversed(sizes):
        number, gene = divmod(number, size)
        genes.append(gene)
    return np.array(genes[::-1], np.int32)


def _genes(encoding: Sequence[int], sizes: Sizes) -> list[int]:
    genes = np.asarray(encoding).tolist()
    ok = len(genes) == len(sizes) and all(
        0 <= gene < size for gene, size in zip(genes, sizes, strict=True)
    )
    if not ok:
        raise ValueError(
            f"encoding must have {len(sizes)} genes, each from 0 to its size - 1, "
            f"got {genes}. Match the sizes {sizes}."
        )
    return genes
