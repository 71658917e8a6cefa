"""Tuning the numbers of a training on a validation split, as phases of a run."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas.report import numbers as numbers_lib
from jnas.run import drive as drive_lib
from jnas.run import workdir
from jnas.studies import keys, members, tune_optuna, tune_workers
from jnas.studies.tune_plan import Plan as Plan
from jnas.studies.tune_plan import TuneSettings as TuneSettings
from jnas.studies.tune_plan import names as names
from jnas.studies.tune_plan import plan_rungs as plan_rungs
from jnas.studies.tune_plan import prepare as prepare
from jnas.studies.tune_plan import retrain_settings as retrain_settings
from jnas.training import promotion
from jnas.training import rungs as rungs_lib
from jnas.training import trials as trials_lib


def tune_training(
    run: workdir.Run, plan: Plan, hands: members.Hands | None = None
) -> list[dict[str, Any]]:
    """Tunes the training of a genotype's network, as the phase ``tune``.

    Args:
      run: the open run; its seed is that of the draws and the trainings.
      plan: what is tuned.
      hands: workers, started with ``tune_workers.build_trial``; None trains all trials
        here.

    Returns:
      One entry a trial, in the order in which they were drawn: ``trial``, ``settings``,
      ``rung``, ``epochs``, ``images``, ``valid_accuracy`` (None where it diverged),
      and ``copied`` where weights were copied.

    Raises:
      ValueError: every trial diverged.
    """
    cost = rungs_lib.describe(plan.tuning.rungs, images_per_epoch=plan.images)
    for line in (*plan.notes, cost):
        run.say_once(line)
    key = jax.random.fold_in(jax.random.key(run.seed), keys.TUNE)
    if plan.settings.tuner.startswith("optuna"):
        found = _in_batches(run, plan, key, hands)
    else:
        how = _here(plan.tuning) if hands is None else _apart(plan.tuning, hands)
        found = _tuned(run, "tune", plan, how, key, plan.facts)
    if all(one[plan.tuning.signal] is None for one in found):
        raise ValueError(
            f"tune must leave a trial that stays finite, got none of {len(found)}. "
            "Lower the upper bound of learning_rate, and use a new --workdir."
        )
    return found


class _How(NamedTuple):
    """How trials are trained: (run, phase, plan, key, proposed) -> Trials, in steps."""

    train: Callable
    num_steps: int
    free: tuple[str, ...]
    facts: dict[str, Any]


def _here(tuning: trials_lib.Tuning) -> _How:
    """Trains all trials as one program, in this process."""
    program = trials_lib.program(tuning)

    def train(run, phase, plan, key, proposed):
        begin = None if proposed is None else _begin(plan, proposed)
        state, _ = drive_lib.drive(phase, program, key, plan.splits, begin=begin)
        return jax.device_get(state.inner)

    return _How(train, program.num_steps, drive_lib.FREE, {})


def _apart(tuning: trials_lib.Tuning, hands: members.Hands) -> _How:
    """Hands the trials of each rung to workers."""

    def train(run, phase, plan, key, proposed):
        own = tuning
        if proposed is not None:
            own = tuning._replace(draw=lambda key: _numbers(plan, proposed))
        return tune_workers.tuned(run, phase, plan, own, key, hands)

    facts = {"trials": "by workers"}
    return _How(train, len(tuning.rungs), tune_workers.FREE, facts)


def _tuned(
    run, name, plan: Plan, how: _How, key, facts, proposed=None, first: int = 0
) -> list[dict]:
    """Trains trials as a phase; returns them, numbered from ``first``."""
    phase = run.phase(name, how.num_steps, free=how.free)
    phase.must_keep(**facts, **how.facts)
    if phase.result is None:
        found = _lines(how.train(run, phase, plan, key, proposed), plan, first)
        signal = plan.tuning.signal
        lost = sum(one[signal] is None for one in found)
        if lost:
            phase.say(f"{lost} of {len(found)} trials diverged and ranked last")
        best = winner(found)
        phase.end(
            {
                signal: best[signal],
                "trial": best["trial"],
                "seconds": round(phase.seconds, 2),
                "trials": found,
            }
        )
    return phase.result["trials"]


def _lines(trials: promotion.Trials, plan: Plan, first: int) -> list[dict[str, Any]]:
    """Returns what is known of each trial as JSON values."""
    found, names = [], [one.name for one in plan.ranges]
    for i in range(len(trials.score)):
        epochs, copied = int(trials.epochs[i]), int(trials.copied[i])
        score = float(trials.score[i])
        lost = trials.diverged[i] or score <= promotion.LOST
        line = {
            "trial": first + i,
            "settings": {n: _short(n, trials.numbers[n][i]) for n in names},
            "rung": int(trials.rung[i]),
            "epochs": epochs,
            "images": epochs * plan.images,
            plan.tuning.signal: None if lost else numbers_lib.figure(score),
        }
        found.append(line | ({"copied": copied} if copied >= 0 else {}))
    return found


def _short(name: str, value: Any) -> float | int:
    """Returns a number with the fewest digits that give its float32."""
    return round(float(value)) if name == "cutout" else float(str(np.float32(value)))


def _in_batches(run, plan: Plan, key, hands) -> list[dict]:
    """Lets Optuna propose trials, a batch at a time; each batch is a phase."""
    found: list[dict[str, Any]] = []
    ways: dict[int, _How] = {}
    settings = plan.settings
    while len(found) < settings.trials:
        number = len(found) // settings.ask
        count = min(settings.ask, settings.trials - len(found))
        ask = functools.partial(tune_optuna.propose, found, plan.ranges, count)
        how = {"tuner": settings.tuner, "seed": (run.seed, number)}
        proposed = run.led(functools.partial(ask, **how))
        if count not in ways:
            rungs = rungs_lib.single(count, max_epochs=settings.epochs)
            tuning = plan.tuning._replace(rungs=rungs)
            ways[count] = _here(tuning) if hands is None else _apart(tuning, hands)
        new = _tuned(
            run,
            f"tune_{number}",
            plan,
            ways[count],
            jax.random.fold_in(key, number),
            plan.facts | {"proposed": proposed},
            proposed,
            len(found),
        )
        found += new
        if run.leads:
            tune_optuna.write_journal(run.workdir, found, plan.ranges)
    return found


def _numbers(plan: Plan, proposed: Sequence[Mapping[str, float]]) -> dict:
    return {
        one.name: jnp.array([p[one.name] for p in proposed], jnp.float32)
        for one in plan.ranges
    }


def _begin(plan: Plan, proposed: Sequence[Mapping[str, float]]) -> Callable:
    """Returns state -> the state with the proposed numbers."""
    numbers = _numbers(plan, proposed)

    def begin(state):
        return state._replace(inner=state.inner._replace(numbers=numbers))

    return begin


def winner(found: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Returns the trial that won: of those trained longest the most accurate.

    Args:
      found: of ``tune_training``.
    """
    return ranking(found)[0]


def ranking(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the trials, the best first: by epochs, then score, then number.

    Args:
      found: of ``tune_training``.
    """
    signal = signal_of(found[0])
    return sorted(
        found,
        key=lambda one: (
            one[signal] is None,
            -one["epochs"],
            -(one[signal] or 0),
            one["trial"],
        ),
    )


def signal_of(trial: Mapping[str, Any]) -> str:
    """Returns the name of a trial's score, such as "valid_accuracy".

    Args:
      trial: of ``tune_training``.
    """
    return next(name for name in trial if name.startswith("valid_"))
