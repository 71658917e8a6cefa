"""Gradient-based search: a supernet's parameters and its architecture, in turns."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jnas import networks, types
from jnas.data import augment as augment_lib
from jnas.data import batches, tasks
from jnas.data import task as task_lib
from jnas.gradient import bilevel as bilevel_lib
from jnas.gradient import limits as limits_lib
from jnas.gradient import losses as losses_lib
from jnas.gradient import (
    mixing,
    relaxations,
    search_pieces,
    start,
    weight_regularizers,
)
from jnas.gradient.hooks import hook as hook_lib
from jnas.training import program as program_lib


def metrics_of(task: task_lib.Task) -> tuple[str, ...]:
    """Returns the names of a search's metrics: losses, signal and entropy.

    Args:
      task: names the signal, of classes "accuracy".
    """
    signal = task.signal
    return "train_loss", f"train_{signal}", f"valid_{signal}", "valid_loss", "entropy"


METRICS = metrics_of(tasks.CLASSIFICATION)


def gradient_search(
    supernet: networks.Supernet,
    pieces: search_pieces.Pieces,
    *,
    augment: augment_lib.Augment,
    num_examples: tuple[int, int],
    batch_size: int,
    num_epochs: int,
    masks: bool = False,
    hooks: Sequence[hook_lib.Hook] = (),
    num_seeds: int | None = None,
    over_seeds: Callable | None = None,
    task: task_lib.Task = tasks.CLASSIFICATION,
) -> program_lib.Program:
    """Builds the differentiable search as one program.

    Each step draws a training batch and a validation batch, augments both, as in the
    paper's code, and updates first the logits a, then the parameters w:

      a <- a - update of d L_valid(w, a) / d a       (skipped in frozen epochs)
      w <- w - update of d L_train(w, a) / d w

    The first is left out in frozen epochs, and where the alternation says so.
    With limits the validation loss has a penalty, whose multipliers then follow the
    cost of the derived cell (``gradient/limits.py``). After each epoch the hooks that
    are due may change the state, report metrics or end the search.

    Args:
      supernet: network over the space that is searched.
      pieces: the functions of the method.
      augment: augmentation of the images.
      num_examples: sizes of the training and the validation split.
      batch_size: B, of both splits.
      num_epochs: passes over the training split, without those that a hook repeats.
      masks: whether candidates can be removed; the search starts with those of
        ``pieces.mask``, which are all where it is None.
      hooks: called after epochs, in order.
      num_seeds: S searches as one program, or None for one.
      over_seeds: how they are mapped, as in ``program.program``.
      task: what is learned.

    Returns:
      The program. Its state's ``inner`` is a GradientState; its metrics are those of
      ``metrics_of`` and of the limits.

    Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, algorithm 1. Differs: an
    epoch's last incomplete batch is left out.
    """
    optimizer, adjusting = _bilevel(supernet, pieces, task, num_epochs)
    own = metrics_of(task)
    _check_metrics(pieces, hooks, own)
    per_epoch = batches.num_batches(num_examples[0], batch_size)
    length = num_epochs + sum(hook.repeats for hook in hooks)
    moving, _ = search_pieces.moving_steps(pieces, num_epochs, per_epoch)
    rate = limits_lib.ASCENT / max(1, moving)
    return program_lib.program(
        start.build_init(supernet, pieces, optimizer, masks, hooks, adjusting),
        _step(
            supernet.space,
            pieces,
            optimizer,
            augment,
            rate,
            task,
            num_epochs,
            adjusting,
            hooks,
        ),
        metrics=own + limits_lib.metrics(pieces.limits),
        num_examples=num_examples,
        batch_size=batch_size,
        num_epochs=length,
        num_seeds=num_seeds,
        over_seeds=over_seeds,
        at_epoch_end=hook_lib.at_epoch_end(hooks) if hooks else None,
        reads=hook_lib.rows_of(hooks, num_examples[1]) if hooks else None,
        ended=(lambda state: hook_lib.ended(state.hooks)) if hooks else None,
        between="watch",
        costs=_costs(pieces.frozen_epochs, length),
    )


_RESERVED = (
    "seed seeds seconds step phase genotype genotypes encodings weights replaced"
)


def _check_metrics(pieces, hooks, own) -> None:
    """Refuses a metric of a hook that the search, or another hook, has too."""
    known = {*own, *limits_lib.metrics(pieces.limits), *_RESERVED.split()}
    for hook in hooks:
        for name in hook.metrics:
            if name in known:
                raise ValueError(
                    f"metrics of hooks must have names of their own, got {name!r} "
                    "again. Rename it, or name the hook once."
                )
            known.add(name)


def _costs(frozen: int, num_epochs: int) -> tuple[tuple[int, float], ...]:
    """Returns (epochs, time of a step): the logits' update adds a gradient."""
    if not 0 < frozen < num_epochs:
        return ()
    return (frozen, 1.0), (num_epochs - frozen, 1.7)


