"""Shared by the second-order rules: derivatives through an update and a gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jnas import types


def moving(opt_state: Any) -> tuple[list, Callable]:
    """Splits an optimizer state into its floating-point leaves and the rest.

    Args:
      opt_state: the state of any optimizer.

    Returns:
      (its floating-point leaves, fn(such leaves) -> a state with these leaves and the
      same counters).
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
    """Backpropagates gradients through one update of the optimizer.

    Args:
      optimizer: optimizer of the params.
      grads: gradients that the update was computed from.
      opt_state: its state before the update.
      params: params before the update.
      d_params: cotangent of the params after the update.
      d_state: cotangents of the state's floating-point leaves after the update.

    Returns:
      Cotangents of (grads, the state's floating-point leaves, params). grads is an
      independent variable here: its dependence on params is not differentiated.
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
    """Computes second derivatives of a loss along a direction in the params w.

    d/dw (dL / d argument) times the direction. Forward over reverse mode: about two
    gradients, and no residuals are stored. As second derivatives commute, this is also
    the gradient of direction' grad_w L in the argument.

    Args:
      loss: (key, params, logits, batch) -> (loss f32[], metrics).
      arguments: (key, params, logits, batch) of the loss.
      direction: a pytree like the params.
      argnums: of the arguments: 1 for the Hessian in w, 2 for the mixed derivative.

    Returns:
      One pytree for each of argnums, like that argument.
    """
    key, params, logits, batch = arguments

    def slopes(params):
        return jax.grad(loss, argnums, has_aux=True)(key, params, logits, batch)[0]

    return jax.jvp(slopes, (params,), (direction,))[1]
