"""Shrinks a supernet by what its candidates compute: IS-DARTS.

Source: He, Liu, Zhang and Zheng 2024, arXiv:2312.12648, and its released code.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import registry, spaces, types
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.hooks import signal as signal_lib
from jnas.spaces import rows as rows_lib

_SHARE = 0.06  # of the epochs between two shrinks: 3 of 50 and 2 of 30


class Schedule(NamedTuple):
    """When a search shrinks.

    Attributes:
      first: number of epochs before the first shrink.
      every: epochs between two.
      count: number of shrinks.
    """

    first: int
    every: int
    count: int


@registry.HOOKS.register
def shrink(
    search: hook_lib.Search,
    *,
    shrinks: int | None = None,
    every: int | None = None,
    num_batches: int | None = None,
) -> hook_lib.Hook:
    """Builds the hook that removes the options of largest Fisher information.

    An option's score is ``fisher`` of its output, the mean over images of the split and
    over the cells of a kind; that of ``none`` is infinite. With n shrinks left, of
    the K options of a row ceil((K - 1) / n) of largest score are removed. Where nodes
    choose their inputs the same holds for all options of a node's edges together, of
    which as many are left as the node keeps edges, on edges of their own. The last
    shrink leaves one epoch. The metric ``options_left`` is the number that is left.

    Args:
      search: that is shrunk; its supernet is of cells.
      shrinks: number of shrinks; None is one less than a row has options, the paper's 4
        on NAS-Bench-201 and 7 in the space of DARTS, or fewer in too few epochs.
      every: epochs between two; None is .06 of all, the paper's 2 of 30 and 3 of 50, or
        fewer where the shrinks would not fit.
      num_batches: of the scores, at most; None is all of the split.

    Raises:
      ValueError: a supernet without cells; shrinks that do not fit into the epochs.

    Source: arXiv:2312.12648 and its released code. Differs: that trains and scores on
    all images, where here the architecture's split is scored; in the space of DARTS it
    counts its shrinks backwards, so that the first removes all options but two of a
    node, which may be on one edge.
    """
    inside, space = search.supernet.inside, search.space
    if inside is None or inside.statistics is None:
        raise ValueError(
            f"hooks must leave shrink out for space {space.name}, whose supernet has "
            "no cells, got it. Use prune, or another --method."
        )
    plan = schedule(search.num_epochs, space.shape[-1], shrinks, every)
    rule, kinds = _Rule(space), np.array(inside.kinds)

    def scores(key, clock, state, split):
        images, _ = signal_lib.fixed_batches(
            split, search.augment, search.batch_size, num_batches
        )
        weights = search.weights_of(state)
        inputs = signal_lib.without_dropout(search.variant_inputs(clock))

        def of_batch(images):
            return inside.statistics(
                state.params, images, weights, fisher, key=key, variant_inputs=inputs
            )

        each = jax.lax.map(of_batch, images).mean(0)
        return jnp.stack(
            [each[kinds == kind].mean(0) for kind in range(space.shape[0])]
        )

    def call(key, clock, state, carry, split):
        done = clock.epoch + 1 - plan.first
        number = done // plan.every
        due = (done >= 0) & (done % plan.every == 0) & (number < plan.count)

        def shrunk():
            found = scores(key, clock, state, split)
            return rule.shrunk(state.mask, found, plan.count - number)

        mask = jax.lax.cond(due, shrunk, lambda: state.mask)
        left = rows_lib.flat(space, mask).sum()
        return state._replace(mask=mask), carry, {"options_left": left}, False

    return hook_lib.Hook(
        1,
        lambda state: (),
        call,
        metrics=("options_left",),
        removes=True,
        rows=lambda count: signal_lib.fixed_rows(count, search.batch_size, num_batches),
    )


shrink.needs_cells = True  # read by ``gradient.check``


def schedule(
    num_epochs: int, num_options: int, shrinks: int | None, every: int | None
) -> Schedule:
    """Spreads the shrinks over the last epochs but one.

    Args:
      num_epochs: of the search.
      num_options: of a row.
      shrinks: their number; None as in ``shrink``.
      every: epochs between two; None as in ``shrink``.

    Raises:
      ValueError: shrinks that do not fit into the epochs.

    Example:
      >>> schedule(30, 5, None, None)
      Schedule(first=23, every=2, count=4)
    """
    last = max(1, num_epochs - 1)
    count = max(1, num_options - 1) if shrinks is None else shrinks
    step = every
    if every is None:
        room = (last - 1) // max(1, count - 1)
        step = max(1, min(round(_SHARE * num_epochs), room))
    if shrinks is None and step > 0:
        count = min(count, 1 + (last - 1) // step)
    first = last - (count - 1) * step
    if min(count, step, first) < 1:
        raise ValueError(
            "shrink must fit into the epochs but the last, got shrinks="
            f"{shrinks}, every={every} and {num_epochs} epochs. Set fewer, each at "
            "least 1."
        )
    return Schedule(first, step, count)


def fisher(y: types.Array) -> types.Array:
    """Computes the Fisher information of an output, 3 (y - mean)^2 / std^6.

    Mean and standard deviation (with one degree of freedom less) are over the features
    of a pixel; a pixel whose features are equal has an infinite one.

    Args:
      y: f32[B, H, W, F].

    Returns:
      f32[], the mean over all images, pixels and features.

    Source: arXiv:2312.12648, released code.
    """
    y = y.astype(jnp.float32)
    squares = (y - y.mean(-1, keepdims=True)) ** 2
    variance = squares.sum(-1, keepdims=True) / (y.shape[-1] - 1)
    found = 3 * squares / variance**3
    return jnp.where(jnp.isnan(found), jnp.inf, found).mean()


class _Rule:
    """The removal of options, on the table of a space's rows."""

    def __init__(self, space: spaces.Space):
        """Reads which rows share a choice, and how many of them are kept."""
        self.space, tables = space, rows_lib.tables(space)
        self.kept = tables.operations.shape[1]
        choices = np.unique(tables.choices)
        self.members = choices[:, None] == tables.choices  # bool[G, R]

    def shrunk(self, mask, scores, left) -> types.Mask:
        """Removes the share of one of ``left`` shrinks.

        Args:
          mask: like the weights.
          scores: likewise, at least 0; infinite ones are removed first.
          left: i32[], number of shrinks that are left, this one too.
        """
        table = rows_lib.flat(self.space, mask, False)
        scores = rows_lib.flat(self.space, scores)
        spare = (self.members * table.sum(-1)).sum(-1) - self.kept
        quota = -(-spare // left)

        def remove(number, table):
            value = jnp.where(table & ~self._needed(table), scores, -1)
            value = jnp.where(self.members[..., None], value, -1)
            value = value.reshape(len(self.members), -1)
            due = (number < quota) & (value.max(-1) >= 0)
            worst = jnp.arange(value.shape[-1]) == value.argmax(-1)[:, None]
            removed = (worst & due[:, None]).any(0)
            return table & ~removed.reshape(table.shape)

        table = jax.lax.fori_loop(0, quota.max(), remove, table)
        return rows_lib.unflat(self.space, table)

    def _needed(self, table) -> types.Array:
        """Returns bool[R, 1]: rows whose only option must stay, for lack of others."""
        counts = (self.members & table.any(-1)).sum(-1)
        tight = (self.members & (counts <= self.kept)[:, None]).any(0)
        return (tight & (table.sum(-1) == 1))[:, None]
