"""Workers that are processes of this machine."""

import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import process as process_pool
from typing import Any

from jnas.run import worker

_OWN: dict[str, worker.Job] = {}  # of a worker's process


class Process:
    """A process of this machine, on its share of the cores."""

    def __init__(self, job: worker.Job, number: int, count: int):
        """Starts worker ``number`` of ``count``."""
        cores = sorted(os.sched_getaffinity(0)) if _has_affinity() else []
        self._cores = cores[number::count] or cores[number % max(1, len(cores)) :][:1]
        self._job = job
        self._start()

    def _start(self):
        self._executor = process_pool.ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self._cores, self._job),
        )
        self._pid = None

    def compute(self, task: Any) -> Any:
        """Computes a task in the process."""
        try:
            if self._pid is None:
                self._pid = self._executor.submit(os.getpid).result()
            return self._executor.submit(_computed, task).result()
        except process_pool.BrokenProcessPool as error:
            died, self._pid = self._pid, None
            raise worker.Died(f"process {died} was killed") from error

    def restart(self) -> None:
        """Starts another process."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._start()

    def close(self) -> None:
        """Ends the process at once."""
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._executor.shutdown(wait=False, cancel_futures=True)


def _has_affinity() -> bool:
    return hasattr(os, "sched_getaffinity")


def _begin(cores: list[int], job: worker.Job) -> None:
    """Prepares a worker's process, before JAX looks at the cores."""
    if cores and _has_affinity():
        os.sched_setaffinity(0, cores)
    for one in (signal.SIGINT, signal.SIGTERM):  # the parent decides
        signal.signal(one, signal.SIG_IGN)
    _OWN["job"] = job
    parent = multiprocessing.parent_process()

    def watch():
        parent.join()
        os._exit(1)  # nobody would read what comes

    threading.Thread(target=watch, daemon=True).start()


def _computed(task: Any) -> Any:
    return worker.compute(_OWN["job"], task)
