"""Recipes of search against each other on small images: which cells do they find?

A recipe is a method, how long its logits stay frozen, and whether its likeliest cells
are trained from scratch to choose one. Every found cell is then trained alike from
scratch on all training images and tested once.
"""

import dataclasses
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from jnas import data as data_lib
from jnas import gradient, networks, registry, run, spaces
from jnas.spaces import genotype as genotypes
from jnas.spaces import rows as rows_lib
from jnas.studies import (
    augmentation,
    baseline_verdict,
    cells,
    finalists,
    recipe_rows,
    search_gradient,
    setup,
    train_scratch,
)
from jnas.training import program as program_lib

RANDOM = "random"


class Recipe(NamedTuple):
    """How a cell is found.

    Attributes:
      method: key in ``registry.METHODS``, or "random": drawn uniformly.
      frozen_rate: share of the first epochs in which the logits do not move.
      finalists: number of cells that are trained from scratch to choose one.
    """

    method: str
    frozen_rate: float = 0.3
    finalists: int = 0

    @property
    def name(self) -> str:
        """What a table calls it."""
        frozen = f", frozen {self.frozen_rate:g}" if self.frozen_rate else ""
        final = f", {self.finalists} finalists" if self.finalists else ""
        return f"{self.method}{'' if self.method == RANDOM else frozen}{final}"


def read(text: str) -> Recipe:
    """Reads METHOD:FROZEN_RATE:FINALISTS.

    Args:
      text: whose second and third part may be left out.

    Raises:
      ValueError: it is not written so.
      KeyError: a method that is not registered; the nearest is guessed.
    """
    found = re.fullmatch(r"(\w+)(?::([01]|0?\.\d+)(?::(\d+))?)?", text)
    if found is None:
        raise ValueError(
            f"recipes must be METHOD:FROZEN_RATE:FINALISTS, got {text!r}. Write "
            "--recipes=random,drnas:0.3:6."
        )
    method, frozen, count = found.groups()
    if method != RANDOM:
        _ = registry.METHODS[method]  # raises
    return Recipe(method, float(frozen or 0.3), int(count or 0))


class Place(NamedTuple):
    """Where recipes are compared.

    Attributes:
      dataset: the images; its test split is read by the final trainings alone.
      space: that is searched.
      epochs: of a search.
      logits_learning_rate: of every method.
      training: of finalists and found cells.
      folder: of the runs in which finalists are trained.
    """

    dataset: data_lib.Dataset
    space: spaces.CellSpace
    epochs: int
    logits_learning_rate: float
    training: train_scratch.RetrainSettings
    folder: Any


def rows(
    place: Place,
    recipes: Iterable[Recipe],
    *,
    num_seeds: int,
    num_random: int,
    say: Callable,
) -> list[dict[str, Any]]:
    """Searches, trains and tests.

    Args:
      place: where.
      recipes: that are compared.
      num_seeds: searches of each.
      num_random: random cells, which are cheaper, where no finalist is trained.
      say: takes a line of text, as soon as a recipe is done.

    Returns:
      One row a recipe: ``recipe``, ``test_accuracy`` (mean), ``test_accuracy_sd``,
      ``seeds`` (the accuracies), ``cells`` (short forms), ``parameters`` (mean),
      ``search_seconds`` of a search without its first, which compiles.
    """
    found = []
    for recipe in recipes:
        genotype_of, seconds = _searches(place, recipe), []
        accuracies, parameters, short = [], [], []
        cheap = recipe.method == RANDOM and not recipe.finalists
        for seed in range(num_random if cheap else num_seeds):
            began = time.perf_counter()
            genotype = genotype_of(seed)
            seconds.append(time.perf_counter() - began)
            tested = _tested(place, genotype, seed, recipe.name)
            accuracies.append(tested["test_accuracy"])
            parameters.append(tested["parameters"])
            short.append(cells.short(genotype))
        row = {
            "recipe": recipe.name,
            "test_accuracy": round(float(np.mean(accuracies)), 4),
            "test_accuracy_sd": round(float(np.std(accuracies, ddof=1)), 4),
            "parameters": round(float(np.mean(parameters))),
            "search_seconds": round(float(np.median(seconds[1:])), 1),
            "seeds": accuracies,
            "cells": short,
        }
        found.append(row)
        say(str(row))
    return found


def _searches(place: Place, recipe: Recipe) -> Callable[[int], genotypes.Genotype]:
    """Returns seed -> the cell that a recipe finds; compiled once."""
    if recipe.method == RANDOM:
        weights_of = _drawn(place, recipe)
    else:
        weights_of = _searched(place, recipe)

    def search(seed):
        encoding, weights = weights_of(seed)
        if not recipe.finalists:
            return place.space.genotype(encoding)
        with _open(place, recipe.name, seed, place.epochs) as one:
            chosen = finalists.choose(
                one,
                place.space,
                place.dataset,
                weights,
                recipe.finalists,
                place.training,
            )
        return place.space.genotype(chosen.encoding)

    return search


