"""Tuning the numbers of a training on a validation split, as phases of a run."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnas import data as data_lib
from jnas import registry
from jnas import settings as settings_lib
from jnas.data import batches
from jnas.run import drive as drive_lib
from jnas.run import workdir
from jnas.settings import option
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text
from jnas.studies import augmentation, keys, recipes, train_scratch, tune_optuna
from jnas.training import program as program_lib
from jnas.training import ranges as ranges_lib
from jnas.training import recipe as recipe_lib
from jnas.training import rungs as rungs_lib
from jnas.training import scratch
from jnas.training import trials as trials_lib

TUNERS = ("halving", "hyperband", "random", "pbt", "optuna")


@dataclasses.dataclass(frozen=True)
class TuneSettings(train_scratch.RetrainSettings):
    """How a training is tuned. The fields carry their own help text."""

    tune: tuple[str, ...] = option(
        (
            "learning_rate:log:1e-3:0.5",
            "weight_decay:log:1e-5:1e-2",
            "drop_path_rate:0:0.4",
        ),
        "Numbers that are tuned, comma-separated, each name:low:high or "
        f"name:log:low:high. Names: {', '.join(recipe_lib.Numbers._fields)}.",
    )
    tuner: str = option(
        "halving",
        "halving (successive halving), hyperband, random (every trial to the end), pbt "
        "(population-based training), optuna or optuna:SAMPLER with "
        f"{', '.join(tune_optuna.SAMPLERS)}.",
    )
    trials: int = option(64, "Number of trials, in all brackets together.", least=2)
    epochs: int = option(
        27,
        "Epochs of a trial on the last rung, which the schedule is made for, and of "
        "the winner's training on all training images.",
        group="schedule",
        least=1,
    )
    min_epochs: int = option(
        1,
        "Epochs of the first rung of halving and hyperband; of pbt, between two rounds "
        "of copying.",
        least=1,
    )
    eta: int = option(
        3, "Factor between two rungs: 1 of so many trials goes on.", least=2
    )
    valid_rate: float = option(
        0.2,
        "Share of the training images that scores the trials.",
        group="data",
        least=0.01,
        most=0.99,
    )
    side_by_side: int | None = option(
        None,
        "Trials that are trained at once on the device; without it 1 on CPU and 16 on "
        "accelerators.",
        least=1,
    )
    ask: int = option(8, "Trials that optuna proposes at a time.", least=1)
    test: bool = option(
        True,
        "Train the winner on all training images at the end and test it, once.",
    )
    __post_init__ = settings_lib.check


class Plan(NamedTuple):
    """A tuning that is ready to run.

    Attributes:
      tuning: what its program is made of.
      ranges: of the numbers.
      splits: training and validation split, (images, labels) each, on the device.
      images: training images of one epoch.
      settings: of the tuning.
      facts: name -> JSON value, that a resumed run must share.
      notes: what is to be said of the data.
    """

    tuning: trials_lib.Tuning
    ranges: tuple[ranges_lib.Range, ...]
    splits: tuple
    images: int
    settings: TuneSettings
    facts: dict[str, Any]
    notes: tuple[str, ...]


def prepare(
    genotype: genotypes.Genotype,
    dataset: data_lib.Dataset,
    settings: TuneSettings,
    *,
    seed: int,
) -> Plan:
    """Builds a tuning, and checks everything that it names.

    Args:
      genotype: the cells.
      dataset: its test split is not touched.
      settings: of the tuning.
      seed: of the validation split.

    Raises:
      ValueError: settings that do not fit each other, the optimiser or the images.
      KeyError: an optimiser that is not registered.
    """
    ranges = ranges_lib.parse(settings.tune)
    _check(settings, ranges)
    rungs, promote = plan_rungs(settings, ranges)
    network = train_scratch.build_network(genotype, dataset, settings)
    augment = _augment(settings, dataset, ranges)
    splits = train_scratch.splits_of(dataset, settings, seed=seed)
    num_examples = len(splits[0][1])
    build = _trainers(network, augment, num_examples, settings)
    build({one.name: one.high for one in ranges})  # numbers that the optimiser lacks

    def measure(key, state, split):
        kept = scratch.trained(state)
        return scratch.evaluate(
            key, network, *kept, *split, augment=augment, batch_size=settings.batch_size
        )

    def draw(key):
        return ranges_lib.draw(key, ranges, rungs_lib.num_trials(rungs))

    tuning = trials_lib.Tuning(
        build,
        measure,
        draw,
        rungs,
        promote,
        num_examples,
        settings.batch_size,
        settings.side_by_side,
    )
    steps = batches.num_batches(num_examples, settings.batch_size)
    facts = dict(
        genotype=genotype_text.short_form(genotype),
        features=settings.features,
        layers=settings.layers,
    )
    images, notes = steps * settings.batch_size, _notes(dataset, augment, ranges)
    return Plan(tuning, ranges, splits, images, settings, facts, notes)


def _check(settings: TuneSettings, ranges: Sequence[ranges_lib.Range]) -> None:
    tuner, _, sampler = settings.tuner.partition(":")
    if tuner not in TUNERS or (sampler and tuner != "optuna"):
        raise ValueError(
            f"tuner must be one of {', '.join(TUNERS)}, got {settings.tuner!r}. "
            f"{registry.nearest(tuner, TUNERS)}".rstrip()
        )
    if tuner == "optuna":
        tune_optuna.check(sampler)
    if settings.min_epochs > settings.epochs:
        raise ValueError(
            f"min_epochs must be at most epochs, {settings.epochs}, got "
            f"{settings.min_epochs}. Lower it."
        )
    if settings.early_stopping:
        raise ValueError(
            f"early_stopping must be 0 in a tuning, got {settings.early_stopping}. "
            "Leave it out: halving stops the trials."
        )
    given = settings_lib.changed(settings)
    for one in ranges:
        if one.name in given:
            raise ValueError(
                f"{one.name} must be left out where it is tuned, got "
                f"{given[one.name]}. Leave out --{one.name} or its range in --tune."
            )


def plan_rungs(
    settings: TuneSettings, ranges: Sequence[ranges_lib.Range]
) -> tuple[tuple[rungs_lib.Rung, ...], Callable]:
    """Returns the rungs of a tuning, and what happens between them.

    Args:
      settings: name the tuner, trials and epochs.
      ranges: of the numbers.
    """
    how = dict(
        min_epochs=settings.min_epochs, max_epochs=settings.epochs, eta=settings.eta
    )
    if settings.tuner == "halving":
        return rungs_lib.halving(settings.trials, **how), trials_lib.rank
    if settings.tuner == "hyperband":
        return rungs_lib.hyperband(settings.trials, **how), trials_lib.rank
    if settings.tuner == "pbt":
        rungs = rungs_lib.intervals(
            settings.trials, every=settings.min_epochs, max_epochs=settings.epochs
        )
        by_name = {one.name: one for one in ranges}

        def inside(numbers):
            return {name: by_name[name].inside(x) for name, x in numbers.items()}

        return rungs, functools.partial(
            trials_lib.evolve, inside=inside, num_rungs=len(rungs)
        )
    return rungs_lib.single(
        settings.trials, max_epochs=settings.epochs
    ), trials_lib.rank


def _augment(settings, dataset, ranges) -> data_lib.Augment:
    """Builds the augmentation; a range of cutout is checked at its largest."""
    build = functools.partial(augmentation.build, how=data_lib.for_training)
    for one in ranges:
        if one.name == "cutout":
            build(dataclasses.replace(settings, cutout=round(one.high)), dataset)
    return build(settings, dataset)


def _notes(dataset, augment, ranges) -> tuple[str, ...]:
    said: list[str] = []
    augmentation.announce(said.append, dataset, augment)
    for one in ranges:
        if one.name == "cutout":
            said[0] = f"{said[0].rpartition(', ')[0]}, cutout tuned"
    return tuple(said)


def _trainers(network, augment, num_examples, settings) -> Callable:
    """Returns numbers, name -> f32[] -> the trainer with these numbers."""
    recipe, base = recipes.recipe(settings), recipes.numbers(settings)
    steps = batches.num_batches(num_examples, settings.batch_size)

    def build(tuned: Mapping[str, Any]) -> scratch.Trainer:
        numbers, own = base._replace(**tuned), augment
        if numbers.cutout is not None:
            side = jnp.round(numbers.cutout).astype(jnp.int32)
            own = dataclasses.replace(augment, cutout=side)
        rate = recipe_lib.rate(
            recipe, numbers, num_epochs=settings.epochs, steps_per_epoch=steps
        )
        return scratch.trainer(
            network,
            optimizer=recipe_lib.optimizer(recipe, numbers, rate),
            augment=own,
            num_epochs=settings.epochs,
            drop_path_rate=numbers.drop_path_rate,
            label_smoothing=numbers.label_smoothing,
            mixup=numbers.mixup,
            ema_decay=numbers.ema_decay,
        )

    return build


def tune_training(run: workdir.Run, plan: Plan) -> list[dict[str, Any]]:
    """Tunes the training of a genotype's network, as the phase ``tune``.

    Args:
      run: the open run; its seed is that of the draws and the trainings.
      plan: what is tuned.

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
        found = _in_batches(run, plan, key)
    else:
        program = trials_lib.program(plan.tuning)
        found = _tuned(run, "tune", plan, program, key, plan.facts)
    if all(one["valid_accuracy"] is None for one in found):
        raise ValueError(
            f"tune must leave a trial that stays finite, got none of {len(found)}. "
            "Lower the upper bound of learning_rate, and use a new --workdir."
        )
    return found


