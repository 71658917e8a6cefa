"""Trains every cell of a small space from scratch and writes a benchmark table.

    python experiments/make_table.py --workdir=runs/digits201 --num_devices=2

The defaults made ``jnas.tables.digits201``: the 15,625 cells of NAS-Bench-201, of which
5,425 are different graphs, 3 times 12 epochs and 3 times 3 epochs each, on the embedded
digits. The workdir then
holds ``table.npz``; launchers read it as --objective=table:runs/digits201/table.npz.
"""

from jnas import run, spaces
from jnas.discrete import tables
from jnas.settings import to_json
from jnas.studies import closing, flags, make_table, members, setup

FLAGS = flags.define(
    setup.DataSettings,
    setup.SpaceSettings,
    make_table.TableSettings,
    data="digits",
    space="nasbench201",
)
run.define_processes()
members.define_flags()


def main():
    """Trains, and writes the table."""
    data_settings, space_settings, settings = FLAGS.read()
    space = setup.space(space_settings)
    dataset, workers = setup.dataset(data_settings), members.from_flags()
    with FLAGS.open_run(dataset) as r:
        if r.finished is not None:
            print(f"{r.workdir} is finished: {r.finished}")
            return
        origin = members.origin(r, dataset, data_settings, space_settings)
        build, values = make_table.build_member, to_json(settings)
        with members.opened(r, workers, build, origin, values) as hands:
            table = make_table.train_all(r, dataset, space, settings, hands=hands)
        r.hand_over()
        tables.write_npz(r.workdir / "table.npz", table)
        signal = table.column(f"valid_{settings.epochs}")
        best = spaces.encoding.from_index(int(signal.argmax()), space.sizes)
        result = {n: float(v[signal.argmax()]) for n, v in table.metrics.items()}
        closing.close(r, space.genotype(best), result)
        print(f"{r.workdir}/table.npz: {table.num_rows} rows, best {result}")


if __name__ == "__main__":
    run.launch(main)
