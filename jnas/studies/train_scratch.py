"""Training a found cell from scratch, as a phase of a run."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import data as data_lib
from jnas import networks, types
from jnas import settings as settings_lib
from jnas.data import batches
from jnas.run import drive as drive_lib
from jnas.run import workdir
from jnas.settings import option
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text
from jnas.studies import augmentation, keys, recipe_rows, recipes, setup
from jnas.training import program as program_lib
from jnas.training import recipe as recipe_lib
from jnas.training import scratch


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
    flags, count = {}, len(dataset.y_train)
    row = recipe_rows.defaults(genotype, dataset.image_shape)
    if count < row.get("batch_size", RetrainSettings.batch_size):
        flags["batch_size"] = max(2, count // 2)
    rows, columns, _ = dataset.image_shape
    if min(rows, columns) <= 4 and genotype.num_inputs == 2:
        flags["auxiliary"] = False
    return flags


def retrain_cell(
    run: workdir.Run,
    name: str,
    genotype: genotypes.Genotype,
    dataset: data_lib.Dataset,
    settings: RetrainSettings,
) -> dict[str, Any]:
    """Trains one genotype's network from scratch and tests it once, as a phase.

    Args:
      run: the open run; its seed is that of the training.
      name: name of the phase.
      genotype: the cells.
      dataset: its training images train, without those of ``valid_rate``; the test
        split is used once, at the end.
      settings: of the training.

    Returns:
      The phase's result: ``test_accuracy``, ``train_loss`` and ``train_accuracy`` in
      the last epoch, ``parameters``, ``auxiliary_parameters``, ``macs``, ``seconds``;
      with ``valid_rate`` ``valid_accuracy`` of the tested weights, and with early
      stopping ``best_epoch``; with several seeds their means, each metric's standard
      deviation as ``<name>_sd``, and ``seeds``, the figures of each.

    Raises:
      ValueError: settings that do not fit each other, the optimiser or the images.
    """
    size = setup.network_size(settings, dataset, stem=settings.stem)
    setup.announce_stem(run.say_once, size, dataset.image_shape)
    network = build_network(genotype, dataset, settings)
    kept = {
        "genotype": genotype_text.short_form(genotype),
        "features": settings.features,
        "layers": settings.layers,
    }
    return train_network(run, name, network, dataset, settings, kept=kept)


def train_network(
    run: workdir.Run,
    name: str,
    network: networks.Network,
    dataset: data_lib.Dataset,
    settings: RetrainSettings,
    *,
    kept: Mapping[str, Any],
) -> dict[str, Any]:
    """Trains any network from scratch and tests it once, as a phase.

    Args:
      run: the open run; its seed is that of the training.
      name: name of the phase.
      network: as ``networks.derived`` builds it, or a baseline.
      dataset: as for ``retrain_cell``.
      settings: of the training; those of a cell's network are not read.
      kept: JSON values that the phase's state depends on.

    Returns:
      The phase's result, as of ``retrain_cell``.

    Raises:
      ValueError: settings that do not fit each other, the optimiser or the images.
    """
    plan = prepare(network, dataset, settings, seed=run.seed)
    key = jax.random.fold_in(jax.random.key(run.seed), keys.RETRAIN)
    program_lib.check_batches(plan.program, key, plan.splits)
    augmentation.announce(run.say_once, dataset, plan.augment)
    phase = run.phase(name, plan.program.num_steps, free=drive_lib.FREE)
    phase.must_keep(**kept)
    if phase.result is not None:
        return phase.result
    _say_extended(phase, plan, settings)
    state, metrics = drive_lib.drive(
        phase, plan.program, key, plan.splits, after=("test",)
    )
    phase.begins("test")
    test_key = jax.random.fold_in(jax.random.key(run.seed), keys.TEST)
    accuracies = _test(test_key, plan, state.inner, dataset, settings.batch_size)
    _say_stopped(phase, plan.program, state, settings)
    steps = plan.program.steps_per_epoch
    extended = [one // steps for one in phase.extended_from]
    phase.end(
        _figures(accuracies, state, metrics, steps, settings)
        | networks.measure(plan.network, dataset.image_shape)
        | {"seconds": round(phase.seconds, 2)}
        | ({"extended_from": extended} if extended else {})
    )
    return phase.result


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
    splits = splits_of(dataset, settings, seed=seed)
    num_examples, recipe = len(splits[0][1]), recipes.recipe(settings)
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
    )
    return Plan(network, program, rate, augment, splits)


def build_network(
    genotype: genotypes.Genotype, dataset: data_lib.Dataset, settings: RetrainSettings
) -> networks.Network:
    """Builds the network that a training trains.

    Args:
      genotype: the cells.
      dataset: gives classes and channels.
      settings: give its size.

    Raises:
      ValueError: images that are too small for the auxiliary head.
    """
    size = setup.network_size(settings, dataset, stem=settings.stem)
    if settings.auxiliary:
        networks.check_auxiliary(size, dataset.image_shape)
    return networks.derived(
        genotype,
        size,
        auxiliary=settings.auxiliary,
        remat=settings.remat,
        dtype=jnp.dtype(settings.dtype),
    )


def splits_of(
    dataset: data_lib.Dataset, settings: RetrainSettings, *, seed: int
) -> tuple[types.Batch, ...]:
    """Returns the training split and, with a ``valid_rate``, the validation split.

    Args:
      dataset: its test split is not touched.
      settings: give the rate.
      seed: of the division.
    """
    if settings.valid_rate:
        return setup.two_splits(dataset, settings.valid_rate, seed=seed)
    return ((jnp.asarray(dataset.x_train), jnp.asarray(dataset.y_train)),)


def _say_extended(phase, plan: Plan, settings: RetrainSettings) -> None:
    if phase.extended_from:
        rate = float(plan.rate(phase.extended_from[-1]))
        phase.say(
            f"the learning rate resumes at {rate:.3g}, on the {settings.schedule} "
            f"schedule of {settings.epochs} epochs"
        )


def _say_stopped(phase, program, state, settings: RetrainSettings) -> None:
    if not settings.early_stopping:
        return
    known = jax.device_get(state.inner.validation)
    for seed, (best, last) in enumerate(
        zip(np.atleast_1d(known.best_epoch), np.atleast_1d(known.epoch), strict=True)
    ):
        name = f"seed {seed}: " if program.num_seeds else ""
        how = "early stopping ended it" if last < settings.epochs else "it ended"
        phase.say(
            f"{name}{how} after epoch {last} of {settings.epochs}; the weights of "
            f"epoch {best}, the best on the validation split, are kept and tested"
        )


def _figures(accuracies, state, metrics, steps, settings) -> dict[str, Any]:
    """Returns the figures of the tested weights; of several seeds, also of each."""
    known = state.inner.validation
    found = {"test_accuracy": accuracies}
    if known is not None:
        kept = settings.early_stopping
        found["valid_accuracy"] = known.best if kept else known.accuracy
        found |= {"best_epoch": known.best_epoch} if kept else {}
    found = jax.device_get(found)
    if settings.num_seeds == 1:
        return {n: round(value.item(), 6) for n, value in found.items()} | metrics
    last = {n: jax.device_get(total) / steps for n, total in state.sums.items()}
    seeds = [
        {"seed": i} | {n: round(v[i].item(), 6) for n, v in {**found, **last}.items()}
        for i in range(settings.num_seeds)
    ]
    spread = {}
    for name, values in found.items():
        spread[name] = round(float(values.mean()), 6)
        spread[f"{name}_sd"] = round(float(values.std(ddof=1)), 6)
    return spread | metrics | {"seeds": seeds}


def _test(key, plan: Plan, state, dataset, batch_size) -> types.Array:
    """Returns the accuracy on the test split, f32[] or f32[S]."""
    x, y = jnp.asarray(dataset.x_test), jnp.asarray(dataset.y_test)

    def test(kept):
        return scratch.evaluate(
            key, plan.network, *kept, x, y, augment=plan.augment, batch_size=batch_size
        )

    kept = scratch.trained(state)
    if plan.program.num_seeds is None:
        return jax.jit(test)(kept)
    return jax.jit(lambda kept: program_lib.divided(test, kept))(kept)
