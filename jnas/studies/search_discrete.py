"""A discrete search as a phase of a run, after training shared weights if asked."""

import json
import shlex
from typing import Any, NamedTuple

import jax
import numpy as np

from jnas import data as data_lib
from jnas import settings as settings_lib
from jnas import spaces
from jnas.discrete import tables
from jnas.discrete.objectives import two_levels
from jnas.discrete.tables import choice
from jnas.run import workdir
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text
from jnas.studies import (
    augmentation,
    closing,
    evaluations,
    inputs,
    keys,
    limits,
    members,
    rounds,
    scoring,
    setup,
    train_scratch,
)
from jnas.studies import kept as kept_lib
from jnas.studies.discrete_plan import DiscreteSettings as DiscreteSettings
from jnas.studies.discrete_plan import check as check
from jnas.studies.discrete_plan import check_limits as check_limits
from jnas.training import placement

EVALUATIONS, FRONT = "evaluations.jsonl", "front.json"


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
    space: spaces.Space,
    settings: DiscreteSettings,
    *,
    dataset: data_lib.Dataset | None = None,
    table: tables.Table | None = None,
    hands: members.Hands | None = None,
) -> Found:
    """Searches a space with a controller, as the phase ``search``.

    With the objective ``supernet`` its first steps train the shared weights. The test
    split of the data set is not touched. ``evaluations.jsonl`` gets every evaluation,
    ``front.json`` the Pareto front where there are several signals. A cell that exceeds
    a limit is not scored, ranks behind every other, and is not the result.

    Args:
      run: the open run; its seed is that of the data split, the weights and the search.
      space: of the cells.
      settings: of the search.
      dataset: needed by every objective but a table.
      table: the benchmark.
      hands: workers, started with ``discrete_workers.build_member``; None scores all
        cells here.

    Raises:
      ValueError: a table of another space, a signal that the objective does not have,
        limits that no cell keeps, or no evaluated cell with a score.
    """
    if table is not None:
        kept = kept_lib.of_table(run, table, settings)
        source, metrics, num_signals = scoring.on_table(table, space, settings, kept)
    else:
        inputs.check(space, dataset)
        augment = augmentation.build(settings, dataset)
        costs, kept = _limits(run, space, settings, dataset)
        source, metrics, num_signals = scoring.on_images(
            dataset,
            space,
            settings,
            augment,
            seed=run.seed,
            costs=costs,
            kept=kept,
            hands=hands,
        )
    controller = setup.controller(
        settings.controller,
        space.sizes,
        num_objectives=num_signals,
        num_proposals=settings.num_proposals,
        margins=kept.margins if kept else None,
    )
    key = jax.random.fold_in(jax.random.key(run.seed), keys.DISCRETE)
    search = rounds.Search(
        controller, source, settings.num_evaluations, metrics, num_signals, key
    )
    if jax.process_count() > 1 and not source.jittable:
        raise ValueError(
            "objective must be one that is compiled where a run has several processes, "
            f"got {settings.objective}. Use one process."
        )
    here = dataset is not None and hands is None
    if here and scoring.SCRATCH in scoring.parts(settings.objective):
        placement.check_batch(settings.batch_size, search.proposals.shape[0])
    if settings.rescore:
        two_levels.check_proposals(settings.rescore, search.proposals.shape[0])
    num_steps = search.num_rounds
    if source.program:
        num_steps += source.program.num_steps
    if table is not None:
        for metric in metrics[:num_signals]:
            _say_gaps(run, table, metric)
    else:
        size = setup.network_size(settings, dataset, stem=settings.stem)
        setup.announce_stem(run.say_once, size, dataset.image_shape)
        augmentation.announce(run.say_once, dataset, augment)
    phase = run.phase("search", num_steps, free=rounds.FREE)
    if phase.result is None:
        state = rounds.drive(phase, search, space)
        found = evaluations.collect(state.encodings, state.scores, metrics, space)
        unfit = np.zeros(len(found.scores), bool)
        if kept:
            unfit = ~kept.fits(found.encodings)
            # also a cell that exceeds a limit by less than float32 can tell
            first = np.where(unfit, -np.inf, found.scores[:, 0])[:, None]
            scores = np.concatenate([first, found.scores[:, 1:]], 1)
            found = found._replace(scores=scores)
        _write(run, found, num_signals)
        phase.end(_figures(found, search, unfit, kept) | _seconds(phase))
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
        file = shlex.quote(str(run.workdir / "genotype.json"))
        command = f"{closing.launcher(run, 'describe')} --genotype={file}"
        return closing.close_search(run, [found.genotype], result, next_command=command)
    changed = settings_lib.changed(settings)
    numbers = {n: changed[n] for n in ("features", "layers", "epochs") if n in changed}
    size = setup.network_size(settings, dataset, stem=settings.stem)
    if limits.counted(settings):
        own = limits.cost_numbers(
            settings, numbers, found.genotype, dataset.image_shape
        )
        size = limits.cost_size(own, dataset, stem=settings.stem)
        numbers = numbers | own
    numbers |= augmentation.changed(settings) | setup.changed_stem(settings)
    numbers |= train_scratch.needed(dataset, found.genotype)
    numbers = setup.without_depth(found.genotype, numbers)
    return closing.close_search(
        run,
        [found.genotype],
        result,
        size=size,
        image_shape=dataset.image_shape,
        next_command=closing.retrain_command(run, *shared, **numbers),
    )


