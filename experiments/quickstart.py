"""Searches a DARTS cell on Fashion-MNIST and compares it with random cells.

    python experiments/quickstart.py --workdir=runs/first

First-order search on half of the 4,000 embedded images (28x28 shrunk to 14x14), then
the found cell and randomly drawn cells are trained from scratch with one budget and
tested on 1,000 images that the search never saw. For results of the paper's size see
search.py and retrain.py; this shows every step in minutes.
"""

import dataclasses
import statistics

from jnas import directions, registry, report, run, settings
from jnas.settings import option
from jnas.studies import (
    augmentation,
    cells,
    closing,
    flags,
    search_gradient,
    setup,
    train_scratch,
    trained,
)


@dataclasses.dataclass(frozen=True)
class QuickSettings:
    """A search and trainings of minutes. The fields carry their own help text."""

    features: int = option(4, "Features of the first cells in the search.")
    layers: int = option(3, "Number of cells of every network.")
    batch_size: int = option(64, "Images in a batch.")
    epochs: int = option(3, "Epochs of the search.")
    retrain_features: int = option(
        8, "Features of the first cells in the trainings from scratch.", least=1
    )
    retrain_epochs: int = option(4, "Epochs of each training from scratch.", least=1)
    num_random: int = option(
        3, "Number of random cells that are compared with the found one.", least=2
    )
    logits_learning_rate: float = option(0.02, "Learning rate of the logits.", least=0)
    __post_init__ = settings.check


FLAGS = flags.define(
    setup.DataSettings,
    setup.SpaceSettings,
    augmentation.AugmentSettings,
    QuickSettings,
    shrink=2,
    cutout=0,
)


def main():
    """Searches, retrains, tests and reports."""
    data_settings, space_settings, augment, quick = FLAGS.read()
    dataset, space = setup.dataset(data_settings), setup.space(space_settings)
    method = dataclasses.replace(
        registry.METHODS["darts"](),
        features=quick.features,
        layers=quick.layers,
        batch_size=quick.batch_size,
        epochs=quick.epochs,
        logits_learning_rate=quick.logits_learning_rate,
    )
    augmented = augmentation.fields(augment)
    search = search_gradient.SearchSettings(method, **augmented)
    training = train_scratch.RetrainSettings(
        features=quick.retrain_features,
        layers=quick.layers,
        batch_size=quick.batch_size,
        epochs=quick.retrain_epochs,
        drop_path_rate=0.0,
        auxiliary=False,
        **augmented,
    )
    with FLAGS.open_run(dataset, search) as r:
        if r.finished is not None:
            print(closing.finished(r))
            return
        searched = search_gradient.search_cells(r, dataset, space, search)
        found = searched.genotype
        drawn = cells.random_cells(space, quick.num_random, seed=r.seed)
        compared = {"found": found} | {f"random_{i}": g for i, g in enumerate(drawn)}
        kept = {"found": r.workdir / trained.MODEL}
        results = {
            name: train_scratch.retrain_cell(
                r, f"retrain_{name}", cell, dataset, training, keep=kept.get(name)
            )
            for name, cell in compared.items()
        }
        flags_of_images = augmentation.changed(augment)
        flags_of_images |= train_scratch.needed(dataset, found)
        command = closing.retrain_command(r, data_settings, **flags_of_images)
        close(r, found, searched.result, results, command)


def close(r, cell, searched, results, command):
    """Prints the closing table and writes the files of the run."""
    random = [results[name]["test_accuracy"] for name in results if name != "found"]
    mean, spread = statistics.mean(random), statistics.stdev(random)
    rows = [
        [name, f"{v['test_accuracy']:.4f}", v["parameters"], round(v["seconds"], 1)]
        for name, v in results.items()
    ]
    rows.append([f"random mean ± sd (n={len(random)})", f"{mean:.4f} ± {spread:.4f}"])
    rows[-1] += ["", ""]
    names = ("test_accuracy", "parameters", "seconds")
    header = [directions.declared(name).label for name in names]
    table = report.Table(("cell", *header), rows)
    found = results["found"]
    better = found["test_accuracy"] > mean
    beats = "beats" if better else "does NOT beat"
    verdict = (
        f"The found cell {beats} the mean of {len(random)} random cells: "
        f"{found['test_accuracy']:.4f} to {mean:.4f} ± {spread:.4f}."
    )
    result = found | {
        "verdict": verdict,
        "warnings": searched["warnings"],
        "next": command,
        "valid_accuracy": searched["valid_accuracy"],
        "search_seconds": searched["seconds"],
        "random_test_accuracy_mean": round(mean, 6),
        "random_test_accuracy_sd": round(spread, 6),
        "num_random": len(random),
        "cells": [
            {"name": name, **{k: v[k] for k in ("test_accuracy", "parameters", "macs")}}
            for name, v in results.items()
        ],
    }
    title = "Found and random cells, trained alike"
    closing.close(r, cell, result, tables={title: table})
    print(closing.text(r.workdir, result))


if __name__ == "__main__":
    run.launch(main)
