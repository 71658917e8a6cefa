"""Compares searches with equal budgets, and with random search, against a table.

    python experiments/compare.py --workdir=runs/compare --objective=table:digits201 \
        --controllers=regularized_evolution,reinforce,local_search --num_runs=500 \
        --signal=valid_12 --report=valid_12,test_12 --budget_evaluations=200
    python experiments/compare.py --workdir=runs/methods --methods=all --num_seeds=8

Controllers search the table itself. A run answers with the cell whose signal is best.
--budget_seconds counts the table's own ``seconds``, simulated. p is of the two-sided
Mann-Whitney test against random search, on the last metric of --report.

Gradient methods (--methods) search on images; their cells are looked up. --epochs and
the sizes are the same for all; all else is each paper's, the learning rate of the
logits times --logits_rate_factor. Random search trains as many images, at
--images_per_cell.

Prints a table, writes ``result.json`` and ``report.html`` (and ``traces.svg`` for
controllers); the last line is one JSON object.
"""

import json

from absl import flags

from jnas import data, run
from jnas.studies import compare_controllers, compare_methods

FLAGS = flags.FLAGS
run.define_run_flags()
flags.DEFINE_list("controllers", None, "Compared; regularized_evolution,reinforce.")
flags.DEFINE_string("objective", "table:digits201", "table: and a name or a file.")
flags.DEFINE_list("signal", ["valid_12"], "Searched on; any more are objectives too.")
flags.DEFINE_list("report", ["valid_12", "test_12"], "Metrics told; the last judges.")
flags.DEFINE_integer("num_runs", 500, "Runs of each controller.", lower_bound=2)
flags.DEFINE_integer("budget_evaluations", None, "Of each run.", lower_bound=1)
flags.DEFINE_float("budget_seconds", None, "Of each run, simulated.", lower_bound=0)
flags.DEFINE_list("methods", None, "Gradient methods instead of controllers, or all.")
flags.DEFINE_string("space", "nasbench201", "Search space of the methods.")
flags.DEFINE_string("data", "digits", "Data set of the methods' searches.")
flags.DEFINE_integer("num_seeds", 8, "Searches of each method.", lower_bound=2)
run.define_device_flag()
flags.DEFINE_integer("epochs", 25, "Of each search, all stages.", lower_bound=1)
flags.DEFINE_integer("batch_size", 32, "Images of a step.", lower_bound=1)
flags.DEFINE_integer("features", 8, "Features of the first cells.", lower_bound=1)
flags.DEFINE_integer("layers", 1, "Cells of a stage.", lower_bound=1)
flags.DEFINE_float("logits_rate_factor", 30.0, "Of each method's own rate.")
flags.DEFINE_integer("images_per_cell", 2016, "Trained for a row.", lower_bound=1)


def main():
    """Runs every search, prints and writes."""
    if FLAGS.methods and FLAGS.controllers:
        raise ValueError(
            "methods must be given without controllers, got both. Compare one kind."
        )
    run.use_devices()
    act, plan, digest = plan_methods() if FLAGS.methods else plan_controllers()
    with run.from_flags(digest) as r:
        result = r.finished
        if result is None:
            result, text = act(r, plan, seed=FLAGS.seed)
            print(text)
        else:
            print(f"{FLAGS.workdir} is finished.")
    print(json.dumps(result))


def plan_controllers():
    """Looks up controllers and table."""
    settings = compare_controllers.CompareSettings(
        controllers=tuple(FLAGS.controllers or ["regularized_evolution", "reinforce"]),
        objective=FLAGS.objective,
        num_runs=FLAGS.num_runs,
        budget_evaluations=FLAGS.budget_evaluations,
        budget_seconds=FLAGS.budget_seconds,
        signal=tuple(FLAGS.signal),
        report=tuple(FLAGS.report),
    )
    plan = compare_controllers.prepare(settings)
    return compare_controllers.compare, plan, plan.table.digest


def plan_methods():
    """Looks up methods, table and images."""
    settings = compare_methods.MethodsSettings(
        methods=tuple(FLAGS.methods),
        space=FLAGS.space,
        objective=FLAGS.objective,
        num_seeds=FLAGS.num_seeds,
        epochs=FLAGS.epochs,
        batch_size=FLAGS.batch_size,
        features=FLAGS.features,
        layers=FLAGS.layers,
        logits_rate_factor=FLAGS.logits_rate_factor,
        images_per_cell=FLAGS.images_per_cell,
        signal=FLAGS.signal[0],
        report=FLAGS.report[-1],
    )
    plan = compare_methods.prepare(settings, data.load(FLAGS.data))
    return compare_methods.compare_methods, plan, plan.dataset.digest


if __name__ == "__main__":
    run.launch(main)