def _tuned(run, name, plan: Plan, program, key, facts, begin=None) -> list[dict]:
    """Runs a program of trials as a phase; returns its trials."""
    phase = run.phase(name, program.num_steps, free=drive_lib.FREE)
    phase.must_keep(**facts)
    if phase.result is None:
        state, _ = drive_lib.drive(phase, program, key, plan.splits, begin=begin)
        found = _lines(jax.device_get(state.inner), plan)
        lost = sum(one["valid_accuracy"] is None for one in found)
        if lost:
            phase.say(f"{lost} of {len(found)} trials diverged and ranked last")
        best = winner(found)
        phase.end(
            {
                "valid_accuracy": best["valid_accuracy"],
                "trial": best["trial"],
                "seconds": round(phase.seconds, 2),
                "trials": found,
            }
        )
    return phase.result["trials"]


def _lines(trials: trials_lib.Trials, plan: Plan) -> list[dict[str, Any]]:
    """Returns what is known of each trial as JSON values."""
    found, names = [], [one.name for one in plan.ranges]
    for i in range(len(trials.accuracy)):
        epochs, copied = int(trials.epochs[i]), int(trials.copied[i])
        accuracy = None if trials.diverged[i] else round(float(trials.accuracy[i]), 6)
        line = {
            "trial": i,
            "settings": {n: _short(n, trials.numbers[n][i]) for n in names},
            "rung": int(trials.rung[i]),
            "epochs": epochs,
            "images": epochs * plan.images,
            "valid_accuracy": accuracy,
        }
        found.append(line | ({"copied": copied} if copied >= 0 else {}))
    return found


