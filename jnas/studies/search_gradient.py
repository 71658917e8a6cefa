"""A search by gradient as phases of a run."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import data as data_lib
from jnas import gradient, spaces, types
from jnas.data import batches
from jnas.run import workdir
from jnas.spaces import genotype_text, rows
from jnas.studies import (
    augmentation,
    closing,
    gradient_plan,
    gradient_segment,
    inputs,
    keys,
    limits,
    setup,
    train_scratch,
    trained_supernet,
    verdict,
)
from jnas.studies import finalists as finalists_lib
from jnas.studies.gradient_plan import SearchSettings as SearchSettings
from jnas.studies.gradient_plan import build_limits as build_limits
from jnas.studies.gradient_plan import check_limits as check_limits
from jnas.studies.gradient_segment import FREE as FREE
from jnas.studies.gradient_segment import SKIPS as SKIPS
from jnas.training import program as program_lib
from jnas.training import scratch


class Found(NamedTuple):
    """Result of a search.

    Attributes:
      genotype: the found cell; over seeds, that of the best signal on the validation
        split.
      genotypes: the found cell of each seed.
      encodings: i32[S, G], one for each seed.
      weights: from which the cells were derived; leaves f64[S, ..., O].
      result: figures of the last phase, with ``seconds`` of all phases, ``seeds`` (the
        figures of each) and the verdict.
    """

    genotype: genotype_text.AnyGenotype
    genotypes: tuple[genotype_text.AnyGenotype, ...]
    encodings: np.ndarray
    weights: types.Weights
    result: dict[str, Any]


def search_cells(
    run: workdir.Run,
    dataset: data_lib.Dataset,
    space: spaces.Space,
    settings: SearchSettings,
    *,
    prefix: str = "",
    keep: pathlib.Path | None = None,
    training: train_scratch.RetrainSettings | None = None,
) -> Found:
    """Searches a space by gradient, one phase for each of the method's segments.

    With ``settings.finalists`` a further phase trains its likeliest cells from scratch
    and takes the best (``studies/finalists.py``).

    Args:
      run: the open run; its seed is that of the data split and of the search.
      dataset: its training images are split in two; the test split is not touched.
      space: the space of cells.
      settings: of the search.
      prefix: prefix of the phases' names.
      keep: folder in which the supernet of the best seed is saved; None saves none.
      training: of the finalists; None means the recipe of the next command.

    Raises:
      ValueError: limits that no cell of the space keeps.
    """
    run.led(lambda: trained_supernet.check(keep))
    method = settings.method
    inputs.check(space, dataset)
    _check_images(dataset, settings)
    space = gradient.space_of(method, space)
    bounds = build_limits(run, space, settings, dataset)
    augment = augmentation.build(settings, dataset)
    splits = setup.two_splits(dataset, settings.valid_rate, seed=run.seed, streams=True)
    if method.random_labels:
        splits = setup.random_classes(splits[0], dataset, seed=run.seed), splits[1]
    size = setup.network_size(method, dataset, stem=settings.stem)
    inputs.check_network(space, size, dataset)
    setting = _setting(settings, dataset, splits, size, augment, bounds)
    key = jax.random.fold_in(jax.random.key(run.seed), keys.SEARCH)
    before: Callable[[], Any] | None = None
    seconds = 0.0
    segments = gradient.build_segments(method, space, setting)
    for segment in segments:
        program_lib.check_batches(segment.program, key, splits)
    _announce(run, dataset, settings, augment, size, prefix)
    for number, segment in enumerate(segments):
        phase = run.phase(
            prefix + segment.name,
            segment.program.num_steps,
            free=FREE,
        )
        own_key = jax.random.fold_in(key, number) if number else key
        if phase.result is None:
            state = gradient_segment.drive(
                phase, segment, own_key, splits, space, method, dataset, before=before
            )
            before = _kept(state)
        else:
            before = gradient_segment.left(phase, segment, own_key)
        seconds += phase.result["seconds"]
    if keep is not None and run.led(lambda: not keep.exists()):
        best = _best_of(phase.result, dataset.task)
        about = {"dtype": settings.dtype, "seed": best}
        place = keep, run, dataset, space, segment
        trained_supernet.save(*place, before(), phase.result, **about)
    task = dataset.task
    if method.random_labels:  # nothing was learned of the validation split's own
        task = task._replace(guess=None)
    alone = phase.result.get("chosen", False)
    found = _found(phase.result, seconds, splits[1][1], bounds, space, task)
    if not settings.finalists:
        return found
    training = training or _training(found.genotype, settings, dataset)
    place = space, dataset, settings, training, bounds, prefix
    return _final(run, found, *place, alone=alone)


def _setting(settings, dataset, splits, size, augment, bounds) -> gradient.Setting:
    """Describes what the method is applied to."""
    return gradient.Setting(
        size,
        augment,
        tuple(batches.count(labels) for _, labels in splits),
        settings.num_seeds,
        settings.remat,
        jnp.dtype(settings.dtype),
        bounds,
        dataset.task,
        dataset.image_shape,
    )


def _check_images(dataset, settings) -> None:
    """Refuses, before the search, data that one of its phases cannot take.

    Images that a later phase cannot stream, and targets of which no random classes can
    be drawn.
    """
    method, one = settings.method, settings.num_seeds is None
    if method.random_labels:
        setup.check_classes(dataset)
    if settings.finalists and not method.moves_logits and one:
        raise ValueError(
            "finalists must be 0 for one search whose hook chooses one cell, got "
            f"{settings.finalists}. Add --finalists=0, or --num_seeds=8."
        )
    if settings.finalists:
        how = "the finalists of a search", "Add --finalists=0, or use smaller ones."
        setup.is_resident(dataset, streams=False, who=how[0], todo=how[1])
    if method.projection_epochs:
        how = "a method with a projection", "Use another --method, or smaller ones."
        setup.is_resident(dataset, streams=False, who=how[0], todo=how[1])


def _training(genotype, settings, dataset) -> train_scratch.RetrainSettings:
    """Returns how finalists are trained: as the next command trains, but shorter."""
    numbers = limits.cost_numbers(
        settings, gradient_plan.changed(settings.method), genotype, dataset.image_shape
    )
    wanted = augmentation.changed(settings) | setup.changed_stem(settings)
    training = finalists_lib.training(genotype, dataset, numbers, settings)
    return train_scratch.suited(dataclasses.replace(training, **wanted), dataset)


def _final(
    run, found, space, dataset, settings, training, bounds, prefix, *, alone
) -> Found:
    """Chooses among a search's cells and its likeliest others by training them.

    ``alone`` says that hooks chose the cells and the weights know no others.
    """
    winner = finalists_lib.choose(
        run,
        space,
        dataset,
        None if alone else found.weights,
        settings.finalists,
        training,
        first=found.encodings,
        limits=bounds,
        prefix=prefix,
    )
    genotype, each = space.genotype(winner.encoding), list(found.genotypes)
    each[winner.seed] = genotype
    encodings = found.encodings.copy()
    encodings[winner.seed] = winner.encoding
    result = found.result | winner.figures
    result["seconds"] = round(
        result["seconds"] + winner.figures["finalists_seconds"], 2
    )
    result |= limits.figures(bounds, space, winner.encoding)
    return Found(genotype, tuple(each), encodings, found.weights, result)


def _announce(run, dataset, settings, augment, size, prefix) -> None:
    """Says what is to be known of a search before it runs."""
    setup.announce_stem(run.say_once, size, dataset.image_shape)
    augmentation.announce(run.say_once, dataset, augment)
    text = verdict.small_budget(settings.method, dataset, settings.valid_rate)
    if text:
        run.say(f"{prefix}search: {text}")


def _found(result, seconds, labels, bounds, space, task) -> Found:
    """Judges the result of the last phase; labels are those of the validation split."""
    result = result | {"seconds": round(seconds, 2)}
    encodings = np.array(result.pop("encodings"), np.int32)
    weights = _arrays(result.pop("weights"))
    signals = [one[scratch.valid_of(task)] for one in result["seeds"]]
    best = result["seeds"][_best_of(result, task)]
    result.pop("best", None)
    unchosen = result.pop("unchosen", False)
    judged = verdict.of_gradient(
        rows.apart(weights),
        signals,
        labels,
        one_hot=best.get(
            f"one_hot_{task.signal}", best.get(f"best_path_{task.signal}")
        ),
        task=task,
        chosen=result.pop("chosen", False) or unchosen,
    )
    if unchosen:
        judged = verdict.no_path()
    replaced = result.pop("replaced", [])
    if any(replaced):
        judged = judged._replace(warnings=(*judged.warnings, limits.warning(replaced)))
    result |= limits.figures(bounds, space, encodings[best["seed"]])
    return Found(
        genotype_text.from_json(result["genotype"]),
        tuple(map(genotype_text.from_json, result["genotypes"])),
        encodings,
        weights,
        result | judged.figures(),
    )


def _arrays(value: Any) -> Any:
    """Turns JSON's lists of weights into arrays, leaf by leaf."""
    if isinstance(value, dict):
        return {name: _arrays(one) for name, one in value.items()}
    return np.array(value)


