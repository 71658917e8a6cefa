"""The finalists of a search: its likeliest cells, trained from scratch to choose one.

Shared weights rank cells roughly. The likeliest cells of a search are therefore trained
from scratch on a part of the training images; the one with the best signal on the
rest is found. The test images are not touched. Each is trained to the end: while the
learning rate is still high, an accuracy says little of what it will be.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jnas import data as data_lib
from jnas import networks, spaces, types
from jnas import settings as settings_lib
from jnas.data import batches
from jnas.run import workdir
from jnas.settings import option
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text, rows
from jnas.studies import halve_cells, recipe_rows, setup, train_scratch
from jnas.training import rungs

VALID_RATE = 0.25  # share of the training images that scores the finalists
PHASE = "finalists"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinalistSettings:
    """How many cells are trained from scratch after a search."""

    finalists: int = option(
        0,
        "Number of likeliest cells that are trained from scratch after the search; "
        "the best on a quarter of the training images is the found one. 0 takes the "
        "likeliest as it is.",
        group="search",
        least=0,
    )
    finalist_epochs: int = option(
        4, "Epochs of each finalist's training.", group="search", least=1
    )
    __post_init__ = settings_lib.check


class Winner(NamedTuple):
    """The cell that won.

    Attributes:
      encoding: i32[G].
      seed: number of the search that proposed it.
      figures: ``finalists``, a list in the order of their likelihood: ``genotype`` in
        its short form, ``seed``, the signal on the held-out images, such as
        ``accuracy``; ``winner``, its place in the list; and ``finalists_seconds``.
    """

    encoding: np.ndarray
    seed: int
    figures: dict[str, Any]


def training(
    genotype: genotypes.Genotype,
    dataset: data_lib.Dataset,
    numbers: dict[str, int],
    settings: FinalistSettings,
) -> train_scratch.RetrainSettings:
    """Returns how finalists are trained: by the recipe of the next command.

    Args:
      genotype: one of the space.
      dataset: the images, of which a batch has at most half that train.
      numbers: features and layers.
      settings: of the finalists.
    """
    name = recipe_rows.name_of(genotype, dataset.image_shape)
    usual = train_scratch.RetrainSettings.batch_size
    batch = recipe_rows.RECIPES[name]().get("batch_size", usual)
    count = int(batches.count(dataset.y_train) * (1 - VALID_RATE))
    row = recipe_rows.changed(
        name,
        epochs=settings.finalist_epochs,
        batch_size=max(2, min(batch, count // 2)),
        auxiliary=False,  # a contest has neither head nor drop path
        drop_path_rate=0.0,
        **numbers,
    )
    return train_scratch.RetrainSettings(**row)


def choose(
    run: workdir.Run,
    space: spaces.Space,
    dataset: data_lib.Dataset,
    weights: types.Weights | None,
    count: int,
    settings: train_scratch.RetrainSettings,
    *,
    first: np.ndarray | None = None,
    limits: Sequence[networks.Limit] = (),
    prefix: str = "",
) -> Winner:
    """Trains the likeliest cells from scratch and returns the best, as a phase.

    Args:
      run: the open run.
      space: of the cells.
      dataset: its training images are split in two; the test split is not touched.
      weights: leaves f[S, ..., O] of S searches, whose likeliest cells take turns; None
        where they know of no cells beside ``first``.
      count: number of finalists, at most.
      settings: of the trainings.
      first: i32[S, G], the cell that each search returned, which is a finalist before
        its likeliest others; None takes the likeliest alone.
      limits: that each finalist keeps.
      prefix: of the phase's name.

    Raises:
      ValueError: no cell that computes something keeps the limits.
    """
    chosen = _take_turns(space, weights, count, limits, first)
    if not chosen:
        raise ValueError(
            "limits must leave one cell whose output depends on its input, got none. "
            "Raise them."
        )
    encodings = np.stack([encoding for _, encoding in chosen])
    plan = rungs.single(len(chosen), max_epochs=settings.epochs)
    splits = setup.two_splits(dataset, VALID_RATE, seed=run.seed)
    contest = halve_cells.Contest(space, encodings, plan, splits)
    scored = halve_cells.halve_cells(run, prefix + PHASE, contest, dataset, settings)
    winner = scored.index(halve_cells.ranked(scored)[0])
    if scored[winner]["score"] is None:
        run.say(
            "warning: every finalist diverged, the likeliest is taken; lower the "
            "learning rate"
        )
    lines = [
        {
            "genotype": genotype_text.short_form(space.genotype(encoding)),
            "seed": seed,
            dataset.task.signal: one["score"],
        }
        for (seed, encoding), one in zip(chosen, scored, strict=True)
    ]
    figures = {
        "finalists": lines,
        "winner": winner,
        "finalists_seconds": scored[0]["seconds"],
    }
    return Winner(encodings[winner], chosen[winner][0], figures)


def _take_turns(
    space, weights, count, limits, first=None
) -> list[tuple[int, np.ndarray]]:
    """Lists (search, encoding): each search's own, its likeliest, the second, ..."""
    each: list[list] = [] if first is None else [[own] for own in first]
    if weights is not None:
        apart = rows.apart(weights)
        each = each or [[] for _ in apart]
        for own, one in zip(each, apart, strict=True):
            own += list(networks.likeliest(space, one, count, limits))
    found, seen = [], set()
    for rank in range(count + 1):
        for seed, cells in enumerate(each):
            form = spaces.canonical(space, cells[rank]) if rank < len(cells) else None
            if form is not None and form not in seen and len(found) < count:
                seen.add(form)
                found.append((seed, cells[rank]))
    return found
