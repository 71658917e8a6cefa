"""A discrete search as a phase of a run, after training shared weights if asked."""

import dataclasses
import json
from typing import Any

import jax

from jnas import data as data_lib
from jnas import networks, pieces, registry, spaces
from jnas import settings as settings_lib
from jnas.data import batches
from jnas.discrete import objectives, shared_weights, tables
from jnas.discrete.tables import choice
from jnas.run import workdir
from jnas.settings import option
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text
from jnas.studies import keys, rounds, setup
from jnas.training import optimizers
from jnas.training import program as program_lib

SUPERNET, SCRATCH = "supernet", "scratch"
EVALUATIONS = "evaluations.jsonl"


@dataclasses.dataclass(frozen=True)
class DiscreteSettings:
    """How cells are proposed and scored. The fields carry their own help text."""

    controller: pieces.Piece = option(
        "regularized_evolution",
        "Controller that proposes cells.",
        group="search",
        pieces=registry.CONTROLLERS,
    )
    objective: pieces.Piece = option(
        SUPERNET,
        "Score of a cell: supernet (accuracy with shared weights), scratch (accuracy "
        "after training from scratch), table:NAME or table:FILE, or a registered "
        "objective.",
        group="search",
        pieces=registry.OBJECTIVES,
    )
    num_proposals: int | None = option(
        None, "Cells proposed in one round; without it the controller's own number."
    )
    num_evaluations: int = option(
        200, "Number of evaluated cells, in whole rounds.", least=1
    )
    features: int = setup.features_option(16)
    layers: int = setup.layers_option(5)
    batch_size: int = option(64, "Images in a batch.", group="schedule")
    epochs: int = option(
        50,
        "Epochs of the shared weights, or of each network trained from scratch.",
        group="schedule",
        least=1,
    )
    valid_rate: float = option(
        0.5, "Share of the training images that scores cells.", group="data"
    )
    learning_rate: float = option(
        0.025,
        "Learning rate of the weights at the start of the cosine schedule.",
        group="schedule",
        least=0,
    )
    trainer: pieces.Piece = option(
        "random_search",
        "Controller that draws the cells by which shared weights are trained: "
        "random_search is SPOS, reinforce is ENAS.",
        group="search",
        pieces=registry.CONTROLLERS,
    )
    signal: tuple[str, ...] = setup.signal_option()
    report: tuple[str, ...] = setup.report_option()
    __post_init__ = settings_lib.check


def check(settings: DiscreteSettings) -> tables.Table | None:
    """Looks up everything that a search names; loads the table, if it names one.

    Args:
      settings: of the search.

    Raises:
      KeyError, ValueError: a name that does not exist; the nearest is guessed.
    """
    pieces.resolve(registry.CONTROLLERS, settings.controller)
    pieces.resolve(registry.CONTROLLERS, settings.trainer)
    if not isinstance(settings.objective, str):
        return None
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
) -> tuple[genotypes.Genotype, dict[str, Any]]:
    """Searches a space with a controller, as the phase ``search``.

    With the objective ``supernet`` its first steps train the shared weights. The test
    split of the data set is not touched.

    Args:
      run: the open run; its seed is that of the data split, the weights and the search.
      space: of the cells.
      settings: of the search.
      dataset: needed by every objective but a table.
      table: the benchmark.

    Returns:
      (genotype, result): the cell with the best signal, the first of equals, and its
      figures.

    Raises:
      ValueError: a table of another space.
    """
    controller = setup.controller(
        settings.controller,
        space.sizes,
        num_objectives=len(settings.signal),
        num_proposals=settings.num_proposals,
    )
    if table is not None:
        _check_sizes(table, space)
        names = [*settings.signal, *settings.report]
        source = rounds.Source((), lambda _: objectives.table(table, names))
    else:
        names, source = ["score"], _on_images(dataset, space, settings, run.seed)
    key = jax.random.fold_in(jax.random.key(run.seed), keys.DISCRETE)
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


def _on_images(dataset, space, settings, seed) -> rounds.Source:
    """Builds the objectives that read images."""
    splits = setup.two_splits(dataset, settings.valid_rate, seed=seed)
    size = setup.network_size(settings, dataset)
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
    objective = pieces.resolve(registry.OBJECTIVES, settings.objective)(task)
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
        setup.controller(settings.trainer, space.sizes),
        optimizer=optimizers.momentum_sgd(rate),
        augment=augment,
        num_examples=(len(labels), len(valid_labels)),
        batch_size=settings.batch_size,
        num_epochs=settings.epochs,
    )
    program_lib.check_batches(program, jax.random.key(0), splits)

    def objective(params):
        images = data_lib.normalise(valid_images, augment)
        return objectives.one_shot_accuracy(
            space, supernet, params, images, valid_labels
        )

    return rounds.Source(splits, objective, program)
