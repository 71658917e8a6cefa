"""Training a found cell from scratch, as a phase of a run."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from jnas import data as data_lib
from jnas import networks
from jnas import settings as settings_lib
from jnas.data import batches
from jnas.run import drive as drive_lib
from jnas.run import workdir
from jnas.settings import option
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text
from jnas.studies import augmentation, keys, setup, trained
from jnas.training import optimizers, scratch
from jnas.training import program as program_lib


@dataclasses.dataclass(frozen=True)
class RetrainSettings(augmentation.AugmentSettings):
    """How a genotype's network is trained from scratch; the defaults are DARTS'.

    The fields carry their own help text.
    """

    features: int = setup.features_option(36)
    layers: int = setup.layers_option(20)
    batch_size: int = option(96, "Images in a batch.", group="schedule")
    epochs: int = option(
        600, "Passes over all training images.", group="schedule", least=1
    )
    learning_rate: float = option(
        0.025,
        "Learning rate at the start of the cosine schedule, which ends at 0.",
        group="schedule",
        least=0,
    )
    drop_path_rate: float = option(
        0.2, "Drop-path rate at the end of training.", group="schedule"
    )
    auxiliary: bool = option(
        True,
        "Train an auxiliary head too; cells of one input have none.",
        group="network",
    )
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
    if count < RetrainSettings.batch_size:
        flags["batch_size"] = max(2, count // 2)
    rows, columns, _ = dataset.image_shape
    if min(rows, columns) <= 4 and genotype.num_inputs == 2:
        flags["auxiliary"] = False
    return flags


def check_size(dataset: data_lib.Dataset) -> None:
    """Refuses images that two reductions leave too small for the auxiliary head.

    Args:
      dataset: the images.

    Raises:
      ValueError: four rows or columns, or fewer.
    """
    rows, columns, _ = dataset.image_shape
    if min(rows, columns) <= 4:
        raise ValueError(
            "images must have more than 4 rows and columns for the auxiliary head, got "
            f"{rows}x{columns}. Use larger images or --noauxiliary."
        )


def retrain_cell(
    run: workdir.Run,
    name: str,
    genotype: genotypes.Genotype,
    dataset: data_lib.Dataset,
    settings: RetrainSettings,
    *,
    keep: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Trains one genotype's network from scratch and tests it once, as a phase.

    Of a finished run without the folder ``keep``, the network is saved from its last
    checkpoint.

    Args:
      run: the open run; its seed is that of the training.
      name: name of the phase.
      genotype: the cells.
      dataset: all its training images train; the test split is used at the end.
      settings: of the training.
      keep: folder in which the trained network is saved as a model; None saves none.

    Returns:
      The phase's result: ``test_accuracy``, ``train_loss`` and ``train_accuracy`` in
      the last epoch, ``parameters``, ``auxiliary_parameters``, ``macs``,
      ``seconds``.
    """
    saver = trained.Saver(keep, run, genotype, dataset, settings)
    saver.check()
    if settings.auxiliary:
        check_size(dataset)
    network = networks.derived(
        genotype,
        setup.network_size(settings, dataset),
        auxiliary=settings.auxiliary,
        remat=settings.remat,
        dtype=jnp.dtype(settings.dtype),
    )
    augment = augmentation.build(settings, dataset, how=data_lib.for_training)
    program, rate = _program(network, augment, len(dataset.y_train), settings)
    key = jax.random.fold_in(jax.random.key(run.seed), keys.RETRAIN)
    split = jnp.asarray(dataset.x_train), jnp.asarray(dataset.y_train)
    program_lib.check_batches(program, key, (split,))
    abstract = jax.eval_shape(program.init, key)
    if run.finished is not None:
        return saver.of_finished(name, abstract)
    augmentation.announce(run.say_once, dataset, augment)
    phase = run.phase(name, program.num_steps, free=drive_lib.FREE)
    phase.must_keep(
        genotype=genotype_text.short_form(genotype),
        features=settings.features,
        layers=settings.layers,
    )
    if phase.result is not None:
        saver.of_ended(phase, abstract)
        return phase.result
    earlier = phase.extended_from
    if earlier:
        phase.say(
            f"the learning rate resumes at {float(rate(earlier[-1])):.3g}, on the "
            f"cosine of {settings.epochs} epochs"
        )
    state, metrics = drive_lib.drive(phase, program, key, (split,), after=("test",))
    phase.begins("test")
    test_key = jax.random.fold_in(jax.random.key(run.seed), keys.TEST)
    accuracy = _test(
        test_key, network, state.inner, dataset, augment, settings.batch_size
    )
    extended = [steps // program.steps_per_epoch for steps in earlier]
    result = (
        {"test_accuracy": round(accuracy, 6)}
        | metrics
        | networks.measure(network, dataset.image_shape)
        | {"seconds": round(phase.seconds, 2)}
        | ({"extended_from": extended} if extended else {})
    )
    # before the phase ends: a run that is killed here saves it again
    saver.save(state.inner.params, state.inner.stats, result)
    phase.end(result)
    return phase.result


def _program(network, augment, num_examples, settings):
    """Returns the training as a program, and its schedule: step -> learning rate."""
    rate = optimizers.cosine_by_epoch(
        start=settings.learning_rate,
        end=0.0,
        num_epochs=settings.epochs,
        steps_per_epoch=batches.num_batches(num_examples, settings.batch_size),
    )
    program = scratch.training(
        network,
        optimizer=optimizers.momentum_sgd(rate),
        augment=augment,
        num_examples=num_examples,
        batch_size=settings.batch_size,
        num_epochs=settings.epochs,
        drop_path_rate=settings.drop_path_rate,
    )
    return program, rate


def _test(key, network, trained, dataset, augment, batch_size) -> float:
    """Returns the accuracy of a trained network on the test split."""

    def test(*args):
        return scratch.evaluate(
            key, network, *args, augment=augment, batch_size=batch_size
        )

    x, y = jnp.asarray(dataset.x_test), jnp.asarray(dataset.y_test)
    return float(jax.jit(test)(trained.params, trained.stats, x, y))
