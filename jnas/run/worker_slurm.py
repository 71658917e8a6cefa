"""Workers that are jobs of Slurm, started by submitit."""

import pathlib
from collections.abc import Mapping

from jnas.run import files, worker


def jobs(
    job: worker.Job, count: int, options: Mapping[str, str], folder: pathlib.Path
) -> list[worker.Worker]:
    """Prepares places for jobs of Slurm, each of which computes one task.

    Args:
      job: of each.
      count: number of jobs at a time.
      options: of submitit; ``cluster=local`` runs processes of this machine.
      folder: for the jobs' files.

    Raises:
      RunError: submitit is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise files.RunError(
            "workers of slurm must have the package submitit, got none. Install it: "
            "pip install 'jnas[slurm]'."
        ) from error
    given = {k: int(v) if v.isdecimal() else v for k, v in options.items()}
    cluster = given.pop("cluster", "slurm")
    executor = submitit.AutoExecutor(folder / "slurm", cluster=cluster)
    executor.update_parameters(name="jnas", **given)
    return [_Slurm(submitit, executor, job) for _ in range(count)]


class _Slurm:
    """A place for one job at a time; each job computes one task."""

    def __init__(self, submitit, executor, job):
        self._submitit, self._executor = submitit, executor
        self._given, self._job = job, None

    def compute(self, task):
        self._job = self._executor.submit(worker.compute, self._given, task)
        try:
            return self._job.result()
        except self._submitit.core.utils.FailedJobError as error:
            last = str(error).strip().splitlines()[-1]
            if "not requeued" in str(error):  # it took too long, or was preempted
                raise worker.Died(last) from error
            raise files.RunError(f"job {self._job.job_id} failed: {last}") from error
        except self._submitit.core.utils.UncompletedJobError as error:
            raise worker.Died(str(error).splitlines()[0]) from error

    def restart(self):
        pass

    def close(self):
        if self._job is not None and not self._job.done():
            self._job.cancel()
