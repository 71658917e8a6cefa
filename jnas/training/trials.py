"""Many trainings of one network as one program: a rung is a loop, the best continue.

The state of all trials is stacked. A loop with traced bounds runs over the trials that
are still in a rung, a few side by side, so that one compiled body trains every trial
of every rung, and the division of the steps into calls does not change a bit:

    step        0 .. S-1     S .. 2S-1    ...   6S .. 8S-1       ...
    rung        0            0                  1
    slot        0            1                  0
    trial       ranked[0]    ranked[1]          ranked[0], best of rung 0
    epochs      0 to 1       0 to 1             1 to 3
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import types
from jnas.data import batches
from jnas.training import devices, placement, rungs, scratch
from jnas.training import program as program_lib
from jnas.training.promotion import LOST, Trials

METRICS = ("train_loss",)


class Tuning(NamedTuple):
    """What a tuning is made of.

    Attributes:
      trainer: numbers, name -> f32[] -> scratch.Trainer. Called while tracing.
      measure: (key, numbers, TrainState, (images, labels)) -> score f32[].
      draw: key -> numbers, name -> f32[T].
      rungs: the plan.
      promote: (key, Trials, rung's number i32[], rung's first and num_trials i32[]) ->
        Trials, called at the end of each rung.
      num_examples: number N of examples of the training split.
      batch_size: number B of examples in a batch.
      side_by_side: trials that are trained at once; None means 1 on CPU, where trials
        side by side are no faster, and 16 elsewhere.
      signal: name of what ``measure`` measures.
    """

    trainer: Callable
    measure: Callable
    draw: Callable
    rungs: Sequence[rungs.Rung]
    promote: Callable
    num_examples: int
    batch_size: int
    side_by_side: int | None = None
    signal: str = scratch.VALID


def program(tuning: Tuning) -> program_lib.Program:
    """Builds the tuning as one program, an epoch of which is a rung.

    All trials start from the same weights and see the same batches, so that they differ
    by their numbers alone. A trial that diverges keeps its last finite state and ranks
    last; nothing stops.

    Args:
      tuning: what it is made of.

    Returns:
      The program; its state's ``inner`` is ``Trials``. At the end of a rung its metrics
      have the tuning's ``signal``, the best of the rung's trials, ``trials`` and
      ``diverged``.
    """
    run = _Run(tuning)
    placement.check_batch(tuning.batch_size, run.width)
    place = {"count": run.width}
    return program_lib.Program(
        program_lib.once(run.start, **place),
        placement.jit(run.advance, donate_argnums=0, **place),
        run.ends[-1],
        max(1, run.ends[-1] // len(run.ends)),
        METRICS,
        None,
        placement.jit(run.between, donate_argnums=0, **place),
        between="validation",
        ends=run.ends,
        groups=run.width,
    )


def untrained(tuning: Tuning, key: types.Key) -> tuple[Trials, types.Key, types.Key]:
    """Draws the trials of a tuning, without weights.

    Args:
      tuning: what they are of.
      key: consumed.

    Returns:
      (trials, whose ``train`` is (), key of the weights, key of the run).
    """
    init_key, run_key = jax.random.split(key)
    draw_key, net_key = jax.random.split(init_key)
    count = rungs.num_trials(tuning.rungs)
    none = jnp.full(count, -1, jnp.int32)
    zero = jnp.zeros(count, jnp.int32)
    trials = Trials(
        jnp.arange(count), tuning.draw(draw_key), (), jnp.zeros(count), none, zero,
        jnp.zeros(count, bool), none, jnp.int32(0),
    )  # fmt: skip
    return trials, net_key, run_key


def noted(
    tuning: Tuning,
    key: types.Key,
    trials: Trials,
    score: types.Array,
    number: types.Array,
) -> tuple[Trials, dict[str, types.Array]]:
    """Notes the scores that a rung's trials have reached, and promotes.

    Args:
      tuning: what the trials are of.
      key: of the promotion.
      trials: after the rung's last step.
      score: f32[T]; of other trials than the rung's the last one.
      number: i32[], of the rung.

    Returns:
      (trials, metrics of the rung).
    """
    rung = rungs.Rung(*jnp.array(tuning.rungs, jnp.int32)[number])
    trials, metrics = _noted(trials, score, rung, number, tuning.signal)
    return tuning.promote(key, trials, number, rung.first, rung.num_trials), metrics


def keys_between(key: types.Key, number: types.Array) -> tuple[types.Key, types.Key]:
    """Returns the keys of a rung's evaluation and of its promotion.

    Args:
      key: of the run.
      number: i32[], of the rung.
    """
    _, _, between_key = jax.random.split(key, 3)
    return tuple(jax.random.split(jax.random.fold_in(between_key, number)))


class _Run:
    """The steps of a tuning as pure functions."""

    def __init__(self, tuning: Tuning):
        """Lays out the steps of each rung."""
        self.tuning = tuning
        given = tuning.side_by_side
        default = 1 if devices.default_over_runs() is devices.in_turn else 16
        most = max(one.num_trials for one in tuning.rungs)
        self.width = min(given or default, most)
        self.steps = batches.num_batches(tuning.num_examples, tuning.batch_size)
        sizes = [
            math.ceil(one.num_trials / self.width) * (one.stop - one.start) * self.steps
            for one in tuning.rungs
        ]
        self.ends = tuple(int(end) for end in np.cumsum(sizes))
        if self.ends[-1] >= 2**31:
            raise ValueError(
                f"trials must give fewer than 2**31 steps, got {self.ends[-1]}. Lower "
                "trials or epochs."
            )

    def start(self, key):
        """Returns the state before the first step."""
        inner, net_key, run_key = untrained(self.tuning, key)
        train = jax.vmap(lambda own: self.tuning.trainer(own).init(net_key))
        inner = inner._replace(train=train(inner.numbers))
        sums = {name: jnp.zeros(()) for name in METRICS}
        return program_lib.State(run_key, inner, sums, jnp.int32(0))

    def rung(self, number):
        """Returns a rung with traced fields, and the number of its first step."""
        table = jnp.array(self.tuning.rungs, jnp.int32)
        begins = jnp.array((0, *self.ends), jnp.int32)
        return rungs.Rung(*table[number]), begins[number]

    def rows(self, state, rung, chunk):
        """Returns the trials of a chunk: their numbers, and T where there is none."""
        slots = chunk * self.width + jnp.arange(self.width)
        found = state.ranked[rung.first + jnp.minimum(slots, rung.num_trials - 1)]
        return found, jnp.where(slots < rung.num_trials, found, len(state.ranked))

    def advance(self, state, first, stop, splits):
        """Runs the steps from first up to stop, which lie in one rung."""
        order_key, step_key, _ = jax.random.split(state.key, 3)
        number = jnp.searchsorted(jnp.array(self.ends), first, side="right")
        rung, begin = self.rung(number)
        fresh = first == begin
        sums = {n: jnp.where(fresh, 0.0, s) for n, s in state.sums.items()}
        inner = state.inner._replace(counted=jnp.where(fresh, 0, state.inner.counted))
        first, stop = first - begin, stop - begin

        def unit(number, carry):
            """Trains a chunk for an epoch, or the part of it that lies in the call."""
            inner, total = carry
            chunk, epoch = jnp.divmod(number, rung.stop - rung.start)
            begin = number * self.steps
            steps = jnp.maximum(first - begin, 0), jnp.minimum(stop - begin, self.steps)
            return self.train(
                inner, total, self.rows(inner, rung, chunk), rung.start + epoch, steps,
                (order_key, step_key), splits[0],
            )  # fmt: skip

        last = (stop + self.steps - 1) // self.steps
        total = sums[METRICS[0]]
        inner, total = jax.lax.fori_loop(
            first // self.steps, last, unit, (inner, total)
        )
        mean = total / jnp.maximum(inner.counted, 1)
        state = program_lib.State(state.key, inner, {METRICS[0]: total}, state.broken)
        return state, {METRICS[0]: mean}

    def train(self, inner, total, rows, epoch, steps, keys, split):
        """Trains some trials for steps of an epoch."""
        found, targets = rows
        order_key, step_key = keys
        order = batches.order(
            order_key, epoch, self.tuning.num_examples, self.tuning.batch_size
        )
        whole = max(one.stop for one in self.tuning.rungs) * self.steps
        pick = (inner.numbers, inner.train, inner.diverged)
        numbers, train, diverged = jax.tree.map(lambda x: x[found], pick)

        def step(place, carry):
            number = epoch * self.steps + place
            clock = program_lib.Clock(epoch, number / whole)
            batch = placement.split(batches.take(*split, order[place]))
            key = jax.random.fold_in(step_key, number)
            train, diverged, total, counted = carry
            rows = numbers, train, diverged
            new, now, losses = self.side_by_side(self.guarded, rows, key, clock, batch)
            counts = ~now & (targets < len(inner.ranked))
            total += jnp.where(counts, losses, 0).sum()
            return new, now, total, counted + counts.sum(dtype=jnp.int32)

        train, diverged, total, counted = jax.lax.fori_loop(
            *steps, step, (train, diverged, total, inner.counted)
        )

        def put(old, new):
            return old.at[targets].set(new, mode="drop")

        return inner._replace(
            train=jax.tree.map(put, inner.train, train),
            diverged=put(inner.diverged, diverged),
            counted=counted,
        ), total

    def guarded(self, row, key, clock, batch):
        """Runs a trial's step, unless the trial has diverged or does so now."""
        numbers, train, diverged = row
        new, metrics = self.tuning.trainer(numbers).step(key, clock, train, batch)
        loss = metrics[METRICS[0]]
        diverged |= ~_finite((loss, new))
        kept = jax.tree.map(lambda a, b: jnp.where(diverged, b, a), new, train)
        return kept, diverged, loss

    def side_by_side(self, function, rows, *shared):
        """Maps over the trials of a chunk; a single one is computed as it is."""
        if self.width > 1:
            form = devices.together  # but in turn where devices share a batch
            if placement.num_shares() > 1:
                form = devices.in_turn
            return placement.divided(function, rows, *shared, form=form)
        alone = function(jax.tree.map(lambda x: x[0], rows), *shared)
        return jax.tree.map(lambda x: x[None], alone)

    def between(self, state, epoch, splits):
        """Evaluates the trials of a rung, then promotes."""
        rung, _ = self.rung(epoch)
        measure_key, promote_key = keys_between(state.key, epoch)
        inner = state.inner

        def chunk(number, score):
            found, targets = self.rows(inner, rung, number)
            new = self.side_by_side(
                lambda row, key, split: self.tuning.measure(key, *row, split),
                jax.tree.map(lambda x: x[found], (inner.numbers, inner.train)),
                measure_key,
                splits[1],
            )
            return score.at[targets].set(new, mode="drop")

        count = (rung.num_trials + self.width - 1) // self.width
        score = jax.lax.fori_loop(0, count, chunk, inner.score)
        inner, metrics = noted(self.tuning, promote_key, inner, score, epoch)
        return state._replace(inner=inner), metrics


def _noted(inner, score, rung, number, name):
    """Notes what the trials of a rung have reached; returns also the metrics."""
    places = jnp.arange(len(inner.ranked))
    within = (places >= rung.first) & (places < rung.first + rung.num_trials)
    mine = jnp.zeros_like(within).at[inner.ranked].set(within)
    lost = inner.diverged | jnp.isnan(score)
    score = jnp.where(lost & mine, LOST, score)
    inner = inner._replace(
        score=score,
        rung=jnp.where(mine, number, inner.rung),
        epochs=jnp.where(mine, rung.stop, inner.epochs),
    )
    best = jnp.where(mine, score, LOST).max()
    return inner, {
        name: jnp.where(best > LOST, best, 0.0),
        "trials": rung.num_trials,
        "diverged": (mine & inner.diverged).sum(),
    }


def _finite(tree: Any) -> types.Array:
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(x).all() for x in leaves]).all()
