"""The measurements of benchmark_discrete.py: controllers, and ways to score cells.

Each figure compares calls of one process that run in turns, by their median times;
compile times are measured separately.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import data, networks, ops, spaces
from jnas.bench import plain_loops
from jnas.discrete import comparison, objectives, tables
from jnas.discrete import controllers as controllers_lib
from jnas.training import devices, optimizers, program, timing
from jnas.training import scratch as scratch_lib

LOOPS = {
    "regularized_evolution": plain_loops.evolution,
    "reinforce": plain_loops.reinforce,
}


def controllers(
    table: tables.Table,
    metric: str,
    *,
    num_runs: int,
    num_evaluations: int,
    num_plain_runs: int,
    repeats: int,
) -> list[dict[str, Any]]:
    """Compares compiled runs with a plain Python loop of the same algorithm.

    Args:
      table: the benchmark in which both look up scores.
      metric: name of the metric that both maximise.
      num_runs: number S of runs in the compiled program.
      num_evaluations: number of evaluations of each run.
      num_plain_runs: number of runs of the Python loop.
      repeats: number of measurements of both, in turns.

    Returns:
      For each controller: evaluations per second of both, their ratio, compile seconds,
      and the mean best score of both, which must agree.
    """
    objective, column = objectives.table(table, [metric]), table.column(metric).tolist()

    def look_up(encoding):
        row = 0
        for gene, size in zip(encoding, table.sizes, strict=True):
            row = row * size + gene
        return column[row]

    rows = []
    for name, loop in LOOPS.items():
        controller = getattr(controllers_lib, name)(table.sizes)
        runner = comparison.runner(
            controller, objective, num_runs=num_runs, num_evaluations=num_evaluations
        )
        key, found = jax.random.key(0), {}

        def compiled(runner=runner, key=key):
            return runner.call(key)

        def plain(loop=loop, found=found):
            found["plain"] = [
                loop(look_up, table.sizes, num_evaluations, seed)
                for seed in range(num_plain_runs)
            ]

        times = timing.interleave({"jnas": compiled, "plain": plain}, repeats)
        rates = {
            "jnas": num_runs * num_evaluations / times["jnas"].median,
            "plain": num_plain_runs * num_evaluations / times["plain"].median,
        }
        scores = runner.call(key).scores  # [R, S, P, 1]
        best = np.mean([max(s for _, s in run) for run in found["plain"]])
        rows.append(
            {
                "controller": name,
                "evaluations a second": rates["jnas"],
                "plain Python": rates["plain"],
                "ratio": rates["jnas"] / rates["plain"],
                "compile s": runner.compile_seconds,
                "best": float(scores.max((0, 2, 3)).mean()),
                "plain best": float(best),
            }
        )
    return rows


def _digits():
    dataset = data.load("digits")
    rows = data.stratified(0, dataset.y_train, 0.88)
    splits = [
        (jnp.asarray(dataset.x_train[i]), jnp.asarray(dataset.y_train[i])) for i in rows
    ]
    mean, std = dataset.mean_std
    return dataset, splits, data.Augment(mean, std)


def _cells(space: spaces.CellSpace, count: int) -> np.ndarray:
    """Draws random cells, the same in each call."""
    return np.random.default_rng(0).integers(0, space.sizes, (count, len(space.sizes)))


def scratch(
    *, num_cells: int, num_apart: int, features: int, epochs: int, batch_size: int
) -> dict[str, Any]:
    """Compares training a population from scratch with training one cell at a time.

    One at a time, the network of each cell is built, compiled and trained, as
    retrain.py does; no compiled program is reused. Digits, 1 cell per stage.

    Args:
      num_cells: number P of cells in the population.
      num_apart: number of cells that are trained one at a time; their time is scaled to
        P cells.
      features: number F of features.
      epochs: number of epochs of each training.
      batch_size: number B of examples in a batch.

    Returns:
      Seconds of both, with and without compile time, and the ratios.
    """
    space = spaces.zoo.nasbench201()
    dataset, (train, valid), augment = _digits()
    size = networks.Size(features, 1, dataset.num_classes, 1)
    how = dict(augment=augment, batch_size=batch_size)
    objective = jax.jit(
        objectives.scratch(space, size, train, [valid], num_epochs=epochs, **how)
    )
    cells, key = jnp.asarray(_cells(space, num_cells), jnp.int32), jax.random.key(0)
    one = timing.compile_timed(objective, key, cells)
    together = _seconds(lambda: one.call(key, cells))
    compiling = one.trace_seconds + one.compile_seconds
    apart, apart_compiling = 0.0, 0.0
    for encoding in np.asarray(cells)[:num_apart]:
        train_one = _training(space, encoding, size, train, valid, epochs, how)
        compiled = timing.compile_timed(train_one, key)
        apart_compiling += compiled.trace_seconds + compiled.compile_seconds
        apart += _seconds(lambda compiled=compiled: compiled.call(key))
        jax.clear_caches()
    apart, apart_compiling = (
        seconds * num_cells / min(num_apart, num_cells)
        for seconds in (apart, apart_compiling)
    )
    return {
        "cells": num_cells,
        "population s": together,
        "population compile s": compiling,
        "one after another s": apart,
        "one after another compile s": apart_compiling,
        "ratio without compiling": apart / together,
        "ratio with compiling": (apart + apart_compiling) / (together + compiling),
    }


def _training(space, encoding, size, train, valid, epochs, how) -> Callable:
    network = networks.derived(space.genotype(encoding), size)
    steps = len(train[1]) // how["batch_size"]
    rate = optimizers.cosine_by_epoch(
        start=0.1, end=0.0, num_epochs=epochs, steps_per_epoch=steps
    )
    trained = scratch_lib.training(
        network,
        optimizer=optimizers.momentum_sgd(
            rate, weight_decay=5e-4, clip_norm=None, nesterov=True
        ),
        augment=how["augment"],
        num_examples=len(train[1]),
        batch_size=how["batch_size"],
        num_epochs=epochs,
        drop_path_rate=0.0,
    )

    def run(key):
        def epoch(number, state):
            first = number * steps
            return trained.advance(state, first, first + steps, (train,))[0]

        state = jax.lax.fori_loop(0, epochs, epoch, trained.init(key))
        params, stats, _ = state.inner
        return scratch_lib.evaluate(key, network, params, stats, *valid, **how)

    return run


def forms(
    *, num_cells: int, features: int, layers: int, batch_size: int, repeats: int
) -> list[dict[str, Any]]:
    """Times ways to score cells of NAS-Bench-201's space with shared weights.

    ``one-hot`` computes every candidate operation, for all cells together (vmap) or in
    turn; ``switch`` computes only the chosen operations, in turn or together (where
    vmap turns the switch into a select over all); ``own`` compiles a separate network
    for each cell.

    Args:
      num_cells: number P of cells.
      features: number F of features.
      layers: number of cells per stage.
      batch_size: number of 8x8 images that score a cell.
      repeats: number of measurements of each way, in turns.
    """
    space = spaces.zoo.nasbench201()
    dataset, _, augment = _digits()
    images = data.normalise(jnp.asarray(dataset.x_train[:batch_size]), augment)
    labels = jnp.asarray(dataset.y_train[:batch_size])
    size = networks.Size(features, layers, dataset.num_classes, 1)
    cells, key = jnp.asarray(_cells(space, num_cells), jnp.int32), jax.random.key(0)
    compiling, calls = {}, {}
    for kind, network in {
        "one-hot": networks.supernet(space, size),
        "switch": networks.one_shot(space, size),
    }.items():
        params = program.once(network.init)(key)
        for way in (devices.in_turn, devices.together):

            def score(params, cells, network=network, way=way):
                objective = objectives.one_shot_accuracy(
                    space, network, params, images, labels, over_members=way
                )
                return objective(key, cells)

            name = f"{kind}, {way.__name__.replace('_', ' ')}"
            compiled = timing.compile_timed(score, params, cells)
            compiling[name] = compiled.compile_seconds + compiled.trace_seconds
            calls[name] = functools.partial(compiled.call, params, cells)
    own = [_own(space, e, size, images, labels, key) for e in np.asarray(cells)]
    compiling["own"] = sum(seconds for _, seconds in own)
    calls["own"] = lambda: [call() for call, _ in own]
    times = timing.interleave(calls, repeats)
    return [
        {
            "form": name,
            "cells": num_cells,
            "features": features,
            "ms a cell": 1e3 * times[name].median / num_cells,
            "compile s": compiling[name],
        }
        for name in calls
    ]


def _own(space, encoding, size, images, labels, key) -> tuple[Callable, float]:
    """Compiles the network of one cell; returns the call and the compile seconds."""
    network = networks.derived(
        space.genotype(encoding), size, norm=ops.SEARCH, stem_norm=ops.STEM
    )
    params, stats = program.once(network.init)(key)

    def run(params, stats, images, labels):
        (outputs, _), _ = network.apply(params, stats, images, train=True, key=key)
        return (outputs.argmax(-1) == labels).mean()

    # all arrays are arguments, else XLA would fold the whole network to a constant
    args = params, stats, images, labels
    compiled = timing.compile_timed(run, *args)
    seconds = compiled.compile_seconds + compiled.trace_seconds
    return (lambda: compiled.call(*args)), seconds


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - began
