"""What the second-order rules share: the way back through an update and a gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jnas import types


def moving(opt_state: Any) -> tuple[list, Callable]:
    """Returns an optimiser's floating leaves, and what puts others in their place.

    Args:
      opt_state: any state of an optimiser; counters and the like stay as they are.

    Returns:
      (its floating leaves, fn(leaves like these) -> state).
    """
    leaves, treedef = jax.tree.flatten(opt_state)
    moves = [jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) for leaf in leaves]

    def put(moving):
        new = iter(moving)
        merged = [next(new) if m else a for m, a in zip(moves, leaves, strict=True)]
        return jax.tree.unflatten(treedef, merged)

    return [a for m, a in zip(moves, leaves, strict=True) if m], put


def through_update(
    optimizer: optax.GradientTransformation,
    grads: types.Params,
    opt_state: Any,
    params: types.Params,
    d_params: types.Params,
    d_state: list,
) -> tuple[types.Params, list, types.Params]:
    """Takes gradients at the updated params and state back through the optimiser.

    Args:
      optimizer: of the params.
      grads: what it was given.
      opt_state: its state before the update.
      params: before the update.
      d_params: gradient at the params after it.
      d_state: gradient at the floating leaves of the state after it.

    Returns:
      Those of (grads, the state's floating leaves, params), with grads a variable of
      its own: the loss's slope does not answer to params here.
    """
    state, put = moving(opt_state)

    def update(grads, state, params):
        updates, new = optimizer.update(grads, put(state), params)
        return optax.apply_updates(params, updates), moving(new)[0]

    return jax.vjp(update, grads, state, params)[1]((d_params, d_state))


def second_derivatives(
    loss: types.Loss,
    arguments: tuple,
    direction: types.Params,
    argnums: tuple[int, ...],
) -> tuple:
    """Returns d/dw of the loss's gradients times a direction in the params w.

    Forward mode over reverse: about two gradients, and nothing is kept for a way back.
    As second derivatives commute, this is also the gradient of direction' grad_w L.

    Args:
      loss: (key, params, logits, batch) -> (loss f32[], metrics).
      arguments: its key, params, logits and batch.
      direction: like the params.
      argnums: whose gradients: 1 for the Hessian in w, 2 for the mixed derivative.

    Returns:
      One pytree for each of argnums, like that argument.
    """
    key, params, logits, batch = arguments

    def slopes(params):
        return jax.grad(loss, argnums, has_aux=True)(key, params, logits, batch)[0]

    return jax.jvp(slopes, (params,), (direction,))[1]
