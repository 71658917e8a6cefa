"""Searches a small network for Fashion-MNIST and compares it with what one had.

    python experiments/quickstart.py --workdir=runs/first

A search by gradient on half of the 4,000 embedded images (28x28 shrunk to 14x14); its
likeliest cells trained from scratch for a few epochs to choose one; then the found
cell, random cells, the largest cell and hand-made networks of the same number of
parameters, all trained alike and tested on 1,000 images that the search never saw. For
results of the papers' size see search.py and retrain.py; this shows every step in
minutes.
"""

import dataclasses

from jnas import registry, run, settings
from jnas.settings import option
from jnas.studies import (
    augmentation,
    baselines,
    closing,
    flags,
    recipe_rows,
    search_gradient,
    setup,
    train_scratch,
    trained,
)


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


FLAGS = flags.define(
    setup.DataSettings,
    setup.SpaceSettings,
    augmentation.AugmentSettings,
    QuickSettings,
    baselines.BaselineSettings,
    shrink=2,
    space="compact",
    augment="none",
    cutout=0,
    num_random=14,
)


def method(quick: QuickSettings):
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


def training(quick: QuickSettings, **augmented):
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


def main():
    """Searches, retrains, tests and reports."""
    data_settings, space_settings, augment, quick, compared = FLAGS.read()
    dataset, space = setup.dataset(data_settings), setup.space(space_settings)
    augmented = augmentation.fields(augment)
    search = search_gradient.SearchSettings(
        method(quick), finalists=quick.finalists, **augmented
    )
    train = training(quick, **augmented)
    with FLAGS.open_run(dataset, search) as r:
        if r.finished is not None:
            print(closing.finished(r))
            return
        short = {"retrain_epochs": quick.finalist_epochs, "retrain_seeds": 1}
        finals = training(dataclasses.replace(quick, **short), **augmented)
        searched = search_gradient.search_cells(
            r, dataset, space, search, training=finals
        )
        found = searched.genotype
        plan = baselines.prepare(found, space, dataset, compared, train, seed=r.seed)
        keep = {baselines.FOUND: r.workdir / trained.MODEL}
        results = baselines.train(r, plan, dataset, train, keep=keep)
        flags_of_images = augmentation.changed(augment)
        flags_of_images |= train_scratch.needed(dataset, found)
        command = closing.retrain_command(r, data_settings, **flags_of_images)
        result = baselines.result(results) | {
            "warnings": searched.result["warnings"],
            "next": command,
            "supernet_valid_accuracy": searched.result["valid_accuracy"],
            "search_seconds": searched.result["seconds"],
            "finalists": searched.result.get("finalists", []),
        }
        closing.close(r, found, result)
        print(closing.text(r.workdir, result))


if __name__ == "__main__":
    run.launch(main)
