"""Relaxations: how logits become the weights that mix the candidates.

Each is ``(key, logits f32[C, E, O], progress f32[]) -> weights f32[C, E, O]``; a row is
one edge. A method's own schedule is a function of ``progress``, which runs from 0 to 1.
"""

import jax
import jax.numpy as jnp

from jnas import registry, types


@registry.RELAXATIONS.register
def softmax(key: types.Key, logits: types.Logits, progress: types.Array):
    """Weighs by softmax over the candidates of each edge.

    Args:
      key: not used; nothing is random.
      logits: f32[C, E, O].
      progress: not used; nothing changes over the search.

    Returns:
      f32[C, E, O], rows that sum to 1.

    Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, equation 2.
    """
    del key, progress
    return jax.nn.softmax(logits, -1)


@registry.RELAXATIONS.register
def gumbel_softmax(
    key: types.Key,
    logits: types.Logits,
    progress: types.Array,
    *,
    start: float = 1.0,
    end: float = 0.03,
):
    """Weighs by a relaxed one-hot sample, sharper as the search goes on.

    weights = softmax((log_softmax(logits) + G) / t), G standard Gumbel, the temperature
    t falling geometrically from start to end.

    Args:
      key: consumed by the sample.
      logits: f32[C, E, O].
      progress: f32[], 0 to 1.
      start: temperature at progress 0.
      end: temperature at progress 1.

    Returns:
      f32[C, E, O], rows that sum to 1.

    Source: Xie et al. 2019, arXiv:1812.09926, equation 4. Differs: the paper gives the
    ends of the temperature, not the curve between them.
    """
    temperature = start * (end / start) ** progress
    noise = jax.random.gumbel(key, logits.shape, logits.dtype)
    return jax.nn.softmax((jax.nn.log_softmax(logits, -1) + noise) / temperature, -1)


def entropy(weights: types.Weights) -> types.Array:
    """Returns the mean entropy of the rows, in nats.

    Args:
      weights: f32[..., O], rows that sum to 1.

    Returns:
      f32[]; log(O) for uniform rows, 0 for one-hot rows.
    """
    return -jnp.sum(jax.scipy.special.xlogy(weights, weights), -1).mean()
