"""Relaxations that draw: Gumbel noise, a Dirichlet distribution, or a path."""

from typing import Any

import jax
import jax.numpy as jnp

from jnas import registry, types


@registry.RELAXATIONS.register
def gumbel_softmax(
    key: types.Key,
    logits: types.Logits,
    progress: types.Array,
    *,
    start: float = 1.0,
    end: float = 0.03,
):
    """Samples relaxed one-hot weights whose temperature falls geometrically.

    weights = softmax((log_softmax(logits) + G) / t), G standard Gumbel, the temperature
    t = start (end / start)^progress.

    Args:
      key: consumed by the sample.
      logits: f32[..., O].
      progress: f32[], 0 to 1.
      start: temperature at progress 0.
      end: temperature at progress 1.

    Returns:
      f32[..., O], rows that sum to 1.

    Source: Jang et al. 2017, arXiv:1611.01144; the schedule is that of Wu et al. 2019,
    arXiv:1812.03443, the temperatures those of SNAS.
    """
    return _relaxed(key, logits, start * (end / start) ** progress)


@registry.RELAXATIONS.register
def gumbel_softmax_linear(
    key: types.Key,
    logits: types.Logits,
    progress: types.Array,
    *,
    start: float = 1.0,
    end: float = 0.03,
):
    """Samples relaxed one-hot weights whose temperature falls linearly.

    As ``gumbel_softmax``, with the temperature start + (end - start) progress.

    Args:
      key: consumed by the sample.
      logits: f32[..., O].
      progress: f32[], 0 to 1.
      start: temperature at progress 0.
      end: temperature at progress 1.

    Returns:
      f32[..., O], rows that sum to 1.

    Source: Xie et al. 2019, arXiv:1812.09926, equation 4; the schedule is that of its
    released code.
    """
    return _relaxed(key, logits, start + (end - start) * progress)


@registry.RELAXATIONS.register
def straight_through(
    key: types.Key,
    logits: types.Logits,
    progress: types.Array,
    *,
    start: float = 10.0,
    end: float = 0.1,
):
    """Samples one-hot weights whose gradient is that of their relaxation.

    p = softmax((log_softmax(logits) + G) / t), G standard Gumbel, the temperature t
    falling linearly from start to end; weights = one_hot(argmax p), exactly 0 and 1,
    and their derivative is that of p, so every candidate receives a gradient.

    Args:
      key: consumed by the sample.
      logits: f32[..., O].
      progress: f32[], 0 to 1.
      start: temperature at progress 0.
      end: temperature at progress 1.

    Returns:
      f32[..., O], one-hot rows.

    Source: Dong and Yang 2019, arXiv:1910.04465, section 3.2. Differs: the code samples
    again where a sample is not finite; jax.random.gumbel is always finite.
    """
    temperature = start + (end - start) * progress
    noisy = _noisy(key, logits, temperature)
    soft = jax.nn.softmax(noisy, -1)
    hard = jax.nn.one_hot(noisy.argmax(-1), logits.shape[-1], dtype=soft.dtype)
    return hard + (soft - jax.lax.stop_gradient(soft))


@registry.RELAXATIONS.register
def straight_through_winner(
    key: types.Key,
    logits: types.Logits,
    progress: types.Array,
    *,
    start: float = 10.0,
    end: float = 0.1,
):
    """Samples one-hot weights, of which the 1 alone has a gradient.

    As ``straight_through``, but a candidate of weight 0 gives the logits no gradient:
    it is not computed, nor is its weight a number in the network.

    Args:
      key: consumed by the sample.
      logits: f32[..., O].
      progress: f32[], 0 to 1.
      start: temperature at progress 0.
      end: temperature at progress 1.

    Returns:
      f32[..., O], one-hot rows.

    Source: the released code of Dong and Yang 2019, arXiv:1910.04465, in the DARTS
    space; its code for NAS-Bench-201 is ``straight_through``.
    """
    given = straight_through(key, logits, progress, start=start, end=end)
    return jnp.where(jax.lax.stop_gradient(given) > 0.5, given, 0)


