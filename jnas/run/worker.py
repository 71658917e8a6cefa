"""A worker of a pool: what it is given, and how it computes a task."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from jnas.run import compile_cache, threads
from jnas.training import placement


class Died(Exception):
    """Raised by a worker that ended while it computed."""


class Worker(Protocol):
    """One worker, used by one thread at a time."""

    def compute(self, task: Any) -> Any:
        """Returns what the built function gives; raises Died where the worker died."""
        ...

    def restart(self) -> None:
        """Starts it again."""
        ...

    def close(self) -> None:
        """Ends it at once."""
        ...


class Job(NamedTuple):
    """What a worker gets when it starts; plain values alone.

    Attributes:
      build: () -> (task -> result), called once in each worker.
      cache: whether compiled programs are kept.
      num_threads: of a CPU device, as the run's own: bits depend on them.
    """

    build: Callable[[], Callable]
    cache: bool
    num_threads: int

    @classmethod
    def of(cls, build: Callable[[], Callable]) -> "Job":
        """Returns the job of workers of this process.

        Args:
          build: as in the attributes.
        """
        return cls(
            build, bool(jax.config.jax_enable_compilation_cache), threads.count()
        )


_BUILT: dict[str, Any] = {}  # of this worker's process


def compute(job: Job, task: Any) -> Any:
    """Computes a task in a worker, which builds its function at the first one.

    Args:
      job: of the worker.
      task: what is computed.
    """
    if _BUILT.get("of") is not job.build:
        threads.use(job.num_threads)
        (compile_cache.enable if job.cache else compile_cache.disable)()
    with placement.over(jax.local_devices()[:1]):
        if _BUILT.get("of") is not job.build:
            _BUILT.update(of=job.build, function=job.build())
        return _BUILT["function"](task)
