"""Compares controllers on a table with equal budgets, and with random search.

    python experiments/compare.py --workdir=runs/compare --objective=table:digits201 \
        --controllers=regularized_evolution,reinforce,local_search --num_runs=500 \
        --signal=valid_12 --report=valid_12,test_12 --budget_evaluations=200

Prints a table, writes ``traces.svg``, ``result.json`` and ``report.html``; the last
line is one JSON object. A run answers with the cell whose signal is best.
--budget_seconds counts the table's own ``seconds``, simulated. Random search is always
in, and p is of the two-sided Mann-Whitney test against it, on the last metric of
--report.
"""

import json

from absl import flags

from jnas import run
from jnas.run import compare

FLAGS = flags.FLAGS
run.define_run_flags()
flags.DEFINE_list("controllers", ["regularized_evolution", "reinforce"], "Compared.")
flags.DEFINE_string("objective", "table:digits201", "table: and a name or a file.")
flags.DEFINE_integer("num_runs", 500, "Runs of each controller.", lower_bound=2)
flags.DEFINE_integer("budget_evaluations", None, "Of each run.", lower_bound=1)
flags.DEFINE_float("budget_seconds", None, "Of each run, simulated.", lower_bound=0)
flags.DEFINE_list("signal", ["valid_12"], "Searched on; any more are objectives too.")
flags.DEFINE_list("report", ["valid_12", "test_12"], "Metrics that are told.")


def main():
    """Runs every controller, prints, plots and writes."""
    settings = compare.CompareSettings(
        controllers=tuple(FLAGS.controllers),
        objective=FLAGS.objective,
        num_runs=FLAGS.num_runs,
        budget_evaluations=FLAGS.budget_evaluations,
        budget_seconds=FLAGS.budget_seconds,
        signal=tuple(FLAGS.signal),
        report=tuple(FLAGS.report),
    )
    plan = compare.prepare(settings)
    with run.open_run(
        FLAGS.workdir,
        seed=FLAGS.seed,
        flags=run.run_flags(),
        data_digest=plan.table.digest,
    ) as r:
        result = r.finished
        if result is None:
            result, text = compare.compare(r, plan, seed=FLAGS.seed)
            print(text)
        else:
            print(f"{FLAGS.workdir} is finished.")
    print(json.dumps(result))


if __name__ == "__main__":
    run.launch(main)
