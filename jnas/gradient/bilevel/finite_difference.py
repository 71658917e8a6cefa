"""The second-order gradient of the DARTS paper, by finite differences.

Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, equation 8 and appendix.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jnas import registry, types
from jnas.gradient.bilevel import adjoint


@registry.HYPERGRADIENTS.register
def finite_difference(
    train_loss: types.Loss,
    valid_loss: types.Loss,
    optimizer: optax.GradientTransformation,
    *,
    radius: float = 0.01,
) -> Callable:
    """Estimates one unrolled step's mixed second derivative by a central difference.

    w' is the optimizer's step from w, v = grad_w' L_valid(w', a), and u is v
    backpropagated through the update to the gradient of L_train. With R = radius / |u|,
    |u| the norm over all of w, and g = grad_a L_train,

      d_logits = grad_a L_valid(w', a) + [g(w + R u, a) - g(w - R u, a)] / (2 R).

    This is the paper's estimate for any optimizer. For its update
    w - xi (mu m + grad + lam w), u = -xi v, so that R u = -e with e = radius v / |v|,
    and 1 / R = xi |v| / radius: the difference is -xi [g(w + e, a) - g(w - e, a)] /
    (2 radius / |v|), as published. Where u is zero the difference is zero.

    Where L_train is smooth the error falls as radius**2. In a ReLU network, many units
    have a kink between the two points, and each adds a jump of g divided by 2 R. As
    radius falls, the number of kinks falls more slowly than 1 / R grows, so the error
    grows, about as radius**-0.5, in float64 as in float32. ``unrolled`` has no such
    error.

    All gradients of L_train use one key, so that both points draw the same random
    numbers and differ in w alone.

    Args:
      train_loss: (key, params, logits, batch) -> (loss f32[], metrics).
      valid_loss: likewise.
      optimizer: optimizer of w; its state is not changed.
      radius: norm of each point's distance from w, over all of w; above 0.

    Returns:
      fn(key, params, opt_state, logits, train, valid) -> ((loss, metrics), d_logits).

    Raises:
      ValueError: radius that is not above 0.

    Source: arXiv:1806.09055, equation 8, with epsilon = 0.01 / |v|. Differs: the
    paper's code omits clipping from the unrolled step; here the unrolled step, and its
    derivative, are those of the step that training takes.
    """
    if not radius > 0:
        raise ValueError(
            f"radius must be above 0, got {radius}. 0.01 is the paper's; use unrolled "
            "for the exact derivative."
        )
    gradient = jax.grad(train_loss, argnums=1, has_aux=True)
    valid_gradient = jax.value_and_grad(valid_loss, argnums=(1, 2), has_aux=True)
    probe_gradient = jax.grad(train_loss, argnums=2, has_aux=True)

    def hypergradient(key, params, opt_state, logits, train, valid):
        valid_key, train_key = jax.random.split(key)
        grads, _ = gradient(train_key, params, logits, train)
        updates, _ = optimizer.update(grads, opt_state, params)
        moved = optax.apply_updates(params, updates)
        value, (d_params, d_logits) = valid_gradient(valid_key, moved, logits, valid)
        d_state = [jnp.zeros_like(leaf) for leaf in adjoint.moving(opt_state)[0]]
        direction, _, _ = adjoint.through_update(
            optimizer, grads, opt_state, params, d_params, d_state
        )
        mixed = _central_difference(
            lambda params: probe_gradient(train_key, params, logits, train)[0],
            params,
            direction,
            radius,
        )
        return value, jax.tree.map(
            lambda d, m: (d + m).astype(d.dtype), d_logits, mixed
        )

    return hypergradient


def _central_difference(gradient, params, direction, radius) -> types.Params:
    """Computes [g(w + R u) - g(w - R u)] / (2 R), with R = radius / |u|."""
    norm = optax.tree.norm(direction)
    # a zero direction is not scaled: both points are w
    scale = radius / jnp.where(norm > 0, norm, 1)

    def at(sign):
        def shift(leaf, along):
            return (leaf + sign * scale * along).astype(leaf.dtype)

        return gradient(jax.tree.map(shift, params, direction))

    ahead, behind = at(1), at(-1)
    return jax.tree.map(lambda a, b: (a - b) * (norm / (2 * radius)), ahead, behind)
