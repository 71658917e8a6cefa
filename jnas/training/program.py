"""A run of equal steps as one compiled program, and the host loop that drives it.

One compiled loop shuffles, gathers batches and steps; its bounds are arguments, so one
executable runs any range of steps within an epoch (usually all of them), and the
division into calls does not change a bit. The whole data set is on each device, or a
chunk of it: the batches of the next steps, which the host has read.
"""

import bisect
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import types
from jnas.data import batches
from jnas.training import epochs as epochs_lib
from jnas.training import feed, placement
from jnas.training.devices import default_over_runs as default_over_runs
from jnas.training.devices import in_turn as in_turn
from jnas.training.devices import together as together
from jnas.training.epochs import Clock as Clock
from jnas.training.epochs import State as State
from jnas.training.feed import chunk_steps as chunk_steps
from jnas.training.placement import divided as divided


class Stream(NamedTuple):
    """A program's functions of images that are not all on the devices.

    Attributes:
      orders: (key of the State, epoch) -> the rows of an epoch's batches, i32[E, B] for
        each split that batches are taken of; with seeds i32[S, E, B].
      advance: (state, start, stop, begin, batches) -> as ``Program.advance``. batches
        has (images [K, B, ...], labels [K, B]) of each split, of the K steps from
        ``begin``; with seeds [S, K, B, ...].
      measure: (state, epoch, splits) -> what ``at_epoch_end`` needs to know of some
        images of the second split, with their axis as the last one; None where it reads
        the images themselves.
      at_epoch_end: (state, epoch, seen) -> as ``Program.at_epoch_end``; seen is what
        ``measure`` gave of all images, or else the splits, of which only the second is
        there.
      rows: rows of the second split that ``at_epoch_end`` reads; None means all.
      num_splits: number of splits that batches are taken of.
      batch_size: number B of examples in a batch.
    """

    orders: Callable
    advance: Callable
    measure: Callable | None
    at_epoch_end: Callable | None
    rows: np.ndarray | None
    num_splits: int
    batch_size: int


class Program(NamedTuple):
    """A run as pure functions.

    Attributes:
      init: key -> State.
      advance: (state, start, stop, splits) -> (State, metrics). Runs the steps from
        start up to stop (exclusive), all in one epoch; metrics are means over the
        epoch's steps up to stop. Compiled once; state is donated.
      num_steps: number of steps of the whole run.
      steps_per_epoch: number of steps of one epoch.
      metrics: names of the metrics, in the order in which they are displayed.
      num_seeds: number S of independent runs; each array of the state has a leading
        axis S. None means one run without that axis.
      at_epoch_end: (state, epoch, splits) -> (State, metrics), called after each epoch;
        None disables it. Compiled once; state is donated.
      ended: state -> bool[] or bool[S], whether a run may end before its last step;
        None disables early stopping.
      between: name of what ``at_epoch_end`` does, for display.
      costs: (number of steps, relative time of one) of consecutive steps of different
        speed; () means equal ones.
      ends: number of steps at the end of each epoch, where epochs differ in length;
        () means one every ``steps_per_epoch``, which else is their mean.
      groups: number of equal things that devices are divided among, such as seeds;
        None means one.
      stream: how the program takes images that are not all on the devices; None means
        that it cannot.
    """

    init: Callable[[types.Key], State]
    advance: Callable[..., tuple[State, dict[str, types.Array]]]
    num_steps: int
    steps_per_epoch: int
    metrics: tuple[str, ...]
    num_seeds: int | None
    at_epoch_end: Callable | None = None
    ended: Callable[[State], types.Array] | None = None
    between: str = "evaluation"
    costs: tuple[tuple[int, float], ...] = ()
    ends: tuple[int, ...] = ()
    groups: int | None = None
    stream: Stream | None = None

    @property
    def place(self) -> jax.sharding.PartitionSpec:
        """Where the state is: apart where each group of devices has its own seeds."""
        apart = self.num_seeds is not None and self.groups is not None
        return placement.APART if apart else placement.WHOLE

    def epoch_at(self, step: int) -> tuple[int, int]:
        """Returns (number of the epoch of a step, number of steps at its end)."""
        if self.ends:
            epoch = bisect.bisect_right(self.ends, step)
            return epoch, self.ends[epoch]
        epoch = step // self.steps_per_epoch
        return epoch, (epoch + 1) * self.steps_per_epoch


