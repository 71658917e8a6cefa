"""How independent runs share devices: together, in turn, or divided among them."""

from collections.abc import Callable
from typing import Any

import jax


def together(function: Callable, states: Any) -> Any:
    """Maps over seeds by ``jax.vmap``: all of them in each operation."""
    return jax.vmap(function)(states)


def in_turn(function: Callable, states: Any) -> Any:
    """Maps over seeds by ``jax.lax.map``: one run after another, in one's memory."""
    return jax.lax.map(function, states)


def default_over_runs() -> Callable:
    """Returns ``in_turn`` on CPU and ``together`` elsewhere."""
    # On CPU vmap would make slow grouped convolutions of a user's plain nnx.Conv; of
    # our own operations it is up to a third faster in small networks.
    return in_turn if jax.default_backend() == "cpu" else together


def divided(function: Callable, states: Any) -> Any:
    """Maps over seeds, a part of them on each of the process' devices.

    On each as ``default_over_runs`` says. All on one where the devices do not divide
    the number of seeds.
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
