"""Measuring: how long a function takes to compile and to run, and what it could take.

Times of one machine wander. Functions that are compared run in turns, A B C A B C, so
that a slow minute meets all of them, and the median is what is told. A step is held
against what the same process reaches with one large product and one large copy.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Compiled(NamedTuple):
    """A compiled function and what it cost to get.

    Attributes:
      call: takes the arguments it was compiled for.
      trace_seconds: Python to StableHLO.
      compile_seconds: StableHLO to machine code; the time of reading it where JAX's
        compilation cache has the program.
      argument_bytes: of all arguments.
      output_bytes: of all results, donated arguments that they replace included.
      temp_bytes: the largest sum of temporaries alive at one time.
    """

    call: Callable[..., Any]
    trace_seconds: float
    compile_seconds: float
    argument_bytes: int
    output_bytes: int
    temp_bytes: int


def compile_timed(function: Callable[..., Any], *args: Any) -> Compiled:
    """Compiles a function ahead of its first call.

    Args:
      function: ``jax.jit`` of it, with what is donated, or a plain one.
      *args: arrays or ShapeDtypeStructs.

    Returns:
      The compiled function, times in seconds, memory in bytes.

    Example:
      >>> compile_timed(lambda x: x + 1, jnp.zeros(8)).argument_bytes
      32
    """
    jitted = function if hasattr(function, "lower") else jax.jit(function)
    begin = time.perf_counter()
    lowered = jitted.lower(*args)
    middle = time.perf_counter()
    call = lowered.compile()
    end = time.perf_counter()
    memory = call.memory_analysis()
    return Compiled(
        call,
        trace_seconds=middle - begin,
        compile_seconds=end - middle,
        argument_bytes=memory.argument_size_in_bytes,
        output_bytes=memory.output_size_in_bytes,
        temp_bytes=memory.temp_size_in_bytes,
    )


def moved_bytes(compiled: Compiled) -> int:
    """Returns the least that a call moves to and from memory, in bytes.

    Arguments are read, results written, and temporaries written and read once:
    arguments + results + 2 temporaries. Memory that is used again within a call is not
    seen (XLA's own "bytes accessed" sees it, but a scan's body only once), so that a
    step moves more.
    """
    return compiled.argument_bytes + compiled.output_bytes + 2 * compiled.temp_bytes


class Times(NamedTuple):
    """What repeated calls took.

    Attributes:
      median: seconds.
      least: seconds.
      most: seconds.
    """

    median: float
    least: float
    most: float


def interleave(
    calls: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, Times]:
    """Times calls in turns, each until its result is ready.

    Args:
      calls: name -> call; each is made once before anything is timed.
      repeats: rounds over all of them, at least 1.

    Returns:
      name -> Times, in the same order.

    Raises:
      ValueError: no round.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}. Raise it.")
    for call in calls.values():
        jax.block_until_ready(call())
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            begin = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - begin)
    return {n: Times(statistics.median(s), min(s), max(s)) for n, s in seconds.items()}


def carrying(
    step: Callable[..., tuple[Any, Any]], state: Any, *args: Any
) -> Callable[[], tuple[Any, Any]]:
    """Turns a step into a call that goes on from where the last call ended.

    So a step that donates its state is called again and again, as in training.

    Args:
      step: (state, *args) -> (state, info).
      state: of the first call.
      *args: of every call.

    Returns:
      () -> (state, info).
    """

    def call():
        nonlocal state
        state, info = step(state, *args)
        return state, info

    return call


class Rates(NamedTuple):
    """What this machine reaches through XLA.

    Attributes:
      matmul_flops: floating-point operations a second of a float32 matrix product, at
        JAX's default precision; a multiply-accumulate is two.
      copy_bytes: bytes read and written a second, outside the caches.
    """

    matmul_flops: float
    copy_bytes: float


def machine_rates(
    *, side: int | None = None, num_bytes: int = 2**28, repeats: int = 5
) -> Rates:
    """Measures the machine: two [side, side] matrices multiplied, an array negated.

    The array is negated where it stands, so that no time goes into new memory: each
    byte is read once and written once.

    Args:
      side: of the matrices; 2,048 on CPU and 8,192 elsewhere when None.
      num_bytes: of the array, beyond the size of the caches.
      repeats: of each, in turns; the medians count.
    """
    side = side or (2048 if jax.default_backend() == "cpu" else 8192)
    length = num_bytes // 4
    matrix = jax.random.normal(jax.random.key(0), (side, side))
    product = compile_timed(jnp.matmul, matrix, matrix)
    negate = jax.jit(lambda x: (-x, None), donate_argnums=0)
    calls = {
        "product": lambda: product.call(matrix, matrix),
        "negate": carrying(negate, jnp.ones(length)),
    }
    times = interleave(calls, repeats)
    return Rates(
        matmul_flops=2 * side**3 / times["product"].median,
        copy_bytes=2 * 4 * length / times["negate"].median,
    )


def peak_bytes() -> int | None:
    """Returns the most memory this process has held, or None where nobody knows.

    On CPU the process' resident memory, compilation included; on an accelerator the
    arrays and temporaries in its own memory.
    """
    device = jax.devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("peak_bytes_in_use")
    try:
        import resource
    except ModuleNotFoundError:  # Windows has none
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
