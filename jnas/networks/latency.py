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

from jnas import ops, spaces
from jnas.networks import costs as costs_lib
from jnas.networks import functional, network
from jnas.networks import skeleton as skeleton_lib

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
        space: spaces.CellSpace,
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
        edges = np.zeros(space.shape)
        for place, spot in costs_lib.spots(space, size, image_shape):
            if spot not in self.spots:
                raise ValueError(
                    f"latencies must hold every candidate of the network, got none of "
                    f"{spot}. Measure them again, in a new --workdir."
                )
            edges[place] += self.spots[spot]
        return costs_lib.Costs(self.base, edges, space)

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
    name, *numbers = (row[field] for field in costs_lib.Spot._fields)
    if not isinstance(name, str) or any(type(n) is not int for n in numbers):
        raise ValueError(f"the candidate {row}")
    return costs_lib.Spot(name, *numbers)


def _milliseconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < float("inf"):
        raise ValueError(f"{value!r} milliseconds")
    return float(value)


def measure_latencies(
    space: spaces.CellSpace,
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
    cell, as XLA would remove what it cuts off.

    Args:
      space: of the cells.
      size: of the network.
      image_shape: rows, columns and channels of one image.
      num_repeats: timed runs of each loop.
      clock: () -> seconds.
    """
    wanted = dict.fromkeys(s for _, s in costs_lib.spots(space, size, image_shape))
    empty: dict[tuple, float] = {}
    found: dict[costs_lib.Spot, float] = {}
    for spot in wanted:
        shape = (1, spot.rows, spot.columns, spot.features)
        if shape not in empty:
            empty[shape] = _time(lambda x: x, shape, num_repeats, clock)
        took = _time(_candidate(spot), shape, num_repeats, clock)
        found[spot] = max(took - empty[shape], 0.0)
    table = Latencies(device_name(), 0.0, found)
    costs = table.costs(space, size, image_shape)
    usable = ~space.where(spaces.NONE)
    scores = np.where(usable, -costs.edges, -1e30)
    cheapest = space.strongest(jnp.asarray(scores, jnp.float32))
    one_hot = np.asarray(space.weights(cheapest), np.float64)
    whole = network_latency(
        network.derived(space.genotype(cheapest), size),
        image_shape,
        num_repeats=num_repeats,
        clock=clock,
    )
    return table._replace(base=max(whole - float((one_hot * costs.edges).sum()), 0.0))


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

    return _time(apply, (1, *image_shape), num_repeats, clock)


def _candidate(spot: costs_lib.Spot) -> Callable:
    """Builds image -> output of one candidate, with parameters of its own."""
    op = functional.operation(
        spot.operation, spot.features, spot.stride, norm=ops.TRAINING
    )
    params, stats = jax.jit(op.init)(jax.random.key(0))
    key = jax.random.key(0)
    return lambda x: op.apply(params, stats, x, train=False, key=key)[0]


def _time(apply: Callable, shape: tuple, num_repeats: int, clock: Callable) -> float:
    """Returns the median milliseconds of one application inside a compiled loop."""

    @jax.jit
    def loop(x, count):
        def body(_, carry):
            # the next image depends on every output, and hardly changes
            return x + 1e-6 * jnp.tanh(apply(carry).sum())

        return jax.lax.fori_loop(0, count, body, x)

    x = jax.random.normal(jax.random.key(1), shape)

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
