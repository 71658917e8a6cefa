"""Measures compile time, run time and memory of a function, and the machine's limits.

Run times on one machine vary. Functions that are compared run in turns, A B C A B C, so
that a slow minute affects all of them, and the median is reported. A step is compared
with the rates that the same process reaches in one large matrix product and one large
copy.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Compiled(NamedTuple):
    """A compiled function, its compile times and its memory.

    Attributes:
      call: the executable; takes arguments of the shapes it was compiled for.
      trace_seconds: time from Python to StableHLO.
      compile_seconds: time from StableHLO to machine code, or to read the program from
        JAX's compilation cache where it is there.
      argument_bytes: size of all arguments.
      output_bytes: size of all results, those written over donated arguments included.
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
      function: a function, or a jitted one (``jax.jit``, with its donated arguments).
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
    """Returns a lower bound of the bytes that a call reads and writes.

    Arguments are read, results written, and temporaries written and read once:
    arguments + results + 2 temporaries. Memory that is reused within a call is not
    counted (XLA's own "bytes accessed" counts it, but a scan's body only once), so a
    step moves more.
    """
    return compiled.argument_bytes + compiled.output_bytes + 2 * compiled.temp_bytes


class Times(NamedTuple):
    """Durations of repeated calls.

    Attributes:
      median: the median duration, in seconds.
      least: the shortest duration, in seconds.
      most: the longest duration, in seconds.
    """

    median: float
    least: float
    most: float


def interleave(
    calls: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, Times]:
    """Times calls in turns, each until its result is ready.

    Args:
      calls: name -> function; each is called once before anything is timed.
      repeats: number of rounds over all of them, at least 1.

    Returns:
      name -> Times, in the same order.

    Raises:
      ValueError: repeats is below 1.
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
    """Turns a step into a function that keeps the state from call to call.

    A step that donates its state can so be timed repeatedly, as it runs in training.

    Args:
      step: (state, *args) -> (state, info).
      state: state for the first call.
      *args: further arguments of every call.

    Returns:
      () -> (state, info).
    """

    def call():
        nonlocal state
        state, info = step(state, *args)
        return state, info

    return call


class Rates(NamedTuple):
    """Peak rates of this machine, measured through XLA.

    Attributes:
      matmul_flops: floating-point operations per second in a float32 matrix product at
        JAX's default precision; a multiply-accumulate counts as two.
      copy_bytes: bytes read and written per second, outside the caches.
    """

    matmul_flops: float
    copy_bytes: float


def machine_rates(
    *, side: int | None = None, num_bytes: int = 2**28, repeats: int = 5
) -> Rates:
    """Measures the machine by a [side, side] matrix product and a negated array.

    The array is negated in place, so that no time goes into allocating memory: each
    byte is read once and written once.

    Args:
      side: rows of the matrices; None means 2,048 on CPU and 8,192 elsewhere.
      num_bytes: size of the array; must exceed the caches.
      repeats: number of measurements of each, in turns; the medians are used.
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
    """Returns the peak memory of this process, or None where it cannot be measured.

    On CPU: the process' resident memory, compilation included. On an accelerator: the
    arrays and temporaries in the device's memory.
    """
    device = jax.devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("peak_bytes_in_use")
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such module
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
