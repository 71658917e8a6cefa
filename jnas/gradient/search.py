"""The search by gradient: a supernet's parameters and its architecture, in turns."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jnas import networks, spaces, types
from jnas.data import augment as augment_lib
from jnas.gradient import bilevel as bilevel_lib
from jnas.gradient import losses as losses_lib
from jnas.gradient import mixing, relaxations
from jnas.gradient.hooks import watch as watch_lib
from jnas.training import program as program_lib

METRICS = ("train_loss", "train_accuracy", "valid_accuracy", "valid_loss", "entropy")


@dataclasses.dataclass(frozen=True)
class Pieces:
    """What a gradient search is put together from.

    Attributes:
      params_optimizer: of the supernet's parameters.
      logits_optimizer: of the architecture.
      relaxation: logits to weights.
      hypergradient: the rule of the architecture's gradient.
      regularizers: penalties on the architecture.
      perturbation: of the weights that the parameters are trained with.
      eval_relaxation: the relaxation, without draws, that cells are derived from.
      selection: derives a cell from its weights.
      edge_weights: whether the edges that enter a node are weighed too.
      logits_scale: deviation of the first logits.
      frozen_epochs: at first, in which the parameters alone are trained.
      variant_inputs: Clock -> what the edge variant needs.
    """

    params_optimizer: optax.GradientTransformation
    logits_optimizer: optax.GradientTransformation
    relaxation: types.Relaxation = relaxations.softmax
    hypergradient: types.Hypergradient = bilevel_lib.first_order
    regularizers: tuple[types.Regularizer, ...] = ()
    perturbation: types.Perturbation | None = None
    eval_relaxation: types.Relaxation = relaxations.softmax
    selection: types.Selection = spaces.CellSpace.strongest
    edge_weights: bool = False
    logits_scale: float = 1e-3
    frozen_epochs: int = 0
    variant_inputs: Callable[[program_lib.Clock], networks.VariantInputs] = (
        lambda clock: networks.VariantInputs()
    )


class GradientState(NamedTuple):
    """What a gradient search carries.

    Attributes:
      params: of the supernet.
      logits: f32[C, E, O], or ArchParams where edges are weighed.
      params_opt: state of the optimiser of params.
      logits_opt: state of the optimiser of logits.
      mask: bool[C, E, O], False for candidates that are out; None for no mask.
      watched: what was seen at the ends of epochs; None where nobody looks.
    """

    params: types.Params
    logits: types.Params
    params_opt: Any
    logits_opt: Any
    mask: types.Array | None
    watched: watch_lib.Watched | None


def gradient_search(
    supernet: networks.Supernet,
    pieces: Pieces,
    *,
    augment: augment_lib.Augment,
    num_examples: tuple[int, int],
    batch_size: int,
    num_epochs: int,
    masks: bool = False,
    watch: watch_lib.Watch | None = None,
    num_seeds: int | None = None,
    over_seeds: Callable | None = None,
) -> program_lib.Program:
    """Builds the differentiable search as one program.

    Both splits are augmented, as in the paper's code.

    Args:
      supernet: of the space that is searched.
      pieces: of the method.
      augment: of the images.
      num_examples: sizes of the training and the validation split.
      batch_size: B, of both.
      num_epochs: passes over the training split.
      masks: whether candidates may be taken out; all are in at first.
      watch: looks for a collapse at the end of each epoch; None for nobody.
      num_seeds: S searches as one program, or None for one.
      over_seeds: how they are run, as ``program.program`` says.

    Returns:
      The program. Its state's ``inner`` is a GradientState; its metrics are METRICS.

    Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, algorithm 1. Differs: an
    epoch's last incomplete batch is left out.
    """
    space = supernet.space
    train_loss, valid_loss = losses_lib.build_losses(
        supernet,
        pieces.relaxation,
        regularizers=pieces.regularizers,
        perturbation=pieces.perturbation,
    )
    method = bilevel_lib.bilevel(
        train_loss,
        valid_loss,
        params_optimizer=pieces.params_optimizer,
        logits_optimizer=pieces.logits_optimizer,
        hypergradient=pieces.hypergradient,
    )

    def init(key):
        params_key, logits_key = jax.random.split(key)
        arch = first_arch(logits_key, space, pieces)
        inner = method.init(supernet.init(params_key), arch)
        mask = jnp.ones(space.shape, bool) if masks else None
        state = GradientState(*inner, mask, None)
        return state._replace(watched=watch.begin(state)) if watch else state

    def step(key, clock, state, pair):
        step_key, *image_keys = jax.random.split(key, 3)
        train, valid = (
            losses_lib.Batch(
                augment_lib.augment(k, images, augment),
                labels,
                clock.progress,
                state.mask,
                pieces.variant_inputs(clock),
            )
            for k, (images, labels) in zip(image_keys, pair, strict=True)
        )
        frozen = None
        if pieces.frozen_epochs:
            frozen = clock.epoch < pieces.frozen_epochs
        inner = bilevel_lib.BilevelState(*state[:4])
        inner, info = method.step(step_key, inner, train, valid, frozen=frozen)
        values = (
            info.train_loss,
            info.train_metrics["accuracy"],
            info.valid_metrics["accuracy"],
            info.valid_loss,
            _entropy(space, pieces, inner.logits, state.mask),
        )
        state = state._replace(**inner._asdict())
        return state, dict(zip(METRICS, values, strict=True))

    def look(key, clock, state, splits):
        look_key, answer_key = jax.random.split(key)
        seen = watch.look(look_key, clock, state, splits[1])
        state = state._replace(watched=seen)
        state = watch.answer(answer_key, clock, state, splits[1])
        return state, state.watched.values

    return program_lib.program(
        init,
        step,
        metrics=METRICS,
        num_examples=num_examples,
        batch_size=batch_size,
        num_epochs=num_epochs,
        num_seeds=num_seeds,
        over_seeds=over_seeds,
        at_epoch_end=look if watch else None,
        ended=(lambda state: state.watched.stopped) if watch else None,
    )


def first_arch(key: types.Key, space: spaces.CellSpace, pieces: Pieces) -> types.Params:
    """Draws the architecture that a search starts from.

    Args:
      key: consumed.
      space: the space of cells.
      pieces: of the method.

    Returns:
      Logits logits_scale N(0, 1) f32[C, E, O], or ArchParams of such.
    """
    if not pieces.edge_weights:
        return pieces.logits_scale * jax.random.normal(key, space.shape)
    logits_key, edges_key = jax.random.split(key)
    return types.ArchParams(
        pieces.logits_scale * jax.random.normal(logits_key, space.shape),
        pieces.logits_scale * jax.random.normal(edges_key, space.shape[:2]),
    )


def _entropy(space, pieces, arch, mask) -> types.Array:
    """Mean over the edges that weigh anything."""
    logits, _ = mixing.split(arch)
    weights = mixing.eval_weights(space, pieces.eval_relaxation, logits, mask)
    total = weights.sum(-1, keepdims=True)
    return relaxations.entropy(weights / jnp.where(total > 0, total, 1)) * (
        total.size / jnp.maximum((total > 0).sum(), 1)
    )
