"""Moves the logits by the accuracy that options bring to the supernet: Shapley-NAS.

Source: Xiao et al. 2022, arXiv:2206.09811, section 3 and its released code.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import registry, spaces, types
from jnas.gradient import mixing
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.hooks import signal as signal_lib
from jnas.spaces import rows as rows_lib


@registry.HOOKS.register
def shapley(
    search: hook_lib.Search,
    *,
    start: float = 0.5,
    num_samples: int = 10,
    num_batches: int = 4,
    threshold: float = 0.5,
    momentum: float = 0.8,
    step_size: float = 0.1,
) -> hook_lib.Hook:
    """Builds the hook that adds each option's estimated Shapley value to its logit.

    Before each epoch of the second half of the search, ``num_samples`` times: all
    options of all rows are removed from the supernet one by one in a random order, by
    setting their weight to 0; the other weights keep their values. An option's
    contribution is the accuracy that its removal costs; it is 0 for those that are left
    when the accuracy has fallen below ``threshold`` times that of the whole supernet.
    With the mean and the standard deviation over samples,

      s = n(mean - deviation),  m <- momentum m + (1 - momentum) s,
      logits <- logits + step_size m

    where n subtracts the mean over a group of rows, such as a cell, and divides by the
    standard deviation; options that the search has removed are no players. Use it with
    the alternation ``never``, so that nothing else moves the logits. Edge weights stay
    as they were drawn.

    Args:
      search: whose logits are moved.
      start: share of the epochs before the first update.
      num_samples: random orders of an update, each with images of its own.
      num_batches: batches of an accuracy.
      threshold: share of the supernet's accuracy below which a sample ends. A signal
        below 0 may fall by (1 - threshold) times its size.
      momentum: decay of m, which starts at 0.
      step_size: of an update.

    Raises:
      ValueError: a number out of its range, or a search of one epoch.

    Source: arXiv:2206.09811, section 3.3 and its released code. Differs: an accuracy is
    that of 4 batches of 256 images, there of one of 1024, by whose statistics the
    supernet normalises; m starts from N(0, .001^2) there, which adds 4e-4 of a logit.
    """
    first = round(start * search.num_epochs)
    _check(search.num_epochs, start, num_samples, num_batches)
    players = _Players(search.space)
    sample = _sampler(search, players, num_batches, threshold)

    def update(key, clock, state, carry, split):
        keys = jax.random.split(key, num_samples)
        each = jax.lax.map(lambda key: sample(key, clock, state, split), keys)
        scores = players.normalised(
            each.mean(0) - each.std(0), players.left(state.mask)
        )
        carry = momentum * carry + (1 - momentum) * scores
        step = players.weights(step_size * carry)
        logits, edges = mixing.split(state.logits)
        logits = jax.tree.map(jnp.add, logits, step)
        return logits if edges is None else types.ArchParams(logits, edges), carry

    def call(key, clock, state, carry, split):
        following = clock.epoch + 1  # the epoch that the update comes before
        due = (following >= first) & (following < search.num_epochs)
        logits, carry = jax.lax.cond(
            due, update, _kept, key, clock, state, carry, split
        )
        return state._replace(logits=logits), carry, {}, False

    def init(state):
        return jnp.zeros(players.count, jnp.float32)

    return hook_lib.Hook(1, init, call, rows=np.arange)


def _sampler(search, players, num_batches, threshold) -> Callable:
    """Builds (key, Clock, state, split) -> f32[N], of one random order."""

    def sample(key, clock, state, split):
        order_key, batch_key, op_key = jax.random.split(key, 3)
        batches = signal_lib.drawn_batches(
            batch_key, split, search.augment, search.batch_size, num_batches
        )
        inputs = signal_lib.without_dropout(search.variant_inputs(clock))
        weights = search.weights_of(state)
        apply = functools.partial(search.supernet.apply, state.params)

        def value(kept):
            left = jax.tree.map(jnp.multiply, weights, players.weights(kept))
            return signal_lib.signal(op_key, search.task, apply, batches, left, inputs)

        order = jax.random.permutation(order_key, players.count)
        return contributions(value, order, threshold)

    return sample


def _kept(key, clock, state, carry, split) -> tuple[Any, Any]:
    """Leaves the logits and the carry as they are."""
    del key, clock, split
    return state.logits, carry


def _check(num_epochs, start, num_samples, num_batches) -> None:
    """Refuses numbers that are out of range."""
    rules = (
        ("epochs", num_epochs, num_epochs >= 2, "at least 2"),
        ("start", start, 0 <= start < 1, "from 0 to below 1"),
        ("num_samples", num_samples, num_samples >= 1, "at least 1"),
        ("num_batches", num_batches, num_batches >= 1, "at least 1"),
    )
    for name, value, holds, rule in rules:
        if not holds:
            raise ValueError(
                f"{name} must be {rule} with the hook shapley, got {value}. Change it."
            )


def contributions(
    value: Callable[[types.Array], types.Array], order: types.Array, threshold: float
) -> types.Array:
    """Removes players one by one; what is lost at each removal is its contribution.

    The mean over all orders is the Shapley value, if no order ends early.

    Args:
      value: kept f32[N] of zeros and ones -> f32[], the value of those players.
      order: i32[N], a permutation of the players.
      threshold: the removals end below this share of the value of all players.

    Returns:
      f32[N], 0 for players that were not removed.
    """
    everyone = jnp.ones(len(order), jnp.float32)
    whole = value(everyone)
    least = whole - (1 - threshold) * jnp.abs(whole)

    def going_on(carry):
        place, _, now, _ = carry
        return (place < len(order)) & (now >= least)

    def remove(carry):
        place, kept, now, lost = carry
        kept = kept.at[order[place]].set(0)
        after = value(kept)
        return place + 1, kept, after, lost.at[order[place]].set(now - after)

    begin = 0, everyone, whole, jnp.zeros(len(order), jnp.float32)
    return jax.lax.while_loop(going_on, remove, begin)[-1]


class _Players:
    """The options of a space as players, one after another."""

    def __init__(self, space: spaces.Space):
        """Lists the rows' own options, without those that fill a table up."""
        named = rows_lib.rows(space)
        most = rows_lib.flat(space, rows_lib.full(space, 0.0)).shape[1]
        real = np.arange(most) < [[len(row.options)] for row in named]
        self.space, self.shape = space, real.shape
        self.row, self.option = np.nonzero(real)
        self.count = len(self.row)
        groups = [row.group for row in named]
        of_player = np.array([groups.index(groups[row]) for row in self.row])
        self.group = np.unique(of_player, return_inverse=True)[1]

    def weights(self, values: types.Array) -> types.Weights:
        """Returns values f32[N] of the players like the weights, 0 elsewhere."""
        table = jnp.zeros(self.shape, values.dtype)
        return rows_lib.unflat(self.space, table.at[self.row, self.option].set(values))

    def left(self, mask: types.Mask | None) -> types.Array:
        """Returns 1 for the players that are not removed, 0 for the others: f32[N]."""
        if mask is None:
            return jnp.ones(self.count, jnp.float32)
        present = rows_lib.flat(self.space, mask)[self.row, self.option]
        return present.astype(jnp.float32)

    def normalised(self, values: types.Array, left: types.Array) -> types.Array:
        """Maps each group's values to mean 0 and deviation 1; equal ones to 0.

        Players that are removed do not count, and get 0.
        """
        num_groups = int(self.group.max()) + 1

        def sums(x):
            return jax.ops.segment_sum(x, self.group, num_groups)

        count = jnp.maximum(sums(left), 1)
        apart = (values - (sums(values * left) / count)[self.group]) * left
        spread = jnp.sqrt(sums(apart**2) / jnp.maximum(count - 1, 1))[self.group]
        # below it, what differs is rounding
        differs = spread > 1e-5 * jnp.abs(values).max()
        return jnp.where(differs, apart / jnp.where(differs, spread, 1), 0)
