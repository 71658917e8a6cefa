"""Decides a cell edge by edge while the supernet trains: SGAS.

Source: Li et al. 2020, arXiv:1912.00195, section 3 and its released code.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import registry, spaces, types
from jnas.gradient import mixing
from jnas.gradient.hooks import hook as hook_lib
from jnas.spaces import rows as rows_lib

_WARM_UP, _AFTER, _EPOCHS = 9, 5, 50  # before, after the decisions, of all epochs
_HISTORY = 4


class Decided(NamedTuple):
    """What the hook carries, of R rows of at most O options.

    Attributes:
      shares: f32[R, O], softmax of the logits; a decided row keeps those it had then.
      undecided: bool[R].
      history: f32[H, R, O], shares of the last H epochs without ``none``, each row
        divided by its sum; the oldest first.
      known: i32[], number of epochs in the history, at most H.
    """

    shares: types.Array
    undecided: types.Array
    history: types.Array
    known: types.Array


@registry.HOOKS.register
def decide_edges(
    search: hook_lib.Search,
    *,
    warm_up: int | None = None,
    every: int | None = None,
    stability: bool = False,
) -> hook_lib.Hook:
    """Builds the hook that fixes the operation of one row of each group at a time.

    After ``warm_up`` epochs and then every few, in each kind of cell, the undecided row
    of largest score keeps its best operation alone. Where a node has the inputs that it
    keeps, its other edges are removed. With p the softmax of a row without ``none``,
    divided by its sum,

      score = n(sum of the row without none) * n(1 - H(p) / log O) [ * n(stability) ]

    where n maps the group's rows to [0, 1] by their minimum and maximum, and stability
    is the mean of sum min(p, p') over the last four epochs' p'.

    Args:
      search: that is decided.
      warm_up: epochs before the first decision; None is the paper's share of the
        search, 9 of 50.
      every: epochs between two decisions; None spreads them over the epochs but the
        last tenth, for DARTS' eight decisions in 50 epochs the paper's 5. In too few
        epochs rows stay undecided, and the cell is derived from their weights.
      stability: whether the third factor counts (criterion 2).

    Raises:
      ValueError: every below 1, or warm_up below 0.

    Source: arXiv:1912.00195, equations 1 to 4. Differs: batches do not grow, as a
    compiled step has one size; in a space that is not one of cells no row is removed.
    """
    rule = _Rule(search.space, stability)
    epochs = search.num_epochs
    first = round(_WARM_UP * epochs / _EPOCHS) if warm_up is None else warm_up
    step = every
    if every is None:  # the last decision leaves the paper's share of epochs
        left = epochs - 1 - round(_AFTER * epochs / _EPOCHS) - first
        step = max(1, left // max(1, rule.num_decisions - 1))
    if step < 1 or first < 0:
        raise ValueError(
            "decide_edges must have every at least 1 and warm_up at least 0, got "
            f"{every} and {warm_up}. Raise them."
        )

    def init(state):
        zeros = jnp.zeros((_HISTORY, *rule.options.shape))
        undecided = jnp.ones(len(rule.options), bool)
        return Decided(zeros[0], undecided, zeros, jnp.int32(0))

    def call(key, clock, state, carry, split):
        del key, split  # the logits decide
        logits, _ = mixing.split(state.logits)
        carry, own = rule.seen(mixing.masked(logits, state.mask), carry)
        due = (clock.epoch >= first) & ((clock.epoch - first) % step == 0)
        chosen = rule.chosen(own, carry) & due
        mask, undecided = rule.decided(state.mask, own, carry.undecided, chosen)
        carry = rule.remembered(carry._replace(undecided=undecided), own)
        values = {"undecided_rows": undecided.sum()}
        return state._replace(mask=mask), carry, values, False

    return hook_lib.Hook(1, init, call, metrics=("undecided_rows",), removes=True)


class _Rule:
    """The score and the decision, on the table of a space's rows."""

    def __init__(self, space: spaces.Space, stability: bool):
        """Reads what the rows of a space have in common."""
        self.space, self.stability = space, stability
        tables, named = rows_lib.tables(space), rows_lib.rows(space)
        is_none = rows_lib.flat(space, rows_lib.where(space, spaces.NONE))
        is_none &= rows_lib.has_edges(space)  # elsewhere it is an option's own name
        real = np.arange(is_none.shape[1]) < [[len(row.options)] for row in named]
        self.options = real & ~is_none  # bool[R, O]
        self.real = real
        groups = list(dict.fromkeys(row.group for row in named))
        self.groups = np.array([[row.group == g for row in named] for g in groups])
        self.choices, self.kept = tables.choices, tables.operations.shape[1]
        # of the group with most: each choice keeps that many of its rows
        each = [len(set(self.choices[group])) for group in self.groups]
        self.num_decisions = self.kept * max(each)

    def seen(self, logits, carry) -> tuple[Decided, types.Array]:
        """Returns the carry after an epoch, and p f32[R, O]."""
        flat = rows_lib.flat(self.space, logits, -jnp.inf)
        shares = jax.nn.softmax(flat, -1)
        shares = jnp.where(carry.undecided[:, None], shares, carry.shares)
        carry = carry._replace(shares=shares)
        own = jnp.where(self.options, shares, 0)
        return carry, own / jnp.maximum(own.sum(-1, keepdims=True), 1e-30)

    def remembered(self, carry, own) -> Decided:
        """Appends an epoch's p to the history, after it was compared with it."""
        history = jnp.concatenate([carry.history[1:], own[None]])
        known = jnp.minimum(carry.known + 1, _HISTORY)
        return carry._replace(history=history, known=known)

    def chosen(self, own, carry) -> types.Array:
        """Returns bool[R]: the best undecided row of each group, if it has one."""
        importance = jnp.where(self.options, carry.shares, 0).sum(-1)
        entropy = -jax.scipy.special.xlogy(own, own).sum(-1)
        most = np.log(np.maximum(self.options.sum(-1), 2))
        factors = [importance, 1 - entropy / most]
        if self.stability:
            alike = jnp.minimum(carry.history, own).sum(-1)  # [H, R]
            factors.append(alike.sum(0) / jnp.maximum(carry.known, 1))
        found = jnp.zeros(len(own), bool)
        for group in self.groups:
            score = jnp.prod(jnp.stack([_unit(f, group) for f in factors]), 0)
            open_ = carry.undecided & group
            best = jnp.where(open_, score, -1).argmax()
            found |= open_ & (jnp.arange(len(own)) == best)
        return found

    def decided(self, mask, own, undecided, chosen) -> tuple[types.Mask, types.Array]:
        """Returns the mask after a decision, and bool[R], rows that are undecided."""
        table = rows_lib.flat(self.space, mask, False)
        best = jnp.arange(own.shape[1]) == own.argmax(-1)[:, None]
        table = jnp.where(chosen[:, None], best & self.options & table, table)
        undecided &= ~chosen
        rivals = self.choices[:, None] == self.choices
        counted = (~undecided & table.any(-1)).astype(jnp.int32)
        full = (rivals * counted).sum(-1) >= self.kept
        dropped = undecided & full
        table = jnp.where(dropped[:, None], False, table)
        return rows_lib.unflat(self.space, table), undecided & ~dropped


def _unit(values: types.Array, group: np.ndarray) -> types.Array:
    """Maps the values of a group to [0, 1]; equal ones to 0."""
    least = jnp.where(group, values, jnp.inf).min()
    span = jnp.where(group, values, -jnp.inf).max() - least
    return jnp.where(span > 0, (values - least) / jnp.where(span > 0, span, 1), 0)
