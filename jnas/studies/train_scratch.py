"""Training a found cell from scratch, as a phase of a run."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import data as data_lib
from jnas import models, networks, types
from jnas.data import batches
from jnas.report import numbers
from jnas.run import drive as drive_lib
from jnas.run import workdir
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text
from jnas.studies import augmentation, keys, setup, train_plan, trained
from jnas.studies.train_plan import RetrainSettings as RetrainSettings
from jnas.studies.train_plan import needed as needed
from jnas.studies.train_plan import suited as suited
from jnas.studies.train_plan import unsuited as unsuited
from jnas.training import chunks, feed, placement, scratch, top
from jnas.training import program as program_lib

TOP5_FROM = 10  # classes above which the top-5 accuracy is reported


def retrain_cell(
    run: workdir.Run,
    name: str,
    genotype: genotypes.Genotype,
    dataset: data_lib.Dataset,
    settings: RetrainSettings,
    *,
    keep: pathlib.Path | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Trains one genotype's network from scratch and tests it once, as a phase.

    Of a finished run without the folder ``keep``, the network is saved from its last
    checkpoint.

    Args:
      run: the open run; its seed is that of the training.
      name: name of the phase.
      genotype: the cells.
      dataset: its training images train, without those of ``valid_rate``; the test
        split is used once, at the end.
      settings: of the training.
      keep: folder in which the trained network is saved as a model; None saves none.
      notes: lines that are said once everything is checked.

    Returns:
      The phase's result: the task's metrics as ``test_accuracy``, with more than ten
      classes ``test_top5_accuracy``, ``train_loss`` and ``train_accuracy`` in
      the last epoch, ``parameters``, ``auxiliary_parameters``, ``macs``, ``seconds``;
      with ``valid_rate`` ``valid_accuracy`` of the tested weights, and with early
      stopping ``best_epoch``; with several seeds their means, each metric's standard
      deviation as ``<name>_sd``, and ``seeds``, the figures of each.

    Raises:
      ValueError: settings that do not fit each other, the optimiser or the images.
    """
    size = setup.network_size(settings, dataset, stem=settings.stem)
    network = train_plan.build_network(genotype, dataset, settings)
    kept = {
        "genotype": genotype_text.short_form(genotype),
        "features": settings.features,
        "layers": settings.layers,
    }

    def describe():
        return models.of_genotype(genotype, size, dtype=settings.dtype)

    stem: list[str] = []
    setup.announce_stem(stem.append, size, dataset.image_shape)
    return train_network(
        run,
        name,
        network,
        dataset,
        settings,
        kept=kept,
        saver=trained.Saver(keep, run, describe, dataset),
        notes=(*notes, *stem, *_unknown(genotype)),
    )


def _unknown(genotype: genotypes.Genotype) -> list[str]:
    """Says which skeleton a genotype has whose space nobody registered."""
    if isinstance(genotype, genotype_text.Choices):
        return []
    known = genotype.states or genotypes.registered_cells(genotype.space)
    if known or genotype.file_skeleton:
        return []
    return [
        f"space {genotype.space!r} is not registered: its cells are put into the "
        "skeleton of the papers, as its file names no other; --plugins names the file "
        "that registers its space"
    ]


