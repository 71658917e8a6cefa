"""Workers that are actors of Ray."""

import math
import os
import time
from collections.abc import Mapping
from typing import Any

from jnas.run import files, worker

_START_SECONDS = _RESTART_SECONDS = 300


def start(count: int, options: Mapping[str, str]) -> None:
    """Starts Ray, or joins the cluster of RAY_ADDRESS; before signals are handled.

    Args:
      count: number of workers.
      options: of an actor.

    Raises:
      ImportError: Ray is not installed.
    """
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
    cores = math.ceil(count * float(options.get("num_cpus", 1)))
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


def actors(
    job: worker.Job, count: int, options: Mapping[str, str]
) -> list[worker.Worker]:
    """Starts actors, and waits until all of them have started.

    Args:
      job: of each.
      count: number of actors.
      options: of an actor, as num_gpus.

    Raises:
      RunError: they do not start in time.
    """
    ray = _ray()
    start(count, options)
    how = {"num_cpus": 1.0} | {k: float(v) for k, v in options.items()}

    @ray.remote(max_restarts=-1, max_task_retries=0, **how)
    class Actor:
        """Computes tasks in a process of Ray."""

        def compute(self, task):
            """Computes one."""
            return worker.compute(job, task)

        def pid(self):
            """Returns the process id."""
            return os.getpid()

    made = [Actor.remote() for _ in range(count)]
    started = [actor.pid.remote() for actor in made]
    ready, waiting = ray.wait(started, num_returns=len(started), timeout=_START_SECONDS)
    if waiting:
        raise files.RunError(
            f"workers of ray must find {how} each, got {len(ready)} of {count} "
            f"started within {_START_SECONDS} s. Ask for fewer, or for less."
        )
    return [_Ray(ray, actor) for actor in made]


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
            raise worker.Died(type(error).__name__) from error

    def restart(self):
        for _ in range(_RESTART_SECONDS):  # Ray does it
            try:
                self._ray.get(self.actor.pid.remote())
                return
            except self._ray.exceptions.ActorUnavailableError:
                time.sleep(1)

    def close(self):
        self._ray.kill(self.actor)
