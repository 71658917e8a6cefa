"""The measurements of benchmark.py: figures of steps, and ratios to earlier ones."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from jnas import report
from jnas.bench import steps as steps_lib
from jnas.run import record
from jnas.training import timing

HEADER = (
    "step", "trace s", "compile s", "median ms", "min ms", "max ms", "temp MB",
    "share of matmul rate", "share of copy rate (at least)",
)  # fmt: skip
COMPARED = ("median_seconds", "trace_seconds", "compile_seconds", "temp_bytes")


def measure(steps: Mapping[str, steps_lib.Step], *, repeats: int) -> dict[str, Any]:
    """Compiles steps one after another, then times them in turns.

    A call is a compiled loop over a step's batches, as in a run. A single step would
    allocate the memory of its temporaries in each call (0.48 s instead of 0.28 s for
    the training step of 16 features, 8 layers, batch 64).

    Args:
      steps: name -> Step; their states are donated.
      repeats: number of timed calls of each step, and of the machine's own rates.

    Returns:
      JSON values: ``device``, ``versions``, ``rates``, ``steps`` (name -> seconds and
      bytes of one step, shares from 0 to 1) and ``peak_memory_bytes``, the peak memory
      of the process before the rates were measured.
    """
    compiled = {name: _compiled(step) for name, step in steps.items()}
    calls = {
        name: timing.carrying(compiled[name].call, step.state, step.batches, *step.args)
        for name, step in steps.items()
    }
    times = timing.interleave(calls, repeats)
    peak, rates = timing.peak_bytes(), timing.machine_rates(repeats=repeats)
    return {
        "device": record.device(),
        "versions": record.versions(),
        "rates": rates._asdict(),
        "steps": {
            name: _figures(step, compiled[name], times[name], rates)
            for name, step in steps.items()
        },
        "peak_memory_bytes": peak,
    }


def _compiled(step: steps_lib.Step) -> timing.Compiled:
    """Compiles a step without the traces that JAX caches from earlier steps."""
    jax.clear_caches()

    def loop(state, batches, *args):
        return jax.lax.scan(
            lambda state, batch: step.function(state, batch, *args), state, batches
        )

    jitted = jax.jit(loop, donate_argnums=0)
    return timing.compile_timed(jitted, step.state, step.batches, *step.args)


def _figures(step, compiled, times, rates) -> dict[str, float]:
    batches = jax.tree.leaves(step.batches)
    loop = len(batches[0])
    # a step reads only one of the batches
    others = sum(leaf.nbytes for leaf in batches) * (loop - 1) // loop
    moved = timing.moved_bytes(compiled) - others
    median, least, most = (seconds / loop for seconds in times)
    return {
        "trace_seconds": compiled.trace_seconds,
        "compile_seconds": compiled.compile_seconds,
        "median_seconds": median,
        "min_seconds": least,
        "max_seconds": most,
        "temp_bytes": compiled.temp_bytes,
        "matmul_share": 2 * step.macs / median / rates.matmul_flops,
        "copy_share": moved / median / rates.copy_bytes,
    }


def table(steps: Mapping[str, Mapping[str, float]]) -> report.Table:
    """Makes the table of ``measure(...)["steps"]``; 1 MB is 1e6 bytes."""
    rows = [
        [
            name, f["trace_seconds"], f["compile_seconds"], 1e3 * f["median_seconds"],
            1e3 * f["min_seconds"], 1e3 * f["max_seconds"], f["temp_bytes"] / 1e6,
            f["matmul_share"], f["copy_share"],
        ]
        for name, f in steps.items()
    ]  # fmt: skip
    return report.Table(HEADER, rows)


def ratios(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> report.Table:
    """Makes the table of the ratios earlier / now: above 1, the step improved.

    Args:
      earlier: ``steps`` of an earlier measurement.
      now: ``steps`` of this measurement; steps that are not in both are left out.
    """
    header = ("earlier / now", "median", "trace + compile", "temp memory")
    rows = []
    for name in now:
        if name in earlier:
            was, is_ = earlier[name], now[name]
            builds = [s["trace_seconds"] + s["compile_seconds"] for s in (was, is_)]
            median = was["median_seconds"] / is_["median_seconds"]
            temp = was["temp_bytes"] / is_["temp_bytes"] if is_["temp_bytes"] else None
            rows.append([name, median, builds[0] / builds[1], temp])
    return report.Table(header, rows)


def read(path: str, shape: Mapping[str, int]) -> dict[str, Any]:
    """Reads an earlier measurement from the last line of a file.

    Args:
      path: the file.
      shape: the sizes that are timed now.

    Returns:
      The measurement, as from ``measure``.

    Raises:
      ValueError: the file does not exist, its last line is no measurement, or the
        measurement has other sizes.
    """
    try:
        if not os.path.isfile(path):  # opening a pipe would block forever
            raise FileNotFoundError
        found = json.loads(pathlib.Path(path).read_text().strip().splitlines()[-1])
        for figures in found["steps"].values():
            for name in COMPARED:
                float(figures[name])
        was = dict(found["shape"])
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError):
        raise ValueError(
            "compare must be a file whose last line is a benchmark's JSON object, got "
            f"{path!r}. Write one with --json=FILE."
        ) from None
    if was != dict(shape):
        raise ValueError(
            f"compare must have the same sizes, got {was} for {dict(shape)}. "
            "Use the same --preset and sizes."
        )
    return found
