"""Times discrete search: controllers on a table, populations, shared weights.

    python experiments/benchmark_discrete.py --what=controllers --num_devices=2

``controllers``: 500 compiled runs against a plain Python loop of the same algorithm,
interleaved. ``scratch``: 64 NAS-Bench-201 cells trained from scratch as one program,
against one after another, each with its own compiled program. ``forms``: ways to score
cells with shared weights; the defaults of objectives follow from it. The last line is
one JSON object. Needs a checkout: an installed jnas leaves jnas.bench out.
"""

import json

from absl import flags

from jnas import report, run
from jnas.bench import discrete
from jnas.discrete import tables
from jnas.run import device_flags, record
from jnas.training import placement

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "what",
    ["controllers", "forms", "scratch"],
    "Benchmarks, comma-separated: controllers, forms, scratch.",
)
flags.DEFINE_string("table", "digits201", "Table that the controllers look up.")
flags.DEFINE_string(
    "metric", "valid_12", "Metric of the table that controllers maximise."
)
flags.DEFINE_integer("num_runs", 500, "Number of compiled runs.", lower_bound=1)
flags.DEFINE_integer("num_evaluations", 200, "Evaluations of each run.", lower_bound=1)
flags.DEFINE_integer(
    "num_plain_runs", 20, "Number of runs of the plain Python loop.", lower_bound=1
)
flags.DEFINE_integer(
    "num_cells", 64, "Number of cells in scratch and forms.", lower_bound=1
)
flags.DEFINE_integer(
    "num_apart", 64, "Cells trained one by one; their time is scaled.", lower_bound=1
)
flags.DEFINE_list("features", ["4", "16"], "Features of the first cells in forms.")
flags.DEFINE_integer(
    "epochs", 12, "Epochs of each training from scratch.", lower_bound=1
)
flags.DEFINE_integer("repeats", 7, "Number of timed calls.", lower_bound=1)
device_flags.define()
flags.DEFINE_boolean("debug", False, "Show the traceback of an error.")


def main():
    """Times and prints."""
    known = ("controllers", "forms", "scratch")
    for name in FLAGS.what or [""]:
        if name not in known:
            raise ValueError(f"what must be some of {', '.join(known)}, got {name!r}.")
    widths = [int(text) if text.isdecimal() else 0 for text in FLAGS.features or [""]]
    if min(widths) < 1:
        raise ValueError(
            f"features must be numbers from 1, got {','.join(FLAGS.features)!r}. "
            "Write --features=4,16."
        )
    result = {"device": record.device(), "num_devices": placement.num_devices()}
    if "controllers" in FLAGS.what:
        result["controllers"] = discrete.controllers(
            tables.load(FLAGS.table),
            FLAGS.metric,
            num_runs=FLAGS.num_runs,
            num_evaluations=FLAGS.num_evaluations,
            num_plain_runs=FLAGS.num_plain_runs,
            repeats=FLAGS.repeats,
        )
    if "forms" in FLAGS.what:
        result["forms"] = [
            row
            for features in widths
            for row in discrete.forms(
                num_cells=FLAGS.num_cells,
                features=features,
                layers=1,
                batch_size=128,
                repeats=FLAGS.repeats,
            )
        ]
    if "scratch" in FLAGS.what:
        result["scratch"] = [
            discrete.scratch(
                num_cells=FLAGS.num_cells,
                num_apart=FLAGS.num_apart,
                features=8,
                epochs=FLAGS.epochs,
                batch_size=40,
            )
        ]
    for name in FLAGS.what:
        print(report.markdown(report.tables.from_records(result[name])) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    run.launch(main)