@registry.RELAXATIONS.register
def dirichlet(key: types.Key, logits: types.Logits, progress: types.Array):
    """Samples weights from Dirichlet(c), c = elu(logits) + 1.

    The mean weights are c / sum c, and their variance falls as sum c grows. Gradients
    are pathwise: their mean over keys is the gradient of the mean loss. The same holds
    for second derivatives, forward over reverse (reverse over reverse does not work).
    They are not the derivative of one key's sample, which is discontinuous where the
    rejection sampler rejects.

    Args:
      key: consumed by the sample.
      logits: f32[..., O].
      progress: not used.

    Returns:
      f32[..., O], rows that sum to 1.

    Source: Chen, Wang, Cheng, Tang and Hsieh 2021, arXiv:2006.10355, section 2.
    Differs: small c is sampled from Gamma(c + 1), for finite gradients (see below).
    """
    del progress
    gamma_key, boost_key = jax.random.split(key)
    c = concentration(logits)
    # Gamma(c) = Gamma(c + 1) U^(1/c). JAX sets a sample's gradient to 0 below 1e-38 and
    # its second derivative is NaN below 1e-19; c of at least a half stays above both.
    small = c < 0.5
    log_u = -jax.random.exponential(boost_key, c.shape, c.dtype)
    samples = jax.random.loggamma(gamma_key, jnp.where(small, c + 1, c))
    samples += jnp.where(small, log_u / c, 0)
    return jax.nn.softmax(jnp.where(jnp.isneginf(logits), -jnp.inf, samples), -1)


@registry.RELAXATIONS.register
def uniform_path(
    key: types.Key, logits: types.Logits, progress: types.Array, *, space: Any = None
):
    """Draws one architecture uniformly, whatever the logits are.

    Options with a logit of -inf are never drawn. The gradient of the logits is 0.

    Args:
      key: consumed.
      logits: leaves f32[..., O], of which only -inf is read.
      progress: not used.
      space: a search gives its own; of cells whose nodes choose their inputs, the other
        edges then have rows of zeros. None draws an option of every row.

    Returns:
      Weights like the logits: those of an encoding of the space, or one-hot rows.

    Source: Li and Talwalkar 2019, arXiv:1902.07638, section 3.2; Guo et al. 2020,
    arXiv:1904.00420, section 3.3.
    """
    del progress
    leaves, treedef = jax.tree.flatten(logits)
    keys = jax.random.split(key, len(leaves))
    # the largest of equally many uniform numbers is anywhere with equal chances
    drawn = [
        jnp.where(jnp.isneginf(leaf), -1.0, jax.random.uniform(own, leaf.shape))
        for own, leaf in zip(keys, leaves, strict=True)
    ]
    if space is not None:
        scores = jax.tree.unflatten(treedef, drawn)
        return space.weights(space.strongest(scores))
    rows = [jax.nn.one_hot(one.argmax(-1), one.shape[-1]) for one in drawn]
    return jax.tree.unflatten(treedef, rows)


uniform_path.whole = True  # it gets all leaves at once, and the space


def concentration(logits: types.Logits) -> types.Array:
    """Returns max(elu(logits) + 1, 1e-6), the concentration of ``dirichlet``.

    Args:
      logits: f32[..., O].

    Returns:
      f32[..., O]: exp(logits) below 0 and logits + 1 above.
    """
    # not jax.nn.elu, whose expm1 rounds exp(logits) away when 1 is added
    below = jnp.exp(jnp.where(logits > 0, 0, logits))
    return jnp.maximum(jnp.where(logits > 0, logits + 1, below), 1e-6)


def _relaxed(key, logits, temperature) -> types.Array:
    return jax.nn.softmax(_noisy(key, logits, temperature), -1)


def _noisy(key, logits, temperature) -> types.Array:
    """Adds Gumbel noise to normalised logits, and divides by the temperature."""
    noise = jax.random.gumbel(key, logits.shape, logits.dtype)
    return (jax.nn.log_softmax(logits, -1) + noise) / temperature
