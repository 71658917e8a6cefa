"""Bilevel optimisation: minimise L_valid(w*(a), a) over a, w* = argmin_w L_train(w, a).

It knows nothing of architectures: ``params`` w and ``logits`` a are any pytrees, the
two losses any functions ``(key, params, logits, batch) -> (loss, metrics)``, the
optimisers any of Optax. A hypergradient is the rule that turns them into
d L_valid / d a.

Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, equations 3 to 8.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jnas import registry, types


class BilevelState(NamedTuple):
    """What a bilevel optimiser carries from step to step.

    Attributes:
      params: the inner variables w.
      logits: the outer variables a.
      params_opt: state of the optimiser of w.
      logits_opt: state of the optimiser of a.
    """

    params: types.Params
    logits: types.Params
    params_opt: Any
    logits_opt: Any


class BilevelInfo(NamedTuple):
    """What a step reports.

    Attributes:
      train_loss: f32[], before the step's update of w.
      valid_loss: f32[], at the w that the hypergradient took it.
      train_metrics: what train_loss returned beside the loss.
      valid_metrics: what valid_loss returned beside the loss.
    """

    train_loss: types.Array
    valid_loss: types.Array
    train_metrics: Any
    valid_metrics: Any


@registry.HYPERGRADIENTS.register
def first_order(
    train_loss: types.Loss,
    valid_loss: types.Loss,
    optimizer: optax.GradientTransformation,
) -> Callable:
    """Takes w as it is: d L_valid(w, a) / d a with w held fixed.

    It leaves out how w itself would answer to a, and can stop where the bilevel problem
    has no solution.

    Args:
      train_loss: not used.
      valid_loss: (key, params, logits, batch) -> (loss f32[], metrics).
      optimizer: not used.

    Returns:
      fn(key, params, opt_state, logits, train, valid) -> ((loss, metrics), d_logits).

    Source: arXiv:1806.09055, section 2.3, xi = 0.
    """
    del train_loss, optimizer  # the first order ignores the inner problem
    gradient = jax.value_and_grad(valid_loss, argnums=2, has_aux=True)

    def hypergradient(key, params, opt_state, logits, train, valid):
        del opt_state, train
        return gradient(key, params, logits, valid)

    return hypergradient


@registry.HYPERGRADIENTS.register
def unrolled(
    train_loss: types.Loss,
    valid_loss: types.Loss,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int = 1,
) -> Callable:
    """Differentiates through the optimiser's own steps: d L_valid(w_K(a), a) / d a.

    w_0 = w, and w_{k+1} is what ``optimizer`` makes of the gradient of L_train at w_k,
    momentum, weight decay, schedule and clipping included. Exact: no epsilon. All K
    steps see the same training batch. The gradient at w_K is taken back step by step:
    through the optimiser, which gives a direction v, then through L_train by its mixed
    second derivative along v. As second derivatives commute, that is the forward-mode
    derivative of d L_train / d a along v: about two gradients, and no intermediate is
    kept for it, where reverse over reverse keeps all of both.

    Args:
      train_loss: (key, params, logits, batch) -> (loss f32[], metrics).
      valid_loss: likewise.
      optimizer: of w; its state is read, never changed.
      num_steps: K, at least 1.

    Returns:
      fn(key, params, opt_state, logits, train, valid) -> ((loss, metrics), d_logits).

    Raises:
      ValueError: num_steps below 1.

    Source: arXiv:1806.09055, equation 7, for K = 1. Differs: exact where the paper
    takes finite differences; and its code leaves clipping out of the unrolled step,
    where this one unrolls the step that is really taken.
    """
    if num_steps < 1:
        raise ValueError(
            f"num_steps must be at least 1, got {num_steps}. Use first_order for none."
        )
    gradient = jax.grad(train_loss, argnums=1, has_aux=True)
    valid_gradient = jax.value_and_grad(valid_loss, argnums=(1, 2), has_aux=True)

    def hypergradient(key, params, opt_state, logits, train, valid):
        valid_key, *keys = jax.random.split(key, num_steps + 1)

        def forward(carry, key):
            params, opt_state = carry
            grads, _ = gradient(key, params, logits, train)
            updates, new = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), new), (key, grads, carry)

        def backward(carry, kept, argnums=(2, 1)):
            d_params, d_state, d_logits = carry
            key, grads, (params, opt_state) = kept
            direction, d_state, d_params = _through_update(
                optimizer, grads, opt_state, params, d_params, d_state
            )

            def slopes(params):
                of = jax.grad(train_loss, argnums, has_aux=True)
                return of(key, params, logits, train)[0]

            # d/dv of the slopes is the mixed second derivative times v, by symmetry
            _, (mixed, *inner) = jax.jvp(slopes, (params,), (direction,))
            d_params = optax.tree.add(d_params, *inner) if inner else d_params
            return (d_params, d_state, optax.tree.add(d_logits, mixed)), None

        carry = params, opt_state
        if num_steps == 1:
            carry, first = forward(carry, keys[0])
        else:
            carry, trail = jax.lax.scan(forward, carry, jnp.stack(keys))
            first, rest = (
                jax.tree.map(lambda leaf, part=part: leaf[part], trail)
                for part in (0, slice(1, None))
            )
        value, (d_params, d_logits) = valid_gradient(valid_key, carry[0], logits, valid)
        d_state = [jnp.zeros_like(leaf) for leaf in _moving(opt_state)[0]]
        carry = d_params, d_state, d_logits
        if num_steps > 1:
            carry, _ = jax.lax.scan(backward, carry, rest, reverse=True)
        (_, _, d_logits), _ = backward(carry, first, argnums=(2,))
        return value, d_logits

    return hypergradient


def _moving(opt_state: Any) -> tuple[list, Callable]:
    """Returns an optimiser's floating leaves, and what puts others in their place."""
    leaves, treedef = jax.tree.flatten(opt_state)
    moves = [jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) for leaf in leaves]

    def put(moving):
        new = iter(moving)
        merged = [next(new) if m else a for m, a in zip(moves, leaves, strict=True)]
        return jax.tree.unflatten(treedef, merged)

    return [a for m, a in zip(moves, leaves, strict=True) if m], put


