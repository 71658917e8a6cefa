"""What a search does when its eigenvalue rises: early stopping, adaptive L2.

Source: Zela et al. 2020, arXiv:1909.09656, sections 4 and 5.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jnas import types


class Rise(NamedTuple):
    """RobustDARTS' rule for when an eigenvalue has risen.

    A search has collapsed when the mean of the last ``window`` eigenvalues is more than
    ``factor`` times the mean of the window that ends ``delay`` evaluations earlier. It
    rolls back to the evaluation in the middle of the earlier window, which must not lie
    before ``first_epoch``. With window 5 and delay 4 the last nine are held:

      evaluation   e1 e2 e3 e4 e5 e6 e7 e8 e9
      before       [-----------]                mean of e1 to e5; rolls back to e3
      now                      [-----------]    mean of e5 to e9

    Attributes:
      window: evaluations in a mean.
      delay: evaluations between the ends of the two windows.
      factor: ratio of the means above which the eigenvalue has risen.
      first_epoch: first epoch, counted from 0, that a search may roll back to.
    """

    window: int = 5
    delay: int = 4
    factor: float = 1.3
    first_epoch: int = 10

    @property
    def length(self) -> int:
        """Number of evaluations that a Watched must hold."""
        return self.window + self.delay

    @property
    def back(self) -> int:
        """Index, in a Watched, of the evaluation to roll back to."""
        return self.window - 1 - self.window // 2

    def risen(self, watched: Any) -> types.Array:
        """Returns whether the eigenvalue has risen, bool[].

        Args:
          watched: a Watched of ``length`` evaluations. The means leave out NaN, and no
            search rolls back to it.

        Raises:
          ValueError: a Watched of another length.
        """
        if len(watched.eigenvalues) != self.length:
            raise ValueError(
                f"watched must hold {self.length} evaluations, got "
                f"{len(watched.eigenvalues)}. Give watch and its hook the same Rise."
            )
        now = jnp.nanmean(watched.eigenvalues[-self.window :])
        before = jnp.nanmean(watched.eigenvalues[: self.window])
        known = ~jnp.isnan(watched.eigenvalues[self.back])
        late = watched.epochs[self.back] >= self.first_epoch
        return known & late & (now / before > self.factor)


def stop_early(rise: Rise) -> Callable:
    """Builds the rule of early stopping: end, with the cell from before the rise.

    Args:
      rise: the rule; the watch must be given the same one.

    Returns:
      (state, Watched) -> (state, Watched, {}).

    Source: Zela et al. 2020, arXiv:1909.09656, section 5.1 (DARTS-ES).
    """

    def decide(state, watched):
        stops = rise.risen(watched) & ~watched.stopped
        cell = jnp.where(stops, watched.encodings[rise.back], watched.answer)
        watched = watched._replace(stopped=watched.stopped | stops, answer=cell)
        return state, watched, {}

    return decide


def strengthen(rise: Rise, *, factor: float = 10.0, most: float = 0.03) -> Callable:
    """Builds the rule of adaptive L2: roll back, with a stronger weight decay.

    The whole state is restored from the evaluation before the rise, except for the
    learning rate's schedule, which continues. The weight decay, which must be an
    ``optimizers.carried_decay``, becomes min(factor * decay, most), and the earlier
    eigenvalues are forgotten.

    Args:
      rise: the rule; the watch must be given the same one.
      factor: multiplies the weight decay.
      most: largest weight decay; one that is already as large stays, and the search
        does not roll back.

    Returns:
      (state, Watched) -> (state, Watched, {"weight_decay": f32[]}).

    Raises:
      ValueError: when the rule is called, an optimizer without ``carried_decay`` or
        without a learning rate schedule, or a watch without snapshots.

    Source: Zela et al. 2020, arXiv:1909.09656, section 5.2 (DARTS-ADA). Differs: the
    epochs that were rolled back are not repeated.
    """

    def decide(state, watched):
        rate = _decay_rate(state, watched)
        stronger = jnp.minimum(rate * factor, jnp.maximum(rate, most))
        rises = rise.risen(watched) & (rate < most)
        forgotten = jnp.full_like(watched.eigenvalues, jnp.nan)
        state, eigenvalues, rate = jax.tree.map(
            lambda a, b: jnp.where(rises, a, b),
            (_restored(state, watched, rise.back, stronger), forgotten, stronger),
            (state, watched.eigenvalues, rate),
        )
        watched = watched._replace(eigenvalues=eigenvalues)
        return state, watched, {"weight_decay": rate}

    return decide


def _decay_rate(state, watched) -> types.Array:
    """Returns the weight decay of a state that can be rolled back; else raises."""
    rate = optax.tree.get(state.params_opt, "decay_rate")
    count = optax.tree.get(state.params_opt, "count")
    if rate is None or count is None or watched.snapshots is None:
        raise ValueError(
            "strengthen must be given a carried_decay, a learning rate schedule and a "
            "watch with snapshots, got at most two of them. Build the optimizer with "
            "decay=optimizers.carried_decay and the watch with snapshots=True."
        )
    return rate


def _restored(state, watched, index, decay_rate) -> Any:
    """Returns a snapshot, with today's step count and another weight decay."""
    back = jax.tree.map(lambda a: a[index], watched.snapshots)
    count = optax.tree.get(state.params_opt, "count")
    params_opt = optax.tree.set(back.params_opt, decay_rate=decay_rate, count=count)
    return back._replace(params_opt=params_opt)
