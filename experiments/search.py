"""Searches a cell by gradient, and writes the genotype it found.

    python experiments/search.py --workdir=runs/search --data=npz:cifar10.npz
    python experiments/search.py --workdir=runs/pc --method=pcdarts --max_skips=2

A method is a row of pieces and numbers, its paper's: DARTS has 16 features, 8 layers,
batch 64, 50 epochs. Each piece and number has a flag that replaces it; describe.py
--methods lists the rows. Half of the training images train the architecture. One seed
gives one result, bit for bit; --num_seeds=4 runs four searches as one program and keeps
the best of them.
"""

from absl import flags

from jnas import data, gradient, registry, run
from jnas.studies import cells, closing, search_gradient
from jnas.studies import flags as flags_lib

FLAGS = flags.FLAGS
run.define_run_flags()
flags.DEFINE_string("data", "fashion", "Data set: a name, npz:, folder: or tfds:.")
flags.DEFINE_integer("shrink", 1, "Average squares of so many pixels a side.")
flags.DEFINE_string("space", "darts", "Search space.")
flags.DEFINE_list("operations", None, "Candidates of every edge; the space's if empty.")
flags_lib.define_method_flags()
flags.DEFINE_float("valid_rate", 0.5, "Share of images that train the architecture.")
flags.DEFINE_integer("num_seeds", None, "Searches side by side.", lower_bound=1)
run.define_device_flag()
flags.DEFINE_bool("remat", False, "Compute cells again for the gradient; less memory.")
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the activations.")


def main():
    """Searches, and writes what was found."""
    run.use_devices()
    space = registry.SPACES[FLAGS.space]()
    if FLAGS.operations:
        space = space.with_operations(FLAGS.operations)
    settings = search_gradient.SearchSettings(
        method=flags_lib.method_of_flags(),
        valid_rate=FLAGS.valid_rate,
        num_seeds=FLAGS.num_seeds,
        remat=FLAGS.remat,
        dtype=FLAGS.dtype,
    )
    gradient.check(settings.method, space)
    dataset = data.shrink(data.load(FLAGS.data), FLAGS.shrink)
    with run.from_flags(dataset.digest) as r:
        if r.finished is not None:
            print(f"{FLAGS.workdir} is finished: {r.finished}")
            return
        found = search_gradient.search_cells(
            r, dataset, space, settings, seed=FLAGS.seed
        )
        names = ("genotype", "genotypes")
        figures = {k: v for k, v in found.result.items() if k not in names}
        closing.close(r, found.genotype, figures)
        print(f"{cells.short(found.genotype)}\n{figures}\n{r.workdir}/genotype.json")


if __name__ == "__main__":
    run.launch(main)
