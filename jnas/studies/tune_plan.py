"""A tuning that is checked and ready to run: settings, rungs and program."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from jnas import data as data_lib
from jnas import registry
from jnas import settings as settings_lib
from jnas.data import batches
from jnas.settings import option
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text
from jnas.studies import augmentation, recipes, train_plan, tune_optuna
from jnas.training import promotion, scratch
from jnas.training import ranges as ranges_lib
from jnas.training import recipe as recipe_lib
from jnas.training import rungs as rungs_lib
from jnas.training import trials as trials_lib

TUNERS = ("halving", "hyperband", "random", "pbt", "optuna")


@dataclasses.dataclass(frozen=True)
class TuneSettings(train_plan.RetrainSettings):
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
        "Tuner: halving (successive), hyperband, random (every trial to the end), pbt "
        "(population-based training, which copies the best trials and varies their "
        "numbers; best.json holds the winner's last ones), optuna or optuna:SAMPLER of "
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
        3, "Factor between two rungs: 1 of so many trials continues.", least=2
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
    network = train_plan.build_network(genotype, dataset, settings)
    augment = _augment(settings, dataset, ranges)
    splits = train_plan.splits_of(dataset, settings, seed=seed)
    num_examples, task = batches.count(splits[0][1]), dataset.task
    train_plan.check_smoothing(settings, task)
    for one in ranges:
        if one.name == "label_smoothing":
            task.check_smoothing(one.high)
    build = _trainers(network, augment, num_examples, settings, task)
    build({one.name: one.high for one in ranges})  # numbers that the optimiser lacks

    signal = scratch.valid_of(task)

    def measure(key, numbers, state, split):
        del numbers  # what is evaluated does not depend on them
        kept = scratch.trained(state)
        return scratch.evaluate(
            key,
            network,
            *kept,
            *split,
            augment=augment,
            batch_size=settings.batch_size,
            task=task,
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
        signal,
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


def names(settings: TuneSettings) -> list[str]:
    """Returns the names of the numbers that are tuned.

    Args:
      settings: of the tuning.

    Raises:
      ValueError: a range that cannot be read.
    """
    return [one.name for one in ranges_lib.parse(settings.tune)]


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
        return rungs_lib.halving(settings.trials, **how), promotion.rank
    if settings.tuner == "hyperband":
        return rungs_lib.hyperband(settings.trials, **how), promotion.rank
    if settings.tuner == "pbt":
        rungs = rungs_lib.intervals(
            settings.trials, every=settings.min_epochs, max_epochs=settings.epochs
        )
        by_name = {one.name: one for one in ranges}

        def inside(numbers):
            return {name: by_name[name].inside(x) for name, x in numbers.items()}

        return rungs, functools.partial(
            promotion.evolve, inside=inside, num_rungs=len(rungs)
        )
    return rungs_lib.single(settings.trials, max_epochs=settings.epochs), promotion.rank


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


def _trainers(network, augment, num_examples, settings, task) -> Callable:
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
            task=task,
        )

    return build


def retrain_settings(
    settings: TuneSettings, tuned: Mapping[str, float]
) -> train_plan.RetrainSettings:
    """Returns the settings of the winner's training on all training images.

    Args:
      settings: of the tuning.
      tuned: name -> number, of the winner.
    """
    names = [f.name for f in dataclasses.fields(train_plan.RetrainSettings)]
    given = {name: getattr(settings, name) for name in names}
    return train_plan.RetrainSettings(**given | {"valid_rate": 0.0} | dict(tuned))
