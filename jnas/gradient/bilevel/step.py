"""The optimizers of both levels: in which order a step moves logits and params.

Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, algorithm 1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jnas import registry, types
from jnas.gradient.bilevel.unrolled import first_order, one_level


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


@registry.ORDERS.register(name="logits_first")
def bilevel(
    train_loss: types.Loss,
    valid_loss: types.Loss,
    *,
    params_optimizer: optax.GradientTransformation,
    logits_optimizer: optax.GradientTransformation,
    hypergradient: types.Hypergradient = first_order,
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

    Returns:
      ``init(params, logits) -> BilevelState`` and ``step(key, state, train_batch,
      valid_batch, *, frozen=None, adjust=None) -> (BilevelState, BilevelInfo)``; frozen
      is bool[], may be traced, and None means never; adjust is (params, logits, grads)
      -> (grads, moves, carry), as in ``types.WeightRegularizer``.

    Source: arXiv:1806.09055, algorithm 1. Differs: frozen, for methods that train w
    alone at the start; adjust.
    """
    move_logits, move_params, init = _levels(
        train_loss, valid_loss, params_optimizer, logits_optimizer, hypergradient
    )

    def step(key, state, train_batch, valid_batch, *, frozen=None, adjust=None):
        outer_key, inner_key = jax.random.split(key)
        state, valid = move_logits(frozen, outer_key, state, train_batch, valid_batch)
        state, train, carry = move_params(inner_key, state, train_batch, adjust)
        return state, BilevelInfo(train[0], valid[0], train[1], valid[1], carry)

    return types.Bilevel(init, step)


@registry.ORDERS.register
def params_first(
    train_loss: types.Loss,
    valid_loss: types.Loss,
    *,
    params_optimizer: optax.GradientTransformation,
    logits_optimizer: optax.GradientTransformation,
    hypergradient: types.Hypergradient = first_order,
) -> types.Bilevel:
    """Builds the optimizer that moves the params, then the logits, in each step.

    Args:
      train_loss: as for ``bilevel``.
      valid_loss: likewise.
      params_optimizer: optimizer of w.
      logits_optimizer: optimizer of a.
      hypergradient: rule for d L_valid / d a, at the new w.

    Source: the released code of Dong and Yang 2019, arXiv:1910.04465.
    """
    move_logits, move_params, init = _levels(
        train_loss, valid_loss, params_optimizer, logits_optimizer, hypergradient
    )

    def step(key, state, train_batch, valid_batch, *, frozen=None, adjust=None):
        outer_key, inner_key = jax.random.split(key)
        state, train, carry = move_params(inner_key, state, train_batch, adjust)
        state, valid = move_logits(frozen, outer_key, state, train_batch, valid_batch)
        return state, BilevelInfo(train[0], valid[0], train[1], valid[1], carry)

    return types.Bilevel(init, step)


@registry.ORDERS.register
def together(
    train_loss: types.Loss,
    valid_loss: types.Loss,
    *,
    params_optimizer: optax.GradientTransformation,
    logits_optimizer: optax.GradientTransformation,
    hypergradient: types.Hypergradient = one_level,
) -> types.Bilevel:
    """Builds the optimizer that moves w and a by one gradient of one loss.

      w, a <- w, a - updates of d L(w, a) / d (w, a)

    L is L_valid on the training batch, regularizers included: one draw of the weights,
    one backward pass. The validation batch is evaluated and moves nothing.

    Args:
      train_loss: not used.
      valid_loss: (key, params, logits, batch) -> (loss f32[], metrics).
      params_optimizer: optimizer of w.
      logits_optimizer: optimizer of a.
      hypergradient: not used; ``one_level``, as ``gradient.check`` demands.

    Source: Xie et al. 2019, arXiv:1812.09926, section 2.1 and its released code.
    """
    del train_loss, hypergradient
    gradient = jax.value_and_grad(valid_loss, argnums=(1, 2), has_aux=True)
    init = _init(params_optimizer, logits_optimizer)

    def step(key, state, train_batch, valid_batch, *, frozen=None, adjust=None):
        outer_key, inner_key = jax.random.split(key)
        valid = valid_loss(outer_key, state.params, state.logits, valid_batch)
        train, (grads, d_logits) = gradient(
            inner_key, state.params, state.logits, train_batch
        )
        before = state
        state, carry = _moved_params(params_optimizer, state, grads, adjust)
        updates, logits_opt = logits_optimizer.update(
            d_logits, before.logits_opt, before.logits
        )
        logits = optax.apply_updates(before.logits, updates)
        if frozen is not None:
            logits, logits_opt = jax.tree.map(
                lambda old, new: jnp.where(frozen, old, new),
                (before.logits, before.logits_opt),
                (logits, logits_opt),
            )
        state = state._replace(logits=logits, logits_opt=logits_opt)
        return state, BilevelInfo(train[0], valid[0], train[1], valid[1], carry)

    return types.Bilevel(init, step)


def _init(params_optimizer, logits_optimizer) -> Callable:
    def init(params, logits):
        return BilevelState(
            params,
            logits,
            params_optimizer.init(params),
            logits_optimizer.init(logits),
        )

    return init


def _levels(train_loss, valid_loss, params_optimizer, logits_optimizer, rule) -> tuple:
    """Builds the moves of the logits and of the params, and ``init``."""
    outer_step = _outer_step(
        rule(train_loss, valid_loss, params_optimizer), valid_loss, logits_optimizer
    )
    inner_gradient = jax.value_and_grad(train_loss, argnums=1, has_aux=True)

    def move_logits(frozen, key, state, train_batch, valid_batch):
        reported, logits, logits_opt = outer_step(
            frozen, key, state, train_batch, valid_batch
        )
        return state._replace(logits=logits, logits_opt=logits_opt), reported

    def move_params(key, state, batch, adjust):
        reported, grads = inner_gradient(key, state.params, state.logits, batch)
        state, carry = _moved_params(params_optimizer, state, grads, adjust)
        return state, reported, carry

    return move_logits, move_params, _init(params_optimizer, logits_optimizer)


def _moved_params(optimizer, state, grads, adjust) -> tuple:
    """Moves the params by their gradient; returns the state and adjust's carry."""
    moves = carry = None
    if adjust is not None:
        grads, moves, carry = adjust(state.params, state.logits, grads)
    updates, params_opt = optimizer.update(grads, state.params_opt, state.params)
    if moves is not None:
        updates = jax.tree.map(lambda m, u: jnp.where(m, u, 0), moves, updates)
    params = optax.apply_updates(state.params, updates)
    return state._replace(params=params, params_opt=params_opt), carry


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
