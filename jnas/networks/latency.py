"""A table of latencies: milliseconds of each candidate where a network computes it.

Each kind of candidate, at each shape, is compiled and timed once on the device at hand,
at batch 1; the sum over a cell's edges and a base estimates a network's latency. The
sum leaves out what XLA fuses, what runs side by side and what the caches keep.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import ops, registry, spaces, types
from jnas.networks import costs as costs_lib
from jnas.networks import count as count_lib
from jnas.networks import network
from jnas.networks import skeleton as skeleton_lib
from jnas.spaces import rows as rows_lib

FORMAT, VERSION = "jnas.latency", 1
_SECONDS = 0.01  # of a timed loop, at least
_TRIES = 3  # the shortest of these tells whether a loop is long enough
_MOST_STEPS = 4_096


class Latencies(NamedTuple):
    """Measured milliseconds, from which a space's costs are made.

    Attributes:
      device: name of the device that was timed.
      base: milliseconds of everything outside the candidates, at least 0.
      spots: Spot -> milliseconds, at least 0.
    """

    device: str
    base: float
    spots: Mapping[costs_lib.Spot, float]

    def costs(
        self,
        space: spaces.Space,
        size: skeleton_lib.Size,
        image_shape: tuple[int, int, int],
    ) -> costs_lib.Costs:
        """Returns the latency of networks in milliseconds, as a sum over edges.

        Args:
          space: of the cells.
          size: of the network.
          image_shape: rows, columns and channels of one image.

        Raises:
          ValueError: the table was measured for other candidates or shapes.
        """
        table = np.zeros((len(rows_lib.rows(space)), costs_lib.width(space)))
        for place, spot in _spots(space, size, image_shape):
            if spot not in self.spots:
                raise ValueError(
                    f"latencies must hold every candidate of the network, got none of "
                    f"{spot}. Measure them again, in a new --workdir."
                )
            table[place] += self.spots[spot]
        return costs_lib.Costs(self.base, rows_lib.unflat(space, table), space)

    def to_json(self) -> dict[str, Any]:
        """Returns the content of latency.json."""
        rows = [
            spot._asdict() | {"milliseconds": ms} for spot, ms in self.spots.items()
        ]
        return {
            "format": FORMAT,
            "version": VERSION,
            "device": self.device,
            "base": self.base,
            "candidates": rows,
        }


def device_name() -> str:
    """Returns the name of the device that latencies are measured on."""
    device = jax.devices()[0]
    return f"{device.device_kind} ({device.platform})"


def from_json(content: Any) -> Latencies:
    """Returns the latencies that ``Latencies.to_json`` wrote.

    Args:
      content: of latency.json.

    Raises:
      ValueError: another format, or a number that is none.
    """
    try:
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise ValueError(f"format {content['format']} {content['version']}")
        rows = [dict(row) for row in content["candidates"]]
        spots = {_spot(row): _milliseconds(row["milliseconds"]) for row in rows}
        return Latencies(str(content["device"]), _milliseconds(content["base"]), spots)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"latency.json must hold {FORMAT} {VERSION}, got {error}. Remove it, and "
            "the latencies are measured again."
        ) from None


def _spot(row: dict[str, Any]) -> costs_lib.Spot:
    known = costs_lib.Spot._field_defaults  # a file of earlier releases has none
    name, *numbers = (row.get(n, known.get(n)) for n in costs_lib.Spot._fields)
    if not isinstance(name, str) or any(type(n) is not int for n in numbers):
        raise ValueError(f"the candidate {row}")
    return costs_lib.Spot(name, *numbers)


def _milliseconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < float("inf"):
        raise ValueError(f"{value!r} milliseconds")
    return float(value)


def measure_latencies(
    space: spaces.Space,
    size: skeleton_lib.Size,
    image_shape: tuple[int, int, int],
    *,
    num_repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Latencies:
    """Times every candidate of a space, at batch 1, in evaluation, on this device.

    A candidate is applied again and again in one compiled loop, whose image depends on
    the output before. The time of a loop that applies nothing is taken off; the result
    is the median of the repeats. The base is the time of the network of the cheapest
    cell by these times, less the times of its candidates; ``none`` is left out of this
    cell, as XLA would remove what it cuts off. Of a space of one's own the derived
    network of each option is timed: its difference from the others of its row.

    Args:
      space: of the cells.
      size: of the network.
      image_shape: rows, columns and channels of one image.
      num_repeats: timed runs of each loop.
      clock: () -> seconds.
    """
    if space.supernet not in registry.SPOTS:
        return _of_networks(space, size, image_shape, num_repeats, clock)
    wanted = dict.fromkeys(s for _, s in costs_lib.spots(space, size, image_shape))
    empty: dict[tuple, float] = {}
    found: dict[costs_lib.Spot, float] = {}
    for spot in wanted:
        shape = spot.image
        if shape not in empty:
            empty[shape] = _time(lambda x: x, shape, num_repeats, clock)
        took = _time(_candidate(spot), shape, num_repeats, clock)
        found[spot] = max(took - empty[shape], 0.0)
    table = Latencies(device_name(), 0.0, found)
    costs = table.costs(space, size, image_shape)
    scores = jax.tree.map(
        lambda none, cost: jnp.asarray(np.where(none, -1e30, -cost), jnp.float32),
        rows_lib.where(space, spaces.NONE),
        costs.options,
    )
    cheapest = space.strongest(scores)
    one_hot = jax.tree.map(np.asarray, space.weights(cheapest))
    of_options = float((rows_lib.flat(space, one_hot) * costs.table()).sum())
    whole = network_latency(
        network.derived(space.genotype(cheapest), size),
        image_shape,
        num_repeats=num_repeats,
        clock=clock,
    )
    return table._replace(base=max(whole - of_options, 0.0))


def _spots(space, size, image_shape) -> list:
    """Lists the candidates of a network; of a space of one's own, its options."""
    if space.supernet in registry.SPOTS:
        return costs_lib.spots(space, size, image_shape)
    return [
        ((number, option), costs_lib.Spot(f"{row.group}/{row.name}={name}", 0, 0, 0, 0))
        for number, row in enumerate(rows_lib.rows(space))
        for option, name in enumerate(row.options)
    ]