def _through_update(optimizer, grads, opt_state, params, d_params, d_state):
    """Takes gradients at the updated params and state back through the optimiser.

    Returns those of (grads, opt_state, params), with the loss's own slope held fixed.
    """
    state, put = _moving(opt_state)

    def update(grads, state, params):
        updates, new = optimizer.update(grads, put(state), params)
        return optax.apply_updates(params, updates), _moving(new)[0]

    return jax.vjp(update, grads, state, params)[1]((d_params, d_state))


def bilevel(
    train_loss: types.Loss,
    valid_loss: types.Loss,
    *,
    params_optimizer: optax.GradientTransformation,
    logits_optimizer: optax.GradientTransformation,
    hypergradient: types.Hypergradient = first_order,
) -> types.Bilevel:
    """Builds the alternating optimiser of DARTS.

    Each step (1) moves the logits by the hypergradient on a training and a validation
    batch, then (2) moves the params by the gradient of L_train on the same training
    batch, at the new logits.

    Args:
      train_loss: (key, params, logits, batch) -> (loss f32[], metrics).
      valid_loss: likewise.
      params_optimizer: of w.
      logits_optimizer: of a.
      hypergradient: the rule for d L_valid / d a.

    Returns:
      ``init(params, logits) -> BilevelState`` and ``step(key, state, train_batch,
      valid_batch) -> (BilevelState, BilevelInfo)``.

    Source: arXiv:1806.09055, algorithm 1.
    """
    outer_gradient = hypergradient(train_loss, valid_loss, params_optimizer)
    inner_gradient = jax.value_and_grad(train_loss, argnums=1, has_aux=True)

    def init(params, logits):
        return BilevelState(
            params,
            logits,
            params_optimizer.init(params),
            logits_optimizer.init(logits),
        )

    def step(key, state, train_batch, valid_batch):
        outer_key, inner_key = jax.random.split(key)
        (valid, valid_metrics), d_logits = outer_gradient(
            outer_key,
            state.params,
            state.params_opt,
            state.logits,
            train_batch,
            valid_batch,
        )
        updates, logits_opt = logits_optimizer.update(
            d_logits, state.logits_opt, state.logits
        )
        logits = optax.apply_updates(state.logits, updates)
        (train, train_metrics), grads = inner_gradient(
            inner_key, state.params, logits, train_batch
        )
        updates, params_opt = params_optimizer.update(
            grads, state.params_opt, state.params
        )
        params = optax.apply_updates(state.params, updates)
        info = BilevelInfo(train, valid, train_metrics, valid_metrics)
        return BilevelState(params, logits, params_opt, logits_opt), info

    return types.Bilevel(init, step)
