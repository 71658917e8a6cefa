"""A program as a phase of a run: resumed, told of every call, ended."""

from collections.abc import Callable

import jax
import numpy as np

from jnas import types
from jnas.run import metrics as metrics_lib
from jnas.run import phase as phase_lib
from jnas.training import program as program_lib

FREE = ("sums",)  # the metrics themselves are looked at


def drive(
    phase: phase_lib.Phase,
    program: program_lib.Program,
    key: types.Key,
    splits: tuple[types.Batch, ...],
    *,
    describe: Callable[[program_lib.State, dict], metrics_lib.Found] | None = None,
    begin: Callable[[program_lib.State], program_lib.State] | None = None,
    warn: Callable[[dict], str | None] | None = None,
) -> tuple[program_lib.State, dict[str, float]]:
    """Runs a program as a phase: from its checkpoint if there is one, to its end.

    Args:
      phase: told after every call; metrics are written once an epoch.
      program: what runs.
      key: of the program.
      splits: (images, labels) of each split, on the device.
      describe: (state, metrics of the call) -> what was found so far.
      begin: fresh state -> the state to begin with; None for the fresh one.
      warn: an epoch's metrics -> what the user should know, or None; the first such
        line is shown.

    Returns:
      The last state, and the last epoch's metrics; over seeds, mean and deviation.
    """
    restored = phase.restore(jax.eval_shape(program.init, key))
    first, state = restored or (0, program.init(key))
    if begin and not restored:
        state = begin(state)
    warnings = []

    def observe(step, state, metrics, epoch_ended):
        found = describe(state, metrics) if describe else metrics_lib.NOTHING
        values = _seen(program, _over_seeds(program, metrics))
        text = warn(values) if warn and epoch_ended and not warnings else None
        if text:
            warnings.append(text)
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
    )
    means = {n: s / program.steps_per_epoch for n, s in state.sums.items()}
    values = _over_seeds(program, means)
    return state, {name: float(value) for name, value in values.items()}


def first_broken(state: program_lib.State) -> int | None:
    """Returns the first step, of any seed, that lost its numbers; None for none."""
    steps = np.atleast_1d(jax.device_get(state.broken))
    return int(steps[steps > 0].min()) if steps.any() else None


def _seen(program: program_lib.Program, values: dict) -> dict:
    """Leaves out what is looked at between epochs and was not looked at yet."""
    own = [n for name in program.metrics for n in (name, f"{name}_sd")]
    fetched = jax.device_get(values)  # in the order of the names
    return {n: fetched[n] for n in values if n in own or not np.isnan(fetched[n])}


def _over_seeds(program: program_lib.Program, metrics: dict) -> dict:
    """Metrics in the program's order; over seeds, each mean, then each deviation."""
    ordered = {name: metrics[name] for name in program.metrics} | metrics
    if program.num_seeds is None:
        return ordered
    means = {name: values.mean() for name, values in ordered.items()}
    return means | {f"{name}_sd": values.std() for name, values in ordered.items()}
