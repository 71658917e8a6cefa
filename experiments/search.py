"""Searches a cell by gradient and writes its genotype.

    python experiments/search.py --workdir=runs/search --data=npz:cifar10.npz \
        --augment=standard
    python experiments/search.py --workdir=runs/pc --method=pcdarts --max_skips=2

A method is a row of pieces and its paper's numbers: DARTS has 16 features, 8 layers,
batch 64, 50 epochs. Each of them has a flag that replaces it, and each number inside a
piece an option (--options=relaxation.start=5). --help --method=pcdarts shows what a row
sets, describe.py --methods lists the rows. Half of the training images train the
architecture. One seed gives one result, bit for bit; --num_seeds=4 runs four searches
as one program and keeps the best of them.

--max_parameters, --max_macs and --max_latency_ms limit the network that is trained of
the found cell (--cost_features, --cost_layers): the search is penalised until its cell
fits, and at the end the cell does fit.
"""

from jnas import gradient, run
from jnas.studies import closing, flags, search_gradient, setup, trained_supernet

FLAGS = flags.define(
    setup.DataSettings, setup.SpaceSettings, search_gradient.SearchSettings
)
run.define_processes()
run.define_streaming()


def main():
    """Searches, and writes what was found."""
    data_settings, space_settings, settings = FLAGS.read()
    space = setup.space(space_settings)
    setup.check_layers(space, FLAGS.given())
    gradient.check(settings.method, space)
    dataset = setup.dataset(data_settings)
    search_gradient.check_limits(space, settings, dataset)
    with FLAGS.open_run(dataset) as r:
        if r.finished is not None:
            print(closing.finished(r))
            return
        keep = r.workdir / trained_supernet.FOLDER
        found = search_gradient.search_cells(r, dataset, space, settings, keep=keep)
        result = search_gradient.close(r, found, dataset, settings, data_settings)
        print(closing.text(r.workdir, result))


if __name__ == "__main__":
    run.launch(main)
