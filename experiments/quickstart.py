"""Searches a small network for Fashion-MNIST and compares it with what one had.

    python experiments/quickstart.py --workdir=runs/first

A search by gradient on half of the 4,000 embedded images (28x28 shrunk to 14x14); its
likeliest cells trained from scratch for a few epochs to choose one; then the found
cell, random cells, the largest cell and hand-made networks of the same number of
parameters, all trained alike and tested on 1,000 images that the search never saw. For
results of the papers' size see search.py and retrain.py; this shows every step in
minutes.

--max_parameters, --max_macs and --max_latency_ms limit the networks that are trained
and compared (--retrain_features, --layers): all of them keep the limits.
"""

from jnas import run
from jnas.studies import (
    augmentation,
    baselines,
    closing,
    flags,
    hand_made,
    limits,
    quick,
    search_gradient,
    setup,
    train_scratch,
    trained,
)

FLAGS = flags.define(
    setup.DataSettings,
    setup.SpaceSettings,
    limits.BoundSettings,
    augmentation.AugmentSettings,
    quick.QuickSettings,
    baselines.BaselineSettings,
    shrink=2,
    space="compact",
    augment="none",
    cutout=0,
    num_random=14,
)
run.define_streaming()


def main():
    """Searches, retrains, tests and reports."""
    data_settings, space_settings, bounds, augment, sizes, compared = FLAGS.read()
    space = setup.space(space_settings)
    dataset = setup.dataset(data_settings, space=space)
    augmented = augmentation.fields(augment)
    search = quick.search(sizes, bounds, **augmented)
    search_gradient.check_limits(space, search, dataset)
    train = train_scratch.suited(quick.training(sizes, **augmented), dataset)
    finals = train_scratch.suited(quick.finals(sizes, **augmented), dataset)
    with FLAGS.open_run(dataset, search) as r:
        if r.finished is not None:
            print(closing.finished(r))
            return
        searched = search_gradient.search_cells(
            r, dataset, space, search, training=finals
        )
        found = searched.genotype
        within = search_gradient.build_limits(r, space, search, dataset)
        plan = baselines.prepare(
            found,
            space,
            dataset,
            compared,
            train,
            seed=r.seed,
            limits=within,
            latency=hand_made.latencies(r),
        )
        keep = {baselines.FOUND: r.workdir / trained.MODEL}
        results = baselines.train(r, plan, dataset, train, keep=keep)
        numbers = augmentation.changed(augment)
        numbers |= train_scratch.needed(dataset, found)
        if within:  # of another size the cell may exceed them
            numbers |= {"features": train.features, "layers": train.layers}
        numbers = setup.without_depth(found, numbers)
        command = closing.retrain_command(r, data_settings, **numbers)
        valid = f"valid_{dataset.task.signal}"
        result = baselines.result(results, dataset.task.signal) | {
            "warnings": searched.result["warnings"],
            "next": command,
            f"supernet_{valid}": searched.result[valid],
            "search_seconds": searched.result["seconds"],
            "finalists": searched.result.get("finalists", []),
        }
        if within:
            result["limits"] = searched.result["limits"]
        closing.close(r, found, result)
        print(closing.text(r.workdir, result))


if __name__ == "__main__":
    run.launch(main)
