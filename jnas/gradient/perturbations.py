"""Perturbations: mixing weights disturbed in the training loss of the parameters.

Each is ``(key, weights, progress f32[], loss) -> weights``, arrays or pytrees of arrays
f32[..., O] whose rows are the last axis. Parameters trained at disturbed weights give a
loss that is smooth in the architecture. A disturbance is at most epsilon. The weights
are then projected: they are clamped to [0, 1] and each row is divided by its sum, which
can move them by more than epsilon. A weight of exactly 0 stays 0, so a removed option
stays removed, and a row of zeros stays a row of zeros. Other rows sum to 1 afterwards,
whatever their sum was before.

Source: Chen and Hsieh 2020, arXiv:2002.05283, algorithm 1.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jnas import registry, types


@registry.PERTURBATIONS.register
def uniform(
    key: types.Key,
    weights: types.Weights,
    progress: types.Array,
    loss: Callable[[types.Weights], types.Array],
    *,
    start: float = 0.03,
    end: float = 0.3,
):
    """Adds U(-epsilon, epsilon) to each weight, then projects: SDARTS-RS.

    epsilon grows linearly from start to end.

    Args:
      key: consumed by the noise.
      weights: of the space.
      progress: f32[], 0 to 1.
      loss: not used; the noise does not depend on it.
      start: epsilon at progress 0.
      end: epsilon at progress 1.

    Returns:
      Arrays like the weights, rows that sum to 1.

    Source: arXiv:2002.05283, section 3.
    """
    del loss
    epsilon = start + (end - start) * progress
    return jax.tree.map(_project, _noisy(key, weights, epsilon), _nonzero(weights))


@registry.PERTURBATIONS.register
def adversarial(
    key: types.Key,
    weights: types.Weights,
    progress: types.Array,
    loss: Callable[[types.Weights], types.Array],
    *,
    start: float = 0.03,
    end: float = 0.3,
    num_steps: int = 7,
):
    """Maximises the loss inside the L-inf ball around the weights: SDARTS-ADV.

    From weights + U(-epsilon, epsilon), projected, each step adds
    2 epsilon / num_steps times the sign of the loss's gradient, then clips the result
    to the ball |w - weights| <= epsilon, clamps it to [0, 1] and divides each row by
    its sum; the quotients may lie outside the ball. If the loss did not increase, or is
    NaN, the weights are returned unchanged. The result is a constant: no gradient flows
    through it.

    Args:
      key: consumed by the random start.
      weights: of the space.
      progress: f32[], 0 to 1; epsilon grows linearly with it.
      loss: weights -> f32[], differentiable.
      start: epsilon at progress 0.
      end: epsilon at progress 1.
      num_steps: gradient steps, at least 1.

    Returns:
      Arrays like the weights; their loss is at least that of weights.

    Raises:
      ValueError: num_steps below 1.

    Source: arXiv:2002.05283, section 3; number, size and order of the steps are those
    of its released code. Differs: there a supernet has running statistics, and the
    attack and the losses that judge it are computed with them; here with those of the
    batch. In the reference code the cosine of the two first gradients is 0.06 to 0.72;
    in a tiny supernet of 3 cells with digits, batches of 64 and the fixed statistics of
    1,024 images it is 0.54 to 0.93, and 3 of 4 signs are equal.
    """
    if num_steps < 1:
        raise ValueError(
            f"num_steps must be at least 1, got {num_steps}. Use uniform for none."
        )
    epsilon = start + (end - start) * progress
    inside, slope = _nonzero(weights), jax.grad(loss)

    def climb(_, found):
        def of_leaf(found, slope, weights, inside):
            found += 2 * epsilon / num_steps * jnp.sign(slope)
            near = jnp.clip(found, weights - epsilon, weights + epsilon)
            return _project(near, inside)

        return jax.tree.map(of_leaf, found, slope(found), weights, inside)

    found = jax.tree.map(_project, _noisy(key, weights, epsilon), inside)
    found = jax.lax.fori_loop(0, num_steps, climb, found)
    both = jax.tree.map(lambda *two: jnp.stack(two), weights, found)
    before, after = jax.lax.map(loss, both)
    chosen = jax.tree.map(lambda f, w: jnp.where(after > before, f, w), found, weights)
    return jax.lax.stop_gradient(chosen)


def _nonzero(weights):
    return jax.tree.map(lambda own: own != 0, weights)


def _noisy(key, weights, epsilon):
    """Adds U(-epsilon, epsilon) to each weight; a single leaf by the key as it is."""
    leaves, treedef = jax.tree.flatten(weights)
    keys = [key] if len(leaves) == 1 else jax.random.split(key, len(leaves))
    noisy = [
        leaf
        + epsilon * jax.random.uniform(own, leaf.shape, leaf.dtype, minval=-1, maxval=1)
        for own, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, noisy)


def _project(moved, inside):
    """Clamps to [0, 1] and divides rows by their sums; removed candidates become 0.

    A row that is 0 after clamping becomes one-hot on its largest candidate, as in the
    released code.
    """
    clamped = jnp.where(inside, jnp.clip(moved, 0, 1), 0)
    largest = jnp.where(inside, moved, -jnp.inf).argmax(-1)
    lone = jax.nn.one_hot(largest, moved.shape[-1], dtype=moved.dtype) * inside
    total = clamped.sum(-1, keepdims=True)
    return jnp.where(total > 0, clamped / jnp.where(total > 0, total, 1), lone)
