"""The stages of a discrete search: shared weights where they are asked for, search."""

import dataclasses
import inspect
import json
from typing import Any

import jax
import jax.numpy as jnp

from jnas import data as data_lib
from jnas import networks, registry, spaces, types
from jnas.data import batches
from jnas.discrete import objectives, shared_weights, tables
from jnas.discrete.tables import choice
from jnas.run import workdir
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text
from jnas.studies import rounds
from jnas.training import optimizers

SUPERNET, SCRATCH = "supernet", "scratch"
EVALUATIONS = "evaluations.jsonl"
DISCRETE_KEY = 4  # folded into the run's key, after those of stages


@dataclasses.dataclass(frozen=True)
class DiscreteSettings:
    """What a discrete search is made of.

    Attributes:
      controller: name in ``registry.CONTROLLERS``.
      objective: ``supernet``, ``scratch``, a name in ``registry.OBJECTIVES``, or
        "table:" and a name or a file.
      num_proposals: P, of one round; None for the controller's own.
      num_evaluations: of the search, in whole rounds.
      features: F of the first cells.
      layers: cells (of a stage, for cells of one input).
      batch_size: B.
      epochs: of the shared weights, or of each network from scratch.
      valid_rate: fraction of the training images that scores cells.
      learning_rate: of the weights, at the start.
      trainer: controller that draws the cells the shared weights are trained by.
      signal: metrics of a table; the first is searched on.
      report: metrics of a table that are told.
    """

    controller: str = "regularized_evolution"
    objective: str = SUPERNET
    num_proposals: int | None = None
    num_evaluations: int = 200
    features: int = 16
    layers: int = 5
    batch_size: int = 64
    epochs: int = 50
    valid_rate: float = 0.5
    learning_rate: float = 0.025
    trainer: str = "random_search"
    signal: tuple[str, ...] = ("valid_12",)
    report: tuple[str, ...] = ("valid_12", "test_12")


def check(settings: DiscreteSettings) -> tables.Table | None:
    """Looks up everything that a search names; loads the table, where it is one.

    Args:
      settings: of the search.

    Raises:
      KeyError, ValueError: a name that does not exist; the nearest is guessed.
    """
    registry.CONTROLLERS[settings.controller]
    registry.CONTROLLERS[settings.trainer]
    if settings.objective.startswith("table:"):
        table = choice.load_table(settings.objective)
        choice.check_metrics(table, settings.signal, settings.report)
        return table
    if settings.objective not in (SUPERNET, SCRATCH, *registry.OBJECTIVES):
        names = ", ".join((SUPERNET, SCRATCH, "table:NAME", *registry.OBJECTIVES))
        guess = registry.nearest(settings.objective, names.split(", "))
        raise ValueError(
            f"objective must be one of {names}, got {settings.objective!r}. {guess}"
        )
    return None


def search_cells(
    run: workdir.Run,
    space: spaces.CellSpace,
    settings: DiscreteSettings,
    *,
    dataset: data_lib.Dataset | None = None,
    table: tables.Table | None = None,
    seed: int,
) -> tuple[genotypes.Genotype, dict[str, Any]]:
    """Searches a space by asking and telling, as the phase ``search``.

    With the objective ``supernet`` its first steps train the shared weights. The test
    part of the data set is not touched.

    Args:
      run: the open run.
      space: of the cells.
      settings: of the search.
      dataset: for every objective but a table.
      table: the benchmark.
      seed: of the split, the weights and the search.

    Returns:
      (genotype, result): the cell with the best signal, the first of equals, and its
      figures.

    Raises:
      ValueError: a table of another space.
    """
    controller = _controller(settings, space)
    if table is not None:
        _check_sizes(table, space)
        names = [*settings.signal, *settings.report]
        source = rounds.Source((), lambda _: objectives.table(table, names))
    else:
        names, source = ["score"], _on_images(dataset, space, settings, seed)
    key = jax.random.fold_in(jax.random.key(seed), DISCRETE_KEY)
    search = rounds.Search(
        controller, source, settings.num_evaluations, len(names), key
    )
    num_steps = search.num_rounds
    if source.program:
        num_steps += source.program.num_steps
    phase = run.phase("search", num_steps, free=rounds.FREE)
    if phase.result is None:
        state = rounds.drive(phase, search, space)
        lines = map(json.dumps, rounds.evaluations(state, names, space))
        run.write_text(EVALUATIONS, "".join(f"{line}\n" for line in lines))
        phase.end(
            rounds.result(state, names, space) | {"seconds": round(phase.seconds, 2)}
        )
    return genotype_text.from_json(phase.result["genotype"]), phase.result


def _check_sizes(table: tables.Table, space: spaces.CellSpace) -> None:
    if table.sizes != space.sizes:
        raise ValueError(
            f"space must have the table's sizes {table.sizes}, got {space.sizes} of "
            f"{space.name}. Use --space=nasbench201, or another table."
        )


def _controller(settings: DiscreteSettings, space) -> types.Controller:
    make = registry.CONTROLLERS[settings.controller]
    takes, given = inspect.signature(make).parameters, {}
    if settings.num_proposals is not None:
        name = "num_proposals" if "num_proposals" in takes else "population_size"
        given[name] = settings.num_proposals
    if "num_objectives" in takes:
        given["num_objectives"] = len(settings.signal)
    return make(space.sizes, **given)


def _on_images(dataset, space, settings, seed) -> rounds.Source:
    """Builds the objectives that read images."""
    rows = data_lib.stratified(seed, dataset.y_train, settings.valid_rate)
    splits = tuple(
        (jnp.asarray(dataset.x_train[i]), jnp.asarray(dataset.y_train[i])) for i in rows
    )
    size = networks.Size(
        settings.features,
        settings.layers,
        dataset.num_classes,
        dataset.image_shape[-1],
    )
    augment = data_lib.for_search(dataset)
    if settings.objective == SUPERNET:
        return _shared(space, settings, size, splits, augment)
    if settings.objective == SCRATCH:
        objective = objectives.scratch(
            space,
            size,
            splits[0],
            splits[1:],
            augment=augment,
            num_epochs=settings.epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
        )
        return rounds.Source(splits, lambda _: objective)
    task = objectives.Task(space, size, *splits, augment)
    objective = registry.OBJECTIVES[settings.objective](task)
    return rounds.Source(
        splits, lambda _: objective, jittable=getattr(objective, "jittable", True)
    )


def _shared(space, settings, size, splits, augment) -> rounds.Source:
    """Builds the training of shared weights, and the objective that reads them."""
    supernet = networks.one_shot(space, size)
    (_, labels), (valid_images, valid_labels) = splits
    rate = optimizers.cosine_by_epoch(
        start=settings.learning_rate,
        end=settings.learning_rate / 25,
        num_epochs=settings.epochs,
        steps_per_epoch=batches.num_batches(len(labels), settings.batch_size),
    )
    program = shared_weights.shared_training(
        space,
        supernet,
        registry.CONTROLLERS[settings.trainer](space.sizes),
        optimizer=optimizers.momentum_sgd(rate),
        augment=augment,
        num_examples=(len(labels), len(valid_labels)),
        batch_size=settings.batch_size,
        num_epochs=settings.epochs,
    )

    def objective(params):
        images = data_lib.normalise(valid_images, augment)
        return objectives.one_shot_accuracy(
            space, supernet, params, images, valid_labels
        )

    return rounds.Source(splits, objective, program)
