"""Where the scores of a discrete search come from: a table, or images."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import data as data_lib
from jnas import directions, networks, pieces, registry, spaces, types
from jnas.data import batches
from jnas.discrete import limits as limits_of_cells
from jnas.discrete import objectives, shared_weights, tables
from jnas.discrete.objectives import workers
from jnas.discrete.tables import choice
from jnas.studies import inputs, limits, rounds, setup
from jnas.studies import kept as kept_lib
from jnas.training import optimizers
from jnas.training import program as program_lib

SUPERNET, SCRATCH = "supernet", "scratch"
COSTS = limits.COSTS  # that any objective on images can be joined by


def on_table(
    table: tables.Table,
    space: spaces.Space,
    settings: Any,
    kept: kept_lib.Kept | None = None,
) -> tuple[rounds.Source, tuple[directions.Metric, ...], int]:
    """Returns the source of a table's scores, its columns and the number of signals.

    A metric that is named as signal and as report is one column. Costs that are limited
    are columns too; a cell that exceeds a limit has -inf in the first.

    Args:
      table: the benchmark.
      space: of the cells.
      settings: of the search.
      kept: the limits; None without any.

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
    for text in (*signals, *settings.report, *(kept.bounds if kept else ())):
        listed.setdefault(table.metric(text).name, text)
    objective = objectives.table(table, list(listed.values()))
    if kept:
        objective = limits_of_cells.first_masked(objective, kept.margins)
    source = rounds.Source((), lambda _: objective)
    return source, objectives.columns(objective), len(signals)


def parts(objective: Any) -> tuple[Any, ...]:
    """Returns the objectives that are scored side by side, as --objective names them.

    Args:
      objective: a function; a table; or a name, or several with commas between them.
    """
    if not isinstance(objective, str) or objective.startswith("table:"):
        return (objective,)
    return tuple(name.strip() for name in objective.split(","))


def check(objective: Any) -> None:
    """Refuses objectives that do not exist, or that do not fit together.

    Args:
      objective: as for ``parts``; no table.

    Raises:
      ValueError: an unknown name, with the nearest one; a name twice; shared weights
        and trainings side by side.
    """
    names = [one for one in parts(objective) if isinstance(one, str)]
    known = (SUPERNET, SCRATCH, *COSTS, *registry.OBJECTIVES)
    for name in names:
        if name not in known:
            listed = ", ".join((SUPERNET, SCRATCH, "table:NAME", *known[2:]))
            guess = registry.nearest(name, listed.split(", "))
            raise ValueError(
                f"objective must be one of {listed}, got {name!r}. {guess}".rstrip()
            )
        if names.count(name) > 1:
            raise ValueError(
                f"objective must name each part once, got {name!r} twice. Leave one "
                "out."
            )
    if {SUPERNET, SCRATCH} <= set(names):
        raise ValueError(
            f"objective must hold {SUPERNET} or {SCRATCH}, got both. Leave one out."
        )


def needed_costs(settings: Any) -> tuple[str, ...]:
    """Returns the costs that the columns and the limits of a search on images need.

    Args:
      settings: of the search.
    """
    named = [one for one in parts(settings.objective) if isinstance(one, str)]
    named += [directions.parse(text).name for text in settings.signal]
    named += limits.bounds(settings)
    return tuple(name for name in COSTS if name in named)


def on_images(
    dataset: data_lib.Dataset,
    space: spaces.Space,
    settings: Any,
    augment: data_lib.Augment,
    *,
    seed: int,
    costs: Mapping[str, networks.Costs],
    kept: kept_lib.Kept | None = None,
    hands: tuple[workers.Pool, workers.Journal] | None = None,
) -> tuple[rounds.Source, tuple[directions.Metric, ...], int]:
    """Returns the source of scores on images, its columns and the number of signals.

    Costs that are limited are columns too, the last ones where they are no signals. A
    cell that exceeds a limit is not scored: its first column is -inf, and so is every
    other but the costs.

    Args:
      dataset: its training images are split; the test split is not touched.
      space: of the cells.
      settings: of the search.
      augment: augmentation of the training images.
      seed: of the split.
      costs: cost -> what each candidate costs, of ``needed_costs``.
      kept: the limits; None without any.
      hands: workers that score the part which is of single cells, and their journal;
        None leaves all to this process.

    Raises:
      ValueError: a signal that the objective does not have.
    """
    splits = setup.two_splits(dataset, settings.valid_rate, seed=seed)
    size = setup.network_size(settings, dataset, stem=settings.stem)
    inputs.check_network(space, size, dataset)
    costs = {n: objectives.counted(space, n, c) for n, c in costs.items()}
    task = dataset.task
    source, own = _source(space, settings, size, splits, augment, task, costs, hands)
    signals = _signals(settings, own)
    limited = map(directions.declared, kept.bounds if kept else ())
    reports = [one for one in limited if one.name not in _names(signals)]
    metrics = (*signals, *reports)
    wanted = {*_names(own), *_names(metrics)}
    added = [costs[name] for name in COSTS if name in wanted]
    margins = kept.margins if kept else None

    def objective_of(params):
        scored = source.objective(params)
        if margins and scored:
            scored = limits_of_cells.limited(scored, margins)
        every = [*([scored] if scored else []), *added]
        whole = objectives.beside(*every) if len(every) > 1 else every[0]
        whole = objectives.chosen(whole, metrics)
        return limits_of_cells.first_masked(whole, margins) if margins else whole

    return source._replace(objective=objective_of), metrics, len(signals)


