"""Searches a DARTS cell on Fashion-MNIST, and holds it against random cells.

    python experiments/quickstart.py --workdir=runs/first

First-order search on half of the 4,000 embedded images (28x28 shrunk to 14x14), then
the found cell and randomly drawn cells are trained from scratch with one budget and
tested on 1,000 images that the search never saw. For results of the paper's size see
search.py and retrain.py; this is the whole way in minutes.
"""

import dataclasses
import statistics

from absl import flags

from jnas import data, registry, report, run
from jnas.studies import cells, closing, search_gradient
from jnas.studies import train_scratch as train

FLAGS = flags.FLAGS
run.define_run_flags()
flags.DEFINE_string("data", "fashion", "Data set: a name, npz:, folder: or tfds:.")
flags.DEFINE_integer("shrink", 2, "Average squares of so many pixels a side.")
flags.DEFINE_string("space", "darts", "Search space.")
flags.DEFINE_integer("features", 4, "Features of the first cells.")
flags.DEFINE_integer("layers", 3, "Cells of the network.")
flags.DEFINE_integer("batch_size", 64, "Images of a step.")
flags.DEFINE_integer("epochs", 3, "Epochs of the search.")
flags.DEFINE_integer("retrain_features", 8, "Of the trained ones.", lower_bound=1)
flags.DEFINE_integer("retrain_epochs", 4, "Of each training.", lower_bound=1)
flags.DEFINE_integer("num_random", 3, "Random cells to compare with.", lower_bound=2)
flags.DEFINE_float("logits_learning_rate", 0.02, "Of the logits.", lower_bound=0)


def main():
    """Searches, retrains, tests and reports."""
    dataset = data.shrink(data.load(FLAGS.data), FLAGS.shrink)
    space = registry.SPACES[FLAGS.space]()
    method = dataclasses.replace(
        registry.METHODS["darts"](),
        features=FLAGS.features,
        layers=FLAGS.layers,
        batch_size=FLAGS.batch_size,
        epochs=FLAGS.epochs,
        logits_learning_rate=FLAGS.logits_learning_rate,
    )
    search = search_gradient.SearchSettings(method)
    training = train.RetrainSettings(
        features=FLAGS.retrain_features,
        layers=FLAGS.layers,
        batch_size=FLAGS.batch_size,
        epochs=FLAGS.retrain_epochs,
        drop_path_rate=0.0,
        auxiliary=False,
        cutout=0,
    )
    with run.from_flags(dataset.digest) as r:
        if r.finished is not None:
            print(f"{FLAGS.workdir} is finished: {r.finished}")
            return
        searched = search_gradient.search_cells(
            r, dataset, space, search, seed=FLAGS.seed
        )
        found = searched.genotype
        drawn = cells.random_cells(space, FLAGS.num_random, seed=FLAGS.seed)
        trained = {"found": found} | {f"random_{i}": g for i, g in enumerate(drawn)}
        results = {
            name: train.retrain_cell(
                r, f"retrain_{name}", cell, dataset, training, seed=FLAGS.seed
            )
            for name, cell in trained.items()
        }
        close(r, found, searched.result, results)


def close(r, cell, searched, results):
    """Prints the closing table and writes the files of the run."""
    random = [results[name]["test_accuracy"] for name in results if name != "found"]
    mean, spread = statistics.mean(random), statistics.stdev(random)
    rows = [
        [name, f"{v['test_accuracy']:.4f}", v["parameters"], round(v["seconds"], 1)]
        for name, v in results.items()
    ]
    rows.append([f"random mean ± sd (n={len(random)})", f"{mean:.4f} ± {spread:.4f}"])
    rows[-1] += ["", ""]
    table = report.Table(("cell", "test accuracy", "parameters", "seconds"), rows)
    found = results["found"]
    better = found["test_accuracy"] > mean
    verdict = "beats" if better else "does NOT beat"
    result = found | {
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
    print(report.markdown(table))
    print(f"The found cell {verdict} the random cells' mean. {r.workdir}/report.html")


if __name__ == "__main__":
    run.launch(main)
