"""Searches a cell by gradient, and writes the genotype it found.

    python experiments/search.py --workdir=runs/search --data=npz:cifar10.npz

The defaults are DARTS' own: 16 features, 8 layers, batch 64, 50 epochs, half of the
training images for the architecture. One seed gives one result, bit for bit;
--num_seeds=4 runs four searches as one program and keeps the best of them.
"""

from absl import flags

from jnas import data, registry, run
from jnas.run import closing, stages

FLAGS = flags.FLAGS
run.define_run_flags()
flags.DEFINE_string("data", "fashion", "Data set: a name, npz:, folder: or tfds:.")
flags.DEFINE_integer("shrink", 1, "Average squares of so many pixels a side.")
flags.DEFINE_string("space", "darts", "Search space.")
flags.DEFINE_list("operations", None, "Candidates of every edge; the space's if empty.")
flags.DEFINE_string("method", "darts", "Method: a row of pieces.")
flags.DEFINE_string("relaxation", None, "Logits to weights; the method's if empty.")
flags.DEFINE_string("hypergradient", None, "Rule for the architecture, likewise.")
flags.DEFINE_integer("features", 16, "Features of the first cells.")
flags.DEFINE_integer("layers", 8, "Cells of the network (of a stage: nasbench201).")
flags.DEFINE_integer("batch_size", 64, "Images of a step, at both levels.")
flags.DEFINE_integer("epochs", 50, "Passes over the training part.", lower_bound=1)
flags.DEFINE_float("valid_rate", 0.5, "Share of images that train the architecture.")
flags.DEFINE_float("learning_rate", 0.025, "Of the weights, at first.", lower_bound=0)
flags.DEFINE_float("logits_learning_rate", 3e-4, "Of the logits.", lower_bound=0)
flags.DEFINE_integer("num_seeds", None, "Searches side by side.", lower_bound=1)
flags.DEFINE_bool("remat", False, "Compute cells again for the gradient; less memory.")
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the activations.")


def main():
    """Searches, and writes what was found."""
    space = registry.SPACES[FLAGS.space]()
    if FLAGS.operations:
        space = space.with_operations(FLAGS.operations)
    method = registry.METHODS[FLAGS.method]()
    settings = stages.SearchSettings(
        relaxation=FLAGS.relaxation or method.relaxation,
        hypergradient=FLAGS.hypergradient or method.hypergradient,
        features=FLAGS.features,
        layers=FLAGS.layers,
        batch_size=FLAGS.batch_size,
        epochs=FLAGS.epochs,
        valid_rate=FLAGS.valid_rate,
        learning_rate=FLAGS.learning_rate,
        logits_learning_rate=FLAGS.logits_learning_rate,
        num_seeds=FLAGS.num_seeds,
        remat=FLAGS.remat,
        dtype=FLAGS.dtype,
    )
    stages.check_names(settings, space)
    dataset = data.shrink(data.load(FLAGS.data), FLAGS.shrink)
    with run.open_run(
        FLAGS.workdir,
        seed=FLAGS.seed,
        flags=run.run_flags(),
        data_digest=dataset.digest,
    ) as r:
        if r.finished is not None:
            print(f"{FLAGS.workdir} is finished: {r.finished}")
            return
        found, result = stages.search_cells(
            r, dataset, space, settings, seed=FLAGS.seed
        )
        names = ("genotype", "genotypes")
        figures = {k: v for k, v in result.items() if k not in names}
        closing.close(r, found, figures)
        print(f"{stages.short(found)}\n{figures}\n{r.workdir}/genotype.json")


if __name__ == "__main__":
    run.launch(main)
