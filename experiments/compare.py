"""Compares searches on a table, with equal budgets and random search beside them.

    python experiments/compare.py --workdir=runs/compare --objective=table:digits201 \
        --controllers=regularized_evolution,reinforce,local_search --num_runs=500 \
        --signal=valid_12 --report=valid_12,test_12 --budget_evaluations=200
    python experiments/compare.py --workdir=runs/methods --methods=all --num_seeds=8

Controllers search the table itself; the result of a run is the cell whose signal is
best. --budget_seconds counts the table's metric ``seconds``, simulated; where it is
unknown, the largest of the table is charged. p is that of the two-sided Mann-Whitney
test against random search, on --report's last metric.

Gradient methods (--methods) search on images, and their cells are looked up in the
table. --epochs and sizes are the same for all; the rest is each paper's, the learning
rate of the logits times --logits_rate_factor. Random search trains as many images, at
--images_per_cell each.

--max_parameters, --max_macs and --max_latency_ms leave a comparison the cells that fit:
for controllers by the table's columns, for methods in the network of their search.

Prints a table and warnings, writes ``result.json`` and ``report.html`` (and
``traces.svg`` for controllers); the last line is one JSON object of the methods.
``result.json`` has them too, beside ``directions``, ``warnings``, ``verdict`` and
``table``. The same command prints the table of a finished comparison again.
"""

import json

from jnas import run
from jnas.studies import (
    compare_controllers,
    compare_methods,
    compared,
    flags,
    setup,
)

FLAGS = flags.define(
    compare_controllers.CompareSettings,
    compare_methods.MethodsSettings,
    setup.DataSettings,
    setup.SpaceSettings,
    data="digits",
    space="nasbench201",
)
run.define_processes()


def main():
    """Runs every search, prints and writes."""
    act, plan, source, rows = prepare(*FLAGS.read())
    with FLAGS.open_run(source, plan.settings, rows=rows) as r:
        if r.finished is None:
            result, text = act(r, plan)
        else:
            print(f"{r.workdir} is finished; use a new --workdir for another run.")
            result, text = compared.figures(r.finished), compared.text(r.finished)
    if text:  # a result of an earlier release has no table
        print(text)
    print(json.dumps(result))


def prepare(controllers, methods, data_settings, space_settings):
    """Looks up controllers or methods, the table and the images."""
    if not methods.methods:
        plan = compare_controllers.prepare(controllers)
        return compare_controllers.compare, plan, plan.table, {}
    if controllers.controllers:
        raise ValueError(
            "methods must be given without controllers, got both. Compare one kind."
        )
    space, dataset = setup.space(space_settings), setup.dataset(data_settings)
    plan = compare_methods.prepare(methods, space, dataset)
    return compare_methods.compare_methods, plan, dataset, plan.methods


if __name__ == "__main__":
    run.launch(main)
