"""Trains a genotype's network from scratch and tests it once.

    python experiments/retrain.py --workdir=runs/retrain --data=npz:cifar10.npz \
        --genotype=runs/search/genotype.json --augment=standard

The defaults are DARTS' own: 36 features, 20 layers, batch 96, 600 epochs, drop path
rising to 0.2, the auxiliary head, cutout of half the image; --augment=standard adds
mirroring, which npz files are not known to allow. A NAS-Bench-201 cell has those of its
benchmark, and images of at least 129 pixels those of ImageNet (--recipe names the row,
and a flag that is given wins). --genotype also takes a published
name (DARTS_V2), a NAS-Bench-201 string, Genotype(...) as DARTS prints it, a file of
these (genotypes.py:NAME for one of several), or random (drawn by the seed).
--settings=runs/tune/best.json trains as tune.py found best.
"""

import dataclasses

from jnas import run
from jnas.spaces import genotype_text
from jnas.studies import (
    cells,
    closing,
    flags,
    recipe_rows,
    settings_file,
    setup,
    train_scratch,
    trained,
)

FLAGS = flags.define(
    cells.GenotypeSettings,
    setup.DataSettings,
    setup.SpaceSettings,
    train_scratch.RetrainSettings,
    recipe_rows.RowSettings,
    settings_file.FileSettings,
)


def main():
    """Trains, tests and reports."""
    settings_file.use_flags(train_scratch.RetrainSettings)
    asked, data_settings, space_settings, settings, row, file = FLAGS.read()
    cell = cells.find(asked.genotype, space=space_settings.space, seed=FLAGS.seed)
    dataset = setup.dataset(data_settings)
    if file.settings and row.recipe == recipe_rows.AUTO:
        # it is whole: what it leaves out is at its default
        said = f"settings: {file.settings}"
    else:
        settings, said = recipe_rows.apply(
            settings, FLAGS.given(), cell, dataset.image_shape, recipe=row.recipe
        )
    if cell.num_inputs == 1:  # their network has no place for a head
        settings = dataclasses.replace(settings, auxiliary=False)
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


if __name__ == "__main__":
    run.launch(main)