def _of_networks(space, size, image_shape, num_repeats, clock) -> Latencies:
    """Times the derived network of each option; the fastest of a row costs nothing."""
    if space.supernet not in registry.DERIVED:
        raise ValueError(
            f"space {space.name} must have a derived network for its latency, got none "
            f"of {space.supernet!r}. Register one in registry.DERIVED."
        )

    def measure(encoding):
        built = network.derived(space.genotype(encoding), size)
        return network_latency(built, image_shape, num_repeats=num_repeats, clock=clock)

    tables, first = rows_lib.tables(space), np.zeros(len(space.sizes), np.int32)
    base, took = measure(first), {}
    for row, (gene,) in enumerate(tables.operations):
        own = {int(tables.values[row, 0]): base}
        for value in range(1, space.sizes[gene]):
            encoding = first.copy()
            encoding[gene] = value
            own[int(tables.values[row, value])] = measure(encoding)
        least = min(own.values())
        took |= {(row, option): ms - least for option, ms in own.items()}
    chosen = sum(took[row, int(tables.values[row, 0])] for row in range(len(first)))
    spots = {spot: took[place] for place, spot in _spots(space, size, image_shape)}
    return Latencies(device_name(), max(base - chosen, 0.0), spots)


def network_latency(
    built: network.Network,
    image_shape: tuple[int, int, int],
    *,
    num_repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Times one image's evaluation by a network, in milliseconds, as candidates are.

    Args:
      built: as ``networks.derived`` builds it.
      image_shape: rows, columns and channels of one image.
      num_repeats: timed runs of the loop.
      clock: () -> seconds.
    """
    params, stats = jax.jit(built.init)(jax.random.key(0))

    def apply(x):
        outputs, _ = built.apply(params, stats, x, train=False, key=jax.random.key(0))
        return outputs[0]

    like = count_lib.abstract(image_shape)
    shape = jax.tree.map(lambda one: one.shape, like)
    return _time(apply, shape, num_repeats, clock)


def _candidate(spot: costs_lib.Spot) -> Callable:
    """Builds image -> output of one candidate, with parameters of its own."""
    op = spot.build(ops.TRAINING)
    params, stats = jax.jit(op.init)(jax.random.key(0))
    key = jax.random.key(0)
    return lambda x: op.apply(params, stats, x, train=False, key=key)[0]


def _drawn(shape: Any) -> Any:
    """Draws an input of a shape, or a dict of them."""
    if isinstance(shape, dict):
        return {name: _drawn(one) for name, one in shape.items()}
    if isinstance(shape, types.Whole):
        return jnp.zeros(shape, jnp.int32)
    return jax.random.normal(jax.random.key(1), shape)


def _time(apply: Callable, shape: Any, num_repeats: int, clock: Callable) -> float:
    """Returns the median milliseconds of one application inside a compiled loop."""

    @jax.jit
    def loop(x, count):
        def body(_, carry):
            # the next image depends on every output, and hardly changes
            moved = 1e-6 * jnp.tanh(apply(carry).sum())
            return jax.tree.map(lambda one: one + moved.astype(one.dtype), x)

        return jax.lax.fori_loop(0, count, body, x)

    x = _drawn(shape)

    def seconds(count):
        began = clock()
        jax.block_until_ready(loop(x, jnp.int32(count)))
        return clock() - began

    count = 1
    seconds(count)  # compiles
    while count < _MOST_STEPS:
        # the shortest, as one that waited for another process says nothing
        if min(seconds(count) for _ in range(_TRIES)) >= _SECONDS:
            break
        count *= 2
    return 1e3 * statistics.median(seconds(count) for _ in range(num_repeats)) / count
