"""A training from scratch that is checked and ready to run: settings and program."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from jnas import data as data_lib
from jnas import networks, types
from jnas import settings as settings_lib
from jnas.data import batches
from jnas.settings import option
from jnas.spaces import genotype as genotypes
from jnas.studies import augmentation, inputs, recipe_rows, recipes, setup
from jnas.training import feed, scratch
from jnas.training import program as program_lib
from jnas.training import recipe as recipe_lib


@dataclasses.dataclass(frozen=True)
class RetrainSettings(recipes.RecipeSettings):
    """How a genotype's network is trained from scratch; the defaults are DARTS'.

    The fields carry their own help text.
    """

    features: int = setup.features_option(36)
    layers: int = setup.layers_option(20)
    batch_size: int = option(96, "Images in a batch.", group="schedule")
    epochs: int = option(
        600, "Passes over all training images.", group="schedule", least=1
    )
    valid_rate: float = option(
        0.0,
        "Share of the training images that is held out and evaluated after each epoch; "
        "0 trains on all of them.",
        group="data",
        least=0,
        most=0.99,
    )
    early_stopping: int = option(
        0,
        "Epochs without a better validation accuracy after which the training ends; "
        "the best epoch's weights are kept and tested. 0 disables it; it needs "
        "--valid_rate.",
        group="schedule",
        least=0,
    )
    num_seeds: int = option(
        1, "Trainings of the same network in one program.", group="schedule", least=1
    )
    auxiliary: bool = option(
        True,
        "Train an auxiliary head too; cells of one input have none.",
        group="network",
    )
    stem: str = setup.stem_option()
    remat: bool = setup.remat_option()
    dtype: str = setup.dtype_option()
    __post_init__ = settings_lib.check


def needed(dataset: data_lib.Dataset, genotype: genotypes.Genotype) -> dict[str, Any]:
    """Returns flags without which a genotype's training would be refused.

    Args:
      dataset: the images.
      genotype: the cells.
    """
    flags, count = {}, batches.count(dataset.y_train)
    row = recipe_rows.defaults(genotype, dataset.image_shape)
    if count < row.get("batch_size", RetrainSettings.batch_size):
        flags["batch_size"] = max(2, count // 2)
    small = dataset.inputs == data_lib.IMAGES and min(dataset.image_shape[:2]) <= 4
    if small and networks.has_auxiliary(genotype):
        flags["auxiliary"] = False
    return flags


class Plan(NamedTuple):
    """A training that is ready to run.

    Attributes:
      network: that is trained.
      program: the training.
      rate: step -> learning rate.
      augment: of the images.
      splits: (images, labels) of the training split and, if any, of the validation
        split, on the device.
    """

    network: networks.Network
    program: program_lib.Program
    rate: Callable
    augment: data_lib.Augment
    splits: tuple


def prepare(
    network: networks.Network,
    dataset: data_lib.Dataset,
    settings: RetrainSettings,
    *,
    seed: int,
) -> Plan:
    """Builds the training of a network, and checks it.

    Args:
      network: that is trained.
      dataset: the images.
      settings: of the training.
      seed: of the validation split.

    Raises:
      ValueError: settings that do not fit each other, the optimiser or the images.
    """
    if settings.early_stopping and not settings.valid_rate:
        raise ValueError(
            "early_stopping must come with a validation split, got "
            f"{settings.early_stopping} at valid_rate 0. Add --valid_rate=0.1."
        )
    augment = augmentation.build(settings, dataset, how=data_lib.for_training)
    splits = splits_of(dataset, settings, seed=seed, streams=True)
    num_examples = batches.count(splits[0][1])
    recipe, task = recipes.recipe(settings), dataset.task
    check_smoothing(settings, task)
    numbers = recipes.numbers(settings)
    rate = recipe_lib.rate(
        recipe,
        numbers,
        num_epochs=settings.epochs,
        steps_per_epoch=batches.num_batches(num_examples, settings.batch_size),
    )
    program = scratch.training(
        network,
        optimizer=recipe_lib.optimizer(recipe, numbers, rate),
        augment=augment,
        num_examples=num_examples,
        batch_size=settings.batch_size,
        num_epochs=settings.epochs,
        drop_path_rate=settings.drop_path_rate,
        label_smoothing=settings.label_smoothing,
        mixup=settings.mixup,
        ema_decay=settings.ema_decay,
        validates=len(splits) > 1,
        patience=settings.early_stopping or None,
        num_seeds=settings.num_seeds if settings.num_seeds > 1 else None,
        task=task,
    )
    return Plan(network, program, rate, augment, splits)


def unsuited(dataset: data_lib.Dataset) -> tuple[str, ...]:
    """Returns the settings of a recipe that a task does not have.

    Args:
      dataset: gives the task.
    """
    shape = dataset.image_shape
    shapes = shape.values() if isinstance(shape, dict) else ()
    found = {
        "label_smoothing": dataset.task.smoothed is None,
        "mixup": any(isinstance(one, types.Whole) for one in shapes),
    }
    return tuple(name for name, missing in found.items() if missing)


def suited(settings: Any, dataset: data_lib.Dataset) -> Any:
    """Returns settings without the label smoothing of a recipe that a task has not.

    Args:
      settings: of trainings, by a recipe.
      dataset: gives the task.
    """
    return dataclasses.replace(settings, **dict.fromkeys(unsuited(dataset), 0.0))


def check_smoothing(settings: recipes.RecipeSettings, task: data_lib.Task) -> None:
    """Refuses label smoothing for targets that are no classes, before it is traced.

    Args:
      settings: of the training.
      task: what is learned.

    Raises:
      ValueError: it is on, and the task has nothing to smooth.
    """
    task.check_smoothing(settings.label_smoothing)


def build_network(
    genotype: genotypes.Genotype, dataset: data_lib.Dataset, settings: RetrainSettings
) -> networks.Network:
    """Builds the network that a training trains.

    Args:
      genotype: the cells.
      dataset: gives outputs and channels.
      settings: give its size.

    Raises:
      ValueError: inputs that the network does not read, or images that are too small
        for the auxiliary head.
    """
    inputs.check_genotype(genotype, dataset)
    size = setup.network_size(settings, dataset, stem=settings.stem)
    if settings.auxiliary and dataset.inputs == data_lib.IMAGES:
        networks.check_auxiliary(size, dataset.image_shape)
    network = networks.derived(
        genotype,
        size,
        auxiliary=settings.auxiliary,
        remat=settings.remat,
        dtype=jnp.dtype(settings.dtype),
    )
    inputs.check_derived(genotype, network, dataset)
    return network


def splits_of(
    dataset: data_lib.Dataset,
    settings: RetrainSettings,
    *,
    seed: int,
    streams: bool = False,
) -> tuple[types.Batch, ...]:
    """Returns the training split and, with a ``valid_rate``, the validation split.

    Args:
      dataset: its test split is not touched.
      settings: give the rate.
      seed: of the division.
      streams: whether images may be read when they are needed.
    """
    if settings.valid_rate:
        return setup.two_splits(
            dataset, settings.valid_rate, seed=seed, streams=streams
        )
    how = setup.is_resident(dataset, streams=streams)
    return (feed.split(dataset.x_train, dataset.y_train, resident=how),)
