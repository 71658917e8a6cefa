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
    rolls back to the middle of the earlier window: as many epochs back as there would
    be without an earlier roll back, which must not be before ``first_epoch``. With
    window 5 and delay 4 the last nine are compared:

      evaluation   e1 e2 e3 e4 e5 e6 e7 e8 e9
      before       [-----------]                mean of e1 to e5; rolls back to e3
      now                      [-----------]    mean of e5 to e9

    Attributes:
      window: evaluations in a mean.
      delay: evaluations between the ends of the two windows.
      factor: ratio of the means above which the eigenvalue has risen.
      first_epoch: first epoch, counted from 0, that a search may roll back to.
      every: epochs between two evaluations.
      last_epoch: of the search, at whose end nothing is decided; None decides at all.
      length: evaluations that a Watched holds; None for ``compared``.
    """

    window: int = 5
    delay: int = 4
    factor: float = 1.3
    first_epoch: int = 10
    every: int = 1
    last_epoch: int | None = None
    length: int | None = None

    @property
    def compared(self) -> int:
        """Number of evaluations in the two windows."""
        return self.window + self.delay

    @property
    def back(self) -> int:
        """Number of evaluations from the last one to that which is gone back to."""
        return self.window // 2 + self.delay

    def place(self, watched: Any) -> types.Array:
        """Returns the index, in a Watched, of the evaluation to roll back to, i32[].

        It is the last evaluation of its epoch; -1 where none is held.

        Args:
          watched: a Watched of at least ``compared`` evaluations.
        """
        wanted = watched.epochs[-1] - self.back * self.every
        index = jnp.arange(len(watched.epochs))
        found = (watched.epochs == wanted) & (wanted >= 0)
        return jnp.where(found, index, -1).max()

    def risen(self, watched: Any) -> types.Array:
        """Returns whether the eigenvalue has risen, bool[].

        Args:
          watched: a Watched of at least ``compared`` evaluations. The means leave out
            NaN, and no search rolls back to it.

        Raises:
          ValueError: a Watched of fewer.
        """
        if len(watched.eigenvalues) < self.compared:
            raise ValueError(
                f"watched must hold {self.compared} evaluations, got "
                f"{len(watched.eigenvalues)}. Give watch and its hook the same Rise."
            )
        own = watched.eigenvalues[-self.compared :]
        now, before = jnp.nanmean(own[-self.window :]), jnp.nanmean(own[: self.window])
        place = self.place(watched)
        known = (place >= 0) & ~jnp.isnan(watched.eigenvalues[place])
        late = watched.epochs[place] >= self.first_epoch
        if self.last_epoch is not None:
            late &= watched.epochs[-1] < self.last_epoch
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
        cell = jnp.where(stops, watched.encodings[rise.place(watched)], watched.answer)
        watched = watched._replace(stopped=watched.stopped | stops, answer=cell)
        return state, watched, {}

    return decide


def strengthen(
    rise: Rise, *, factor: float = 10.0, most: float = 0.03, rolls: int = 2
) -> Callable:
    """Builds the rule of adaptive L2: roll back, with a stronger weight decay.

    The whole state is restored from the evaluation before the rise, and with it the
    place in the learning rate's schedule: the epochs after it are repeated. The weight
    decay, which must be an ``optimizers.carried_decay``, becomes min(factor * decay,
    most). Eigenvalues of the epochs that were rolled back stay in the windows. A search
    whose last epoch is done stops, with the cell that it derives.

    Args:
      rise: the rule; the watch must be given the same one.
      factor: multiplies the weight decay.
      most: largest weight decay; one that is already as large stays, and the search
        does not roll back.
      rolls: how often it may.

    Returns:
      (state, Watched) -> (state, Watched, {"weight_decay": f32[]}).

    Raises:
      ValueError: when the rule is called, an optimizer without ``carried_decay`` or
        without a learning rate schedule, or a watch without snapshots.

    Source: Zela et al. 2020, arXiv:1909.09656, section 5.2 (DARTS-ADA) and its released
    code, in which the eigenvalues stay by an argument that is left out.
    """

    def decide(state, watched):
        rate = _decay_rate(state, watched)
        stronger = jnp.minimum(rate * factor, jnp.maximum(rate, most))
        far = rise.back * rise.every
        rises = rise.risen(watched) & (rate < most) & ~watched.stopped
        rises &= watched.repeated < rolls * far
        state, rate = jax.tree.map(
            lambda a, b: jnp.where(rises, a, b),
            (_restored(watched, rise.place(watched), stronger), stronger),
            (state, rate),
        )
        ends = jnp.zeros((), bool)
        if rise.last_epoch is not None:
            ends = (watched.epochs[-1] == rise.last_epoch) & ~watched.stopped
        watched = watched._replace(
            repeated=watched.repeated + jnp.where(rises, far, 0),
            stopped=watched.stopped | ends,
            answer=jnp.where(ends, watched.encodings[-1], watched.answer),
        )
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


def _restored(watched, place, decay_rate) -> Any:
    """Returns a snapshot with another weight decay."""
    back = jax.tree.map(lambda a: a[place], watched.snapshots)
    return back._replace(
        params_opt=optax.tree.set(back.params_opt, decay_rate=decay_rate)
    )
