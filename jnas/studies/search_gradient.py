"""A search by gradient as phases of a run."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import data as data_lib
from jnas import gradient, spaces
from jnas import settings as settings_lib
from jnas.gradient import limits as limits_of_cells
from jnas.gradient import methods
from jnas.run import drive as drive_lib
from jnas.run import workdir
from jnas.settings import option
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text
from jnas.studies import (
    augmentation,
    cells,
    closing,
    keys,
    limits,
    setup,
    train_scratch,
    trained_supernet,
    verdict,
)
from jnas.studies import finalists as finalists_lib
from jnas.training import program as program_lib

SKIPS = gradient.COUNT + spaces.SKIP
FREE = (*drive_lib.FREE, "inner.watched")  # NaN until the end of the first epoch


@dataclasses.dataclass(frozen=True)
class SearchSettings(
    finalists_lib.FinalistSettings,
    limits.LimitSettings,
    augmentation.AugmentSettings,
):
    """How a method is run. The fields carry their own help text."""

    method: methods.Method = option(text="Row of pieces and numbers.", group="method")
    valid_rate: float = option(
        0.5,
        "Share of the training images in the split that trains the architecture.",
        group="data",
    )
    num_seeds: int | None = option(
        None,
        "Number of searches run side by side as one program; without it one.",
        group="search",
        least=1,
    )
    stem: str = setup.stem_option()
    remat: bool = setup.remat_option()
    dtype: str = setup.dtype_option()
    __post_init__ = settings_lib.check


class Found(NamedTuple):
    """Result of a search.

    Attributes:
      genotype: the found cell; over seeds, that of the best validation accuracy.
      genotypes: the found cell of each seed.
      encodings: i32[S, G], one for each seed.
      weights: f64[S, C, E, O], from which the cells were derived.
      result: figures of the last phase, with ``seconds`` of all phases, ``seeds`` (the
        figures of each) and the verdict.
    """

    genotype: genotypes.Genotype
    genotypes: tuple[genotypes.Genotype, ...]
    encodings: np.ndarray
    weights: np.ndarray
    result: dict[str, Any]


def check_limits(
    space: spaces.CellSpace, settings: SearchSettings, dataset: data_lib.Dataset
) -> None:
    """Refuses limits that no cell keeps.

    Args:
      space: the user's space.
      settings: of the search.
      dataset: the images.

    Raises:
      ValueError: a limit below the cheapest cell, or limits that no cell keeps
        together.
    """
    method = settings.method
    limits.check(
        gradient.space_of(method, space),
        settings,
        limits.cost_numbers(settings, _changed(method), space, dataset.image_shape),
        dataset,
        stem=settings.stem,
        max_skips=method.max_skips,
    )


def search_cells(
    run: workdir.Run,
    dataset: data_lib.Dataset,
    space: spaces.CellSpace,
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
    trained_supernet.check(keep)
    method = settings.method
    space = gradient.space_of(method, space)
    bounds = _limits(run, space, settings, dataset)
    augment = augmentation.build(settings, dataset)
    splits = setup.two_splits(dataset, settings.valid_rate, seed=run.seed)
    size = setup.network_size(method, dataset, stem=settings.stem)
    setting = gradient.Setting(
        size,
        augment,
        tuple(len(labels) for _, labels in splits),
        settings.num_seeds,
        settings.remat,
        jnp.dtype(settings.dtype),
        bounds,
    )
    key = jax.random.fold_in(jax.random.key(run.seed), keys.SEARCH)
    before: Callable[[], Any] | None = None
    seconds = 0.0
    segments = gradient.build_segments(method, space, setting)
    for segment in segments:
        program_lib.check_batches(segment.program, key, splits)
    _announce(run, dataset, settings, augment, size, prefix)
    for number, segment in enumerate(segments):
        phase = run.phase(prefix + segment.name, segment.program.num_steps, free=FREE)
        own_key = jax.random.fold_in(key, number) if number else key
        if phase.result is None:
            begin = _begin(segment.carry, before) if before else None
            state = _drive(phase, segment, own_key, splits, space, begin, method)
            before = _kept(state)
        else:
            before = _left(phase, segment, own_key)
        seconds += phase.result["seconds"]
    if keep is not None and not keep.exists():
        best = _best_of(phase.result)
        about = {"dtype": settings.dtype, "seed": best}
        place = keep, run, dataset, space, segment
        trained_supernet.save(*place, before(), phase.result, **about)
    found = _found(phase.result, seconds, splits[1][1], bounds, space)
    if not settings.finalists:
        return found
    training = training or _training(found.genotype, settings, dataset)
    return _final(run, found, space, dataset, settings, training, bounds, prefix)


def _training(genotype, settings, dataset) -> train_scratch.RetrainSettings:
    """Returns how finalists are trained: as the next command trains, but shorter."""
    numbers = limits.cost_numbers(
        settings, _changed(settings.method), genotype, dataset.image_shape
    )
    wanted = augmentation.changed(settings) | setup.changed_stem(settings)
    training = finalists_lib.training(genotype, dataset, numbers, settings)
    return dataclasses.replace(training, **wanted)


def _final(run, found, space, dataset, settings, training, bounds, prefix) -> Found:
    """Chooses among the likeliest cells of a search by training them."""
    winner = finalists_lib.choose(
        run,
        space,
        dataset,
        found.weights,
        settings.finalists,
        training,
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


def _found(result, seconds, labels, bounds, space) -> Found:
    """Judges the result of the last phase; labels are those of the validation split."""
    result = result | {"seconds": round(seconds, 2)}
    encodings = np.array(result.pop("encodings"), np.int32)
    weights = np.array(result.pop("weights"))
    accuracies = [one["valid_accuracy"] for one in result["seeds"]]
    best = result["seeds"][_best_of(result)]
    judged = verdict.of_gradient(
        weights, accuracies, labels, one_hot=best.get("one_hot_accuracy")
    )
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


def _limits(run, space, settings, dataset) -> tuple:
    """Builds the limits of a search."""
    names, method = tuple(limits.bounds(settings)), settings.method
    if not names:
        return ()
    numbers = limits.cost_numbers(
        settings, _changed(method), space, dataset.image_shape
    )
    size = limits.cost_size(numbers, dataset, stem=settings.stem)
    costs = limits.costs(run, space, size, dataset.image_shape, names)
    return limits.resolve(
        run, space, settings, numbers, costs, max_skips=method.max_skips
    )


def _changed(method: methods.Method) -> dict[str, int]:
    """Returns the numbers that a user set, which a training takes too."""
    row, names = methods.row_of(method), ("features", "layers", "epochs")
    given = {name: getattr(method, name) for name in names}
    return {name: v for name, v in given.items() if v != getattr(row, name)}


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
    method, numbers = settings.method, _changed(settings.method)
    result = {k: v for k, v in found.result.items() if not k.startswith("genotype")}
    size = setup.network_size(method, dataset, stem=settings.stem)
    if limits.counted(settings):
        own = limits.cost_numbers(
            settings, numbers, found.genotype, dataset.image_shape
        )
        size = limits.cost_size(own, dataset, stem=settings.stem)
        numbers = numbers | own
    numbers |= augmentation.changed(settings) | setup.changed_stem(settings)
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


def _begin(carry, before) -> Callable:
    """Builds fresh state -> the state with which a later segment begins."""
    return lambda fresh: carry(before(), fresh)


def _kept(state) -> Callable:
    return lambda: state


def _left(phase, segment, key) -> Callable:
    """Reads the last state of a finished phase, if the next segment needs it."""
    return lambda: phase.left(jax.eval_shape(segment.program.init, key))


def _derive(segment, space) -> Callable:
    """Builds state -> (encodings i32[S, G], weights and unmasked f32[S, C, E, O])."""
    pieces = segment.pieces

    @jax.jit
    def derive(state):
        def one(state):
            unmasked = pieces.weights_of(state.inner._replace(mask=None))
            return *gradient.derive(pieces, space, state), unmasked

        if segment.program.num_seeds is not None:
            return jax.vmap(one)(state)
        return jax.tree.map(lambda a: a[None], one(state))

    return lambda state: tuple(map(np.asarray, derive(state)))


def _drive(phase, segment, key, splits, space, begin, method):
    """Runs a segment as a phase, and ends the phase with the found cells."""
    derive = _derive(segment, space)
    state, metrics = drive_lib.drive(
        phase,
        segment.program,
        key,
        splits,
        describe=_found_so_far(space, derive, segment.program.num_seeds),
        begin=begin,
        warn=_warnings(space, derive, segment, splits[1][1]),
    )
    watched = state.inner.watched
    if watched is not None:
        values = watched.values.items()
        metrics |= {name: float(value.mean()) for name, value in values}
    encodings, weights, unmasked = derive(state)
    limited = {}
    if segment.pieces.limits:
        kept = [
            limits_of_cells.fitted(
                segment.pieces.limits, space, *one, max_skips=method.max_skips
            )
            for one in zip(encodings, weights, unmasked, strict=True)
        ]
        encodings = np.stack([encoding for encoding, _ in kept])
        limited = {"replaced": [changed for _, changed in kept]}
    found = [genotype_text.to_json(space.genotype(one)) for one in encodings]
    phase.end(
        metrics
        | {
            "seeds": _seeds(segment.program, state),
            "genotype": found[_best_seed(state)],
            "genotypes": found,
            "encodings": encodings,
            "weights": weights,
            "seconds": round(phase.seconds, 2),
        }
        | limited
    )
    return state


def _seeds(program, state) -> list[dict[str, float]]:
    """Returns the metrics of the last epoch, and what was watched, of each seed."""
    sums = {n: state.sums[n] / program.steps_per_epoch for n in program.metrics}
    watched = state.inner.watched
    figures = sums | (watched.values if watched is not None else {})
    values = {n: np.atleast_1d(v).tolist() for n, v in jax.device_get(figures).items()}
    count = len(values["valid_accuracy"])
    return [{"seed": i} | {n: v[i] for n, v in values.items()} for i in range(count)]


def _found_so_far(space, derive, num_seeds) -> Callable:
    """Builds (state, metrics) -> the best seed's cell, for people."""

    def describe(state, metrics):
        encodings, weights, _ = derive(state)
        winner = _best_seed(state)
        return cells.found(
            space.genotype(encodings[winner]),
            float(jnp.max(metrics["valid_accuracy"])),
            weights=cells.named_weights(space, weights[winner]),
            seed=None if num_seeds is None else winner,
        )

    return describe


