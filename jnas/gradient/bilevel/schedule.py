"""Numbers of a hypergradient that follow the search."""

from typing import Any

import jax.numpy as jnp

from jnas import types


def cosine(batch: Any, start: float, end: float, *, after: float = 0.0) -> types.Array:
    """Returns a number that falls along a cosine over the progress of a batch.

    end + (start - end) (1 + cos(pi u)) / 2, u = (progress - after) / (1 - after), at
    least 0.

    Args:
      batch: has ``progress`` f32[], from 0 to 1 over the search; one without it is at
        the start.
      start: at progress ``after`` and before.
      end: at progress 1.
      after: progress at which the fall begins, below 1.
    """
    progress = jnp.asarray(getattr(batch, "progress", 0.0))
    share = jnp.clip((progress - after) / (1 - after), 0, 1)
    return end + (start - end) * (1 + jnp.cos(jnp.pi * share)) / 2
