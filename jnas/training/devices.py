"""Maps a function over seeds: by vmap, one after another, or over several devices."""

from collections.abc import Callable
from typing import Any

import jax


def together(function: Callable, states: Any) -> Any:
    """Maps over seeds by ``jax.vmap``: each operation runs for all seeds at once."""
    return jax.vmap(function)(states)


def in_turn(function: Callable, states: Any) -> Any:
    """Maps over seeds by ``jax.lax.map``: one after another, in the memory of one."""
    return jax.lax.map(function, states)


def default_over_runs() -> Callable:
    """Returns ``in_turn`` on CPU and ``together`` elsewhere."""
    # On CPU, vmap turns a user's plain nnx.Conv into slow grouped convolutions. With
    # jnas' own operations vmap is up to a third faster in small networks.
    return in_turn if jax.default_backend() == "cpu" else together


def divided(function: Callable, states: Any) -> Any:
    """Maps over seeds, an equal share of them on each device of the process.

    Each device maps as ``default_over_runs`` does. One device runs all seeds where the
    number of seeds is not a multiple of the number of devices.
    """
    form, devices = default_over_runs(), jax.local_devices()
    count = jax.tree.leaves(states)[0].shape[0]
    if len(devices) == 1 or count % len(devices):
        return form(function, states)
    kind = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((len(devices),), ("seeds",), kind, devices=devices)
    spec = jax.sharding.PartitionSpec("seeds")
    split = jax.shard_map(
        lambda states: form(function, states),
        mesh=mesh,
        in_specs=spec,
        out_specs=spec,
        check_vma=False,
    )
    return split(states)
