"""Trains every cell of a small space from scratch, and writes a benchmark table.

    python experiments/make_table.py --workdir=runs/digits201 --num_devices=2

The defaults made ``jnas.tables.digits201``: the 15,625 cells of NAS-Bench-201, of which
5,425 are different graphs, 3 times 12 epochs and 3 times 3 epochs each, on the embedded
digits. The same line again goes on where an earlier one was stopped. The workdir then
holds ``table.npz``; launchers read it as --objective=table:runs/digits201/table.npz.
"""

from absl import flags

from jnas import data, registry, run, spaces
from jnas.discrete import tables
from jnas.studies import closing, make_table

FLAGS = flags.FLAGS
run.define_run_flags()
flags.DEFINE_string("data", "digits", "Data set: a name, npz:, folder: or tfds:.")
flags.DEFINE_integer("shrink", 1, "Average squares of so many pixels a side.")
flags.DEFINE_string("space", "nasbench201", "Search space, of a million cells at most.")
flags.DEFINE_integer("features", 8, "Features of the first cells.")
flags.DEFINE_integer("layers", 1, "Cells of the network (of a stage: nasbench201).")
flags.DEFINE_integer("batch_size", 40, "Images of a step.")
flags.DEFINE_integer("epochs", 12, "The full budget.", lower_bound=1)
flags.DEFINE_integer("short_epochs", 3, "The short budget.", lower_bound=1)
flags.DEFINE_float("valid_rate", 0.88, "Share of training images that validates.")
flags.DEFINE_float("learning_rate", 0.1, "Falls to 0 by a cosine.", lower_bound=0)
flags.DEFINE_integer("num_seeds", 3, "Trainings of each cell.", lower_bound=1)
run.define_device_flag()


def main():
    """Trains, and writes the table."""
    run.use_devices()
    space = registry.SPACES[FLAGS.space]()
    settings = make_table.TableSettings(
        features=FLAGS.features,
        layers=FLAGS.layers,
        batch_size=FLAGS.batch_size,
        epochs=FLAGS.epochs,
        short_epochs=FLAGS.short_epochs,
        valid_rate=FLAGS.valid_rate,
        learning_rate=FLAGS.learning_rate,
        num_seeds=FLAGS.num_seeds,
    )
    dataset = data.shrink(data.load(FLAGS.data), FLAGS.shrink)
    with run.from_flags(dataset.digest) as r:
        if r.finished is not None:
            print(f"{FLAGS.workdir} is finished: {r.finished}")
            return
        table = make_table.train_all(r, dataset, space, settings, seed=FLAGS.seed)
        tables.write_npz(r.workdir / "table.npz", table)
        signal = table.column(f"valid_{settings.epochs}")
        best = spaces.encoding.from_index(int(signal.argmax()), space.sizes)
        result = {n: float(v[signal.argmax()]) for n, v in table.metrics.items()}
        closing.close(r, space.genotype(best), result)
        print(f"{r.workdir}/table.npz: {table.num_rows} rows, best {result}")


if __name__ == "__main__":
    run.launch(main)
