"""Relaxations without draws: a row of weights follows from a row of logits."""

import jax
import jax.numpy as jnp

from jnas import registry, types


@registry.RELAXATIONS.register
def softmax(key: types.Key, logits: types.Logits, progress: types.Array):
    """Computes a softmax over the candidates of each edge.

    Args:
      key: not used.
      logits: f32[..., O].
      progress: not used.

    Returns:
      f32[..., O], rows that sum to 1.

    Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, equation 2.
    """
    del key, progress
    return jax.nn.softmax(logits, -1)


@registry.RELAXATIONS.register
def annealed_softmax(
    key: types.Key,
    logits: types.Logits,
    progress: types.Array,
    *,
    start: float = 1.6,
    end: float = 0.1231,
):
    """Computes softmax(logits / t), the temperature t falling over the search.

    t = start (end / start)^progress. The defaults are a factor of 0.95 in each of 50
    epochs.

    Args:
      key: not used.
      logits: f32[..., O].
      progress: f32[], 0 to 1.
      start: temperature at progress 0.
      end: temperature at progress 1.

    Returns:
      f32[..., O], rows that sum to 1.

    Source: Noy et al. 2020, arXiv:1904.04123. Differs: no code of the authors was
    found; the numbers are those of a third party's, UniNAS.
    """
    del key
    return jax.nn.softmax(logits / (start * (end / start) ** progress), -1)


@registry.RELAXATIONS.register
def sigmoid(key: types.Key, logits: types.Logits, progress: types.Array):
    """Computes a sigmoid of each logit, so that candidates do not compete.

    Args:
      key: not used.
      logits: f32[..., O].
      progress: not used.

    Returns:
      f32[..., O] in [0, 1]; rows need not sum to 1.

    Source: Chu, Zhou, Zhang and Li 2020, arXiv:1911.12126, section 4.
    """
    del key, progress
    return jax.nn.sigmoid(logits)


@registry.RELAXATIONS.register
def simplex(key: types.Key, logits: types.Array, progress: types.Array):
    """Computes a softmax whose gradient reaches the logits as it is.

    d loss / d logits := d loss / d weights, without the softmax's own derivative: a
    step of gradient descent on the logits then multiplies the weights by
    exp(-rate * gradient) and divides them by their sum, which is mirror descent on the
    simplex (``optimizers.exponentiated``). The mean of a row's gradient is subtracted:
    it moves no weight.

    Args:
      key: not used.
      logits: f32[..., O].
      progress: not used.

    Returns:
      f32[..., O], rows that sum to 1.

    Source: Li, Khodak, Balcan and Talwalkar 2021, arXiv:2004.07802, section 3.
    """
    del key, progress
    inside = ~jnp.isneginf(logits)
    free = jnp.where(inside, logits, 0)
    mean = jnp.mean(free, -1, keepdims=True, where=inside)
    centred = jnp.where(inside, free - mean, 0)
    weights = jax.lax.stop_gradient(jax.nn.softmax(logits, -1))
    return weights + (centred - jax.lax.stop_gradient(centred))


simplex.on_simplex = True  # its gradient is that of weights


@registry.RELAXATIONS.register
def uniform(key: types.Key, logits: types.Array, progress: types.Array):
    """Gives every option that is left the weight 1 / O, whatever its logit.

    Args:
      key: not used.
      logits: f32[..., O].
      progress: not used.

    Returns:
      f32[..., O], 1 / O or 0; rows sum to the share of options that are left.

    Source: He et al. 2024, arXiv:2312.12648, released code.
    """
    del key, progress
    return jnp.where(jnp.isneginf(logits), 0, 1 / logits.shape[-1]).astype(logits.dtype)


def entropy(weights: types.Weights) -> types.Array:
    """Returns the mean entropy of the rows, in nats.

    Args:
      weights: f32[..., O], rows that sum to 1.

    Returns:
      f32[]; log(O) for uniform rows, 0 for one-hot rows.
    """
    return -jnp.sum(jax.scipy.special.xlogy(weights, weights), -1).mean()