def _limits(run, space, settings, dataset) -> tuple:
    """Returns the costs that a search on images needs, and its limits or None."""
    names = scoring.needed_costs(settings)
    if not names:
        return {}, None
    numbers = limits.cost_numbers(
        settings, settings_lib.changed(settings), space, dataset.image_shape
    )
    size = setup.network_size(settings, dataset, stem=settings.stem)
    if limits.counted(settings):
        size = limits.cost_size(numbers, dataset, stem=settings.stem)
    costs = limits.costs(run, space, size, dataset.image_shape, names)
    made = limits.resolve(run, space, settings, numbers, costs)
    return costs, kept_lib.of_cells(space, made)


def _seconds(phase) -> dict[str, float]:
    return {"seconds": round(phase.seconds, 2)}


def _write(run: workdir.Run, found: evaluations.Evaluations, num_signals: int) -> None:
    """Writes evaluations.jsonl and front.json."""
    lines = (json.dumps(found.line(i)) for i in range(len(found.scores)))
    run.write_text(EVALUATIONS, "".join(f"{line}\n" for line in lines))
    if num_signals > 1:
        front = evaluations.front(found, num_signals)
        cells = ",\n  ".join(json.dumps(one) for one in front.pop("front"))
        head = json.dumps(front)[:-1]
        run.write_text(FRONT, f'{head},\n "front": [\n  {cells}\n ]}}\n')


def _figures(
    found: evaluations.Evaluations,
    search: rounds.Search,
    unfit: np.ndarray,
    kept: kept_lib.Kept | None,
) -> dict[str, Any]:
    """Returns the result of a search with its verdict.

    Args:
      found: all evaluations.
      search: the search.
      unfit: bool[T], true where a cell exceeds a limit.
      kept: the limits; None without any.
    """
    count, known = len(found.scores), int(found.known.sum())
    num_signals = search.num_signals
    if unfit.all():
        raise ValueError(
            f"one proposed cell at least must keep {kept.flags()}, got none of {count}."
            " Raise the limit or --num_evaluations, in a new --workdir."
        )
    if not known:
        raise ValueError(
            f"scores must be finite for at least one cell, got none of {count}. Raise "
            "--num_evaluations, or use a table that holds more cells, or another "
            "objective."
        )
    signals = found.scores[:, :num_signals]
    metrics = found.metrics[:num_signals]
    judged = search.verdict(signals)
    warnings = list(judged.warnings)
    if unfit.any():
        warnings.append(
            f"{unfit.sum()} of {count} evaluations exceeded {kept.flags()}: these "
            "cells were not scored"
        )
    unscored = search.num_unscored  # as was asked for
    for column, metric in enumerate(metrics):
        lost = int((~np.isfinite(signals[:, column]) & ~unfit).sum()) - unscored
        if lost > 0:
            warnings.append(
                f"{lost} of {count} evaluations have no {metric.name} and counted as "
                "the worst"
            )
    judged = judged._replace(warnings=tuple(warnings))
    result = evaluations.result(found, num_signals) | judged.figures()
    if not kept:
        return result
    held = {n: {"bound": v, "found": result[n]} for n, v in kept.bounds.items()}
    return result | {"limits": held, "num_unfit": int(unfit.sum())}


def _say_gaps(run: workdir.Run, table: tables.Table, metric) -> None:
    """Says how much of the space a table holds, if it is not all."""
    text = choice.gaps(table, metric)
    if text:
        run.say(text)