def _warnings(space, derive, segment, labels) -> Callable:
    """Builds (finished steps, state, an epoch's metrics) -> a warning, or None.

    Warns once of a cell that fills with skips, and once of a search that learned
    nothing, when half of the steps that move the logits are done.
    """
    program = segment.program
    frozen = segment.pieces.frozen_epochs * program.steps_per_epoch
    first = np.zeros(len(space.sizes), np.int32)
    edges = sum(len(cell.edges) for _, cell in space.genotype(first).cells)
    left = {"skips", "still"}

    def warn(step, state, values):
        skips = values.get(SKIPS, 0)
        if skips > edges / 2 and "skips" in left:
            left.remove("skips")
            return (
                f"warning: {float(skips):.3g} of {edges} operations are skip_connect; "
                "the search may be collapsing (try another --method, or --max_skips)"
            )
        if 2 * step >= program.num_steps + frozen and "still" in left:
            left.remove("still")
            found = [verdict.still(one) for one in derive(state)[1]]
            found.append(verdict.guessing(values["valid_accuracy"], labels))
            said = list(filter(None, found))
            return f"warning: {said[0]}" if said else None
        return None

    return warn


def _best_of(result) -> int:
    accuracies = [one["valid_accuracy"] for one in result["seeds"]]
    return int(np.argmax(accuracies))


def _best_seed(state) -> int:
    return int(jnp.atleast_1d(state.sums["valid_accuracy"]).argmax())
