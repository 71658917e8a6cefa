"""Relaxations that draw one-hot weights and estimate the gradient of their mean loss.

``relaxations.straight_through``, GDAS' own, is the plainest of them.
"""

import jax
import jax.numpy as jnp

from jnas import registry, types
from jnas.gradient import relaxations


@registry.RELAXATIONS.register
def reinmax(
    key: types.Key,
    logits: types.Logits,
    progress: types.Array,
    *,
    temperature: float = 1.0,
):
    """Samples one-hot weights with the gradient of Heun's method (ReinMax).

    With p = softmax(logits), D ~ Categorical(p), q = (softmax(logits / temperature) +
    D) / 2 and J_x = diag(x) - x x', a row's gradient g becomes (2 J_q - J_p / 2)' g. At
    temperature 1 its mean over D is the gradient of the mean loss, exactly, where the
    loss is a quadratic function of the weights.

    J_q is built from a softmax whose value is q, so that second derivatives in the
    logits are those of this softmax; mixed ones, which the hypergradients take, are
    exact. Every option's output is needed, so that skip_zeros is refused.

    Args:
      key: consumed by the sample.
      logits: f32[..., O].
      progress: not used.
      temperature: of the softmax inside q, at least 1.

    Returns:
      f32[..., O], one-hot rows.

    Raises:
      ValueError: a temperature below 1.

    Source: Liu, Dong, Liu, Yu and Gao 2023, arXiv:2304.08612, and its released code.
    """
    del progress
    if temperature < 1:
        raise ValueError(
            f"temperature must be at least 1 in reinmax, got {temperature}. Use "
            "straight_through for lower ones."
        )
    fixed, drawn = jax.lax.stop_gradient, jax.random.categorical(key, logits)
    hard = jax.nn.one_hot(drawn, logits.shape[-1], dtype=logits.dtype)
    q = (jax.nn.softmax(logits / temperature, -1) + hard) / 2
    free = jnp.where(jnp.isneginf(logits), 0, logits)
    near = jax.nn.softmax(free + fixed(jnp.log(q) - free), -1)  # its value is q
    moving = 2 * near - jax.nn.softmax(logits, -1) / 2
    return hard + (moving - fixed(moving))


reinmax.needs_zeros = True  # its gradient is that of all options


@registry.RELAXATIONS.register
def simplex_straight_through(
    key: types.Key,
    logits: types.Logits,
    progress: types.Array,
    *,
    start: float = 10.0,
    end: float = 0.1,
    warm_up: float = 50 / 249,
):
    """Samples one-hot weights whose gradient reaches theta = softmax(logits) itself.

    It is ``straight_through`` of log(theta), and what ``simplex`` is to softmax: with
    p = softmax((log(theta) + G) / t) and a gradient g of the weights,

      d loss / d theta_i = p_i (g_i - p'g) / (t theta_i),

    which is given to the logits as it is, without the row's mean, for
    ``optimizers.exponentiated``. t = start + (end - start) max(progress - warm_up, 0).

    Args:
      key: consumed by the sample.
      logits: f32[..., O].
      progress: f32[], 0 to 1.
      start: temperature until the warm-up has passed.
      end: temperature that progress 1 has without a warm-up; with one it stays higher.
      warm_up: progress until which the temperature stays, such as that of the epochs
        in which logits are frozen; 50 of 250 epochs.

    Returns:
      f32[..., O], one-hot rows.

    Source: the released code of Li, Khodak, Balcan and Talwalkar 2021,
    arXiv:2004.07802 (egdas). Differs: it gives no number of epochs, 250 are GDAS'.
    """
    theta = relaxations.simplex(key, logits, progress)
    logs = jnp.log(jnp.maximum(theta, 1e-12))  # below, 1 / theta**2 would overflow
    logs = jnp.where(jnp.isneginf(logits), -jnp.inf, logs)
    later = jnp.maximum(progress - warm_up, 0)
    return relaxations.straight_through(key, logs, later, start=start, end=end)


simplex_straight_through.on_simplex = True  # its gradient is that of weights
