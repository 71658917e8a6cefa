"""Where the scores of a discrete search come from: a table, or images."""

from typing import Any

import jax
import jax.numpy as jnp

from jnas import data as data_lib
from jnas import directions, networks, pieces, registry, spaces
from jnas.data import batches
from jnas.discrete import objectives, shared_weights, tables
from jnas.discrete.tables import choice
from jnas.studies import rounds, setup
from jnas.training import optimizers
from jnas.training import program as program_lib

SUPERNET, SCRATCH = "supernet", "scratch"
COSTS = ("parameters", "macs")  # that any objective on images can be joined by


def on_table(
    table: tables.Table, space: spaces.CellSpace, settings: Any
) -> tuple[rounds.Source, tuple[directions.Metric, ...], int]:
    """Returns the source of a table's scores, its columns and the number of signals.

    A metric that is named as signal and as report is one column.

    Args:
      table: the benchmark.
      space: of the cells.
      settings: of the search.

    Raises:
      ValueError: a table of another space.
    """
    if table.sizes != space.sizes:
        raise ValueError(
            f"space must have the table's sizes {table.sizes}, got {space.sizes} of "
            f"{space.name}. Use --space=nasbench201, or another table."
        )
    signals = settings.signal or (choice.default_signal(table),)
    listed: dict[str, str] = {}
    for text in (*signals, *settings.report):
        listed.setdefault(table.metric(text).name, text)
    objective = objectives.table(table, list(listed.values()))
    source = rounds.Source((), lambda _: objective)
    return source, objectives.columns(objective), len(signals)


def on_images(
    dataset: data_lib.Dataset,
    space: spaces.CellSpace,
    settings: Any,
    augment: data_lib.Augment,
    *,
    seed: int,
) -> tuple[rounds.Source, tuple[directions.Metric, ...]]:
    """Returns the source of scores that are measured on images, and its columns.

    Args:
      dataset: its training images are split; the test split is not touched.
      space: of the cells.
      settings: of the search.
      augment: augmentation of the training images.
      seed: of the split.

    Raises:
      ValueError: a signal that the objective does not have.
    """
    splits = setup.two_splits(dataset, settings.valid_rate, seed=seed)
    size = setup.network_size(settings, dataset, stem=settings.stem)
    costs = [
        objectives.cost(space, size, dataset.image_shape, kind=kind) for kind in COSTS
    ]
    if settings.objective == SUPERNET:
        source = _shared(space, settings, size, splits, augment)
        own = (objectives.ONE_SHOT,)
    else:
        if settings.objective == SCRATCH:
            objective = _from_scratch(space, settings, size, splits, augment)
        else:
            task = objectives.Task(space, size, *splits, augment)
            build = pieces.resolve(registry.OBJECTIVES, settings.objective)
            objective = _named(build(task), space)
        own = objectives.columns(objective)
        source = rounds.Source(
            splits, lambda _: objective, jittable=objectives.jittable(objective)
        )
    metrics = _signals(settings, own)
    wanted = set(_names(metrics)) - set(_names(own))
    added = [c for c in costs if objectives.columns(c)[0].name in wanted]

    def objective_of(params):
        whole = source.objective(params)
        whole = objectives.beside(whole, *added) if added else whole
        return objectives.chosen(whole, metrics)

    return source._replace(objective=objective_of), metrics


def _names(metrics) -> list[str]:
    return [metric.name for metric in metrics]


def _signals(settings, own) -> tuple[directions.Metric, ...]:
    """Reads --signal for an objective on images: its own columns, or a cost too."""
    if not settings.signal:
        return own
    declared = {metric.name: metric for metric in own}
    metrics = tuple(
        declared.get(text) or directions.parse(text) for text in settings.signal
    )
    choice.check_once(metrics)
    known = dict.fromkeys([*_names(own), *COSTS])
    for metric in metrics:
        if metric.name not in known:
            guess = registry.nearest(metric.name, known)
            raise ValueError(
                f"signal must be among {', '.join(known)} for this objective, got "
                f"{metric.name!r}. {guess}".rstrip()
            )
    return metrics


def _named(objective, space):
    """Declares the columns of a user's objective of several without names."""
    if hasattr(objective, "metrics") or not objectives.jittable(objective):
        return objective
    encodings = jax.ShapeDtypeStruct((2, len(space.sizes)), jnp.int32)
    scores = jax.eval_shape(objective, jax.random.key(0), encodings)
    if len(scores.shape) != 2:
        raise ValueError(
            f"objective must give scores f32[P, M], got shape {scores.shape}. Return "
            "one row a cell and one column a metric."
        )
    names = ["score", *(f"score_{i}" for i in range(1, scores.shape[1]))]
    return objectives.declared(objective, *map(directions.Metric, names))


def _from_scratch(space, settings, size, splits, augment):
    """Builds the accuracy of a cell's network after its own training."""
    return objectives.scratch(
        space,
        size,
        splits[0],
        splits[1:],
        augment=augment,
        num_epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
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

    # a round has no gradient, and evaluates each cell on all validation images
    cells = settings.num_proposals or 1
    cost = cells * len(valid_labels) / (3 * settings.batch_size)
    return rounds.Source(splits, objective, program, round_cost=cost)