def _source(space, settings, size, splits, augment, task, costs, hands) -> tuple:
    """Builds the source of what --objective names but costs, and all its columns."""
    named = parts(settings.objective)
    source, builders, own = rounds.Source(splits, lambda _: None), [], []
    for part in named:
        if part == SUPERNET:
            source = _shared(space, settings, size, splits, augment, task)
            builders.append(source.objective)
            own.append(objectives.one_shot_metric(task))
            continue
        one = costs[part] if part in costs else None
        if one is None:
            one = build(part, space, settings, size, splits, augment, task)
            if hands and not objectives.jittable(one):
                raise ValueError(
                    "workers must have an objective that can be compiled, got "
                    f"{_called(part)}. Leave --workers out."
                )
            if hands:
                one = workers.on_workers(*hands, *objectives.columns(one))
            if len(named) > 1 and objectives.columns(one) == (objectives.SCORE,):
                one = objectives.declared(one, directions.declared(_called(part)))
            builders.append(lambda _, one=one: one)
            source = source._replace(
                jittable=source.jittable and objectives.jittable(one)
            )
        own += objectives.columns(one)
    choice.check_once(own)

    def objective(params):
        made = [build(params) for build in builders]
        return objectives.beside(*made) if len(made) > 1 else (made or [None])[0]

    return source._replace(objective=objective), tuple(own)


def build(
    part: Any,
    space: spaces.Space,
    settings: Any,
    size: networks.Size,
    splits: Sequence[types.Batch],
    augment: Any,
    task: data_lib.Task = data_lib.CLASSIFICATION,
) -> types.Objective:
    """Builds one objective that no shared weights are trained for.

    Args:
      part: of ``parts``.
      space: of the cells.
      settings: of the search.
      size: of the networks.
      splits: images and labels that train, and that score.
      augment: augmentation of the training images.
      task: what is learned.
    """
    if part == SCRATCH:
        return _from_scratch(space, settings, size, splits, augment, task)
    problem = objectives.Problem(space, size, *splits, augment, task)
    make = pieces.resolve(registry.OBJECTIVES, part)
    return _named(make(problem), space)


def _called(part) -> str:
    return pieces.name_of(registry.OBJECTIVES, part)


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


def _from_scratch(space, settings, size, splits, augment, task):
    """Builds the signal of a cell's network after its own training."""
    return objectives.scratch(
        space,
        size,
        splits[0],
        splits[1:],
        augment=augment,
        num_epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        task=task,
    )


def _shared(space, settings, size, splits, augment, task) -> rounds.Source:
    """Builds the training of shared weights, and the objective that reads them."""
    supernet = networks.one_shot(space, size)
    (train_images, labels), (valid_images, valid_labels) = splits
    counts = batches.count(labels), batches.count(valid_labels)
    rows = _calibration_rows(settings, counts[0])
    rate = optimizers.cosine_by_epoch(
        start=settings.learning_rate,
        end=settings.learning_rate / 25,
        num_epochs=settings.epochs,
        steps_per_epoch=batches.num_batches(counts[0], settings.batch_size),
    )
    program = shared_weights.shared_training(
        space,
        supernet,
        setup.controller(settings.trainer, space.sizes),
        optimizer=optimizers.momentum_sgd(rate),
        augment=augment,
        num_examples=counts,
        batch_size=settings.batch_size,
        num_epochs=settings.epochs,
        controller_rounds=settings.controller_rounds,
        task=task,
    )
    program_lib.check_batches(program, jax.random.key(0), splits)

    drawn = min(settings.screening_batches * settings.batch_size, counts[1])

    def objective(params):
        calibration = None
        if rows is not None:
            own = batches.rows_of(train_images, rows)
            calibration = data_lib.normalise(own, augment)
        build = functools.partial(
            objectives.one_shot_accuracy,
            space,
            supernet,
            params,
            data_lib.normalise(valid_images, augment),
            valid_labels,
            calibration=calibration,
            task=task,
        )
        if not settings.rescore:
            return build()
        return objectives.rescored(
            build(num_drawn=drawn), build(), count=settings.rescore
        )

    # a round has no gradient, and evaluates each cell on all validation images
    cells, more = settings.num_proposals or 1, 0 if rows is None else len(rows)
    read = cells * (counts[1] + more)
    if settings.rescore:
        read = cells * (drawn + more) + settings.rescore * (counts[1] + more)
    cost = read / (3 * settings.batch_size)
    return rounds.Source(
        splits,
        objective,
        program,
        round_cost=cost,
        num_scored=settings.rescore or None,
    )


def _calibration_rows(settings, count) -> np.ndarray | None:
    """Returns the rows of the training split that recalibration reads, spread evenly.

    They are the same for all cells, and not augmented.
    """
    number, size = settings.recalibrate, settings.batch_size
    if not number:
        return None
    if number * size > count:
        raise ValueError(
            f"recalibrate must be at most {count // size} batches of {size}, as "
            f"{count} images train, got {number}. Lower --recalibrate or --batch_size."
        )
    return batches.spread(count, size, number).reshape(-1)
