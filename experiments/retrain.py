"""Trains a genotype's network from scratch, and tests it once.

    python experiments/retrain.py --workdir=runs/retrain --data=npz:cifar10.npz \
        --genotype=runs/search/genotype.json

The defaults are DARTS' own: 36 features, 20 layers, batch 96, 600 epochs, drop path
rising to 0.2, the auxiliary head, cutout of half the image. --genotype also takes a
published name (DARTS_V2), a NAS-Bench-201 string, or random (drawn by the seed).
"""

from absl import flags

from jnas import data, run
from jnas.studies import cells, closing, train_scratch

FLAGS = flags.FLAGS
run.define_run_flags()
flags.DEFINE_string("genotype", None, "File, published name, string, or random.")
flags.mark_flag_as_required("genotype")
flags.DEFINE_string("data", "fashion", "Data set: a name, npz:, folder: or tfds:.")
flags.DEFINE_integer("shrink", 1, "Average squares of so many pixels a side.")
flags.DEFINE_string("space", "darts", "Search space, for random.")
flags.DEFINE_integer("features", 36, "Features of the first cells.")
flags.DEFINE_integer("layers", 20, "Cells of the network (of a stage: nasbench201).")
flags.DEFINE_integer("batch_size", 96, "Images of a step.")
flags.DEFINE_integer("epochs", 600, "Passes over the images.", lower_bound=1)
flags.DEFINE_float("learning_rate", 0.025, "Falls to 0 by a cosine.", lower_bound=0)
flags.DEFINE_float("drop_path_rate", 0.2, "At the end of training.")
flags.DEFINE_boolean("auxiliary", True, "Train the auxiliary head with it.")
flags.DEFINE_integer("cutout", None, "Side of the blanked square; half if empty.")
flags.DEFINE_bool("remat", False, "Compute cells again for the gradient; less memory.")
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the activations.")


def main():
    """Trains, tests and reports."""
    cell = cells.find(FLAGS.genotype, space=FLAGS.space, seed=FLAGS.seed)
    settings = train_scratch.RetrainSettings(
        features=FLAGS.features,
        layers=FLAGS.layers,
        batch_size=FLAGS.batch_size,
        epochs=FLAGS.epochs,
        learning_rate=FLAGS.learning_rate,
        drop_path_rate=FLAGS.drop_path_rate,
        auxiliary=FLAGS.auxiliary and cell.cells[0][1].num_inputs == 2,
        cutout=FLAGS.cutout,
        remat=FLAGS.remat,
        dtype=FLAGS.dtype,
    )
    dataset = data.shrink(data.load(FLAGS.data), FLAGS.shrink)
    with run.from_flags(dataset.digest) as r:
        if r.finished is not None:
            print(f"{FLAGS.workdir} is finished: {r.finished}")
            return
        result = train_scratch.retrain_cell(
            r, "retrain", cell, dataset, settings, seed=FLAGS.seed
        )
        closing.close(r, cell, result)
        print(result)


if __name__ == "__main__":
    run.launch(main)
