"""Searches a cell by asking and telling, and writes the genotype it found.

    python experiments/search_discrete.py --workdir=runs/evolution --data=digits \
        --space=nasbench201 --objective=supernet --controller=regularized_evolution

--objective=supernet trains one network's shared weights by cells that --trainer draws
(random_search: uniform paths, as SPOS; reinforce: ENAS), then scores cells by it;
scratch trains each proposed cell by itself; table:NAME looks it up; naswot, synflow,
grad_norm, snip, jacobian_covariance and latency look at untrained networks; a name of
your own comes by --plugins. The test images are not touched: retrain.py tests what was
found.
"""

from absl import flags

from jnas import data, registry, run
from jnas.studies import cells, closing, search_discrete

FLAGS = flags.FLAGS
run.define_run_flags()
flags.DEFINE_string("controller", "regularized_evolution", "What proposes cells.")
flags.DEFINE_string("objective", "supernet", "supernet, scratch, table:NAME, name.")
flags.DEFINE_string("data", "fashion", "Data set: a name, npz:, folder: or tfds:.")
flags.DEFINE_integer("shrink", 1, "Average squares of so many pixels a side.")
flags.DEFINE_string("space", "nasbench201", "Search space.")
flags.DEFINE_integer("num_proposals", None, "Of a round; the controller's if empty.")
flags.DEFINE_integer("num_evaluations", 200, "Of the search.", lower_bound=1)
flags.DEFINE_integer("features", 16, "Features of the first cells.")
flags.DEFINE_integer("layers", 5, "Cells of the network (of a stage: nasbench201).")
flags.DEFINE_integer("batch_size", 64, "Images of a step.")
flags.DEFINE_integer("epochs", 50, "Of shared weights, or of each cell.", lower_bound=1)
flags.DEFINE_float("valid_rate", 0.5, "Share of training images that scores cells.")
flags.DEFINE_float("learning_rate", 0.025, "Of the weights, at first.", lower_bound=0)
flags.DEFINE_string("trainer", "random_search", "Draws the shared weights' cells.")
flags.DEFINE_list("signal", ["valid_12"], "Of a table: the first is searched on.")
flags.DEFINE_list("report", ["valid_12", "test_12"], "Of a table: told.")


def main():
    """Searches, and writes what was found."""
    space = registry.SPACES[FLAGS.space]()
    settings = search_discrete.DiscreteSettings(
        controller=FLAGS.controller,
        objective=FLAGS.objective,
        num_proposals=FLAGS.num_proposals,
        num_evaluations=FLAGS.num_evaluations,
        features=FLAGS.features,
        layers=FLAGS.layers,
        batch_size=FLAGS.batch_size,
        epochs=FLAGS.epochs,
        valid_rate=FLAGS.valid_rate,
        learning_rate=FLAGS.learning_rate,
        trainer=FLAGS.trainer,
        signal=tuple(FLAGS.signal),
        report=tuple(FLAGS.report),
    )
    table, dataset = search_discrete.check(settings), None
    if table is None:
        dataset = data.shrink(data.load(FLAGS.data), FLAGS.shrink)
    with run.from_flags((table or dataset).digest) as r:
        if r.finished is not None:
            print(f"{FLAGS.workdir} is finished: {r.finished}")
            return
        found, result = search_discrete.search_cells(
            r, space, settings, dataset=dataset, table=table, seed=FLAGS.seed
        )
        figures = {k: v for k, v in result.items() if k != "genotype"}
        closing.close(r, found, figures)
        print(f"{cells.short(found)}\n{figures}\n{r.workdir}/genotype.json")


if __name__ == "__main__":
    run.launch(main)