def close(
    run: workdir.Run,
    found: Found,
    dataset: data_lib.Dataset,
    settings: SearchSettings,
    *shared: Any,
) -> dict[str, Any]:
    """Ends the run of a search with its files, verdict and next command.

    Args:
      run: the open run.
      found: result of the search.
      dataset: that was searched on.
      settings: of the search.
      *shared: settings of data and images, for the next command.

    Returns:
      The content of result.json.
    """
    method, numbers = settings.method, gradient_plan.changed(settings.method)
    result = {k: v for k, v in found.result.items() if not k.startswith("genotype")}
    size = setup.network_size(method, dataset, stem=settings.stem)
    if limits.counted(settings):
        own = limits.cost_numbers(
            settings, numbers, found.genotype, dataset.image_shape
        )
        size = limits.cost_size(own, dataset, stem=settings.stem)
        numbers = numbers | own
    numbers |= augmentation.changed(settings) | setup.changed_stem(settings)
    numbers = setup.without_depth(found.genotype, numbers)
    return closing.close_search(
        run,
        found.genotypes,
        result,
        size=size,
        image_shape=dataset.image_shape,
        best=found.genotypes.index(found.genotype),
        next_command=closing.retrain_command(
            run, *shared, **numbers, **train_scratch.needed(dataset, found.genotype)
        ),
    )


def _kept(state) -> Callable[[], Any]:
    return lambda: state


def _best_of(result, task) -> int:
    """Returns the number of the best seed; a run of before has it by its signal."""
    if "best" in result:
        return result["best"]
    signals = [one[scratch.valid_of(task)] for one in result["seeds"]]
    return int(np.argmax(signals))
