"""Partial channels: F / k features go through the candidates, the rest bypass them.

The result is shuffled, so that the next edges' candidates see all features in turn. The
shuffle is one permutation of a node's features, the same for each edge that enters it;
each edge applies it to its output, as a padding between features.

Source: Xu et al. 2020, arXiv:1907.05737, section 3.2 and its released code.
"""

import jax.numpy as jnp
from jax import lax

from jnas import types


def narrow(x: types.Array, partial: int) -> types.Array:
    """Takes the features that go through the candidates.

    Args:
      x: f32[..., F].
      partial: k; 1 takes all.

    Returns:
      f32[..., F / k].
    """
    return x[..., : x.shape[-1] // partial]


def widen(y: types.Array, partial: int) -> types.Array:
    """Puts the candidates' output at its places after the shuffle; zeros elsewhere.

    Args:
      y: f32[..., F / k].
      partial: k.

    Returns:
      f32[..., F]: feature i of y is feature i k.
    """
    if partial == 1:
        return y
    between = [(0, 0, 0)] * (y.ndim - 1) + [(0, partial - 1, partial - 1)]
    return lax.pad(y, jnp.zeros((), y.dtype), between)


def bypass(x: types.Array, partial: int, stride: int) -> types.Array:
    """Puts the features that bypass the candidates at their places after the shuffle.

    Args:
      x: f32[B, H, W, F].
      partial: k, above 1.
      stride: 2 halves the image by 2x2 max-pooling.

    Returns:
      f32[B, H / stride, W / stride, F]: feature i of group g > 0 is feature i k + g;
      the features i k are zeros.
    """
    rest = x[..., x.shape[-1] // partial :]
    if stride == 2:
        rest = _max_2x2(rest)
    *lead, width = rest.shape
    groups = rest.reshape(*lead, partial - 1, width // (partial - 1))
    padded = jnp.pad(groups.swapaxes(-1, -2), [(0, 0)] * (len(lead) + 1) + [(1, 0)])
    return padded.reshape(*lead, -1)


def _max_2x2(x: types.Array) -> types.Array:
    """f32[B, ceil(H / 2), ceil(W / 2), F]: an odd side's last window is smaller."""
    b, h, w, f = x.shape
    padding = [(0, 0), (0, h % 2), (0, w % 2), (0, 0)]
    x = jnp.pad(x, padding, constant_values=-jnp.inf)
    return x.reshape(b, -(-h // 2), 2, -(-w // 2), 2, f).max((2, 4))
