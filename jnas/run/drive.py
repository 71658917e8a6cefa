"""Runs a compiled program as a phase of a run: resumes it, and records every call."""

from collections.abc import Callable

import jax
import numpy as np

from jnas import types
from jnas.run import metrics as metrics_lib
from jnas.run import pace
from jnas.run import phase as phase_lib
from jnas.training import placement
from jnas.training import program as program_lib

FREE = ("sums",)  # not checked for NaN: the metrics themselves are checked


def drive(
    phase: phase_lib.Phase,
    program: program_lib.Program,
    key: types.Key,
    splits: tuple[types.Batch, ...],
    *,
    describe: Callable[[program_lib.State, dict], metrics_lib.Found] | None = None,
    begin: Callable[[program_lib.State], program_lib.State] | None = None,
    warn: Callable[[int, program_lib.State, dict], str | None] | None = None,
    after: tuple[str, ...] = (),
) -> tuple[program_lib.State, dict[str, float]]:
    """Runs a program as a phase: from its checkpoint if there is one, to its end.

    Args:
      phase: the phase, whose ``observe`` is called after every compiled call; metrics
        are written once per epoch.
      program: the program to run.
      key: PRNG key of the program.
      splits: (images, labels) of each split, on the device.
      describe: (state, metrics of the call) -> the best architecture so far.
      begin: initial state -> the state to start from; None starts from the initial
        one. Not called when the phase is resumed.
      warn: (finished steps, state, an epoch's metrics) -> a warning for the user, or
        None.
      after: names of what the caller computes after the last step, for the time left.

    Returns:
      The last state, and the last epoch's metrics; over several seeds, their means and
      standard deviations.
    """
    phase.expect(plan(program, after))
    phase.must_keep(steps_per_epoch=program.steps_per_epoch)
    phase.must_keep(**norm_devices(program.groups))
    restored = phase.restore(jax.eval_shape(program.init, key))
    phase.runs_on(placement.layout(program.groups))
    chunk = program_lib.chunk_steps(program, splits)
    if chunk:
        phase.say(
            f"images are read when needed, in chunks of {chunk} steps of "
            f"{program.steps_per_epoch} an epoch"
        )
    first, state = restored or (0, program.init(key))
    if begin and not restored:
        state = begin(placement.local(state))

    def observe(step, state, metrics, epoch_ended):
        state, metrics = placement.local((state, metrics))
        phase.begins("cell" if describe else "")
        found = describe(state, metrics) if describe else metrics_lib.NOTHING
        values = _available(program, _over_seeds(program, metrics))
        text = warn(step, state, values) if warn and epoch_ended else None
        if text:
            phase.say(text)
        phase.observe(
            step,
            state,
            values,
            found=found,
            record=epoch_ended,
            finite_metrics=program.metrics,
            broken_step=first_broken(state),
        )

    state, _ = program_lib.run(
        program,
        state,
        splits,
        first=first,
        suggest_steps=phase.suggest_steps,
        observe=observe,
        begins=phase.begins,
    )
    state = placement.local(state)
    means = {n: s / program.steps_per_epoch for n, s in state.sums.items()}
    values = _over_seeds(program, means)
    return state, {name: float(value) for name, value in values.items()}


def plan(program: program_lib.Program, after: tuple[str, ...] = ()) -> pace.Plan:
    """Returns what a phase that runs a program consists of.

    Args:
      program: the program.
      after: names of what comes after its last step.
    """
    events = {program.between: program.steps_per_epoch} if program.at_epoch_end else {}
    return pace.Plan(tuple(pace.Span(*cost) for cost in program.costs), events, after)


def norm_devices(count: int | None, name: str = "norm_devices") -> dict[str, int]:
    """Returns the fact that a state depends on where each device has its own norms.

    Args:
      count: of equal things, as for ``placement.mesh``.
      name: of the fact.
    """
    if placement.norm_group() == "global":
        return {}
    return {name: placement.layout(count).get("norm", 1)}


def first_broken(state: program_lib.State) -> int | None:
    """Returns the first step of any seed with a metric not finite; None without one."""
    steps = np.atleast_1d(jax.device_get(state.broken))
    return int(steps[steps > 0].min()) if steps.any() else None


def _available(program: program_lib.Program, values: dict) -> dict:
    """Drops metrics of hooks that have not been evaluated yet, which are NaN."""
    own = [n for name in program.metrics for n in (name, f"{name}_sd")]
    fetched = jax.device_get(values)  # sorted by name
    return {n: fetched[n] for n in values if n in own or not np.isnan(fetched[n])}


def _over_seeds(program: program_lib.Program, metrics: dict) -> dict:
    """Returns metrics in the program's order; over seeds, means, then deviations."""
    ordered = {name: metrics[name] for name in program.metrics} | metrics
    if program.num_seeds is None:
        return ordered
    means = {name: values.mean() for name, values in ordered.items()}
    return means | {f"{name}_sd": values.std() for name, values in ordered.items()}
