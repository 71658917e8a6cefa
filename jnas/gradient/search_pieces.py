"""The functions that a gradient search is composed of, and when its logits move."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnas import networks, spaces, types
from jnas import pieces as pieces_lib
from jnas.gradient import bilevel as bilevel_lib
from jnas.gradient import mixing, relaxations, selections
from jnas.gradient import progress as progress_lib
from jnas.gradient.hooks import hook as hook_lib
from jnas.training import program as program_lib

_MOST_STEPS = 1_000_000  # that an alternation is asked of before a search


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
