"""Chooses the architecture after the supernet's training: paths proposed and scored.

A path is one architecture of the space, computed with the parameters that all share.
Any registered controller proposes paths.

Source: Li and Talwalkar 2019, arXiv:1902.07638 (random search with weight sharing);
Guo et al. 2020, arXiv:1904.00420 (single path one-shot).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import networks, pieces, registry, types
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.hooks import proposals as proposals_lib
from jnas.gradient.hooks import signal as signal_lib


def path_signal(
    key: types.Key,
    search: hook_lib.Search,
    params: types.Params,
    batches: types.Batch,
    weights: types.Weights,
    inputs: networks.VariantInputs,
    *,
    num_calibration: int = 0,
) -> types.Array:
    """Computes the signal of one path with the shared parameters, f32[].

    The only place that says by which statistics a path is normalised: those of the
    scored batches, as supernets keep none, or of the first batches, which are then not
    scored (``networks.recalibrated``).

    Args:
      key: of operations that draw at random.
      search: has the supernet and the task.
      params: of the supernet.
      batches: as ``signal.fixed_batches`` returns them.
      weights: one-hot rows.
      inputs: what the edge variant needs.
      num_calibration: K, batches that give the statistics; up to 2 K others are scored
        at a time. 0 takes those of what is scored.
    """
    supernet = search.supernet
    if num_calibration:
        calibration, batches = _calibration(batches, num_calibration)
        supernet = networks.recalibrated(supernet, calibration)
    apply = functools.partial(supernet.apply, params)
    return signal_lib.signal(key, search.task, apply, batches, weights, inputs)


def _calibration(batches: types.Batch, count: int) -> tuple[Any, types.Batch]:
    """Splits batches [N, B, ...] into images [K B, ...] and larger batches."""
    images = jax.tree.map(lambda x: jnp.concatenate(x[:count]), batches[0])

    def grouped(x):
        left = len(x) - count
        each = max(n for n in range(1, 2 * count + 1) if left % n == 0)
        return x[count:].reshape(left // each, -1, *x.shape[2:])

    return images, jax.tree.map(grouped, batches)


@registry.HOOKS.register
def score_paths(
    search: hook_lib.Search,
    *,
    controller: pieces.Piece = "random_search",
    num_evaluations: int = 1000,
    num_batches: int | None = None,
    num_finalists: int = 0,
    num_rounds: int = 1,
    population_size: int | None = None,
    mutation_rate: float | None = None,
    crossover_rate: float | None = None,
    recalibrate: int = 0,
) -> hook_lib.Hook:
    """Builds the hook that chooses the path of the best signal after the last epoch.

    A controller proposes paths, which are scored on validation batches. With finalists
    the best of each round are scored again, on the whole validation split, and the
    best finalist is chosen.

    Args:
      search: whose supernet is trained.
      controller: that proposes paths.
      num_evaluations: paths that are scored in a round.
      num_batches: batches of the validation split that they are scored on, the same for
        all; None is all whole batches.
      num_finalists: paths of a round that are scored again; 0 is none.
      num_rounds: searches of their own, of which the best path is chosen.
      population_size: of the controller; None leaves its own.
      mutation_rate: likewise.
      crossover_rate: likewise.
      recalibrate: batches whose statistics normalise each path, and which are not
        scored; where all are used, at most half of them. 0 takes those of what is
        scored, and so does a network whose builder takes no norm.

    Returns:
      The hook; ``best_path_SIGNAL`` is the score of the chosen path,
      ``mean_path_SIGNAL`` the mean of all proposed ones.

    Raises:
      ValueError: a count below 1, more finalists than evaluations, or a number that the
        controller does not have.

    Source: arXiv:1902.07638, section 3.2, and arXiv:1904.00420, section 3.4, and their
    released code. Differs: calibration images are of the architecture's split, in
    SPOS' code of the training split; without them a path is normalised by the scored
    batch, in RSPS' code by running statistics of all paths. There each path is scored
    on batches of its own.
    """
    _check(num_evaluations, num_batches, num_finalists, num_rounds, recalibrate)
    if recalibrate and not networks.recalibrates(search.supernet):
        recalibrate = 0
    numbers = {"population_size": population_size, "mutation_rate": mutation_rate}
    made = proposals_lib.controller_of(
        search, controller, **numbers, crossover_rate=crossover_rate
    )
    best_name, mean_name = (f"{n}_path_{search.task.signal}" for n in ("best", "mean"))

    def call(key, clock, state, carry, split):
        draw_key, op_key = jax.random.split(key)
        inputs = signal_lib.without_dropout(search.variant_inputs(clock))
        given = op_key, search, state, split, inputs, recalibrate
        score = _score(*given, num_batches)
        again = _score(*given, None) if num_finalists else None

        def one(key):
            proposals = proposals_lib.propose(key, made, score, num_evaluations)
            mean = proposals_lib.mean_of(proposals)
            if again is not None:
                proposals = _scored_again(proposals.top(num_finalists), again)
            return proposals_lib.best_of(proposals), mean

        rounds, means = jax.lax.map(one, jax.random.split(draw_key, num_rounds))
        winners = proposals_lib.Proposals(rounds.encoding, rounds.score)
        best = proposals_lib.best_of(winners)
        values = {best_name: best.score, mean_name: jnp.nanmean(means)}
        return state, best, values, False

    rows = functools.partial(
        signal_lib.fixed_rows,
        batch_size=search.batch_size,
        num_batches=(num_batches or 0) + recalibrate,
    )
    return hook_lib.Hook(
        search.num_epochs,
        lambda state: proposals_lib.no_path(search),
        call,
        (best_name, mean_name),
        rows=np.arange if num_finalists or num_batches is None else rows,
        found=proposals_lib.found,
        score=lambda carry: carry.score,
    )


def _scored_again(encodings, score) -> proposals_lib.Proposals:
    """Scores encodings one after another."""
    return proposals_lib.Proposals(encodings, jax.lax.map(score, encodings))


def _score(key, search, state, split, inputs, recalibrate, count) -> Callable:
    """Builds encoding -> f32[] on ``count`` batches, None all; -inf if not allowed."""
    batches = signal_lib.fixed_batches(
        split,
        search.augment,
        search.batch_size,
        None if count is None else count + recalibrate,
    )
    have = len(jax.tree.leaves(batches)[0])
    own = min(recalibrate, have // 2 if count is None else max(0, have - count))
    if count is None and own:  # whole groups, of batches that are many
        whole = have // own * own
        batches = jax.tree.map(lambda x: x[:whole], batches)

    def score(encoding):
        weights = search.space.weights(encoding)
        given = key, search, state.params, batches, weights, inputs
        value = path_signal(*given, num_calibration=own)
        fits = proposals_lib.allowed(search, state.mask, weights)
        return jnp.where(fits, value, -jnp.inf)

    return score


def _check(
    num_evaluations, num_batches, num_finalists, num_rounds, recalibrate
) -> None:
    """Refuses counts that leave nothing to choose from."""
    if recalibrate < 0:
        raise ValueError(
            f"score_paths must have recalibrate at least 0, got {recalibrate}. 0 takes "
            "the statistics of the scored batches."
        )
    given = {"num_evaluations": num_evaluations, "num_rounds": num_rounds}
    given["num_batches"] = 1 if num_batches is None else num_batches
    for name, value in given.items():
        if value < 1:
            raise ValueError(
                f"score_paths must have {name} at least 1, got {value}. Raise it."
            )
    if not 0 <= num_finalists <= num_evaluations:
        raise ValueError(
            "score_paths must have num_finalists from 0 to num_evaluations, got "
            f"{num_finalists} of {num_evaluations}. Lower it."
        )
