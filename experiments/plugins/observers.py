"""Observers to start from: metrics as CSV, or in Weights & Biases.

    python experiments/search.py --workdir=runs/search \
        --plugins=experiments/plugins/observers.py --observers=csv

An observer sees each line of metrics.jsonl as it is written: step, phase, and metrics
as numbers, null where one is not finite. Copy this file and change it.
"""

import csv as csv_lib

from jnas import registry


@registry.OBSERVERS.register
def csv(workdir):
    """Appends step, phase, metric and value to metrics.csv, a row a value."""
    file = (workdir / "metrics.csv").open("a", newline="", encoding="utf-8")
    rows = csv_lib.writer(file)

    def observe(line):
        step, phase = line.pop("step"), line.pop("phase")
        rows.writerows([step, phase, name, value] for name, value in line.items())
        file.flush()

    return observe


@registry.OBSERVERS.register
def wandb(workdir):
    """Logs to Weights & Biases: ``pip install wandb``, and WANDB_MODE=offline if so."""
    import wandb as client  # its own package, installed by those who use it

    run = client.init(dir=str(workdir), id=workdir.name, resume="allow")
    return lambda line: run.log(
        {f"{line['phase']}/{n}": v for n, v in line.items() if n != "phase"},
        step=line["step"],
    )
