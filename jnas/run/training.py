"""The stages of an experiment, each a phase of a run: search, and retrain a cell."""

import collections
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jnas import data as data_lib
from jnas import genotype as genotypes
from jnas import networks, optimizers, registry, retrain, search, spaces
from jnas import program as program_lib
from jnas.run import drive as drive_lib
from jnas.run import workdir

SEARCH_KEY, RETRAIN_KEY, CELLS_KEY, TEST_KEY = range(4)  # folded into the run's key


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """What a gradient search is made of.

    Attributes:
      relaxation: name in ``registry.RELAXATIONS``.
      hypergradient: name in ``registry.HYPERGRADIENTS``.
      features: F of the first cells.
      layers: cells (of a stage, for cells of one input).
      batch_size: B, of both levels.
      epochs: passes over the training part.
      valid_rate: fraction of the training images that trains the architecture.
      learning_rate: of the weights, at the start.
      logits_learning_rate: of the architecture.
      num_seeds: S searches as one program; None for one.
      remat: whether each cell is computed again for the gradient, to save memory.
      dtype: of the activations, ``float32`` or ``bfloat16``.
    """

    relaxation: str = "softmax"
    hypergradient: str = "first_order"
    features: int = 16
    layers: int = 8
    batch_size: int = 64
    epochs: int = 50
    valid_rate: float = 0.5
    learning_rate: float = 0.025
    logits_learning_rate: float = 3e-4
    num_seeds: int | None = None
    remat: bool = False
    dtype: str = "float32"


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


def check_names(settings: SearchSettings, space: spaces.CellSpace) -> None:
    """Looks up everything that a search names, before anything is loaded.

    Args:
      settings: of the search.
      space: its operations.

    Raises:
      KeyError: a name that is not registered; the nearest is guessed.
    """
    registry.RELAXATIONS[settings.relaxation]
    registry.HYPERGRADIENTS[settings.hypergradient]
    for name in space.operations:
        registry.OPERATIONS[name]


def short(genotype: genotypes.Genotype) -> str:
    """Returns the operations of each cell, counted, the most frequent first.

    Args:
      genotype: the cells.
    """
    cells = []
    for name, cell in genotype.cells:
        counts = collections.Counter(op for _, _, op in cell.edges)
        listed = ", ".join(f"{n} {op}" for op, n in counts.most_common())
        cells.append(f"{name}: {listed}")
    return "; ".join(cells)


def search_cells(
    run: workdir.Run,
    dataset: data_lib.Dataset,
    space: spaces.CellSpace,
    settings: SearchSettings,
    *,
    seed: int,
) -> tuple[genotypes.Genotype, dict[str, Any]]:
    """Searches a space by gradient, as the phase ``search``.

    Args:
      run: the open run.
      dataset: its training part is split in two; the test part is not touched.
      space: the space of cells.
      settings: of the search.
      seed: of the split and of the search.

    Returns:
      The found genotype (over seeds: of the one with the best validation accuracy),
      and the phase's result.
    """
    rows = data_lib.stratified(seed, dataset.y_train, settings.valid_rate)
    shape = networks.Shape(
        settings.features,
        settings.layers,
        dataset.num_classes,
        dataset.image_shape[-1],
    )
    program = _search_program(dataset, space, settings, shape, rows)
    phase = run.phase("search", program.num_steps)
    if phase.result is None:
        parts = tuple(
            (jnp.asarray(dataset.x_train[i]), jnp.asarray(dataset.y_train[i]))
            for i in rows
        )
        key = jax.random.fold_in(jax.random.key(seed), SEARCH_KEY)

        def best(state):
            return short(_genotypes(space, state)[_best_seed(state)])

        state, metrics = drive_lib.drive(phase, program, key, parts, best=best)
        found = [genotypes.to_json(g) for g in _genotypes(space, state)]
        phase.end(
            metrics
            | {
                "genotype": found[_best_seed(state)],
                "genotypes": found,
                "seconds": round(phase.seconds, 2),
            }
        )
    return genotypes.from_json(phase.result["genotype"]), phase.result


def _search_program(dataset, space, settings, shape, rows) -> program_lib.Program:
    steps = len(rows[0]) // settings.batch_size
    rate = optimizers.cosine_by_epoch(
        start=settings.learning_rate,
        end=settings.learning_rate / 25,
        num_epochs=settings.epochs,
        steps_per_epoch=max(1, steps),
    )
    return search.gradient_search(
        space,
        networks.supernet(
            space, shape, remat=settings.remat, dtype=jnp.dtype(settings.dtype)
        ),
        relaxation=registry.RELAXATIONS[settings.relaxation],
        hypergradient=registry.HYPERGRADIENTS[settings.hypergradient],
        params_optimizer=optimizers.momentum_sgd(rate),
        logits_optimizer=optimizers.adam_l2(settings.logits_learning_rate),
        augment=data_lib.for_search(dataset),
        num_examples=tuple(map(len, rows)),
        batch_size=settings.batch_size,
        num_epochs=settings.epochs,
        num_seeds=settings.num_seeds,
    )


def _genotypes(space: spaces.CellSpace, state: Any) -> list[genotypes.Genotype]:
    logits = state.inner.logits
    many = logits if logits.ndim == 4 else logits[None]
    return [space.genotype(space.discretize(one)) for one in many]


def _best_seed(state: Any) -> int:
    return int(jnp.atleast_1d(state.sums["valid_accuracy"]).argmax())


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
    shape = networks.Shape(
        settings.features,
        settings.layers,
        dataset.num_classes,
        dataset.image_shape[-1],
    )
    network = networks.derived(
        genotype,
        shape,
        auxiliary=settings.auxiliary,
        remat=settings.remat,
        dtype=jnp.dtype(settings.dtype),
    )
    augment = data_lib.for_training(dataset, cutout=settings.cutout)
    rate = optimizers.cosine_by_epoch(
        start=settings.learning_rate,
        end=0.0,
        num_epochs=settings.epochs,
        steps_per_epoch=max(1, len(dataset.y_train) // settings.batch_size),
    )
    program = retrain.training(
        network,
        optimizer=optimizers.momentum_sgd(rate),
        augment=augment,
        num_examples=len(dataset.y_train),
        batch_size=settings.batch_size,
        num_epochs=settings.epochs,
        drop_path_rate=settings.drop_path_rate,
    )
    phase = run.phase(name, program.num_steps)
    if phase.result is not None:
        return phase.result
    key = jax.random.fold_in(jax.random.key(seed), RETRAIN_KEY)
    test_key = jax.random.fold_in(jax.random.key(seed), TEST_KEY)
    part = jnp.asarray(dataset.x_train), jnp.asarray(dataset.y_train)
    state, metrics = drive_lib.drive(phase, program, key, (part,))

    def test(*args):
        return retrain.evaluate(
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
