"""The alternating optimizer: a step of the logits, then a step of the params.

Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, algorithm 1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jnas import types
from jnas.gradient.bilevel.unrolled import first_order


class BilevelState(NamedTuple):
    """What a bilevel optimizer carries from step to step.

    Attributes:
      params: the inner variables w.
      logits: the outer variables a.
      params_opt: optimizer state of w.
      logits_opt: optimizer state of a.
    """

    params: types.Params
    logits: types.Params
    params_opt: Any
    logits_opt: Any


class BilevelInfo(NamedTuple):
    """What a step reports.

    Attributes:
      train_loss: f32[], before the step's update of w.
      valid_loss: f32[], at the w that the hypergradient evaluated it at; in a frozen
        step, at the w before its update.
      train_metrics: the metrics of train_loss.
      valid_metrics: the metrics of valid_loss.
      carry: what ``adjust`` has left; None without it.
    """

    train_loss: types.Array
    valid_loss: types.Array
    train_metrics: Any
    valid_metrics: Any
    carry: Any = None


def bilevel(
    train_loss: types.Loss,
    valid_loss: types.Loss,
    *,
    params_optimizer: optax.GradientTransformation,
    logits_optimizer: optax.GradientTransformation,
    hypergradient: types.Hypergradient = first_order,
    params_first: bool = False,
) -> types.Bilevel:
    """Builds the alternating optimizer of DARTS.

    Each step (1) moves the logits by the hypergradient on a training and a validation
    batch, then (2) moves the params by the gradient of L_train on the same training
    batch, at the new logits.

    Where ``frozen`` is true, (1) is skipped: the logits and their optimizer state keep
    their bits, and only the forward pass of L_valid is computed. Both kinds of step are
    one program, which contains (2) once. Under vmap over different values of
    ``frozen``, both kinds of (1) are computed for every value.

    Args:
      train_loss: (key, params, logits, batch) -> (loss f32[], metrics).
      valid_loss: likewise.
      params_optimizer: optimizer of w.
      logits_optimizer: optimizer of a.
      hypergradient: rule for d L_valid / d a.
      params_first: whether (2) comes before (1), both with this step's batches.

    Returns:
      ``init(params, logits) -> BilevelState`` and ``step(key, state, train_batch,
      valid_batch, *, frozen=None, adjust=None) -> (BilevelState, BilevelInfo)``; frozen
      is bool[], may be traced, and None means never; adjust is (params, logits, grads)
      -> (grads, moves, carry), as in ``types.WeightRegularizer``.

    Source: arXiv:1806.09055, algorithm 1. Differs: frozen, for methods that train w
    alone at the start; adjust.
    """
    outer_gradient = hypergradient(train_loss, valid_loss, params_optimizer)
    inner_gradient = jax.value_and_grad(train_loss, argnums=1, has_aux=True)
    outer_step = _outer_step(outer_gradient, valid_loss, logits_optimizer)

    def init(params, logits):
        return BilevelState(
            params,
            logits,
            params_optimizer.init(params),
            logits_optimizer.init(logits),
        )

    def inner_step(key, state, batch, adjust):
        """Moves the params; returns the state, the loss and metrics, and the carry."""
        reported, grads = inner_gradient(key, state.params, state.logits, batch)
        moves = carry = None
        if adjust is not None:
            grads, moves, carry = adjust(state.params, state.logits, grads)
        updates, params_opt = params_optimizer.update(
            grads, state.params_opt, state.params
        )
        if moves is not None:
            updates = jax.tree.map(lambda m, u: jnp.where(m, u, 0), moves, updates)
        params = optax.apply_updates(state.params, updates)
        return state._replace(params=params, params_opt=params_opt), reported, carry

    def step(key, state, train_batch, valid_batch, *, frozen=None, adjust=None):
        outer_key, inner_key = jax.random.split(key)
        if params_first:
            state, trained, carry = inner_step(inner_key, state, train_batch, adjust)
        valid, logits, logits_opt = outer_step(
            frozen, outer_key, state, train_batch, valid_batch
        )
        state = state._replace(logits=logits, logits_opt=logits_opt)
        if not params_first:
            state, trained, carry = inner_step(inner_key, state, train_batch, adjust)
        info = BilevelInfo(trained[0], valid[0], trained[1], valid[1], carry)
        return state, info

    return types.Bilevel(init, step)


def _outer_step(outer_gradient, valid_loss, optimizer) -> Callable:
    """Builds the step of the logits: ((loss, metrics) of L_valid, logits, state)."""

    def search(key, state, train_batch, valid_batch):
        reported, d_logits = outer_gradient(
            key, state.params, state.params_opt, state.logits, train_batch, valid_batch
        )
        updates, logits_opt = optimizer.update(d_logits, state.logits_opt, state.logits)
        return reported, optax.apply_updates(state.logits, updates), logits_opt

    def evaluate(key, state, train_batch, valid_batch):
        del train_batch
        reported = valid_loss(key, state.params, state.logits, valid_batch)
        return reported, state.logits, state.logits_opt

    def step(frozen, *given):
        if frozen is None:
            return search(*given)
        return jax.lax.cond(frozen, evaluate, search, *given)

    return step
