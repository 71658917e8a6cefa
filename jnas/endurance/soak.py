"""Many small calls in one process: memory, open files and programs must not grow.

Gradient search, training and discrete search have different loops; comparisons and
tables use the same calls.
"""

import dataclasses
import os
import pathlib
import resource
import shutil
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jnas import data, spaces
from jnas import run as runs
from jnas.gradient import methods
from jnas.studies import cells, search_discrete, search_gradient, train_scratch

COMPILED = "/jax/core/compile/backend_compile_duration"
WARM_UP = 0.3  # fraction of the steps during which memory may still grow
LIMIT = 1.0  # MB per 1,000 steps
_PAGE = resource.getpagesize()
_BATCH = 16


class Sample(NamedTuple):
    """Measurements after a call.

    Attributes:
      step: number of steps of the run.
      memory: resident memory, in bytes.
      files: number of open files.
      compiled: number of programs compiled since the run began.
    """

    step: int
    memory: int
    files: int
    compiled: int


class Watched:
    """A run, or one of its phases, that takes a Sample after every call."""

    def __init__(self, whole: Any, samples: list[Sample], compiled: list[str]):
        """Wraps a run or a phase.

        Args:
          whole: the run or the phase.
          samples: list to which each call appends a Sample.
          compiled: list of the programs compiled so far; filled elsewhere.
        """
        self._whole, self._samples, self._compiled = whole, samples, compiled

    def __getattr__(self, name: str) -> Any:
        """Returns the attribute of the wrapped run or phase."""
        return getattr(self._whole, name)

    def phase(self, name: str, num_steps: int, **options: Any) -> "Watched":
        """Begins a phase, and wraps it too."""
        phase = self._whole.phase(name, num_steps, **options)
        return Watched(phase, self._samples, self._compiled)

    def suggest_steps(self) -> int:
        """Returns 1: calls of a single step."""
        return 1

    def observe(self, step: int, *args: Any, **kwargs: Any) -> None:
        """Calls the wrapped ``observe``, and takes a sample."""
        self._whole.observe(step, *args, **kwargs)
        number = self._whole.start + step
        count = len(self._compiled)
        self._samples.append(Sample(number, memory(), open_files(), count))


def memory() -> int:
    """Returns the resident memory of this process in bytes."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def open_files() -> int:
    """Returns the number of open files of this process."""
    return len(os.listdir("/proc/self/fd"))


def loops() -> dict[str, Callable[[Any, int], Any]]:
    """Returns name -> (run, number of steps) -> nothing, for each kind of loop."""
    images = data.shrink(data.load("digits"), 2)
    tiny = spaces.zoo.tiny()

    def search(run, num_steps):
        steps_per_epoch = len(images.y_train) // 2 // _BATCH
        method = methods.darts()
        epochs = -(-num_steps // steps_per_epoch)
        sizes = {"features": 2, "layers": 3, "batch_size": _BATCH, "epochs": epochs}
        method = dataclasses.replace(method, **sizes)
        settings = search_gradient.SearchSettings(method)
        search_gradient.search_cells(run, images, tiny, settings)

    def retrain(run, num_steps):
        epochs = -(-num_steps // (len(images.y_train) // _BATCH))
        settings = train_scratch.RetrainSettings(
            features=2, layers=3, batch_size=_BATCH, epochs=epochs, auxiliary=False
        )
        cell = cells.random_cells(tiny, 1, seed=0)[0]
        train_scratch.retrain_cell(run, "retrain", cell, images, settings)

    def rounds(run, num_steps):
        settings = search_discrete.DiscreteSettings(
            objective="table:digits201", num_proposals=1, num_evaluations=num_steps
        )
        table = search_discrete.check(settings)
        space = spaces.zoo.nasbench201()
        search_discrete.search_cells(run, space, settings, table=table)

    return {"search": search, "retrain": retrain, "discrete": rounds}


def soak(
    name: str, folder: pathlib.Path, *, num_steps: int, checkpoint_steps: int = 100
) -> dict[str, Any]:
    """Runs one loop for many calls, one step each.

    Args:
      name: name of the loop, a key of ``loops()``.
      folder: folder for its workdir.
      num_steps: approximate number of steps.
      checkpoint_steps: number of steps between two checkpoints.

    Returns:
      The figures after the warm-up; "wrong" lists what grew.
    """
    workdir = folder / f"soak_{name}"
    shutil.rmtree(workdir, ignore_errors=True)
    samples: list[Sample] = []
    compiled: list[str] = []

    def listen(event, seconds, **_):
        if event == COMPILED:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    began = time.monotonic()
    try:
        with runs.open_run(workdir, checkpoint_steps=checkpoint_steps) as run:
            loops()[name](Watched(run, samples, compiled), num_steps)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    shutil.rmtree(workdir)
    return _judge(name, samples, time.monotonic() - began)


def slope(samples: list[Sample]) -> float:
    """Returns the growth of memory in MB per 1,000 steps, by least squares."""
    steps = np.array([s.step for s in samples], np.float64)
    megabytes = np.array([s.memory for s in samples], np.float64) / 1e6
    return float(1000 * np.polyfit(steps, megabytes, 1)[0])


def _judge(name: str, samples: list[Sample], seconds: float) -> dict[str, Any]:
    warm = samples[int(WARM_UP * len(samples)) :]
    growth, files = slope(warm), {s.files for s in warm}
    compiled = warm[-1].compiled - warm[0].compiled
    wrong = []
    if growth >= LIMIT:
        wrong.append(f"memory grows by {growth:.2f} MB per 1,000 steps")
    if compiled:
        wrong.append(f"{compiled} programs were compiled after the warm-up")
    if len(files) > 1:
        wrong.append(f"from {min(files)} to {max(files)} files were open")
    return {
        "trial": f"soak, {name}",
        "tried": 1,
        "survived": int(not wrong),
        "steps": samples[-1].step,
        "megabytes_each_1000_steps": round(growth, 3),
        "megabytes": round(samples[-1].memory / 1e6),
        "compiled_after_warm_up": compiled,
        "open_files": max(files),
        "seconds": round(seconds, 1),
        "wrong": [f"soak, {name}: {line}" for line in wrong],
    }
