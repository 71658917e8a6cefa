"""Weight regularizers: rules on the gradient of a supernet's parameters.

Each is ``(Problem, **numbers) -> types.WeightRegularizer``. It sees the gradient of the
training loss in every step, may add to it, may keep parameters as they are, and has a
carry of its own. A method names any number of them; they are called in order, each with
the gradient that the one before has left.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnas import networks, pieces, registry, types
from jnas.data import task as task_lib
from jnas.data import tasks


class Problem(NamedTuple):
    """What a weight regularizer is built from.

    Attributes:
      supernet: the network that is searched.
      relaxation: turns logits into weights.
      train_loss: (key, params, logits, batch) -> (f32[], metrics).
      valid_loss: likewise.
      num_epochs: E, of the program.
      task: what is learned.
      losses_of: supernet -> (training loss, validation loss) of another network over
        the same space, otherwise as those of the problem.
    """

    supernet: networks.Supernet
    relaxation: types.Relaxation
    train_loss: types.Loss
    valid_loss: types.Loss
    num_epochs: int
    task: task_lib.Task = tasks.CLASSIFICATION
    losses_of: Callable[[networks.Supernet], tuple[types.Loss, types.Loss]] | None = (
        None
    )


def build(
    named: Sequence[pieces.Piece], problem: Problem
) -> types.WeightRegularizer | None:
    """Builds the weight regularizers that a method names, as one.

    Args:
      named: registered names, or functions of a Problem.
      problem: that they are built from.

    Returns:
      None where none is named; its carry is the tuple of theirs.

    Raises:
      KeyError: one that is not registered; the nearest is guessed.
    """
    made = [pieces.resolve(registry.WEIGHT_REGULARIZERS, one)(problem) for one in named]
    if not made:
        return None

    def init(params, logits):
        return tuple(one.init(params, logits) for one in made)

    def call(key, clock, params, logits, grads, train, valid, carry):
        keys, kept, moves = jax.random.split(key, len(made)), [], None
        for one, own_key, own in zip(made, keys, carry, strict=True):
            grads, more, after = one.call(
                own_key, clock, params, logits, grads, train, valid, own
            )
            kept.append(after)
            moves = _both(moves, more)
        return grads, moves, tuple(kept)

    return types.WeightRegularizer(init, call)


def _both(moves: Any, more: Any) -> Any:
    """Returns where two rules both let parameters move; None is everywhere."""
    if moves is None or more is None:
        return more if moves is None else moves
    return jax.tree.map(jnp.logical_and, moves, more)


def without_carry(call: Callable) -> types.WeightRegularizer:
    """Returns the rule that only adds to the gradient.

    Args:
      call: (key, Clock, params, logits, train batch) -> what is added to the gradient,
        a pytree like the params.
    """

    def own(key, clock, params, logits, grads, train, valid, carry):
        del valid
        more = call(key, clock, params, logits, train)
        return jax.tree.map(jnp.add, grads, more), None, carry

    return types.WeightRegularizer(lambda params, logits: (), own)
