"""Pools of workers: processes of this machine, Ray, or jobs of Slurm.

A worker gets a function that builds what it computes, from names and numbers, and loads
data and plug-ins by itself; no array and no closure is sent. One that dies is started
again with what it was at; what ends its worker three times stops the run.
"""

import concurrent.futures
import contextlib
import math
import multiprocessing
import os
import pathlib
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import process as process_pool
from typing import Any, NamedTuple, Protocol

import jax

from jnas.run import compile_cache, files
from jnas.training import placement

PROCESSES, RAY, SLURM = "processes", "ray", "slurm"
KINDS = (PROCESSES, RAY, SLURM)
STRIKES = 3
_START_SECONDS = _RESTART_SECONDS = 300


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

    def __init__(self, workers: list[Worker], say: Callable[[str], Any]):
        """Takes over workers.

        Args:
          workers: all of them.
          say: takes a line of text, such as that a worker died.
        """
        self.num_workers = len(workers)
        self._workers, self._say = workers, say
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in workers:
            self._idle.put(worker)
        self._threads = concurrent.futures.ThreadPoolExecutor(len(workers))
        self._closed = False

    def submit(self, task: Any) -> concurrent.futures.Future:
        """Returns what a worker computes of a task."""
        return self._threads.submit(self._compute, task)

    def _compute(self, task):
        worker = self._idle.get()
        try:
            for strike in range(1, STRIKES + 1):
                try:
                    return worker.compute(task)
                except Died as error:
                    if self._closed:
                        raise
                    self._say(
                        f"a worker ended at {_called(task)} ({strike} of {STRIKES} "
                        f"times): {error}"
                    )
                    worker.restart()
                    if self._closed:
                        raise
            raise files.RunError(
                f"workers must survive each task, got {STRIKES} that ended at "
                f"{_called(task)}. Give a worker more memory, or leave it out."
            )
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Ends all workers at once; what they compute is lost."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()
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
    cache = bool(jax.config.jax_enable_compilation_cache)
    if asked.kind == PROCESSES:
        workers = [_Process(build, i, asked.count, cache) for i in range(asked.count)]
    elif asked.kind == RAY:
        workers = _ray_workers(asked, build, cache)
    else:
        workers = _slurm_workers(asked, build, folder, cache)
    pool = Pool(workers, say)
    try:
        yield pool
    finally:
        pool.close()


def _compute(build: Callable, cache: bool, task: Any) -> Any:
    """Computes a task in a worker, which builds its function at the first one."""
    if _BUILT.get("of") is not build:
        (compile_cache.enable if cache else compile_cache.disable)()
    with placement.over(jax.local_devices()[:1]):
        if _BUILT.get("of") is not build:
            _BUILT.update(of=build, function=build())
        return _BUILT["function"](task)


_BUILT: dict[str, Any] = {}  # of this worker's process


class _Process:
    """A process of this machine, on its share of the cores."""

    def __init__(self, build, number, count, cache):
        cores = sorted(os.sched_getaffinity(0)) if _has_affinity() else []
        self._cores = cores[number::count] or cores[number % max(1, len(cores)) :][:1]
        self._build, self._cache = build, cache
        self._start()

    def _start(self):
        self._executor = process_pool.ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self._cores, self._build, self._cache),
        )
        self._pid = None

    def compute(self, task):
        try:
            if self._pid is None:
                self._pid = self._executor.submit(os.getpid).result()
            return self._executor.submit(_compute_here, task).result()
        except process_pool.BrokenProcessPool as error:
            died, self._pid = self._pid, None
            raise Died(f"process {died} was killed") from error

    def restart(self):
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._start()

    def close(self):
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._executor.shutdown(wait=False, cancel_futures=True)


def _has_affinity() -> bool:
    return hasattr(os, "sched_getaffinity")


def _begin(cores: list[int], build: Callable, cache: bool) -> None:
    """Prepares a worker's process, before JAX looks at the cores."""
    if cores and _has_affinity():
        os.sched_setaffinity(0, cores)
    for one in (signal.SIGINT, signal.SIGTERM):  # the parent decides
        signal.signal(one, signal.SIG_IGN)
    _BUILT["args"] = build, cache
    parent = multiprocessing.parent_process()

    def watch():
        parent.join()
        os._exit(1)  # nobody would read what comes

    threading.Thread(target=watch, daemon=True).start()


