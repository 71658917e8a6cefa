"""Training a found cell from scratch, as a phase of a run."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jnas import data as data_lib
from jnas import networks
from jnas.data import batches
from jnas.run import drive as drive_lib
from jnas.run import workdir
from jnas.spaces import genotype as genotypes
from jnas.studies import keys
from jnas.training import optimizers, scratch


@dataclasses.dataclass(frozen=True)
class RetrainSettings:
    """How a genotype's network is trained from scratch.

    Attributes:
      features: F of the first cells.
      layers: cells (of a stage, for cells of one input).
      batch_size: B.
      epochs: passes over all training images.
      learning_rate: at the start; a cosine takes it to 0.
      drop_path_rate: at the end of training.
      auxiliary: whether the auxiliary head is trained with it.
      cutout: side of the blanked square in pixels; None for half the rows.
      remat: whether each cell is computed again for the gradient, to save memory.
      dtype: of the activations, ``float32`` or ``bfloat16``.
    """

    features: int = 36
    layers: int = 20
    batch_size: int = 96
    epochs: int = 600
    learning_rate: float = 0.025
    drop_path_rate: float = 0.2
    auxiliary: bool = True
    cutout: int | None = None
    remat: bool = False
    dtype: str = "float32"


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
    seed: int,
) -> dict[str, Any]:
    """Trains one genotype's network from scratch and tests it once, as a phase.

    Args:
      run: the open run.
      name: of the phase.
      genotype: the cells.
      dataset: all its training images train; the test part is used at the end.
      settings: of the training.
      seed: of the training.

    Returns:
      The phase's result: ``test_accuracy``, ``train_loss`` and ``train_accuracy`` in
      the last epoch, ``parameters``, ``auxiliary_parameters``, ``macs``,
      ``seconds``.
    """
    if settings.auxiliary:
        check_size(dataset)
    size = networks.Size(
        settings.features,
        settings.layers,
        dataset.num_classes,
        dataset.image_shape[-1],
    )
    network = networks.derived(
        genotype,
        size,
        auxiliary=settings.auxiliary,
        remat=settings.remat,
        dtype=jnp.dtype(settings.dtype),
    )
    augment = data_lib.for_training(dataset, cutout=settings.cutout)
    rate = optimizers.cosine_by_epoch(
        start=settings.learning_rate,
        end=0.0,
        num_epochs=settings.epochs,
        steps_per_epoch=batches.num_batches(len(dataset.y_train), settings.batch_size),
    )
    program = scratch.training(
        network,
        optimizer=optimizers.momentum_sgd(rate),
        augment=augment,
        num_examples=len(dataset.y_train),
        batch_size=settings.batch_size,
        num_epochs=settings.epochs,
        drop_path_rate=settings.drop_path_rate,
    )
    phase = run.phase(name, program.num_steps, free=drive_lib.FREE)
    if phase.result is not None:
        return phase.result
    key = jax.random.fold_in(jax.random.key(seed), keys.RETRAIN)
    test_key = jax.random.fold_in(jax.random.key(seed), keys.TEST)
    part = jnp.asarray(dataset.x_train), jnp.asarray(dataset.y_train)
    state, metrics = drive_lib.drive(phase, program, key, (part,))

    def test(*args):
        return scratch.evaluate(
            test_key, network, *args, augment=augment, batch_size=settings.batch_size
        )

    accuracy = jax.jit(test)(
        state.inner.params,
        state.inner.stats,
        jnp.asarray(dataset.x_test),
        jnp.asarray(dataset.y_test),
    )
    phase.end(
        {"test_accuracy": round(float(accuracy), 6)}
        | metrics
        | networks.measure(network, dataset.image_shape)
        | {"seconds": round(phase.seconds, 2)}
    )
    return phase.result
