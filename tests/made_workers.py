"""Tasks of workers in tests: functions that a worker's process imports."""

import os
import pathlib
import signal
import time

import jax

from jnas.run import threads


def build(folder, deadly=(), slow=0.0):
    """Builds task -> (task squared, process), which dies at some tasks.

    Args:
      folder: each computation leaves a file in it.
      deadly: (task, times): kills its process so many times.
      slow: seconds of a task.
    """
    folder = pathlib.Path(folder)

    def compute(task):
        if task == "threads":
            return threads.count(), jax.devices() and os.environ[threads.VARIABLE]
        if task == "refused":
            raise ValueError("task must be a number, got refused. Give another.")
        seen = len(list(folder.glob(f"{task}_*")))
        (folder / f"{task}_{seen}").touch()
        time.sleep(slow)
        if dict(deadly).get(task, 0) > seen:
            os.kill(os.getpid(), signal.SIGKILL)
        return task * task, os.getpid()

    return compute