def program(
    init: Callable[[types.Key], Any],
    step: Callable[..., tuple[Any, dict[str, types.Array]]],
    *,
    metrics: tuple[str, ...],
    num_examples: tuple[int, ...],
    batch_size: int,
    num_epochs: int,
    num_seeds: int | None = None,
    over_seeds: Callable | None = None,
    at_epoch_end: Callable | None = None,
    ended: Callable | None = None,
    measure: Callable | None = None,
    reads: np.ndarray | None = None,
    between: str = "evaluation",
    costs: tuple[tuple[int, float], ...] = (),
) -> Program:
    """Builds a program from one step.

    An epoch is one pass over the first split. Each step takes one batch of every split;
    each split has its own order and starts again when its batches are used up. Orders
    are a pure function of key and epoch.

    Args:
      init: key -> the method's state.
      step: (key, Clock, state, batches) -> (state, metrics), with one batch (images,
        labels) for each split.
      metrics: the names of the metrics that step returns.
      num_examples: number N of examples of each split.
      batch_size: number B of examples in a batch.
      num_epochs: number of passes over the first split.
      num_seeds: number S of independent runs; None means one run without that axis.
      over_seeds: (function, states with a leading axis S, *shared) -> results of
        function(state, *shared) with the same axis; None means ``divided``. The results
        do not depend on it.
      at_epoch_end: (key, Clock, state, splits) -> (state, metrics), called after each
        epoch with the whole splits, among them those beyond num_examples, of which no
        batch is taken; None disables it.
      measure: (key, Clock, state, splits) -> arrays whose last axis is that of the
        second split's images, each image by itself. ``at_epoch_end`` then gets these in
        place of the splits.
      reads: rows of the second split that ``at_epoch_end`` reads; it must give the same
        for a split of these rows alone. None means all.
      ended: state -> bool[], evaluated after ``at_epoch_end``; None disables early
        stopping.
      between: name of what ``at_epoch_end`` does, for display.
      costs: (number of epochs, relative time of a step) of consecutive epochs of
        different speed; () means equal ones.

    Raises:
      ValueError: num_epochs or num_seeds is below 1, or a split is smaller than a
        batch.
    """
    _check_counts(num_epochs=num_epochs, num_seeds=num_seeds)
    run = epochs_lib.Epochs(
        init,
        step,
        at_epoch_end,
        measure,
        metrics,
        num_examples,
        batch_size,
        num_epochs,
    )
    if run.num_steps >= 2**31:
        raise ValueError(
            f"num_epochs must give fewer than 2**31 steps, got {num_epochs} of "
            f"{run.steps_per_epoch}. Lower it."
        )
    form: epochs_lib.Epochs | epochs_lib.Seeds = run
    groups, place = None, placement.WHOLE
    if num_seeds is not None:
        form = epochs_lib.Seeds(run, num_seeds, over_seeds or placement.divided)
        if over_seeds is None:
            groups, place = num_seeds, placement.APART
    placement.check_batch(batch_size, groups)

    outs = {"count": groups, "out_specs": (place, placement.WHOLE)}

    def compiled(function):
        return placement.jit(function, donate_argnums=0, **outs)

    stream = Stream(
        jax.jit(form.orders),
        compiled(form.advance_chunk),
        placement.jit(form.measured, **outs | {"out_specs": place})
        if measure
        else None,
        compiled(form.noted) if at_epoch_end else None,
        reads,
        len(num_examples),
        batch_size,
    )
    return Program(
        once(form.start, count=groups, out_specs=place),
        compiled(form.advance),
        run.num_steps,
        run.steps_per_epoch,
        metrics,
        num_seeds,
        compiled(form.between) if at_epoch_end else None,
        (lambda state: ended(state.inner)) if ended else None,
        between,
        tuple((epochs * run.steps_per_epoch, cost) for epochs, cost in costs),
        (),
        groups,
        stream,
    )


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}. Raise it.")


