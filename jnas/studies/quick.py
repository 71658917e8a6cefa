"""A quickstart's search and trainings, which take minutes."""

import dataclasses
from typing import Any

from jnas import registry, settings
from jnas.gradient import methods
from jnas.settings import option
from jnas.studies import limits, recipe_rows, search_gradient, train_scratch


@dataclasses.dataclass(frozen=True)
class QuickSettings:
    """A search and trainings of minutes. The fields carry their own help text."""

    features: int = option(8, "Features of the first cells in the search.")
    layers: int = option(
        1, "Number of cells of every network; for cells of one input, of each stage."
    )
    batch_size: int = option(64, "Images in a batch.")
    epochs: int = option(6, "Epochs of the search.")
    logits_learning_rate: float = option(0.03, "Learning rate of the logits.", least=0)
    finalists: int = option(
        6,
        "Number of likeliest cells that are trained from scratch to choose one; 0 "
        "takes the likeliest.",
        least=0,
    )
    finalist_epochs: int = option(4, "Epochs of each finalist's training.", least=1)
    retrain_features: int = option(
        8, "Features of the first cells in the trainings from scratch.", least=1
    )
    retrain_epochs: int = option(5, "Epochs of each training from scratch.", least=1)
    retrain_seeds: int = option(
        4,
        "Trainings of the found network and of each baseline; a random cell has one.",
        least=1,
    )
    __post_init__ = settings.check


class Search(search_gradient.SearchSettings):
    """A search whose limits are those of the networks that are trained after it."""

    size_flags = "--retrain_features and --layers"


def method(quick: QuickSettings) -> methods.Method:
    """Returns DrNAS of the size of a quickstart, its logits frozen at first.

    Args:
      quick: sizes, epochs and rate of the logits.
    """
    return dataclasses.replace(
        registry.METHODS["drnas"](),
        features=quick.features,
        layers=quick.layers,
        batch_size=quick.batch_size,
        epochs=quick.epochs,
        **recipe_rows.SEARCH_COMPACT
        | {"logits_learning_rate": quick.logits_learning_rate},
    )


def search(
    quick: QuickSettings, bounds: limits.BoundSettings, **augmented: Any
) -> Search:
    """Returns the search, whose limits are those of the later trainings' networks.

    Args:
      quick: sizes and epochs.
      bounds: the limits.
      **augmented: of the images.
    """
    within = limits.of_network(
        bounds, features=quick.retrain_features, layers=quick.layers
    )
    return Search(method(quick), finalists=quick.finalists, **within, **augmented)


def finals(quick: QuickSettings, **augmented: Any) -> train_scratch.RetrainSettings:
    """Returns how finalists are trained: shorter, with one seed.

    Args:
      quick: sizes, epochs and seeds.
      **augmented: of the images.
    """
    short = {"retrain_epochs": quick.finalist_epochs, "retrain_seeds": 1}
    return training(dataclasses.replace(quick, **short), **augmented)


def training(quick: QuickSettings, **augmented: Any) -> train_scratch.RetrainSettings:
    """Returns how every network is trained: the recipe of the space compact.

    Args:
      quick: sizes, epochs and seeds.
      **augmented: of the images.
    """
    row = recipe_rows.changed(
        "compact",
        features=quick.retrain_features,
        layers=quick.layers,
        batch_size=quick.batch_size,
        epochs=quick.retrain_epochs,
        num_seeds=quick.retrain_seeds,
        **augmented,
    )
    return train_scratch.RetrainSettings(**row)
