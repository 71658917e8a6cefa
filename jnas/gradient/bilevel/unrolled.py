"""The architecture's gradient at fixed parameters, and through unrolled steps.

Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, section 2.3.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jnas import registry, types
from jnas.gradient.bilevel import adjoint


@registry.HYPERGRADIENTS.register
def first_order(
    train_loss: types.Loss,
    valid_loss: types.Loss,
    optimizer: optax.GradientTransformation,
) -> Callable:
    """Computes d L_valid(w, a) / d a with w held fixed.

    It leaves out the dependence of the trained w on a, and can converge to a point that
    does not solve the bilevel problem.

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
def one_level(
    train_loss: types.Loss,
    valid_loss: types.Loss,
    optimizer: optax.GradientTransformation,
) -> Callable:
    """Computes d L_valid(w, a) / d a on the training batch: one loss for w and a.

    The architecture's loss, regularizers included, is that of the batch which also
    trains the parameters; the validation batch is evaluated and moves nothing.

    Args:
      train_loss: not used.
      valid_loss: (key, params, logits, batch) -> (loss f32[], metrics).
      optimizer: not used.

    Returns:
      fn(key, params, opt_state, logits, train, valid) -> ((loss, metrics), d_logits),
      loss and metrics of the validation batch.

    Source: Li, Khodak, Balcan and Talwalkar 2021, arXiv:2004.07802, section 2 (ERM).
    """
    del train_loss, optimizer  # one loss moves both levels
    gradient = jax.grad(valid_loss, argnums=2, has_aux=True)

    def hypergradient(key, params, opt_state, logits, train, valid):
        del opt_state
        d_logits, _ = gradient(key, params, logits, train)
        return valid_loss(key, params, logits, valid), d_logits

    return hypergradient


@registry.HYPERGRADIENTS.register
def unrolled(
    train_loss: types.Loss,
    valid_loss: types.Loss,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int = 1,
) -> Callable:
    """Differentiates through the optimizer's own steps: d L_valid(w_K(a), a) / d a.

    w_0 = w, and w_{k+1} is the ``optimizer``'s update of w_k with the gradient of
    L_train at w_k, including momentum, weight decay, schedule and clipping:

      forward     w_0 ->  w_1 -> ... ->  w_K -> L_valid(w_K, a)
      backward          d_w_1 <- ... <- d_w_K               each step adds to d_a

    The result is exact, without a finite-difference epsilon. All K steps use the same
    training batch. The backward pass goes step by step: through the optimizer, which
    gives a direction v, then through L_train by its mixed second derivative along v. As
    second derivatives commute, that is the forward-mode derivative of d L_train / d a
    along v. It costs about two gradients and stores no residuals, whereas reverse over
    reverse stores those of both.

    Args:
      train_loss: (key, params, logits, batch) -> (loss f32[], metrics).
      valid_loss: likewise.
      optimizer: optimizer of w; its state is not changed.
      num_steps: K, at least 1.

    Returns:
      fn(key, params, opt_state, logits, train, valid) -> ((loss, metrics), d_logits).

    Raises:
      ValueError: num_steps below 1.

    Source: arXiv:1806.09055, equation 7, for K = 1. Differs: exact where the paper
    uses finite differences. The paper's code omits clipping from the unrolled step;
    here the unrolled step is the one that training takes.
    """
    if num_steps < 1:
        raise ValueError(
            f"num_steps must be at least 1, got {num_steps}. Use first_order to "
            "hold w fixed."
        )
    valid_gradient = jax.value_and_grad(valid_loss, argnums=(1, 2), has_aux=True)

    def hypergradient(key, params, opt_state, logits, train, valid):
        valid_key, *keys = jax.random.split(key, num_steps + 1)
        forward = _forward(train_loss, optimizer, logits, train)
        backward = _backward(train_loss, optimizer, logits, train)
        carry = params, opt_state
        if num_steps == 1:
            carry, first = forward(carry, keys[0])
        else:
            carry, trail = jax.lax.scan(forward, carry, jnp.stack(keys))
            first, rest = (
                jax.tree.map(lambda leaf, at=at: leaf[at], trail)
                for at in (0, slice(1, None))
            )
        value, (d_params, d_logits) = valid_gradient(valid_key, carry[0], logits, valid)
        d_state = [jnp.zeros_like(leaf) for leaf in adjoint.moving(opt_state)[0]]
        carry = d_params, d_state, d_logits
        if num_steps > 1:
            carry, _ = jax.lax.scan(backward, carry, rest, reverse=True)
        (_, _, d_logits), _ = backward(carry, first, argnums=(2,))
        return value, d_logits

    return hypergradient


def _forward(train_loss, optimizer, logits, train) -> Callable:
    """Builds one step of training, which also returns what ``_backward`` needs."""
    gradient = jax.grad(train_loss, argnums=1, has_aux=True)

    def forward(carry, key):
        params, opt_state = carry
        grads, _ = gradient(key, params, logits, train)
        updates, new = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), new), (key, grads, carry)

    return forward


def _backward(train_loss, optimizer, logits, train) -> Callable:
    """Builds the backward pass of one step; argnums (2,) leaves out the params'."""

    def backward(carry, kept, argnums=(2, 1)):
        d_params, d_state, d_logits = carry
        key, grads, (params, opt_state) = kept
        direction, d_state, d_params = adjoint.through_update(
            optimizer, grads, opt_state, params, d_params, d_state
        )
        mixed, *inner = adjoint.second_derivatives(
            train_loss, (key, params, logits, train), direction, argnums
        )
        d_params = optax.tree.add(d_params, *inner) if inner else d_params
        return (d_params, d_state, optax.tree.add(d_logits, mixed)), None

    return backward