def once(function: Callable, **place: Any) -> Callable:
    """Compiles a function that will run one time, such as a network's init.

    On CPU it compiles without XLA's optimisation, which may change the last bit of the
    result: the init of the DARTS supernet of 8 layers then takes 4 s to compile, 17 s
    with optimisation.

    Args:
      function: takes arrays. Called inside another jitted or vmapped function, it is
        traced as usual and these compiler options do not apply.
      **place: ``count`` and ``out_specs`` of ``placement.jit``.
    """
    cheap = jax.default_backend() == "cpu"
    options = {"xla_backend_optimization_level": 0} if cheap else None
    compiled = placement.jit(function, compiler_options=options, **place)

    @functools.wraps(function)
    def call(*args):
        # XLA accepts compiler options only for a whole program
        traced = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(args))
        return (function if traced else compiled)(*args)

    return call


def check_batches(
    program: Program, key: types.Key, splits: tuple[types.Batch, ...]
) -> None:
    """Traces a program whose batches are single images, before anything is compiled.

    Some networks cannot be trained on them: a normalisation would see one value. Of
    larger batches nothing is traced.

    Args:
      program: the program to run.
      key: PRNG key of the program.
      splits: (images, labels) of each split.

    Raises:
      ValueError: a normalisation of one value.
    """
    if program.steps_per_epoch == batches.count(splits[0][1]):
        state = jax.eval_shape(program.init, key)
        steps = jnp.int32(0), jnp.int32(1)
        jax.eval_shape(program.advance, state, *steps, feed.abstract(splits))


def run(
    program: Program,
    state: State,
    splits: tuple[types.Batch, ...],
    *,
    first: int = 0,
    suggest_steps: Callable[[], int] | None = None,
    observe: Callable[[int, State, dict[str, types.Array], bool], None] | None = None,
    begins: Callable[[str], None] | None = None,
) -> tuple[State, dict[str, types.Array]]:
    """Runs a program from step ``first`` to its end.

    Args:
      program: the program to run.
      state: its state after ``first`` steps; donated.
      splits: (images, labels) of each split: arrays, or sources of images, which are
        then read when they are needed.
      first: number of steps that have already run.
      suggest_steps: () -> largest number of steps of the next call; None means a whole
        epoch.
      observe: called with (step, state, metrics, epoch_ended) after every call; at the
        end of an epoch, metrics include those of ``at_epoch_end``. None disables it.
      begins: called with "steps" or the program's ``between`` before each compiled
        call. None disables it.

    Returns:
      The last state, and the last call's metrics.
    """
    metrics: dict[str, types.Array] = {}
    state = placement.put(state, program.place, count=program.groups)
    begins = begins or (lambda name: None)
    with feed.of(program, splits) as fed:
        while first < program.num_steps and not _ended(program, state):
            epoch, epoch_end = program.epoch_at(first)
            most = suggest_steps() if suggest_steps else program.steps_per_epoch
            stop = min(epoch_end, first + max(1, most), fed.end(state, first))
            begins("steps")
            state, metrics = fed.advance(state, jnp.int32(first), jnp.int32(stop))
            jax.block_until_ready(metrics)
            first = stop
            if stop == epoch_end and program.at_epoch_end:
                begins(program.between)
                state, more = fed.at_epoch_end(state, jnp.int32(epoch))
                jax.block_until_ready(more)
                metrics = metrics | more
            if observe:
                observe(stop, state, metrics, stop == epoch_end)
    return state, metrics


def _ended(program: Program, state: State) -> bool:
    if not program.ended:
        return False
    return bool(placement.local(program.ended(state)).all())
