"""The second-order gradient as the DARTS paper computes it: by two probes.

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
    """Takes the mixed second derivative of one unrolled step by a central difference.

    w' is the optimiser's step from w, v = grad_w' L_valid(w', a), and u is v taken back
    through the update to the gradient that the optimiser was given. With R = radius /
    |u|, |u| the norm over all of w, and g = grad_a L_train,

      d_logits = grad_a L_valid(w', a) + [g(w + R u, a) - g(w - R u, a)] / (2 R).

    This is the paper's form for any optimiser. Its update w - xi (mu m + grad + lam w)
    takes v back to u = -xi v, so that R u = -e, e = radius v / |v|, and 1 / R =
    xi |v| / radius: the difference is -xi [g(w + e, a) - g(w - e, a)] / (2 radius /
    |v|), as published. Where u is zero the difference counts as zero.

    Where L_train is smooth the error falls as radius**2. Between the probes in a ReLU
    network lie kinks of many units, and each adds a jump of g over 2 R: as radius
    falls they grow fewer more slowly than their weight grows, and the error rises,
    about as radius**-0.5, in float64 as in float32. ``unrolled`` has no such error.

    All gradients of L_train are taken with one key, so that the two probes see the
    same draws and differ by w alone.

    Args:
      train_loss: (key, params, logits, batch) -> (loss f32[], metrics).
      valid_loss: likewise.
      optimizer: of w; its state is read, never changed.
      radius: distance of the probes from w, over all of w; above 0.

    Returns:
      fn(key, params, opt_state, logits, train, valid) -> ((loss, metrics), d_logits).

    Raises:
      ValueError: radius that is not above 0.

    Source: arXiv:1806.09055, equation 8, with epsilon = 0.01 / |v|. Differs: the
    paper's code leaves clipping out of the unrolled step, where this one unrolls, and
    goes back through, the step that is really taken.
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
        norm = optax.tree.norm(direction)
        # of a zero direction no multiple is taken: the probes coincide
        scale = radius / jnp.where(norm > 0, norm, 1)

        def slope(sign):
            def shift(leaf, along):
                return (leaf + sign * scale * along).astype(leaf.dtype)

            probe = jax.tree.map(shift, params, direction)
            return probe_gradient(train_key, probe, logits, train)[0]

        ahead, behind = slope(1), slope(-1)
        return value, jax.tree.map(
            lambda d, a, b: (d + (a - b) * (norm / (2 * radius))).astype(d.dtype),
            d_logits,
            ahead,
            behind,
        )

    return hypergradient
