"""Places programs on devices: one mesh, seeds apart, batches split among the rest.

Devices are divided among the seeds first, which never communicate; those that share a
seed split its batches:

    8 devices   1 seed            4 seeds           8 seeds
    seeds 1     b b b b b b b b
    seeds 4                       b b | b b | ...
    seeds 8                                         b | b | b | b | b | b | b | b
                data 8            data 2            data 1

Parameters are on every device of a seed. XLA's partitioner divides the work: what is
computed of a split batch is split, and sums over it are all-reduced. A batch norm's
statistics are those of the whole batch, or, with the group "device", of each device's
images.

While a program runs its mesh is ambient (``jax.set_mesh``). It is made of all devices
of all processes, or of those that ``over`` has chosen. With a single device there is no
mesh.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jnas.ops import norm
from jnas.training import devices as devices_lib
from jnas.training.devices import DATA as DATA

SEEDS = "seeds"
WHOLE = PartitionSpec()  # on every device
APART = PartitionSpec(SEEDS)  # the leading axis is divided among the groups of devices
NORM_GROUPS = ("global", "device")


class Devices(NamedTuple):
    """Devices that programs run on.

    Attributes:
      devices: of all processes; all that there are when None.
      norm_group: whose images a batch norm takes its statistics from: "global", the
        whole batch, or "device", each device's own.
    """

    devices: Sequence[jax.Device] | None = None
    norm_group: str = "global"


_CHOSEN: contextvars.ContextVar[Devices | None] = contextvars.ContextVar(
    "devices", default=None
)


@contextlib.contextmanager
def over(
    devices: Sequence[jax.Device] | None = None, *, norm_group: str = "global"
) -> Iterator[None]:
    """Chooses the devices of all programs that run inside.

    Args:
      devices: as in ``Devices``, like the other argument.
      norm_group: one of NORM_GROUPS.
    """
    token = _CHOSEN.set(Devices(devices, norm_group))
    try:
        yield
    finally:
        _CHOSEN.reset(token)


def _choice() -> Devices:
    return _CHOSEN.get() or Devices()


def norm_group() -> str:
    """Returns whose images a batch norm takes its statistics from; see ``over``."""
    return _choice().norm_group


def chosen() -> Sequence[jax.Device]:
    """Returns the devices that programs run on."""
    devices = _choice().devices
    return jax.devices() if devices is None else devices


def num_devices() -> int:
    """Returns the number of devices that programs run on."""
    return len(chosen())


def mesh(count: int | None = None) -> Mesh | None:
    """Lays out the devices for a number of equal things.

    Args:
      count: number of seeds, runs or members; None means one.

    Returns:
      A mesh of the axes ``seeds`` and ``data``: the first is the largest divisor of the
      number of devices that divides count. With the norm group "device" a third axis
      between them holds the devices that share a seed. None for a single device.
    """
    if jax.device_count() == 1:
        return None
    devices = np.asarray(chosen())
    apart = math.gcd(devices.size, count or 1)
    shape = {SEEDS: apart, DATA: -1}
    if norm_group() == "device":
        shape = {SEEDS: apart, norm.AXIS: -1, DATA: 1}
    grid = devices.reshape(*shape.values())
    return Mesh(grid, tuple(shape), axis_types=(AxisType.Auto,) * grid.ndim)


def layout(count: int | None = None) -> dict[str, int]:
    """Returns the axes of ``mesh`` and their sizes; {} for a single device.

    Args:
      count: as for ``mesh``.
    """
    made = mesh(count)
    return dict(made.shape) if made else {}


def check_batch(batch_size: int, count: int | None = None) -> None:
    """Refuses a batch that cannot be split evenly among the devices that share it.

    Args:
      batch_size: number B of examples in a batch.
      count: number of seeds.

    Raises:
      ValueError: B is no multiple of the number of these devices.
    """
    if _tracing():  # a part of another program, which has its own mesh
        return
    shape = layout(count)
    sharing = math.prod(shape.values()) // shape.get(SEEDS, 1)
    if batch_size % sharing:
        raise ValueError(
            f"batch_size must be a multiple of the {sharing} devices that share a "
            f"batch, got {batch_size}. Change --batch_size or --num_devices."
        )


def _tracing() -> bool:
    return isinstance(jnp.zeros(()), jax.core.Tracer)


def split(batch: Any, axis: int = 0) -> Any:
    """Splits a batch among the devices that share it; without a mesh it is unchanged.

    Args:
      batch: arrays with the examples on one axis.
      axis: its number.
    """
    if num_shares() == 1:
        return batch
    known = jax.sharding.get_abstract_mesh().axis_names
    names = tuple(name for name in (norm.AXIS, DATA) if name in known)
    spec = PartitionSpec(*[None] * axis, names)
    return jax.lax.with_sharding_constraint(batch, spec)


def num_shares() -> int:
    """Returns the number of devices that share a batch on the ambient mesh."""
    return devices_lib.axis_size(norm.AXIS) * devices_lib.axis_size(DATA)


def divided(
    function: Callable,
    states: Any,
    *shared: Any,
    form: Callable = devices_lib.mapped,
) -> Any:
    """Maps over seeds, an equal share of them on each group of devices.

    Where the groups do not divide the number of seeds, each maps over all of them.

    Args:
      function: (state, *shared) -> results. It may close over arrays, but not over
        traced ones: those are its arguments.
      states: with a leading axis S.
      *shared: arrays that are the same for all seeds.
      form: how a group maps over its share.

    Returns:
      The results, with the same axis.
    """
    groups = devices_lib.axis_size(SEEDS)
    within = SEEDS in jax.sharding.get_abstract_mesh().manual_axes
    if groups == 1 or within or jax.tree.leaves(states)[0].shape[0] % groups:
        return form(function, states, *shared)
    return jax.shard_map(
        functools.partial(form, function),
        axis_names={SEEDS},
        in_specs=(APART, *[WHOLE] * len(shared)),
        out_specs=APART,
        check_vma=False,
    )(states, *shared)


def put(tree: Any, spec: PartitionSpec = WHOLE, *, count: int | None = None) -> Any:
    """Places arrays on the devices of ``mesh``.

    Args:
      tree: of arrays.
      spec: WHOLE or APART, of all of them.
      count: as for ``mesh``.
    """
    made = mesh(count)
    if made is None:
        return jax.tree.map(
            lambda leaf: leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf),
            tree,
        )
    sharding = NamedSharding(made, spec)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda leaf: _put(leaf, sharding), tree)


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """Places an array that all processes have on the devices of all of them."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.jit(lambda x: x, out_shardings=sharding)(leaf)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _put(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    value = np.asarray(leaf)  # not by device_put, which waits for the other processes
    return jax.make_array_from_callback(value.shape, sharding, lambda at: value[at])


