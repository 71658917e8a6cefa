"""A discrete search as a phase of a run, after training shared weights if asked."""

import dataclasses
import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnas import data as data_lib
from jnas import directions, networks, pieces, registry, spaces
from jnas import settings as settings_lib
from jnas.data import batches
from jnas.discrete import objectives, shared_weights, tables
from jnas.discrete.tables import choice
from jnas.run import workdir
from jnas.settings import option
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text
from jnas.studies import closing, keys, rounds, setup, train_scratch, verdict
from jnas.training import optimizers

SUPERNET, SCRATCH = "supernet", "scratch"
COSTS = ("parameters", "macs")  # that any objective on images can be joined by
EVALUATIONS, FRONT = "evaluations.jsonl", "front.json"


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
    signal: tuple[str, ...] = option(
        (),
        "Metrics that are searched on, comma-separated; the first chooses the best "
        "cell, and controllers of several objectives (nsga2) see all. Of a table its "
        "metrics, without it valid_12 or else the first; on images those of the "
        "objective, without it all of them, and parameters and macs. minimize:NAME "
        "and maximize:NAME override a metric's direction.",
    )
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
        signal = settings.signal or (choice.default_signal(table),)
        choice.check_metrics(table, signal, settings.report)
        return table
    if settings.objective not in (SUPERNET, SCRATCH, *registry.OBJECTIVES):
        names = ", ".join((SUPERNET, SCRATCH, "table:NAME", *registry.OBJECTIVES))
        guess = registry.nearest(settings.objective, names.split(", "))
        raise ValueError(
            f"objective must be one of {names}, got {settings.objective!r}. {guess}"
        )
    return None


class Found(NamedTuple):
    """Result of a search.

    Attributes:
      genotype: the cell with the best signal, the first of equals.
      result: figures of the cell, ``evaluations``, ``directions``, verdict.
    """

    genotype: genotypes.Genotype
    result: dict[str, Any]


def search_cells(
    run: workdir.Run,
    space: spaces.CellSpace,
    settings: DiscreteSettings,
    *,
    dataset: data_lib.Dataset | None = None,
    augment: data_lib.Augment | None = None,
    table: tables.Table | None = None,
) -> Found:
    """Searches a space with a controller, as the phase ``search``.

    With the objective ``supernet`` its first steps train the shared weights. The test
    split of the data set is not touched. ``evaluations.jsonl`` gets every evaluation,
    ``front.json`` the Pareto front where there are several signals.

    Args:
      run: the open run; its seed is that of the data split, the weights and the search.
      space: of the cells.
      settings: of the search.
      dataset: needed by every objective but a table.
      augment: augmentation of the training images; None means ``data.for_search``'s.
      table: the benchmark.

    Raises:
      ValueError: a table of another space, a signal that the objective does not have,
        or no evaluated cell with a score.
    """
    if table is not None:
        source, metrics, num_signals = _on_table(table, space, settings)
        _say_gaps(run, table, metrics[0])
    else:
        augment = augment or data_lib.for_search(dataset)
        source, metrics = _on_images(dataset, space, settings, run.seed, augment)
        num_signals = len(metrics)
    controller = setup.controller(
        settings.controller,
        space.sizes,
        num_objectives=num_signals,
        num_proposals=settings.num_proposals,
    )
    key = jax.random.fold_in(jax.random.key(run.seed), keys.DISCRETE)
    search = rounds.Search(controller, source, settings.num_evaluations, metrics, key)
    num_steps = search.num_rounds
    if source.program:
        num_steps += source.program.num_steps
    phase = run.phase("search", num_steps, free=rounds.FREE)
    if phase.result is None:
        state = rounds.drive(phase, search, space)
        found = rounds.evaluations(state, metrics, space)
        _write(run, found, num_signals)
        first = search.proposals.shape[0]
        phase.end(_figures(found, num_signals, first) | _seconds(phase))
    genotype = genotype_text.from_json(phase.result["genotype"])
    return Found(genotype, phase.result)


