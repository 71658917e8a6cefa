"""The cost of a network: counted, or measured on this machine."""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from jnas import directions, networks, spaces, types


def cost(
    space: spaces.Space,
    size: networks.Size,
    image_shape: tuple[int, int, int],
    *,
    kind: str = "parameters",
) -> types.Objective:
    """Builds the objective -count: higher for a smaller network. Pure.

    Args:
      space: of the encodings.
      size: of every network.
      image_shape: rows, columns and channels of one image.
      kind: ``parameters``, or ``macs`` of one image.

    Returns:
      (key, encodings i32[P, G]) -> scores f32[P, 1]. Counts above 2**24 are rounded to
      float32.

    Raises:
      ValueError: another kind.
    """
    known = networks.option_costs(space, size, image_shape)
    if kind not in known:
        raise ValueError(
            f"kind must be one of {', '.join(known)}, got {kind!r}. "
            "Use latency for seconds."
        )
    return counted(space, kind, known[kind])


def counted(space: spaces.Space, name: str, costs: networks.Costs) -> types.Objective:
    """Builds the objective -cost of costs that are sums over edges. Pure.

    Args:
      space: of the encodings.
      name: of the cost, and of the column.
      costs: of the space's candidates.

    Returns:
      (key, encodings i32[P, G]) -> scores f32[P, 1].
    """

    def objective(key, encodings):
        del key  # counting does not draw
        weights = jax.vmap(space.weights)(encodings)
        return -jax.vmap(costs.of)(weights)[:, None]

    objective.metrics = (directions.declared(name),)
    return objective


def latency(
    space: spaces.Space,
    size: networks.Size,
    image_shape: tuple[int, int, int],
    *,
    batch_size: int = 1,
    num_repeats: int = 30,
) -> types.Objective:
    """Builds the objective -seconds of one evaluation batch, measured here.

    Each genotype's own network is compiled and timed on the host, once: the result, the
    median of the repeats, is cached. Not jittable: its attribute ``jittable`` is False.

    Args:
      space: of the encodings.
      size: of every network.
      image_shape: rows, columns and channels of one image.
      batch_size: B.
      num_repeats: timed calls, after two untimed ones.

    Returns:
      (key, encodings i32[P, G]) -> scores f32[P, 1].
    """
    known: dict[bytes, float] = {}

    def measure(key, encoding):
        network = networks.derived(space.genotype(encoding), size)
        params, stats = jax.jit(network.init)(key)
        images = jnp.zeros((batch_size, *image_shape))

        @jax.jit
        def run(params, stats, images):
            return network.apply(params, stats, images, train=False, key=key)[0][0]

        times = []
        for _ in range(num_repeats + 2):
            began = time.perf_counter()
            jax.block_until_ready(run(params, stats, images))
            times.append(time.perf_counter() - began)
        return statistics.median(times[2:])

    def objective(key, encodings):
        scores = []
        for encoding in np.asarray(encodings):
            name = encoding.tobytes()
            if name not in known:
                known[name] = measure(key, encoding)
            scores.append([-known[name]])
        return jnp.array(scores, jnp.float32)

    objective.jittable = False
    objective.metrics = (directions.declared("latency"),)
    return objective
