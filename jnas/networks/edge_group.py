r"""Edges that one scan can run, and what one of them computes.

    state of the source, f32[B, H, W, F]
      |                \
      | once a source   \ once an edge
      v                  v
    shared: candidates  stacked: candidates whose output differs from edge to edge
    without parameters  (they have parameters, draw, or are under dropout)
      |                  |
      v                  v
    every node that an  the edge's own target
    edge of the source
    enters

Each output is multiplied by its weight; entangled candidates are one computation, whose
kernels their weights multiply (``entangle.py``). With partial channels only the first
F / k features take this way; ``bypass`` takes the others past the candidates.
"""

import functools
import operator
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnas import ops, types
from jnas.networks import entangle, functional, low_rank, partial


class Edge(NamedTuple):
    """One edge of a cell: its row in the weights, its two states, its candidates."""

    index: int
    source: int
    target: int
    candidates: tuple[str, ...]


class EdgeGroup(NamedTuple):
    """Consecutive edges with equal candidates and stride.

    Attributes:
      name: key of the group's parameters.
      edges: sorted by source, then target.
      names: of the columns of the weights.
      shared: column -> candidate without parameters.
      stacked: column -> candidate computed on each edge.
      stride: of the edges, in pixels.
      partial: k; F / k features go through the candidates.
      bypass: column that weighs the features that go past the candidates; None where
        all go through.
      dropped: stacked columns under dropout.
      skip_zeros: whether stacked candidates of weight zero are not computed, nor
        families all of whose weights are zero.
      drop_path: whether the sum of an edge is under drop path; all candidates are
        stacked then.
      families: candidates that share their kernels; the columns of none are stacked.
    """

    name: str
    edges: tuple[Edge, ...]
    names: tuple[str, ...]
    shared: dict[int, functional.Functional]
    stacked: dict[int, functional.Functional]
    stride: int
    partial: int = 1
    bypass: int | None = None
    dropped: tuple[int, ...] = ()
    skip_zeros: bool = False
    drop_path: bool = False
    families: tuple[entangle.Family, ...] = ()

    @property
    def shared_columns(self) -> np.ndarray:
        """i32[...] columns of ``source_outputs``."""
        past = [] if self.bypass is None else [self.bypass]
        return ints([*self.shared, *past])

    @property
    def has_edge_outputs(self) -> bool:
        """Whether ``edge_output`` adds anything."""
        return bool(self.stacked or self.families) or self.skip_zeros

    def source_outputs(self, x: types.Array) -> tuple[types.Array, ...]:
        """Computes the shared candidates at one source, and its bypass.

        Args:
          x: f32[B, H, W, F], the source's state.

        Returns:
          One f32[B, H / stride, W / stride, F] for each of ``shared_columns``.
        """
        narrow = partial.narrow(x, self.partial)
        outputs = [op.apply({}, {}, narrow)[0] for op in self.shared.values()]
        outputs = [partial.widen(y, self.partial) for y in outputs]
        if self.bypass is not None:
            outputs.append(partial.bypass(x, self.partial, self.stride))
        return tuple(outputs)

    def edge_output(
        self, params: types.Params, row: types.Array, x: types.Array, noise: tuple
    ) -> types.Array:
        """Computes the weighted sum of one edge's stacked candidates and families.

        Args:
          params: of this edge.
          row: f32[O], its weights.
          x: f32[B, H, W, F], the source's state.
          noise: (key, dropout rate f32[], drop path rate f32[]), each None where
            nothing needs it.

        Returns:
          f32[B, H / stride, W / stride, F].
        """
        narrow = partial.narrow(x, self.partial)
        b, h, w, f = narrow.shape
        total = nothing = jnp.zeros(
            (b, -(-h // self.stride), -(-w // self.stride), f), x.dtype
        )
        args = params, row, narrow, noise
        for columns, compute in self._computed():
            if self.skip_zeros:
                needed = _any_of(row, columns)
                total += lax.cond(needed, compute, lambda *_: nothing, *args)
            else:
                total += compute(*args)
        if self.skip_zeros:  # value 0; gives weights of zero their gradient
            zero = row == 0
            for family in self.families:  # one that is computed has gradients itself
                columns = ints(family.columns)
                zero = zero.at[columns].set(~_any_of(row, columns))
            total += jnp.where(zero, row, 0).sum().astype(x.dtype)
        key, _, rate = noise
        if self.drop_path and rate is not None:
            total = ops.drop_path(jax.random.fold_in(key, len(self.names)), total, rate)
        return partial.widen(total, self.partial)

    def _computed(self) -> list[tuple]:
        """Lists (column or columns, function) of all that is computed on an edge."""
        found = [(c, functools.partial(self._candidate, c)) for c in self.stacked]
        return found + [
            (ints(one.columns), functools.partial(self._family, one))
            for one in self.families
        ]

    def _candidate(self, column, params, row, x, noise):
        """Computes the weighted output of one stacked candidate."""
        key, rate, _ = noise
        column_key = None if key is None else jax.random.fold_in(key, column)
        # an operation that only draws has an entry without leaves
        own = params.get(self.names[column], {})
        y, _ = self.stacked[column].apply(own, {}, x, key=column_key)
        if column in self.dropped:
            y = ops.dropout(column_key, y, rate)
        return row[column].astype(x.dtype) * y.astype(x.dtype)

    def _family(self, family, params, row, x, noise):
        """Computes the candidates of one family, as one operation."""
        key, *_ = noise
        if key is not None:
            key = jax.random.fold_in(key, family.columns[-1])
        mixed = family.mixed(params[family.name], row[ints(family.columns)])
        y, _ = family.op.apply(mixed, {}, x, key=key)
        return y.astype(x.dtype)

    def own_params(self, params: types.Params, row: int, name: str) -> types.Params:
        """Takes a candidate's own parameters, as if it were computed by itself.

        Args:
          params: of the group.
          row: number of the edge among the group's.
          name: the candidate.

        Returns:
          Those of the operation without edge variants; {} where it has none.
        """
        family = next((one for one in self.families if name in one.names), None)
        stacked = params.get(name if family is None else family.name, {})
        own = jax.tree.map(operator.itemgetter(row), stacked)
        return low_rank.merged(own) if family is None else family.cut(own, name)


def _any_of(row, columns) -> types.Array:
    """Returns bool[]: whether a weight, or any of several, is not zero."""
    given = row[columns] != 0
    return given if isinstance(columns, int) else given.any()


def ints(values: Iterable[int]) -> np.ndarray:
    """Makes i32[...], whether or not JAX computes in 64 bits."""
    return np.array(list(values), np.int32)
