"""Hooks: calls at ends of epochs, each with a carry of its own.

A hook may change the state of a search (roll it back, remove options), report metrics,
and end the search. A method names any number of them; they are called in order, each
with the state that the one before has left.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import networks, pieces, registry, spaces, types
from jnas.data import augment as augment_lib
from jnas.data import task as task_lib
from jnas.data import tasks
from jnas.training import program


class Search(NamedTuple):
    """What a hook is built from: the search that it belongs to.

    Attributes:
      supernet: the network that is searched.
      weights_of: state -> the weights that an architecture is derived from.
      selection: (space, weights) -> encoding.
      augment: mean and standard deviation that images are normalised with.
      batch_size: images of a forward pass.
      num_epochs: E, of the program that calls the hook.
      interval: epochs between two checks for collapse; 0 disables them.
      variant_inputs: Clock -> what the edge variant needs.
      task: what is learned.
      progress: Clock -> f32[], that the schedules of pieces follow; None is their end.
      limits: of the derived cell's costs.
    """

    supernet: networks.Supernet
    weights_of: Callable[..., types.Weights]
    selection: types.Selection
    augment: augment_lib.Augment
    batch_size: int
    num_epochs: int
    interval: int = 1
    variant_inputs: Callable = lambda clock: networks.VariantInputs()
    task: task_lib.Task = tasks.CLASSIFICATION
    progress: Callable | None = None
    limits: tuple[networks.Limit, ...] = ()

    @property
    def space(self) -> spaces.Space:
        """The space that is searched."""
        return self.supernet.space

    def weights_at(self, clock: Any, state: Any) -> types.Weights:
        """Returns ``weights_of`` with its schedules where the search is.

        Args:
          clock: of the epoch that has ended.
          state: of the search.
        """
        if self.progress is None:
            return self.weights_of(state)
        return self.weights_of(state, self.progress(clock))


class Hook(NamedTuple):
    """A call at ends of epochs.

    Attributes:
      every: epochs between two calls, at least 1, counted from the start.
      init: state -> the hook's own carry, before the first epoch.
      call: (key, Clock, state, carry, (images, labels)) -> (state, carry, values,
        stop); the split is that of the architecture. values is metric -> f32[]; stop is
        bool[], or False.
      metrics: names of the values.
      removes: whether it narrows ``state.mask``; a search without such a hook has none.
      rows: number N of images of the split -> the rows of it that the call reads, i[K],
        such as ``np.arange``; a call of a hook without it gets None for the split.
      found: carry -> (bool[], i32[G]), whether the search returns this encoding in
        place of the derived one; None never does.
      score: carry -> f32[], how good what ``found`` gives is, higher is better, by
        which one of several searches is chosen; None leaves that to the signal.
      stream: number of its random stream; ``build`` gives each hook its place.
      due: epoch i32[], from 0 -> bool[], whether it is called at the end of that epoch;
        None calls it every ``every``.
      repeats: epochs that a search repeats at most because the hook rolled it back; its
        program is longer by as many, and the hook ends it when its own epochs are done.
      clock: (carry, Clock of the program) -> Clock of the epoch that a search is in,
        where the hook rolls it back; None where it does not.
    """

    every: int
    init: Callable[[Any], Any]
    call: Callable[..., tuple[Any, Any, dict[str, types.Array], Any]]
    metrics: tuple[str, ...] = ()
    removes: bool = False
    rows: Callable[[int], np.ndarray] | None = None
    found: Callable[[Any], tuple[types.Array, types.Encoding]] | None = None
    score: Callable[[Any], types.Array] | None = None
    stream: int = 0
    due: Callable[[types.Array], types.Array] | None = None
    repeats: int = 0
    clock: Callable[[Any, program.Clock], program.Clock] | None = None


class HookState(NamedTuple):
    """What a search keeps of one hook.

    Attributes:
      carry: the hook's own.
      values: metrics of its last call; NaN before the first.
      stop: bool[], whether it ended the search.
    """

    carry: Any
    values: dict[str, types.Array]
    stop: types.Array


def build(hooks: Sequence[pieces.Piece], search: Search) -> tuple[Hook, ...]:
    """Builds the hooks that a method names; those that are disabled are left out.

    Args:
      hooks: registered names, or functions of a Search that return a Hook or None.
      search: that they belong to.

    Raises:
      KeyError: a hook that is not registered; the nearest is guessed.
      ValueError: one that is never called.
    """
    made = [pieces.resolve(registry.HOOKS, one)(search) for one in hooks]
    for named, one in zip(hooks, made, strict=True):
        name = pieces.name_of(registry.HOOKS, named)
        if one is not None and one.every < 1:
            raise ValueError(
                f"hook {name} must have every at least 1, got {one.every}. Raise it."
            )
        if one is not None and one.removes and one.every > search.num_epochs:
            raise ValueError(
                f"hook {name} must be called once at least, got every {one.every} in "
                f"{search.num_epochs} epochs. Lower --options=hook.{name}.every."
            )
    return tuple(
        one._replace(stream=place) for place, one in enumerate(made) if one is not None
    )


def begin(hooks: Sequence[Hook], state: Any) -> tuple[HookState, ...]:
    """Returns what a search keeps of its hooks before the first epoch.

    Args:
      hooks: of the search.
      state: of the search, without hooks.
    """
    return tuple(
        HookState(
            one.init(state),
            {name: jnp.full((), jnp.nan, jnp.float32) for name in one.metrics},
            jnp.zeros((), bool),
        )
        for one in hooks
    )


def at_epoch_end(hooks: Sequence[Hook]) -> Callable:
    """Builds the call after each epoch: every hook that is due, in order.

    Args:
      hooks: of the search, at least one.

    Returns:
      (key, Clock, state, splits) -> (state, metrics of all hooks).
    """

    def call(key, clock, state, splits):
        streams = max(2, *(hook.stream + 1 for hook in hooks))
        keys, kept = jax.random.split(key, streams), state.hooks
        after, values = [], {}
        clock = clock_of(hooks, kept, clock)
        state = state._replace(hooks=())
        for hook, own in zip(hooks, kept, strict=True):
            own_key = keys[hook.stream]
            state, own = _due(hook, own_key, clock, state, own, splits[1])
            after.append(own)
            values |= own.values
        return state._replace(hooks=tuple(after)), values

    return call


def _due(hook, key, clock, state, own, split) -> tuple[Any, HookState]:
    """Calls a hook if it is due."""

    def call(key, clock, state, own, split):
        images = split if hook.rows is not None else None
        state, carry, values, stop = hook.call(key, clock, state, own.carry, images)
        _check_carry(own.carry, carry)
        if set(values) != set(hook.metrics):
            raise ValueError(
                f"a hook must give the values that its metrics name, "
                f"{', '.join(hook.metrics) or 'none'}, got {', '.join(values)}. Name "
                "them in Hook(metrics=...)."
            )
        values = {n: jnp.asarray(v, jnp.float32) for n, v in values.items()}
        return state, HookState(carry, values, own.stop | stop)

    if hook.due is not None:
        due = hook.due(clock.epoch)
    elif hook.every == 1:
        return call(key, clock, state, own, split)
    else:
        due = (clock.epoch + 1) % hook.every == 0
    return jax.lax.cond(
        due, call, lambda *given: (given[2], given[3]), key, clock, state, own, split
    )


def clock_of(
    hooks: Sequence[Hook], kept: Sequence[HookState], clock: program.Clock
) -> program.Clock:
    """Returns the Clock of the epoch that a search is in, of one that is rolled back.

    Args:
      hooks: of the search.
      kept: what it keeps of them.
      clock: of the program, whose epochs count those that were rolled back too.
    """
    for hook, own in zip(hooks, kept, strict=True):
        if hook.clock is not None:
            clock = hook.clock(own.carry, clock)
    return clock


def _check_carry(before: Any, after: Any) -> None:
    """Refuses a call that gives its carry other shapes or types."""
    was, now = jax.tree.map(_kind, before), jax.tree.map(_kind, after)
    if was != now:
        raise ValueError(
            f"a hook must keep the shapes and types of its carry, {was!s:.100}, got "
            f"{now!s:.100}. Give it back as init makes it."
        )


def _kind(leaf: Any) -> tuple:
    array = jnp.asarray(leaf) if not hasattr(leaf, "dtype") else leaf
    return array.shape, str(array.dtype)


def rows_of(hooks: Sequence[Hook], count: int) -> np.ndarray:
    """Returns the rows of a split that hooks read.

    Args:
      hooks: of the search.
      count: N, number of images.

    Returns:
      i[K], increasing; each hook's ``rows`` of a split of these alone must pick the
      same images.
    """
    wanted = [hook.rows(count) for hook in hooks if hook.rows is not None]
    if not wanted:
        return np.arange(0)
    if len(wanted) == 1 or any(len(one) == count for one in wanted):
        return max(wanted, key=len)
    return np.arange(count)


def ended(hooks: Sequence[HookState]) -> types.Array:
    """Returns bool[], whether a hook has ended the search.

    Args:
      hooks: what the search keeps of them.
    """
    stops = [one.stop for one in hooks]
    return jnp.stack(stops).any(0) if len(stops) > 1 else stops[0]


def found(
    hooks: Sequence[Hook], kept: Sequence[HookState], derived: types.Encoding
) -> types.Encoding:
    """Returns the encoding that a search ends with.

    Args:
      hooks: of the search.
      kept: what it keeps of them.
      derived: i32[G], derived from its weights.
    """
    for hook, own in zip(hooks, kept, strict=True):
        if hook.found is not None:
            stands, encoding = hook.found(own.carry)
            derived = jnp.where(stands, encoding, derived)
    return derived
