"""Curvature of a function at a point, from Hessian-vector products only.

Nothing here depends on architectures: a point is any pytree of floating-point arrays,
and the function is given by its gradient.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jnas import types


def dominant_eigenvalue(
    gradient: Callable[[types.Params], types.Params],
    at: types.Params,
    key: types.Key,
    *,
    num_iterations: int = 32,
) -> types.Array:
    """Estimates the algebraically largest eigenvalue of a function's Hessian.

    Lanczos iteration from a random direction; each new direction is made orthogonal to
    all earlier ones. An iteration costs one Hessian-vector product, the derivative of
    ``gradient`` along a direction (about two gradients), and num_iterations directions
    are stored. Largest means nearest to plus infinity: a Hessian with eigenvalues -5
    and 1 gives 1. The estimate is a lower bound, and exact up to rounding once there
    are as many iterations as distinct eigenvalues.

    Args:
      gradient: point -> gradient at the point, a pytree like it. It must be a
        gradient, so that its Jacobian is symmetric, and the same function in each call:
        fix its keys and batches.
      at: the point, a pytree of floating-point arrays, N numbers in total.
      key: consumed by the first direction.
      num_iterations: at least 1; at most N are computed.

    Returns:
      f32[].

    Raises:
      ValueError: num_iterations below 1, or a point without entries.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> def f(x):
      ...     return 3 * x["a"] ** 2 - 5 * x["b"] ** 2
      >>> point = {"a": jnp.float32(1), "b": jnp.float32(2)}
      >>> top = dominant_eigenvalue(jax.grad(f), point, jax.random.key(0))
      >>> round(float(top), 4)
      6.0

    Source: Lanczos 1950, with the second pass of Daniel et al. 1976. RobustDARTS, Zela
    et al. 2020, arXiv:1909.09656, section 4, monitors this eigenvalue of the validation
    loss in the architecture. Differs: its code builds the whole Hessian, row by row.
    """
    point, unravel = ravel_pytree(at)
    if num_iterations < 1:
        raise ValueError(
            f"num_iterations must be at least 1, got {num_iterations}. Raise it."
        )
    if not point.size:
        raise ValueError(
            f"at must hold at least one number, got {at!r}. Pass the variables."
        )

    def product(direction):
        return ravel_pytree(jax.jvp(gradient, (at,), (unravel(direction),))[1])[0]

    first = jax.random.normal(key, point.shape, point.dtype)
    diagonal, beside = _lanczos(product, first, min(num_iterations, point.size))
    off = jnp.diag(beside[:-1], 1)
    return jnp.linalg.eigvalsh(jnp.diag(diagonal) + off + off.T)[-1]


def _lanczos(product, first, num_iterations):
    """Returns the tridiagonal matrix's diagonal f32[K] and off-diagonal f32[K].

    The last off-diagonal entry belongs to the direction after the last one. When the
    directions span the whole Krylov space of the first, the iteration ends early: the
    rest of the diagonal repeats its first entry, which never exceeds the largest
    eigenvalue, and the rest of the off-diagonal is 0.
    """
    noise = jnp.finfo(first.dtype).eps * first.size**0.5

    def step(carry, number):
        basis, direction, alive, scale = carry
        basis = basis.at[number].set(direction)
        image = product(direction)
        scale = jnp.maximum(scale, jnp.linalg.norm(image))
        diagonal = _dot(direction, image)
        left = _remove(basis, _remove(basis, image))  # twice, against rounding
        length = jnp.linalg.norm(left)
        goes_on = alive & (length > noise * scale)
        beside = jnp.where(goes_on, length, 0)
        direction = jnp.where(goes_on, left / jnp.where(goes_on, length, 1), 0)
        return (basis, direction, goes_on, scale), (diagonal, beside, alive)

    basis = jnp.zeros((num_iterations, first.size), first.dtype)
    scale = jnp.zeros((), first.dtype)
    carry = basis, first / jnp.linalg.norm(first), jnp.bool_(True), scale
    _, (diagonal, beside, alive) = jax.lax.scan(step, carry, jnp.arange(num_iterations))
    return jnp.where(alive, diagonal, diagonal[0]), beside


def _remove(basis, vector):
    """Subtracts a vector's projection on the rows of an orthonormal basis."""
    return vector - _dot(_dot(basis, vector), basis)


def _dot(left, right):
    """Multiplies in full precision, without which the basis loses orthogonality."""
    return jnp.dot(left, right, precision=jax.lax.Precision.HIGHEST)