def _short(name: str, value: Any) -> float | int:
    """Returns a number with all digits that a float32 has."""
    return round(float(value)) if name == "cutout" else float(f"{value:.8g}")


def _in_batches(run, plan: Plan, key) -> list[dict]:
    """Lets Optuna propose trials, a batch at a time; each batch is a phase."""
    found: list[dict[str, Any]] = []
    programs: dict[int, program_lib.Program] = {}
    settings = plan.settings
    while len(found) < settings.trials:
        number = len(found) // settings.ask
        count = min(settings.ask, settings.trials - len(found))
        proposed = tune_optuna.propose(
            found, plan.ranges, count, tuner=settings.tuner, seed=(run.seed, number)
        )
        if count not in programs:
            rungs = rungs_lib.single(count, max_epochs=settings.epochs)
            tuning = plan.tuning._replace(rungs=rungs)
            programs[count] = trials_lib.program(tuning)
        new = _tuned(
            run,
            f"tune_{number}",
            plan,
            programs[count],
            jax.random.fold_in(key, number),
            plan.facts | {"proposed": proposed},
            _begin(plan, proposed),
        )
        found += [one | {"trial": len(found) + i} for i, one in enumerate(new)]
        tune_optuna.write_journal(run.workdir, found, plan.ranges)
    return found


def _begin(plan: Plan, proposed: Sequence[Mapping[str, float]]) -> Callable:
    """Returns state -> the state with the proposed numbers."""
    numbers = {
        one.name: jnp.array([p[one.name] for p in proposed], jnp.float32)
        for one in plan.ranges
    }

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
    """Returns the trials, the best first: by epochs, then accuracy, then number.

    Args:
      found: of ``tune_training``.
    """
    return sorted(
        found,
        key=lambda one: (
            one["valid_accuracy"] is None,
            -one["epochs"],
            -(one["valid_accuracy"] or 0),
            one["trial"],
        ),
    )


def retrain_settings(
    settings: TuneSettings, tuned: Mapping[str, float]
) -> train_scratch.RetrainSettings:
    """Returns the settings of the winner's training on all training images.

    Args:
      settings: of the tuning.
      tuned: name -> number, of the winner.
    """
    names = [f.name for f in dataclasses.fields(train_scratch.RetrainSettings)]
    given = {name: getattr(settings, name) for name in names}
    return train_scratch.RetrainSettings(**given | {"valid_rate": 0.0} | dict(tuned))
