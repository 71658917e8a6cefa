"""Maps a function over equal things, such as seeds, on each device: vmap or in turn."""

from collections.abc import Callable
from typing import Any

import jax

from jnas.ops import norm

DATA = "data"  # mesh axis of the devices that share a batch


def together(function: Callable, states: Any, *shared: Any) -> Any:
    """Maps over seeds by ``jax.vmap``: each operation runs for all seeds at once.

    Args:
      function: (state, *shared) -> results.
      states: with a leading axis S.
      *shared: arguments that are the same for all.

    Returns:
      The results, with the same axis.
    """
    return jax.vmap(lambda state: function(state, *shared))(states)


def in_turn(function: Callable, states: Any, *shared: Any) -> Any:
    """Maps over seeds by ``jax.lax.map``: one after another, in the memory of one.

    Args:
      function: as for ``together``, like the other arguments.
      states: with a leading axis S.
      *shared: arguments that are the same for all.
    """
    return jax.lax.map(lambda state: function(state, *shared), states)


def default_over_runs() -> Callable:
    """Returns ``in_turn`` on CPU and where devices share batches, else ``together``."""
    # On CPU, vmap turns a user's plain nnx.Conv into slow grouped convolutions. With
    # jnas' own operations vmap is up to a third faster in small networks. Of batches
    # that are split, vmap would gather whole activations on every device.
    shared = axis_size(DATA) * axis_size(norm.AXIS) > 1
    if jax.default_backend() == "cpu" or shared:
        return in_turn
    return together


def mapped(function: Callable, states: Any, *shared: Any) -> Any:
    """Maps over seeds as ``default_over_runs`` says where it is called.

    Args:
      function: as for ``together``, like the other arguments.
      states: with a leading axis S.
      *shared: arguments that are the same for all.
    """
    return default_over_runs()(function, states, *shared)


def axis_size(name: str) -> int:
    """Returns the number of devices along an axis of the ambient mesh; 1 without one.

    Args:
      name: of the axis.
    """
    return dict(jax.sharding.get_abstract_mesh().shape).get(name, 1)
