"""Choosing among cells by training them from scratch, as one program.

A search by gradient ranks cells by shared weights, which is a guess. Here its most
promising cells are trained from scratch, the better ones further: successive halving
over cells. One compiled body trains every cell of a space: a supernet with one-hot
weights, of which the chosen candidates alone are computed. It normalises by the batch,
in evaluation too.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import data as data_lib
from jnas import networks, spaces, types
from jnas.data import batches
from jnas.report import numbers as numbers_lib
from jnas.run import drive as drive_lib
from jnas.run import workdir
from jnas.spaces import rows
from jnas.studies import augmentation, keys, recipes, setup, train_scratch
from jnas.training import promotion, scratch
from jnas.training import recipe as recipe_lib
from jnas.training import rungs as rungs_lib
from jnas.training import trials as trials_lib

ENCODING = "encoding"


class Contest(NamedTuple):
    """Cells that compete.

    Attributes:
      space: of the cells.
      encodings: i32[T, G], a row a cell; a cell may occur several times.
      rungs: the plan; its first rung has T cells.
      splits: (images, labels) of the training split and of the split that scores, on
        the device.
    """

    space: spaces.Space
    encodings: np.ndarray
    rungs: tuple[rungs_lib.Rung, ...]
    splits: tuple[types.Batch, types.Batch]


def halve_cells(
    run: workdir.Run,
    name: str,
    contest: Contest,
    dataset: data_lib.Dataset,
    settings: train_scratch.RetrainSettings,
    *,
    stream: int = 0,
) -> list[dict[str, Any]]:
    """Trains cells from scratch, the best of each rung further, as a phase.

    All cells see the same batches, and a candidate that two cells share starts from the
    same weights in both.

    Args:
      run: the open run; its seed is that of the trainings.
      name: name of the phase.
      contest: the cells, the plan and the splits.
      dataset: gives classes, image shape and augmentation.
      settings: of a training; ``epochs`` are those of its schedule, and a contest has
        neither an auxiliary head nor drop path.
      stream: number of the random stream; contests of different numbers differ.

    Returns:
      One entry a cell, in the order of ``encodings``: ``encoding``, ``score``, the
      task's signal on the scoring split (None where it diverged), ``rung``,
      ``epochs``, and ``seconds`` of the whole phase.
    """
    program = trials_lib.program(_tuning(contest, dataset, settings))
    key = jax.random.fold_in(jax.random.key(run.seed), keys.HALVING)
    key = jax.random.fold_in(key, stream)
    phase = run.phase(name, program.num_steps, free=drive_lib.FREE)
    phase.must_keep(
        encodings=contest.encodings.tolist(),
        rungs=[list(one) for one in contest.rungs],
        features=settings.features,
        layers=settings.layers,
    )
    if phase.result is None:
        state, _ = drive_lib.drive(phase, program, key, contest.splits)
        found = jax.device_get(state.inner)
        phase.end({"seconds": round(phase.seconds, 2), "cells": _lines(contest, found)})
    seconds = phase.result["seconds"]
    return [one | {"seconds": seconds} for one in phase.result["cells"]]


def ranked(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Sorts cells, the best first: by epochs, then score, then place.

    Args:
      found: of ``halve_cells``.
    """
    return sorted(
        found,
        key=lambda one: (
            one["score"] is None,
            -one["epochs"],
            -(one["score"] or 0),
        ),
    )


def _tuning(contest, dataset, settings) -> trials_lib.Tuning:
    """Builds what the program of a contest is made of."""
    size = setup.network_size(settings, dataset, stem=settings.stem)
    own = {"normalise_pools": False} if rows.has_edges(contest.space) else {}
    variant = networks.EdgeVariant(skip_zeros=True)
    supernet = networks.supernet(contest.space, size, variant=variant, **own)

    def build(weights):
        return _of_weights(supernet, weights)

    augment = augmentation.build(settings, dataset, how=data_lib.for_training)
    num_examples, task = batches.count(contest.splits[0][1]), dataset.task
    recipe, numbers = recipes.recipe(settings), recipes.numbers(settings)
    rate = recipe_lib.rate(
        recipe,
        numbers,
        num_epochs=settings.epochs,
        steps_per_epoch=batches.num_batches(num_examples, settings.batch_size),
    )

    def trainer(cell):
        return scratch.trainer(
            build(contest.space.weights(cell[ENCODING])),
            optimizer=recipe_lib.optimizer(recipe, numbers, rate),
            augment=augment,
            num_epochs=settings.epochs,
            drop_path_rate=0.0,
            label_smoothing=settings.label_smoothing,
            mixup=settings.mixup,
            ema_decay=settings.ema_decay,
            task=task,
        )

    def measure(key, cell, train, split):
        network = build(contest.space.weights(cell[ENCODING]))
        return scratch.evaluate(
            key,
            network,
            *scratch.trained(train),
            *split,
            augment=augment,
            batch_size=settings.batch_size,
            task=task,
        )

    def draw(key):
        del key
        return {ENCODING: jnp.asarray(contest.encodings, jnp.int32)}

    return trials_lib.Tuning(
        trainer,
        measure,
        draw,
        contest.rungs,
        promotion.rank,
        num_examples,
        settings.batch_size,
        signal=scratch.valid_of(task),
    )


def _of_weights(supernet: networks.Supernet, weights) -> networks.Network:
    """Returns the network of one-hot weights, which keeps no statistics."""

    def init(key):
        return supernet.init(key), {}

    def apply(params, stats, x, *, train, key=None, drop_path_rate=None):
        del train, drop_path_rate  # it is the same in training and evaluation
        return (supernet.apply(params, x, weights, key=key), None), stats

    return networks.Network(init, apply)


def _lines(contest, trials: promotion.Trials) -> list[dict[str, Any]]:
    found = []
    for i, encoding in enumerate(contest.encodings):
        score = float(trials.score[i])
        lost = trials.diverged[i] or score <= promotion.LOST
        found.append(
            {
                ENCODING: encoding.tolist(),
                "score": None if lost else numbers_lib.figure(score),
                "rung": int(trials.rung[i]),
                "epochs": int(trials.epochs[i]),
            }
        )
    return found
