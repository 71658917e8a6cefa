"""Pools of workers: processes of this machine, Ray, or jobs of Slurm.

A worker gets a function that builds what it computes, from names and numbers, and loads
data and plug-ins by itself; no array and no closure is sent. One that dies is started
again with what it was at; what ends its worker three times stops the run.
"""

import concurrent.futures
import contextlib
import pathlib
import queue
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from jnas.run import files, worker, worker_process, worker_ray, worker_slurm

PROCESSES, RAY, SLURM = "processes", "ray", "slurm"
KINDS = (PROCESSES, RAY, SLURM)
STRIKES = 3


class Asked(NamedTuple):
    """Workers that a user asks for.

    Attributes:
      kind: one of KINDS.
      count: number of workers.
      options: name -> text, for Ray's actors or Slurm's jobs.
    """

    kind: str
    count: int
    options: Mapping[str, str]


def parse(text: str, options: tuple[str, ...] = ()) -> Asked:
    """Reads --workers and --worker_options.

    Args:
      text: as "ray:8".
      options: as "num_gpus=1".

    Raises:
      ValueError: another kind, or no number.
    """
    kind, _, count = text.partition(":")
    if kind not in KINDS or not count.isdecimal() or int(count) < 1:
        raise ValueError(
            f"workers must be {', '.join(KINDS)} and a number, got {text!r}. Write "
            "--workers=processes:8."
        )
    pairs = [one.partition("=") for one in options]
    for name, equal, _ in pairs:
        if not name or not equal:
            raise ValueError(
                f"worker_options must be name=value, got {name!r}. Write "
                "--worker_options=num_gpus=1."
            )
    if pairs and kind == PROCESSES:
        raise ValueError(
            f"worker_options must be left out for processes, got {pairs[0][0]}. They "
            "are of ray and slurm."
        )
    return Asked(kind, int(count), {name: value for name, _, value in pairs})


class Pool:
    """Workers that compute tasks side by side."""

    def __init__(self, workers: list[worker.Worker], say: Callable[[str], Any]):
        """Takes over workers.

        Args:
          workers: all of them.
          say: takes a line of text, such as that a worker died.
        """
        self.num_workers = len(workers)
        self._workers, self._say = workers, say
        self._idle: queue.SimpleQueue[worker.Worker] = queue.SimpleQueue()
        for one in workers:
            self._idle.put(one)
        self._threads = concurrent.futures.ThreadPoolExecutor(len(workers))
        self._closed = False

    def submit(self, task: Any) -> concurrent.futures.Future:
        """Returns what a worker computes of a task."""
        return self._threads.submit(self._compute, task)

    def _compute(self, task):
        own = self._idle.get()
        try:
            for strike in range(1, STRIKES + 1):
                try:
                    return own.compute(task)
                except worker.Died as error:
                    if self._closed:
                        raise
                    self._say(
                        f"a worker ended at {_called(task)} ({strike} of {STRIKES} "
                        f"times): {error}"
                    )
                    own.restart()
                    if self._closed:
                        raise
            raise files.RunError(
                f"workers must survive each task, got {STRIKES} that ended at "
                f"{_called(task)}. Give a worker more memory, or leave it out."
            )
        finally:
            self._idle.put(own)

    def close(self) -> None:
        """Ends all workers at once; what they compute is lost."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for one in self._workers:
            one.close()
        self._threads.shutdown(wait=True)


def _called(task: Any) -> str:
    encoding = getattr(task, "encoding", None)
    return f"member {encoding.tolist()}" if encoding is not None else repr(task)


@contextlib.contextmanager
def opened(
    asked: Asked,
    build: Callable[[], Callable],
    *,
    folder: pathlib.Path,
    say: Callable[[str], Any],
) -> Iterator[Pool]:
    """Starts workers, and ends them.

    Args:
      asked: kind and number.
      build: () -> (task -> result), called once in each worker; importable there, as a
        ``functools.partial`` of a module's function with plain arguments.
      folder: for the files of Slurm's jobs.
      say: takes a line of text.
    """
    job, (kind, count, options) = worker.Job.of(build), asked
    if kind == PROCESSES:
        workers = [worker_process.Process(job, i, count) for i in range(count)]
    elif kind == RAY:
        workers = worker_ray.actors(job, count, options)
    else:
        workers = worker_slurm.jobs(job, count, options, folder)
    pool = Pool(workers, say)
    try:
        yield pool
    finally:
        pool.close()


def start_ray(asked: Asked | None) -> None:
    """Starts Ray where workers need it; before signals are handled.

    Args:
      asked: the workers, or None.

    Raises:
      RunError: Ray is not installed.
    """
    if asked is not None and asked.kind == RAY:
        worker_ray.start(asked.count, asked.options)
