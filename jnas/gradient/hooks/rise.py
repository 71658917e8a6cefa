"""What follows when a search's eigenvalue rises: it ends early, or decays more.

Source: Zela et al. 2020, arXiv:1909.09656, sections 4 and 5.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jnas import types


class Rise(NamedTuple):
    """When an eigenvalue has risen: RobustDARTS' rule.

    A search has collapsed when the mean of the last ``window`` eigenvalues is more than
    ``factor`` times that of ``delay`` looks before. It goes back to the look in the
    middle of the earlier window, which must not lie before ``first_epoch``.

    Attributes:
      window: looks.
      delay: looks.
      factor: of the means.
      first_epoch: from 0.
    """

    window: int = 5
    delay: int = 4
    factor: float = 1.3
    first_epoch: int = 10

    @property
    def length(self) -> int:
        """Looks that must be remembered."""
        return self.window + self.delay

    @property
    def back(self) -> int:
        """Place, among those remembered, of the look that is gone back to."""
        return self.window - 1 - self.window // 2

    def risen(self, watched: Any) -> types.Array:
        """Returns bool[]."""
        now = jnp.nanmean(watched.eigenvalues[-self.window :])
        before = jnp.nanmean(watched.eigenvalues[: self.window])
        known = ~jnp.isnan(watched.eigenvalues[self.back])
        late = watched.epochs[self.back] >= self.first_epoch
        return known & late & (now / before > self.factor)


def stop_early(rise: Rise) -> Callable:
    """Builds the answer of early stopping: end, with the cell from before the rise.

    Args:
      rise: when.

    Source: Zela et al. 2020, arXiv:1909.09656, section 5.1 (DARTS-ES).
    """

    def answer(key, clock, state, split):
        del key, clock, split  # what was seen decides
        watched = state.watched
        stops = rise.risen(watched) & ~watched.stopped
        cell = jnp.where(stops, watched.encodings[rise.back], watched.answer)
        watched = watched._replace(stopped=watched.stopped | stops, answer=cell)
        return state._replace(watched=watched)

    return answer


def strengthen(rise: Rise, *, factor: float = 10.0, most: float = 0.03) -> Callable:
    """Builds the answer of adaptive L2: go back, with a stronger weight decay.

    The whole state goes back to the look before the rise; the schedule of the learning
    rate goes on, and the weight decay, an ``optimizers.carried_decay``, is multiplied.

    Args:
      rise: when.
      factor: of the weight decay.
      most: largest weight decay.

    Raises:
      ValueError: when it answers, an optimiser without ``carried_decay`` or without a
        schedule of the learning rate, or a watch without snapshots.

    Source: Zela et al. 2020, arXiv:1909.09656, section 5.2 (DARTS-ADA). Differs: the
    epochs that were rolled back are not made again.
    """

    def answer(key, clock, state, split):
        del key, clock, split  # what was seen decides
        watched = state.watched
        rate = optax.tree.get(state.params_opt, "decay_rate")
        count = optax.tree.get(state.params_opt, "count")
        if rate is None or count is None or watched.snapshots is None:
            raise ValueError(
                "strengthen must be given a carried_decay, a schedule of the learning "
                "rate and a watch with snapshots, got none of one. Build them so."
            )
        stronger = jnp.minimum(rate * factor, jnp.maximum(rate, most))
        back = jax.tree.map(lambda a: a[rise.back], watched.snapshots)
        back = back._replace(
            params_opt=optax.tree.set(
                back.params_opt,
                decay_rate=stronger,
                count=count,
            )
        )
        unseen = jnp.full_like(watched.eigenvalues, jnp.nan)
        values = watched.values | {"weight_decay": rate}
        rises = rise.risen(watched) & (rate < most)
        moved, eigenvalues, rate = jax.tree.map(
            lambda a, b: jnp.where(rises, a, b),
            (back, unseen, stronger),
            (state._replace(watched=None), watched.eigenvalues, rate),
        )
        values["weight_decay"] = rate
        return moved._replace(
            watched=watched._replace(eigenvalues=eigenvalues, values=values)
        )

    return answer