def _drawn(place, recipe) -> Callable:
    """Returns seed -> (a random cell, one-hot weights of as many as are finalists)."""

    def draw(seed):
        count = max(1, recipe.finalists)
        drawn = cells.random_connected(place.space, count, seed=seed)
        encodings = [place.space.encode(one) for one in drawn]
        return encodings[0], rows_lib.stacked(
            [place.space.weights(e) for e in encodings]
        )

    return draw


def _searched(place, recipe) -> Callable:
    """Returns seed -> (the derived cell, weights f64[1, C, E, O])."""
    training = place.training
    method = dataclasses.replace(
        registry.METHODS[recipe.method](),
        features=training.features,
        layers=training.layers,
        batch_size=training.batch_size,
        epochs=place.epochs,
        **recipe_rows.SEARCH_COMPACT
        | {
            "frozen_rate": recipe.frozen_rate,
            "logits_learning_rate": place.logits_learning_rate,
        },
    )
    settings = search_gradient.SearchSettings(method, **augmentation.fields(training))
    augment = augmentation.build(settings, place.dataset)
    size = setup.network_size(method, place.dataset)
    splits = setup.two_splits(place.dataset, 0.5, seed=0)
    counts = tuple(len(labels) for _, labels in splits)
    setting = gradient.Setting(size, augment, counts)
    segments = gradient.build_segments(method, place.space, setting)
    if len(segments) > 1:
        raise ValueError(
            f"recipes must have methods of one stage, got {recipe.method} of "
            f"{len(segments)}. Leave it out."
        )
    (segment,) = segments

    @jax.jit
    def derive(state):
        return gradient.derive(segment.pieces, place.space, state)

    def search(seed):
        own = setup.two_splits(place.dataset, 0.5, seed=seed)
        state = segment.program.init(jax.random.key(seed))
        state, _ = program_lib.run(segment.program, state, own)
        encoding, weights = map(np.asarray, derive(state))
        return encoding, weights[None]

    return search


def _tested(place, genotype, seed, name) -> dict[str, Any]:
    with _open(place, f"test_{name}", seed, place.epochs) as one:
        return train_scratch.retrain_cell(
            one, "retrain", genotype, place.dataset, place.training
        )


def _open(place, name, seed, number):
    """Opens the run of one training; it refuses to resume another."""
    settings = {
        "training": dataclasses.asdict(place.training),
        "logits_learning_rate": place.logits_learning_rate,
        "number": number,
    }
    folder = place.folder / f"{name}_{seed}".replace(" ", "_")
    digest = place.dataset.digest
    return run.open_run(folder, settings=settings, seed=seed, data_digest=digest)


def training(*, epochs: int, features: int) -> train_scratch.RetrainSettings:
    """Returns how cells are trained: the recipe of the space compact.

    Args:
      epochs: of each training.
      features: of the first cells.
    """
    row = recipe_rows.changed("compact", epochs=epochs, features=features)
    return train_scratch.RetrainSettings(**row)


def with_p(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns rows with ``p``, of Welch's t-test against random cells, two-sided.

    Args:
      found: rows, as ``rows`` and ``baselines`` return them; without a row of random
        cells every p is None.
    """
    found = list(found)
    drawn = [row["seeds"] for row in found if row["recipe"] == RANDOM]
    return [
        row
        | {
            "n": len(row["seeds"]),
            "p": baseline_verdict.welch(row["seeds"], drawn[0])
            if drawn and row["recipe"] != RANDOM
            else None,
        }
        for row in found
    ]


def baselines(place: Place, *, parameters: int, num_seeds: int) -> list[dict[str, Any]]:
    """Trains hand-made networks of one size in the same way.

    Args:
      place: where.
      parameters: wanted number.
      num_seeds: trainings of each.
    """
    found = []
    for name in ("plain_cnn", "resnet", "mobilenet_v2"):
        shape = place.dataset.image_shape
        one = networks.baselines.fit(
            name, place.dataset.num_classes, shape, parameters=parameters
        )
        with _open(place, f"baseline_{name}", 0, num_seeds) as opened:
            tested = train_scratch.train_network(
                opened,
                "retrain",
                one.network(),
                place.dataset,
                dataclasses.replace(place.training, num_seeds=num_seeds),
                kept={"baseline": one.to_json()},
            )
        found.append(
            {
                "recipe": name,
                "test_accuracy": tested["test_accuracy"],
                "test_accuracy_sd": tested["test_accuracy_sd"],
                "parameters": tested["parameters"],
                "seeds": [s["test_accuracy"] for s in tested["seeds"]],
            }
        )
    return found
