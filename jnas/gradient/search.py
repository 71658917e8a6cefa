"""Gradient-based search: a supernet's parameters and its architecture, in turns."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnas import networks, spaces, types
from jnas import pieces as pieces_lib
from jnas.data import augment as augment_lib
from jnas.data import batches, tasks
from jnas.data import task as task_lib
from jnas.gradient import bilevel as bilevel_lib
from jnas.gradient import limits as limits_lib
from jnas.gradient import losses as losses_lib
from jnas.gradient import mixing, relaxations, selections, weight_regularizers
from jnas.gradient import progress as progress_lib
from jnas.gradient.hooks import hook as hook_lib
from jnas.spaces import rows as rows_lib
from jnas.training import program as program_lib


def metrics_of(task: task_lib.Task) -> tuple[str, ...]:
    """Returns the names of a search's metrics: losses, signal and entropy.

    Args:
      task: names the signal, of classes "accuracy".
    """
    signal = task.signal
    return "train_loss", f"train_{signal}", f"valid_{signal}", "valid_loss", "entropy"


METRICS = metrics_of(tasks.CLASSIFICATION)


@dataclasses.dataclass(frozen=True)
class Pieces:
    """The functions that a gradient search is composed of.

    Attributes:
      params_optimizer: optimizer of the supernet's parameters.
      logits_optimizer: optimizer of the architecture.
      relaxation: turns logits into the weights of the two losses.
      hypergradient: rule for the gradient of the architecture.
      regularizers: penalties on the architecture, added to the validation loss.
      perturbation: disturbs the weights in the training loss; None disables it.
      weights_of: state -> the weights that an architecture is derived from: a
        relaxation without draws, masks and edge weights applied. None is softmax.
      selection: derives a cell from these weights.
      edge_weights: whether the edges that enter a node have weights too.
      logits_scale: standard deviation of the initial logits.
      logits_mean: their mean.
      order: builds a step of both levels, as ``bilevel.bilevel`` does.
      weight_regularizers: rules on the gradient of the parameters, as
        ``weight_regularizers.build`` takes them.
      progress: (Clock, number of epochs) -> f32[] that the schedules of pieces follow.
      frozen_epochs: epochs at the start that train the parameters only.
      alternation: Clock -> bool[], whether a later step moves the logits; None is
        every step.
      variant_inputs: Clock -> what the edge variant needs.
      limits: of the derived cell's costs.
      hooks: of the program, of which ``resolve.derive`` asks what they found.
      costs: cost -> what each option costs, for regularizers that take it.
      mask: bool arrays like the logits, False for options that are removed from the
        start; None keeps all.
    """

    params_optimizer: optax.GradientTransformation
    logits_optimizer: optax.GradientTransformation
    relaxation: types.Relaxation = relaxations.softmax
    hypergradient: types.Hypergradient = bilevel_lib.first_order
    regularizers: tuple[types.Regularizer, ...] = ()
    perturbation: types.Perturbation | None = None
    weights_of: Callable[[Any], types.Weights] | None = None
    selection: types.Selection = selections.strongest
    edge_weights: bool = False
    logits_scale: float = 1e-3
    logits_mean: float = 0.0
    order: Callable[..., types.Bilevel] = bilevel_lib.bilevel
    weight_regularizers: tuple[pieces_lib.Piece, ...] = ()
    progress: types.Progress = progress_lib.by_step
    frozen_epochs: int = 0
    alternation: types.Alternation | None = None
    variant_inputs: Callable[[program_lib.Clock], networks.VariantInputs] = (
        lambda clock: networks.VariantInputs()
    )
    limits: tuple[networks.Limit, ...] = ()
    hooks: tuple[hook_lib.Hook, ...] = ()
    costs: Mapping[str, networks.Costs] | None = None
    mask: types.Mask | None = None

    def weights_in(self, space: spaces.Space) -> Callable[[Any], types.Weights]:
        """Returns ``weights_of``, or that of softmax in a space."""
        if self.weights_of is not None:
            return self.weights_of
        return mixing.build_weights_of(space, relaxations.softmax)


class GradientState(NamedTuple):
    """What a gradient search carries.

    Attributes:
      params: parameters of the supernet.
      logits: of the space, or ArchParams where edges have weights.
      params_opt: optimizer state of params.
      logits_opt: optimizer state of logits.
      mask: bool arrays like the logits, False for removed options; None keeps all.
      hooks: what is kept of each hook.
      multipliers: f32[L] of the limits; None without limits.
      regularizers: what the weight regularizers carry; None without any.
    """

    params: types.Params
    logits: types.Params
    params_opt: Any
    logits_opt: Any
    mask: types.Mask | None
    hooks: tuple[hook_lib.HookState, ...] = ()
    multipliers: types.Array | None = None
    regularizers: Any = None


def gradient_search(
    supernet: networks.Supernet,
    pieces: Pieces,
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
    moving, _ = moving_steps(pieces, num_epochs, per_epoch)
    rate = limits_lib.ASCENT / max(1, moving)
    return program_lib.program(
        _init(supernet, pieces, optimizer, masks, hooks, adjusting),
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


def moving_steps(
    pieces: Pieces, num_epochs: int, steps_per_epoch: int
) -> tuple[int, int]:
    """Counts the steps of a search that move the logits.

    Args:
      pieces: the functions of the method.
      num_epochs: of the search.
      steps_per_epoch: steps in one pass over the training split.

    Returns:
      (their number, number of steps by which half of them are done). Of more than a
      million steps an alternation is asked of a million, drawn at random.
    """
    total = num_epochs * steps_per_epoch
    first = min(total, pieces.frozen_epochs * steps_per_epoch)
    if pieces.alternation is None or first == total:
        return total - first, first + -(-(total - first) // 2)
    number = np.arange(first, min(total, first + _MOST_STEPS))
    if total - first > _MOST_STEPS:  # at random, as a rule may have any period
        drawn = np.random.default_rng(0).integers(first, total, _MOST_STEPS)
        number = np.sort(drawn)
    epoch, progress = number // steps_per_epoch, np.float32(number / total)
    clocks = program_lib.Clock(
        jnp.asarray(epoch, jnp.int32), jnp.asarray(progress),
        jnp.asarray(number, jnp.int32),
    )  # fmt: skip
    moves = np.asarray(jax.jit(jax.vmap(pieces.alternation))(clocks))
    if not moves.any():
        return 0, total
    half = int(np.searchsorted(moves.cumsum(), moves.sum() / 2))
    return round(moves.mean() * (total - first)), int(number[half]) + 1


_MOST_STEPS = 1_000_000  # that an alternation is asked of before a search
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


def _init(supernet, pieces, optimizer, masks, hooks, adjusting) -> Callable:
    """Builds key -> GradientState before the first step."""

    def init(key):
        params_key, logits_key = jax.random.split(key)
        arch = first_arch(logits_key, supernet.space, pieces)
        inner = optimizer.init(supernet.init(params_key), arch)
        mask = rows_lib.full(supernet.space, True, bool) if masks else None
        if pieces.mask is not None:
            mask = jax.tree.map(jnp.asarray, pieces.mask)
        multipliers = jnp.zeros(len(pieces.limits)) if pieces.limits else None
        kept = None
        if adjusting is not None:
            kept = adjusting.init(inner.params, inner.logits)
        state = GradientState(*inner, mask, (), multipliers, kept)
        return state._replace(hooks=hook_lib.begin(hooks, state))

    return init


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


def first_arch(key: types.Key, space: spaces.Space, pieces: Pieces) -> types.Params:
    """Draws the architecture that a search starts from.

    Args:
      key: consumed.
      space: that is searched; one of cells where the method has edge weights.
      pieces: the functions of the method.

    Returns:
      Logits logits_mean + logits_scale * N(0, 1) of the space, or ArchParams of such
      logits, whose edges have mean 0.
    """
    if not pieces.edge_weights:
        drawn = _drawn(key, rows_lib.shapes(space), pieces.logits_scale)
        return _raised(drawn, pieces.logits_mean)
    logits_key, edges_key = jax.random.split(key)
    drawn = pieces.logits_scale * jax.random.normal(logits_key, space.shape)
    return types.ArchParams(
        _raised(drawn, pieces.logits_mean),
        pieces.logits_scale * jax.random.normal(edges_key, space.shape[:2]),
    )


def _raised(logits, mean) -> types.Logits:
    """Adds a mean to logits; of 0 their bits stay."""
    return jax.tree.map(lambda leaf: leaf + mean, logits) if mean else logits


def _drawn(key, shapes, scale) -> types.Logits:
    """Draws logits scale * N(0, 1); a single leaf by the key as it is."""
    leaves, treedef = jax.tree.flatten(shapes)
    keys = [key] if len(leaves) == 1 else jax.random.split(key, len(leaves))
    drawn = [
        scale * jax.random.normal(own, leaf.shape)
        for own, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, drawn)


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
