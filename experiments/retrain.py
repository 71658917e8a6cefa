"""Trains a genotype's network from scratch and tests it once.

    python experiments/retrain.py --workdir=runs/retrain --data=npz:cifar10.npz \
        --genotype=runs/search/genotype.json --augment=standard
    python experiments/retrain.py --workdir=runs/resnet --data=npz:cifar10.npz \
        --baseline=resnet --parameters=45000

The defaults are DARTS' own: 36 features, 20 layers, batch 96, 600 epochs, drop path
rising to 0.2, the auxiliary head, cutout of half the image; --augment=standard adds
mirroring, which npz files are not known to allow. A NAS-Bench-201 cell has those of its
benchmark, a cell of the space compact and a hand-made network those of compact, and
images of at least 129 pixels those of ImageNet (--recipe names the row, and a flag that
is given wins). --genotype also takes a published name (DARTS_V2), a NAS-Bench-201
string, Genotype(...) as DARTS prints it, a file of these (genotypes.py:NAME for one of
several), or random (drawn by the seed). --settings=runs/tune/best.json trains as
tune.py found best.

--baselines, --num_random and --largest_cell train others beside the genotype's network,
each tested once: hand-made ones of as many parameters, random cells and the largest
cell. Their models are in models/. --baseline trains a hand-made network alone.
"""

import dataclasses

from jnas import networks, run
from jnas.spaces import genotype_text
from jnas.studies import (
    baselines,
    closing,
    flags,
    recipe_rows,
    retrain,
    settings_file,
    setup,
    train_scratch,
    trained,
)

FLAGS = flags.define(
    retrain.NetworkSettings,
    setup.DataSettings,
    setup.SpaceSettings,
    train_scratch.RetrainSettings,
    recipe_rows.RowSettings,
    settings_file.FileSettings,
    baselines.BaselineSettings,
    **retrain.BESIDE,
)
run.define_processes()
run.define_streaming()


def main():
    """Trains, tests and reports."""
    settings_file.use_flags(train_scratch.RetrainSettings)
    asked, data_settings, space_settings, settings, row, file, compared = FLAGS.read()
    retrain.check_beside(asked, compared, FLAGS.given())
    cell = retrain.cell_of(asked, space=space_settings.space, seed=FLAGS.seed)
    dataset = setup.dataset(data_settings)
    whole = file.settings and row.recipe == recipe_rows.AUTO
    said = f"settings: {file.settings}"  # what it leaves out is at its default
    given = {*FLAGS.given(), *train_scratch.unsuited(dataset)}  # at their defaults
    if cell is None:
        if not whole:
            settings, said = retrain.with_recipe(
                settings, given, dataset.image_shape, row.recipe
            )
        train_baseline(asked, dataset, settings, said)
        return
    if not whole:
        settings, said = recipe_rows.apply(
            settings, given, cell, dataset.image_shape, recipe=row.recipe
        )
    if not networks.has_auxiliary(cell):
        settings = dataclasses.replace(settings, auxiliary=False)
    own = setup.space(space_settings) if "space" in FLAGS.given() else None
    space = retrain.space_of(cell, compared, own)
    if space or "baselines" in FLAGS.given():
        train_several(cell, space, dataset, compared, settings, said)
    else:
        train_cell(cell, dataset, settings, said)


def train_cell(cell, dataset, settings, said):
    """Trains the network of a genotype alone."""
    text = {"cell": genotype_text.short_form(cell)}
    with FLAGS.open_run(dataset, settings, extendable=("epochs",), content=text) as r:
        keep = r.workdir / trained.MODEL
        if r.finished is None or not keep.exists():
            result = train_scratch.retrain_cell(
                r, "retrain", cell, dataset, settings, keep=keep, notes=[said]
            )
        if r.finished is not None:
            print(closing.finished(r))
            return
        closing.close(r, cell, result)
        print(closing.text(r.workdir, result))


def train_several(cell, space, dataset, compared, settings, said):
    """Trains the network of a genotype and others beside it."""
    plan = baselines.prepare(cell, space, dataset, compared, settings, seed=FLAGS.seed)
    text = {"cell": genotype_text.short_form(cell)}
    with FLAGS.open_run(dataset, settings, content=text) as r:
        if r.finished is not None:
            print(closing.finished(r))
            return
        r.say_once(said)
        print(closing.text(r.workdir, retrain.train_beside(r, plan, dataset, settings)))


def train_baseline(asked, dataset, settings, said):
    """Trains a hand-made network alone."""
    one = retrain.hand_made(asked, dataset, settings)
    with FLAGS.open_run(dataset, settings, extendable=("epochs",)) as r:
        result = retrain.train_hand_made(r, one, dataset, settings, notes=[said])
        if r.finished is not None:
            print(closing.is_finished(r))
        print(closing.text(r.workdir, result))


if __name__ == "__main__":
    run.launch(main)
