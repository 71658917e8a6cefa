"""Searches a cell by evolution, REINFORCE or another controller.

    python experiments/search_discrete.py --workdir=runs/evolution --data=digits \
        --space=nasbench201 --objective=supernet --controller=regularized_evolution

--objective=supernet trains one network's shared weights with cells that --trainer draws
(random_search: uniform paths, as SPOS; enas_lstm: ENAS), then scores cells with them,
--recalibrate measuring each cell's statistics on training images first, and --rescore
the best of a round on all validation images; scratch trains each proposed cell from
scratch; table:NAME looks it up in a table; naswot, synflow, grad_norm, snip,
jacobian_covariance and latency score untrained networks; --plugins adds your own.
supernet,parameters has two columns, as nsga2 takes them. --max_parameters, --max_macs
and --max_latency_ms limit the found cell's network: cells that exceed one are not
scored. The test images are not touched: retrain.py tests the cell that was found.
"""

from jnas import run
from jnas.settings import to_json
from jnas.studies import (
    closing,
    discrete_workers,
    flags,
    members,
    search_discrete,
    setup,
)

FLAGS = flags.define(
    setup.DataSettings,
    setup.SpaceSettings,
    search_discrete.DiscreteSettings,
    space="nasbench201",
)
run.define_processes()
members.define_flags()


def main():
    """Searches, and writes what was found."""
    data_settings, space_settings, settings = FLAGS.read()
    space = setup.space(space_settings)
    setup.check_layers(space, FLAGS.given())
    table, dataset = search_discrete.check(settings), None
    workers = members.from_flags()
    discrete_workers.check(settings, workers)
    if table is None:
        dataset = setup.dataset(data_settings)
        search_discrete.check_limits(space, settings, dataset)
    with FLAGS.open_run(table or dataset) as r:
        if r.finished is not None:
            print(closing.finished(r))
            return
        origin = members.origin(r, dataset, data_settings, space_settings)
        build, values = discrete_workers.build_member, to_json(settings)
        with members.opened(r, workers, build, origin, values) as hands:
            found = search_discrete.search_cells(
                r, space, settings, dataset=dataset, table=table, hands=hands
            )
        result = search_discrete.close(
            r, found, settings, data_settings, dataset=dataset
        )
        print(closing.text(r.workdir, result))


if __name__ == "__main__":
    run.launch(main)