def train_network(
    run: workdir.Run,
    name: str,
    network: networks.Network,
    dataset: data_lib.Dataset,
    settings: RetrainSettings,
    *,
    kept: Mapping[str, Any],
    saver: trained.Saver | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Trains any network from scratch and tests it once, as a phase.

    Args:
      run: the open run; its seed is that of the training.
      name: name of the phase.
      network: as ``networks.derived`` builds it, or a baseline.
      dataset: as for ``retrain_cell``.
      settings: of the training; those of a cell's network are not read.
      kept: JSON values that the phase's state depends on.
      saver: saves the trained network as a model; None saves none.
      notes: lines that are said once everything is checked.

    Returns:
      The phase's result, as of ``retrain_cell``.

    Raises:
      ValueError: settings that do not fit each other, the optimiser or the images.
    """
    if saver:
        saver.check()
    plan = train_plan.prepare(network, dataset, settings, seed=run.seed)
    key = jax.random.fold_in(jax.random.key(run.seed), keys.RETRAIN)
    program_lib.check_batches(plan.program, key, plan.splits)
    if saver and run.finished is not None:
        return saver.of_finished(name, jax.eval_shape(plan.program.init, key))
    for line in notes:
        run.say_once(line)
    augmentation.announce(run.say_once, dataset, plan.augment)
    phase = run.phase(name, plan.program.num_steps, free=drive_lib.FREE)
    phase.must_keep(**kept)
    if phase.result is not None:
        if saver:
            saver.of_ended(phase, jax.eval_shape(plan.program.init, key))
        return phase.result
    _say_extended(phase, plan, settings)
    state, metrics = drive_lib.drive(
        phase, plan.program, key, plan.splits, after=("test",)
    )
    phase.begins("test")
    test_key = jax.random.fold_in(jax.random.key(run.seed), keys.TEST)
    tested = _test(test_key, plan, state.inner, dataset, settings.batch_size)
    _say_stopped(phase, plan.program, state, settings)
    steps = plan.program.steps_per_epoch
    extended = [one // steps for one in phase.extended_from]
    result = (
        _figures(tested, state, metrics, steps, settings, dataset.task)
        | networks.measure(plan.network, dataset.image_shape)
        | {"seconds": round(phase.seconds, 2)}
        | ({"extended_from": extended} if extended else {})
    )
    if saver:  # before the phase ends: a run that is killed here saves it again
        saver.save(state.inner, result)
    phase.end(result)
    return phase.result


def _say_extended(phase, plan: train_plan.Plan, settings: RetrainSettings) -> None:
    if phase.extended_from and settings.early_stopping:
        phase.say(
            "a seed that early stopping has ended is not trained further; the others "
            f"resume on the {settings.schedule} schedule of {settings.epochs} epochs"
        )
    elif phase.extended_from:
        rate = float(plan.rate(phase.extended_from[-1]))
        phase.say(
            f"the learning rate resumes at {rate:.3g}, on the {settings.schedule} "
            f"schedule of {settings.epochs} epochs"
        )


def _say_stopped(phase, program, state, settings: RetrainSettings) -> None:
    if not settings.early_stopping:
        return
    known = jax.device_get(state.inner.validation)
    for seed, (best, last) in enumerate(
        zip(np.atleast_1d(known.best_epoch), np.atleast_1d(known.epoch), strict=True)
    ):
        name = f"seed {seed}: " if program.num_seeds else ""
        how = "early stopping ended it" if last < settings.epochs else "it ended"
        phase.say(
            f"{name}{how} after epoch {last} of {settings.epochs}; the weights of "
            f"epoch {best}, the best on the validation split, are kept and tested"
        )


def _figures(tested, state, metrics, steps, settings, task) -> dict[str, Any]:
    """Returns the figures of the tested weights; of several seeds, also of each."""
    known = state.inner.validation
    found = {f"test_{name}": tested[f"test_{name}"] for name in task.metrics} | tested
    if known is not None:
        kept = settings.early_stopping
        found[scratch.valid_of(task)] = known.best if kept else known.score
        found |= {"best_epoch": known.best_epoch} if kept else {}
    found = {name: jax.device_get(one) for name, one in found.items()}  # in order
    if settings.num_seeds == 1:
        return {n: numbers.figure(value.item()) for n, value in found.items()} | metrics
    last = {n: jax.device_get(total) / steps for n, total in state.sums.items()}
    every = {**found, **last}
    seeds = [
        {"seed": i} | {n: numbers.figure(v[i].item()) for n, v in every.items()}
        for i in range(settings.num_seeds)
    ]
    spread = {}
    for name, values in found.items():
        spread[name] = numbers.figure(float(values.mean()))
        spread[f"{name}_sd"] = numbers.figure(float(values.std(ddof=1)))
    shown = ", ".join(
        f"{name} {numbers.words(spread[name])} ± {numbers.words(spread[f'{name}_sd'])}"
        for name in found
    )
    verdict = f"mean ± standard deviation of {len(seeds)} seeds: {shown}"
    return spread | metrics | {"seeds": seeds, "verdict": verdict}


def _test(key, plan, state, dataset, batch_size) -> dict[str, types.Array]:
    """Returns metric -> f32[] or f32[S] on the test split.

    They are the task's; the accuracy among the five largest outputs is measured too
    with more than ten classes.
    """
    task = dataset.task
    measures = {f"test_{name}": task.metric(name) for name in task.metrics}
    of_classes = task.num_outputs == dataset.num_classes and task.signal == "accuracy"
    if of_classes and dataset.num_classes > TOP5_FROM:
        whole = task._replace(metrics={"top5": top.top_k})
        measures["test_top5_accuracy"] = whole.metric()

    def each(kept, x, y):
        def of_batch(out, row):
            targets = batches.rows_of(y, row)
            return {name: one.each(out, targets) for name, one in measures.items()}

        how = {"augment": plan.augment, "batch_size": batch_size}
        return scratch.map_outputs(of_batch, key, plan.network, *kept, x, **how)

    def over(found):
        return {name: one.over(found[name]) for name, one in measures.items()}

    def test(kept, x, y):
        return over(each(kept, x, y))

    def last(kept, x, y):
        return jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), each(kept, x, y))

    def over_last(found):
        return over(jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), found))

    seeds, kept = plan.program.num_seeds, scratch.trained(state)

    def compiled(function):
        if seeds is not None:
            function = functools.partial(placement.divided, function)
        return placement.jit(function, count=seeds)

    images, labels = dataset.x_test, dataset.y_test
    if not feed.is_streamed(plan.splits):
        images = jax.tree.map(np.asarray, images)
        args = placement.put((kept, images, labels), count=seeds)
        return placement.local(compiled(test)(*args))
    placed = placement.put(kept, count=seeds)
    function = functools.partial(compiled(last), placed)
    found = chunks.in_chunks(
        function, images, labels, batch_size=batch_size, count=seeds
    )
    found = jax.tree.map(jnp.asarray, found)
    return (over_last if seeds is None else jax.vmap(over_last))(found)
