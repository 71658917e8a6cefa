"""Tunes the training of a genotype's network on a validation split.

    python experiments/tune.py --workdir=runs/tune --data=npz:cifar10.npz \
        --genotype=runs/search/genotype.json --tuner=halving --trials=64 \
        --tune=learning_rate:log:1e-3:0.5,weight_decay:log:1e-5:1e-2,drop_path_rate:0:0.4

All trials are one compiled program: halving trains 64 trials for 1 epoch, the best 21
for 3, the best 7 for 9 and the best 2 for 27. hyperband starts brackets of fewer trials
later; random trains every trial to the end; pbt copies the best and varies them;
optuna:tpe proposes --ask trials at a time. --workers=processes:8 (or ray:8, slurm:8)
trains the trials of a rung apart, with the result of --side_by_side=1.

Prints the best trials; tune.jsonl holds all of them, best.json the best settings, which
retrain.py --settings reads. The test split is used once, at the end, for the winner
trained on all training images, whose network is saved in model/; --notest leaves that
out.
"""

import dataclasses

from jnas import networks, run
from jnas.spaces import genotype_text
from jnas.studies import (
    cells,
    flags,
    members,
    recipe_rows,
    setup,
    train_scratch,
    trained,
    tune,
    tune_files,
    tune_workers,
)

FLAGS = flags.define(
    cells.GenotypeSettings,
    setup.DataSettings,
    setup.SpaceSettings,
    tune.TuneSettings,
    recipe_rows.RowSettings,
)
run.define_processes()
members.define_flags()


def main():
    """Tunes, trains the winner, tests it and reports."""
    asked, data_settings, space_settings, settings, row = FLAGS.read()
    cell = cells.find(asked.genotype, space=space_settings.space, seed=FLAGS.seed)
    dataset, workers = setup.dataset(data_settings), members.from_flags()
    settings, said = recipe_rows.apply(
        settings,
        FLAGS.given()
        | {"epochs", *tune.names(settings), *train_scratch.unsuited(dataset)},
        cell,
        dataset.image_shape,
        recipe=row.recipe,
    )
    if not networks.has_auxiliary(cell):
        settings = dataclasses.replace(settings, auxiliary=False)
    tune_workers.check(settings, workers)
    plan = tune.prepare(cell, dataset, settings, seed=FLAGS.seed)
    text = {"cell": genotype_text.short_form(cell)}
    with FLAGS.open_run(dataset, settings, content=text) as r:
        keep = r.workdir / trained.MODEL
        if r.finished is not None:
            if settings.test and not keep.exists():
                best = tune.retrain_settings(settings, r.finished["settings"])
                train_scratch.retrain_cell(r, "retrain", cell, dataset, best, keep=keep)
            print(f"{r.workdir} is finished; use a new --workdir for another run.")
            print(tune_files.text(r.workdir, r.finished))
            return
        r.say_once(said)
        origin = members.origin(r, dataset, data_settings, space_settings)
        with tune_workers.opened(r, workers, origin, settings, cell) as hands:
            found, tested = tune.tune_training(r, plan, hands), {}
        if settings.test:
            best = tune.retrain_settings(settings, tune.winner(found)["settings"])
            tested = train_scratch.retrain_cell(
                r, "retrain", cell, dataset, best, keep=keep
            )
        result = tune_files.close(r, cell, settings, found, tested, data_settings)
        print(tune_files.text(r.workdir, result))


if __name__ == "__main__":
    run.launch(main)