def _compute_here(task: Any) -> Any:
    return _compute(*_BUILT["args"], task)


def start_ray(asked: Asked | None) -> None:
    """Starts Ray, or joins the cluster of RAY_ADDRESS; before signals are handled.

    Args:
      asked: workers; nothing happens where they are not Ray's.

    Raises:
      ImportError: Ray is not installed.
    """
    if asked is None or asked.kind != RAY:
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = _ray()
    if ray.is_initialized():
        return
    how: dict[str, Any] = {"configure_logging": False, "log_to_driver": False}
    if "XLA_FLAGS" in os.environ:  # as of --deterministic
        how["runtime_env"] = {"env_vars": {"XLA_FLAGS": os.environ["XLA_FLAGS"]}}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**how)
        return
    cores = math.ceil(asked.count * float(asked.options.get("num_cpus", 1)))
    ray.init(num_cpus=cores, include_dashboard=False, **how)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise files.RunError(
            "workers of ray must have the package ray, got none. Install it: pip "
            "install 'jnas[ray]'."
        ) from error
    return ray


def _ray_workers(asked, build, cache) -> list[Worker]:
    ray = _ray()
    start_ray(asked)
    how = {"num_cpus": 1.0} | {k: float(v) for k, v in asked.options.items()}

    @ray.remote(max_restarts=-1, max_task_retries=0, **how)
    class Actor:
        """Computes tasks in a process of Ray."""

        def compute(self, task):
            """Computes one."""
            return _compute(build, cache, task)

        def pid(self):
            """Returns the process id."""
            return os.getpid()

    actors = [Actor.remote() for _ in range(asked.count)]
    started = [actor.pid.remote() for actor in actors]
    ready, waiting = ray.wait(started, num_returns=len(started), timeout=_START_SECONDS)
    if waiting:
        raise files.RunError(
            f"workers of ray must find {how} each, got {len(ready)} of {asked.count} "
            f"started within {_START_SECONDS} s. Ask for fewer, or for less."
        )
    return [_Ray(ray, actor) for actor in actors]


class _Ray:
    """An actor of Ray, which starts it again by itself."""

    def __init__(self, ray, actor):
        self._ray, self.actor = ray, actor

    def compute(self, task):
        try:
            return self._ray.get(self.actor.compute.remote(task))
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:  # of memory, a node, an actor
            raise Died(type(error).__name__) from error

    def restart(self):
        for _ in range(_RESTART_SECONDS):  # Ray does it
            try:
                self._ray.get(self.actor.pid.remote())
                return
            except self._ray.exceptions.ActorUnavailableError:
                time.sleep(1)

    def close(self):
        self._ray.kill(self.actor)


def _slurm_workers(asked, build, folder, cache) -> list[Worker]:
    try:
        import submitit
    except ImportError as error:
        raise files.RunError(
            "workers of slurm must have the package submitit, got none. Install it: "
            "pip install 'jnas[slurm]'."
        ) from error
    options = {k: int(v) if v.isdecimal() else v for k, v in asked.options.items()}
    cluster = options.pop("cluster", "slurm")
    executor = submitit.AutoExecutor(folder / "slurm", cluster=cluster)
    executor.update_parameters(name="jnas", **options)
    return [_Slurm(submitit, executor, build, cache) for _ in range(asked.count)]


class _Slurm:
    """A place for one job at a time; each job computes one task."""

    def __init__(self, submitit, executor, build, cache):
        self._submitit, self._executor = submitit, executor
        self._args, self._job = (build, cache), None

    def compute(self, task):
        self._job = self._executor.submit(_compute, *self._args, task)
        try:
            return self._job.result()
        except self._submitit.core.utils.FailedJobError as error:
            last = str(error).strip().splitlines()[-1]
            if "not requeued" in str(error):  # it took too long, or was preempted
                raise Died(last) from error
            raise files.RunError(f"job {self._job.job_id} failed: {last}") from error
        except self._submitit.core.utils.UncompletedJobError as error:
            raise Died(str(error).splitlines()[0]) from error

    def restart(self):
        pass

    def close(self):
        if self._job is not None and not self._job.done():
            self._job.cancel()