def close(
    run: workdir.Run,
    found: Found,
    settings: DiscreteSettings,
    *shared: Any,
    dataset: data_lib.Dataset | None = None,
) -> dict[str, Any]:
    """Ends the run of a search with its files, verdict and next command.

    Args:
      run: the open run.
      found: result of the search.
      settings: of the search.
      *shared: settings of data and images, for the next command.
      dataset: that was searched on; None for a table.

    Returns:
      The content of result.json.
    """
    result = {k: v for k, v in found.result.items() if k != "genotype"}
    if dataset is None:
        command = closing.retrain_command(run)
        return closing.close_search(run, [found.genotype], result, next_command=command)
    changed = settings_lib.changed(settings)
    numbers = {n: changed[n] for n in ("features", "layers", "epochs") if n in changed}
    numbers |= train_scratch.needed(dataset, found.genotype)
    return closing.close_search(
        run,
        [found.genotype],
        result,
        size=setup.network_size(settings, dataset),
        image_shape=dataset.image_shape,
        next_command=closing.retrain_command(run, *shared, **numbers),
    )


def _seconds(phase) -> dict[str, float]:
    return {"seconds": round(phase.seconds, 2)}


def _write(run: workdir.Run, found: rounds.Evaluations, num_signals: int) -> None:
    """Writes evaluations.jsonl and front.json."""
    lines = (json.dumps(found.line(i)) for i in range(len(found.scores)))
    run.write_text(EVALUATIONS, "".join(f"{line}\n" for line in lines))
    if num_signals > 1:
        front = rounds.front(found, num_signals)
        cells = ",\n  ".join(json.dumps(one) for one in front.pop("front"))
        head = json.dumps(front)[:-1]
        run.write_text(FRONT, f'{head},\n "front": [\n  {cells}\n ]}}\n')


def _figures(found: rounds.Evaluations, num_signals: int, first: int) -> dict:
    """Returns the result of a search with its verdict."""
    count, known = len(found.scores), int(found.known.sum())
    if not known:
        raise ValueError(
            f"scores must be finite for at least one cell, got none of {count}. Raise "
            "--num_evaluations, or use a table that holds more cells, or another "
            "objective."
        )
    signals = found.scores[:, :num_signals]
    metrics = found.metrics[:num_signals]
    judged = verdict.of_scores(signals, metrics, max(first, count // 10))
    warnings = list(judged.warnings)
    if known < count:
        warnings.append(
            f"{count - known} of {count} evaluations have no {metrics[0].name} and "
            "counted as the worst"
        )
    return rounds.result(found) | judged._replace(warnings=tuple(warnings)).figures()


def _say_gaps(run: workdir.Run, table: tables.Table, metric) -> None:
    """Says how much of the space a table holds, if it is not all."""
    text = choice.gaps(table, metric)
    if text:
        run.say(text)


def _on_table(table, space, settings) -> tuple:
    """Returns the source of a table's scores, all its metrics, the number of signals.

    A metric that is named as signal and as report is one column.
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


def _on_images(dataset, space, settings, seed, augment) -> tuple:
    """Returns the source of scores that are measured on images, and its metrics."""
    splits = setup.two_splits(dataset, settings.valid_rate, seed=seed)
    size = setup.network_size(settings, dataset)
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
    if metrics == own:
        return source, own
    added = [c for c in costs if objectives.columns(c)[0].name in _names(metrics)]

    def objective_of(params):
        whole = objectives.beside(source.objective(params), *added)
        return objectives.chosen(whole, metrics)

    return source._replace(objective=objective_of), metrics


def _names(metrics) -> list[str]:
    return [metric.name for metric in metrics]


def _signals(settings, own) -> tuple[directions.Metric, ...]:
    """Reads --signal for an objective on images: its own columns, or a cost too."""
    if not settings.signal:
        return own
    costs = {metric.name for metric in own if metric.sign < 0}
    metrics = tuple(directions.parse(text, costs) for text in settings.signal)
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

    def objective(params):
        images = data_lib.normalise(valid_images, augment)
        return objectives.one_shot_accuracy(
            space, supernet, params, images, valid_labels
        )

    # a round has no gradient, and evaluates each cell on all validation images
    cells = settings.num_proposals or 1
    cost = cells * len(valid_labels) / (3 * settings.batch_size)
    return rounds.Source(splits, objective, program, round_cost=cost)