def _bilevel(supernet, pieces, task, num_epochs) -> tuple:
    """Builds the optimizer of both levels, and the weight regularizers or None."""
    limit_penalty = None
    if pieces.limits:
        weights_of = pieces.weights_in(supernet.space)
        limit_penalty = limits_lib.penalty(pieces.limits, weights_of)
    losses_of = functools.partial(
        losses_lib.build_losses,
        relaxation=pieces.relaxation,
        regularizers=pieces.regularizers,
        perturbation=pieces.perturbation,
        limit_penalty=limit_penalty,
        costs=pieces.costs,
        task=task,
    )
    train_loss, valid_loss = losses_of(supernet)
    problem = weight_regularizers.Problem(
        supernet, pieces.relaxation, train_loss, valid_loss, num_epochs, task, losses_of
    )
    optimizer = pieces.order(
        train_loss,
        valid_loss,
        params_optimizer=pieces.params_optimizer,
        logits_optimizer=pieces.logits_optimizer,
        hypergradient=pieces.hypergradient,
    )
    return optimizer, weight_regularizers.build(pieces.weight_regularizers, problem)


def _step(
    space, pieces, optimizer, augment, rate, task, num_epochs, adjusting, hooks
) -> Callable:
    """Builds (key, Clock, state, one batch of each split) -> (state, metrics)."""
    weights_of = pieces.weights_in(space)
    ascend = _ascend(space, pieces, weights_of, rate)
    names, signal = metrics_of(task), task.signal

    def step(key, clock, state, pair):
        step_key, *image_keys = jax.random.split(key, 3)
        clock = hook_lib.clock_of(hooks, state.hooks, clock)
        progress = pieces.progress(clock, num_epochs)
        inputs = pieces.variant_inputs(clock)
        train, valid = (
            losses_lib.Batch(
                augment_lib.augment(k, images, augment),
                labels,
                progress,
                state.mask,
                given,
                state.multipliers,
            )
            for k, (images, labels), given in zip(
                image_keys, pair, (inputs, inputs._replace(drop_path=None)), strict=True
            )
        )
        frozen = None
        if pieces.frozen_epochs:
            frozen = clock.epoch < pieces.frozen_epochs
        if pieces.alternation is not None:
            still = ~pieces.alternation(clock)
            frozen = still if frozen is None else frozen | still
        inner = bilevel_lib.BilevelState(*state[:4])
        adjust = _adjust(adjusting, key, clock, train, valid, state.regularizers)
        inner, info = optimizer.step(
            step_key, inner, train, valid, frozen=frozen, adjust=adjust
        )
        state = state._replace(**inner._asdict(), regularizers=info.carry)
        values = (
            info.train_loss,
            info.train_metrics[signal],
            info.valid_metrics[signal],
            info.valid_loss,
            _entropy(weights_of, state),
        )
        state, more = ascend(state, frozen)
        return state, dict(zip(names, values, strict=True)) | more

    return step


def _adjust(adjusting, key, clock, train, valid, carry) -> Callable | None:
    """Builds (params, logits, grads) -> (grads, moves, carry) of one step."""
    if adjusting is None:
        return None
    own = jax.random.fold_in(key, 3)  # the step's own keys are 0 to 2

    def adjust(params, logits, grads):
        return adjusting.call(own, clock, params, logits, grads, train, valid, carry)

    return adjust


def _ascend(space, pieces, weights_of, rate) -> Callable:
    """Builds (state, frozen bool[] or None) -> (state, metrics of the limits)."""

    def ascend(state, frozen):
        if not pieces.limits:
            return state, {}
        cell = space.weights(pieces.selection(space, weights_of(state)))
        now = rate if frozen is None else jnp.where(frozen, 0.0, rate)
        moved, values = limits_lib.ascend(pieces.limits, state.multipliers, cell, now)
        return state._replace(multipliers=moved), values

    return ascend


def _entropy(weights_of, state) -> types.Array:
    """Computes the mean entropy of the options over rows that are not removed.

    Edge weights are left out, and rows are divided by their sums.
    """
    logits, _ = mixing.split(state.logits)
    leaves = jax.tree.leaves(weights_of(state._replace(logits=logits)))
    totals = [leaf.sum(-1, keepdims=True) for leaf in leaves]
    count = sum(total.size for total in totals)
    present = sum((total > 0).sum() for total in totals)
    means = [
        relaxations.entropy(leaf / jnp.where(total > 0, total, 1))
        * (total.size / count)
        for leaf, total in zip(leaves, totals, strict=True)
    ]
    return sum(means) * (count / jnp.maximum(present, 1))
