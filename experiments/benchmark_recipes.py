"""Compares recipes of search on small images, by networks trained from scratch.

    python experiments/benchmark_recipes.py --workdir=runs/recipes --shrink=2

Every recipe searches the space compact with several seeds; each found cell is trained
from scratch with the recipe compact and tested once. Random cells and hand-made
networks of the same number of parameters are trained alike; p is of Welch's t-test
against the random cells. The last line is one JSON
object. Needs a checkout: an installed jnas leaves jnas.bench out.
"""

import json
import pathlib
import statistics

from absl import flags

from jnas import data, registry, report, run
from jnas.bench import recipes
from jnas.run import record

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "Folder of the trainings.", required=True)
flags.DEFINE_string("data", "fashion", "Data set.")
flags.DEFINE_integer("shrink", 1, "Factor by which images are shrunk.", lower_bound=1)
flags.DEFINE_string("space", "compact", "Space of cells.")
flags.DEFINE_list(
    "recipes",
    [
        "random", "darts:0", "darts:0.3", "pcdarts:0", "pcdarts:0.3", "drnas:0.3",
        "gdas:0.3", "drnas:0.3:6", "random:0:6",
    ],
    "Recipes, comma-separated: METHOD:FROZEN_RATE:FINALISTS.",
)  # fmt: skip
flags.DEFINE_integer("num_seeds", 5, "Searches of each recipe.", lower_bound=2)
flags.DEFINE_integer("num_random", 20, "Random cells.", lower_bound=2)
flags.DEFINE_integer("epochs", 6, "Epochs of a search.", lower_bound=1)
flags.DEFINE_float("logits_learning_rate", 0.03, "Of every method.")
flags.DEFINE_integer("features", 8, "Features of the first cells.", lower_bound=1)
flags.DEFINE_integer("retrain_epochs", 6, "Epochs of a training.", lower_bound=1)
flags.DEFINE_boolean("debug", False, "Show the traceback of an error.")


def main():
    """Compares and prints."""
    dataset = data.load(FLAGS.data)
    if FLAGS.shrink > 1:
        dataset = data.shrink(dataset, FLAGS.shrink)
    place = recipes.Place(
        dataset,
        registry.SPACES[FLAGS.space](),
        FLAGS.epochs,
        FLAGS.logits_learning_rate,
        recipes.training(epochs=FLAGS.retrain_epochs, features=FLAGS.features),
        pathlib.Path(FLAGS.workdir),
    )
    asked = [recipes.read(text) for text in FLAGS.recipes]
    found = recipes.rows(
        place,
        asked,
        num_seeds=FLAGS.num_seeds,
        num_random=FLAGS.num_random,
        say=lambda text: print(text, flush=True),
    )
    parameters = round(statistics.median(row["parameters"] for row in found))
    found += recipes.baselines(place, parameters=parameters, num_seeds=FLAGS.num_seeds)
    found = recipes.with_p(found)
    shown = [
        {k: v for k, v in row.items() if k not in ("seeds", "cells")} for row in found
    ]
    print(report.markdown(report.tables.from_records(shown)) + "\n")
    print(json.dumps({"device": record.device(), "data": FLAGS.data, "rows": found}))


if __name__ == "__main__":
    run.launch(main)