def put_batches(
    read: Callable[[np.ndarray], np.ndarray],
    rows: np.ndarray,
    shape: tuple[int, ...],
    spec: PartitionSpec,
    *,
    count: int | None = None,
) -> jax.Array:
    """Places batches that are read for it: each process reads those of its devices.

    Args:
      read: rows of any shape -> what is in them, [*rows.shape, *shape].
      rows: i[K, B], rows of K batches; i[S, K, B] of S seeds.
      shape: of what is in one row.
      spec: APART where each group of devices has its own seeds, else WHOLE.
      count: as for ``mesh``.

    Returns:
      [K, B, *shape] or [S, K, B, *shape]; the devices that share a batch each have an
      equal part of its B rows.
    """
    made = mesh(count)
    if made is None:
        return jnp.asarray(read(rows))
    seeds = tuple(spec)[: rows.ndim - 2] or (None,) * (rows.ndim - 2)
    sharing = tuple(name for name in (norm.AXIS, DATA) if name in made.axis_names)
    sharding = NamedSharding(made, PartitionSpec(*seeds, None, sharing))
    known: dict[str, np.ndarray] = {}

    def part(where):
        own = where[: rows.ndim]
        if str(own) not in known:  # devices may have the same part
            known[str(own)] = read(rows[own])
        return known[str(own)]

    return jax.make_array_from_callback((*rows.shape, *shape), sharding, part)


def local(tree: Any) -> Any:
    """Returns arrays that this process can read alone; a call of all processes.

    Args:
      tree: of arrays on the devices of all processes.

    Returns:
      The same arrays in one process; in several, copies on this process' own device.
    """
    if jax.process_count() == 1:
        return tree
    leaves = jax.tree.leaves(tree)
    far = [leaf for leaf in leaves if not leaf.is_fully_replicated]
    if far:
        everywhere = NamedSharding(mesh(), WHOLE)
        tree = jax.jit(lambda tree: tree, out_shardings=everywhere)(tree)
    return jax.tree.map(_copied, tree)


def _copied(leaf: jax.Array) -> jax.Array:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _copied(jax.random.key_data(leaf))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if leaf.weak_type and not leaf.shape:
        return jnp.asarray(np.asarray(leaf).item())
    return jnp.asarray(np.asarray(leaf))


def jit(
    function: Callable,
    *,
    count: int | None = None,
    out_specs: Any = WHOLE,
    **how: Any,
) -> Callable:
    """Compiles a function for the devices of ``mesh``, whose axes it sees as ambient.

    Called inside another compiled function it is a part of that one, on its mesh.

    Args:
      function: takes and returns arrays.
      count: as for ``mesh``.
      out_specs: WHOLE, APART, or a tree of them that begins that of the results.
      **how: arguments of ``jax.jit``.
    """
    plain = jax.jit(function, **how)
    if jax.device_count() == 1:
        return plain
    return _Placed(function, plain, count, out_specs, how)


class _Placed:
    """A function that is compiled for the mesh of each call."""

    def __init__(self, function, plain, count, out_specs, how):
        self._function, self._plain, self._how = function, plain, how
        self._count, self._out_specs = count, out_specs
        self._compiled: dict[Mesh, Callable] = {}
        self._met: set[tuple] = set()
        functools.update_wrapper(self, function)

    def __call__(self, *args):
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args)):
            return self._plain(*args)
        with self._on_mesh() as compiled:
            if jax.process_count() > 1:
                self._meet(compiled, args)
            return compiled(*args)

    def _meet(self, compiled, args):
        """Waits, before a program first runs, until all processes have compiled it.

        Devices that begin to talk to each other wait half a minute for one another, and
        compiling takes longer on one host than on another.
        """
        leaves, structure = jax.tree.flatten(args)
        what = structure, *((leaf.shape, str(leaf.dtype)) for leaf in leaves)
        if (compiled, what) in self._met:
            return
        compiled.lower(*args).compile()
        multihost_utils.sync_global_devices("compiled")
        self._met.add((compiled, what))

    def lower(self, *args):
        """Lowers the function for the mesh, as ``jax.jit`` does."""
        with self._on_mesh() as compiled:
            return compiled.lower(*args)

    @contextlib.contextmanager
    def _on_mesh(self):
        made = mesh(self._count)
        if made not in self._compiled:
            out = jax.tree.map(
                lambda spec: NamedSharding(made, spec),
                self._out_specs,
                is_leaf=lambda one: isinstance(one, PartitionSpec),
            )
            how = self._how | {"out_shardings": out}
            self._compiled[made] = jax.jit(self._function, **how)
        with jax.set_mesh(made):
            yield self._compiled[made]

    def _cache_size(self):
        return sum(one._cache_size() for one in self._compiled.values())
