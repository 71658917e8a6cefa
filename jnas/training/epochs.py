"""The steps of a run, epoch after epoch, as pure functions of its state."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnas import types
from jnas.data import batches
from jnas.training import placement


class State(NamedTuple):
    """State that a program carries from call to call.

    Attributes:
      key: PRNG key of the whole run; each step folds its number into it.
      inner: the method's own state.
      sums: metric -> f32[], summed over the steps of this epoch so far.
      broken: i32[], number of the first step (from 1) with a metric that was not
        finite; 0 if there is none.
    """

    key: types.Key
    inner: Any
    sums: dict[str, types.Array]
    broken: types.Array


class Clock(NamedTuple):
    """Position of a step in its run.

    Attributes:
      epoch: i32[], number of the epoch, from 0.
      progress: f32[], fraction of the run, from 0 to 1.
      step: i32[], number of the step in the run, from 0; at the end of an epoch that of
        the next one.
    """

    epoch: types.Array
    progress: types.Array
    step: types.Array | int = 0


class Epochs(NamedTuple):
    """The steps of one run, epoch after epoch, as pure functions.

    Step n is step n mod E of epoch n div E, with E steps per epoch. A split is visited
    in an order that depends on the run's key, the split and the epoch alone; a split of
    fewer batches starts again within the epoch:

        epoch             0                1
        split 0    b3 b0 b2 b1      b1 b3 b0 b2
        split 1    b1 b0 b1 b0      b0 b1 b0 b1
    """

    init: Callable
    step: Callable
    at_epoch_end: Callable | None
    measure: Callable | None
    metrics: tuple[str, ...]
    num_examples: tuple[int, ...]
    batch_size: int
    num_epochs: int

    @property
    def sizes(self) -> list[int]:
        """Number of batches of each split."""
        return [batches.num_batches(n, self.batch_size) for n in self.num_examples]

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches of the first split."""
        return self.sizes[0]

    @property
    def num_steps(self) -> int:
        """Number of steps of the whole run."""
        return self.num_epochs * self.steps_per_epoch

    def start(self, key):
        """Returns the state before the first step."""
        init_key, run_key = jax.random.split(key)
        sums = {name: jnp.zeros(()) for name in self.metrics}
        return State(run_key, self.init(init_key), sums, jnp.int32(0))

    def advance(self, state, first, stop, splits):
        """Runs the steps from first up to stop, which lie in one epoch."""
        orders = self.orders(state.key, first // self.steps_per_epoch)

        def pick(number):
            place = number % self.steps_per_epoch
            return tuple(
                batches.take(x, y, order[place % size])
                for (x, y), order, size in zip(
                    splits[: len(orders)], orders, self.sizes, strict=True
                )
            )

        return self.steps(state, first, stop, pick)

    def advance_chunk(self, state, first, stop, begin, chunk):
        """Runs the same steps on batches that were picked before, from step begin."""
        return self.steps(
            state,
            first,
            stop,
            lambda number: jax.tree.map(lambda x: x[number - begin], chunk),
        )

    def orders(self, key, epoch):
        """Returns the rows of every batch of an epoch, for each split."""
        key, _, _ = jax.random.split(key, 3)
        return [
            batches.order(jax.random.fold_in(key, split), epoch, n, self.batch_size)
            for split, n in enumerate(self.num_examples)
        ]

    def steps(self, state, first, stop, pick):
        """Runs the steps from first up to stop on the batches that pick gives."""
        begins = first % self.steps_per_epoch == 0
        sums = {n: jnp.where(begins, 0.0, s) for n, s in state.sums.items()}

        def picked(number):
            return tuple(placement.split(batch) for batch in pick(number))

        # A batch is picked one step before it is used, and carried there: XLA fuses
        # nothing across, so that where it comes from decides no rounding.
        carry = (state.inner, sums, state.broken), picked(first)
        _, step_key, _ = jax.random.split(state.key, 3)
        body = self.body(step_key, picked)
        (inner, sums, broken), _ = jax.lax.fori_loop(first, stop, body, carry)
        done = (stop - 1) % self.steps_per_epoch + 1
        means = {n: s / done for n, s in sums.items()}
        return State(state.key, inner, sums, broken), means

    def body(self, step_key, picked):
        """Builds (step's number, (carry, its batches)) -> the same of the next step."""

        def body(number, carry):
            (inner, sums, broken), batch = carry
            key = jax.random.fold_in(step_key, number)
            epoch = number // self.steps_per_epoch
            clock = Clock(epoch, number / self.num_steps, number)
            inner, new = self.step(key, clock, inner, batch)
            values = jnp.stack([new[name] for name in self.metrics])
            healthy = jnp.isfinite(values).all()
            broken = jnp.where(healthy | (broken > 0), broken, number + 1)
            sums = {n: sums[n] + new[n] for n in self.metrics}
            return (inner, sums, broken), picked(number + 1)

        return body

    def measured(self, state, epoch, splits):
        """Calls measure after an epoch."""
        return self.measure(*self.between_steps(state, epoch), splits)

    def between(self, state, epoch, splits):
        """Calls at_epoch_end after an epoch, and before it measure if there is one."""
        seen = self.measured(state, epoch, splits) if self.measure else splits
        return self.noted(state, epoch, seen)

    def noted(self, state, epoch, seen):
        """Calls at_epoch_end after an epoch, with splits or what measure gave."""
        inner, new = self.at_epoch_end(*self.between_steps(state, epoch), seen)
        return state._replace(inner=inner), new

    def between_steps(self, state, epoch):
        """Returns the key, the clock and the state of what is done after an epoch."""
        _, _, key = jax.random.split(state.key, 3)
        step = (epoch + 1) * self.steps_per_epoch
        clock = Clock(epoch, (epoch + 1) / self.num_epochs, step)
        return jax.random.fold_in(key, epoch), clock, state.inner


class Seeds(NamedTuple):
    """Several runs side by side: the same functions, with a leading axis S."""

    run: Epochs
    num_seeds: int
    over_seeds: Callable

    def start(self, key):
        """Returns the states before the first step."""
        return jax.vmap(self.run.start)(jax.random.split(key, self.num_seeds))

    def advance(self, state, first, stop, splits):
        """Runs steps of every seed, each in its own order."""
        return self.over_seeds(self.run.advance, state, first, stop, splits)

    def advance_chunk(self, state, first, stop, begin, chunk):
        """Runs steps of every seed on its own batches."""

        def one(pair, first, stop, begin):
            return self.run.advance_chunk(pair[0], first, stop, begin, pair[1])

        return self.over_seeds(one, (state, chunk), first, stop, begin)

    def orders(self, key, epoch):
        """Returns the rows of every batch of an epoch, for each seed and split."""
        return jax.vmap(self.run.orders, (0, None))(key, epoch)

    def measured(self, state, epoch, splits):
        """Calls measure for every seed."""
        return self.over_seeds(self.run.measured, state, epoch, splits)

    def between(self, state, epoch, splits):
        """Calls at_epoch_end for every seed."""
        return self.over_seeds(self.run.between, state, epoch, splits)

    def noted(self, state, epoch, seen):
        """Calls at_epoch_end for every seed, with splits or what measure gave it."""
        if not self.run.measure:
            return self.over_seeds(self.run.noted, state, epoch, seen)

        def one(pair, epoch):
            return self.run.noted(pair[0], epoch, pair[1])

        return self.over_seeds(one, (state, seen), epoch)
