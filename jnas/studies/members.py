"""What workers compute: built in each of them from names and numbers."""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from absl import flags

from jnas import data as data_lib
from jnas import registry, spaces
from jnas import settings as settings_lib
from jnas.discrete.objectives import workers
from jnas.run import files, launch_help, pools, record, team, workdir
from jnas.studies import setup
from jnas.training import placement

flags.disclaim_key_flags()  # what is defined here is the launcher's, also for --help

FLAGS = ("workers", "worker_options")


Hands = tuple[pools.Pool, workers.Journal]


class Origin(NamedTuple):
    """From which a worker builds data and space again; plain values alone.

    Attributes:
      data: JSON of DataSettings.
      space: JSON of SpaceSettings.
      digest: of the data set, which the worker's must have too.
      plugins: paths of plug-in files.
      seed: of the run.
    """

    data: dict[str, Any]
    space: dict[str, Any]
    digest: str
    plugins: tuple[str, ...]
    seed: int

    def open(self) -> tuple[data_lib.Dataset, spaces.CellSpace]:
        """Loads plug-ins, data and space.

        Raises:
          RunError: the data set is another one here.
        """
        registry.load_plugins(self.plugins)
        dataset = setup.dataset(settings_lib.from_json(setup.DataSettings, self.data))
        if dataset.digest != self.digest:
            raise files.RunError(
                f"data must be the same for all workers, got digest {dataset.digest} "
                f"instead of {self.digest}. Give every machine the same files."
            )
        space = settings_lib.from_json(setup.SpaceSettings, self.space)
        return dataset, setup.space(space)


def define_flags() -> None:
    """Defines --workers and --worker_options, for a launcher with members."""
    flags.DEFINE_string(
        "workers",
        None,
        "Workers that train candidates, each its own: processes:N of this machine, "
        "ray:N (a local cluster, or the one of RAY_ADDRESS) or slurm:N (jobs). Results "
        "do not depend on them. Without it this process trains them all.",
    )
    flags.DEFINE_list(
        "worker_options",
        [],
        "What a worker gets, comma-separated: num_gpus=1 of Ray's actors, "
        "timeout_min=240 or slurm_partition=NAME of Slurm's jobs (as in submitit).",
    )
    for name in FLAGS:
        launch_help.describe(name, "run")


def from_flags() -> pools.Asked | None:
    """Returns the workers that the flags ask for, or None; starts Ray where needed.

    Comes before the run is opened, which takes over the signals.

    Raises:
      ValueError: a flag of another form.
      RunError: a package is missing.
    """
    text = flags.FLAGS.workers
    if text is None:
        if flags.FLAGS.worker_options:
            raise ValueError(
                "worker_options must come with workers, got "
                f"{flags.FLAGS.worker_options[0]!r} alone. Add --workers."
            )
        return None
    if team.joined():
        raise ValueError(
            f"workers must belong to a run of one process, got {text!r} and several. "
            "Leave --workers or --coordinator out."
        )
    if placement.norm_group() != "global":
        raise ValueError(
            "norm_group must be global with workers, each of which has one device, got "
            f"{placement.norm_group()}. Leave --norm_group out."
        )
    asked = pools.parse(text, tuple(flags.FLAGS.worker_options))
    if asked.kind == pools.PROCESSES and jax.default_backend() != "cpu":
        raise ValueError(
            "workers of processes must have a machine without accelerators, which they "
            f"would all use, got {jax.default_backend()}. Write --workers=ray:N "
            "--worker_options=num_gpus=1."
        )
    pools.start_ray(asked)
    return asked


def origin(
    run: workdir.Run,
    dataset: data_lib.Dataset | None,
    data: setup.DataSettings,
    space: setup.SpaceSettings,
) -> Origin:
    """Returns what workers build data and space from.

    Args:
      run: the open run.
      dataset: its data set; None of a run on a table.
      data: from which that was loaded.
      space: from which the space was built.
    """
    plugins = [one["path"] for one in run.record.get("plugins") or ()]
    return Origin(
        settings_lib.to_json(data),
        settings_lib.to_json(space),
        "" if dataset is None else dataset.digest,
        tuple(str(pathlib.Path(one).absolute()) for one in plugins),
        run.seed,
    )


@contextlib.contextmanager
def opened(
    run: workdir.Run,
    asked: pools.Asked | None,
    build: Callable[..., Callable],
    *args: Any,
) -> Iterator[Hands | None]:
    """Starts workers and opens their journal in the run's folder.

    Args:
      run: the open run.
      asked: the workers; None yields None.
      build: (*args) -> (task -> scores), a function of a module.
      *args: plain values: all that scores depend on.
    """
    if asked is None:
        yield None
        return
    of = [record.versions(), files.plain(args), run.record.get("cpu_threads")]
    plugins = [one["sha256"] for one in run.record.get("plugins") or ()]
    journal = workers.Journal(run.workdir / workers.JOURNAL, [*of, plugins])
    if journal.known:
        run.say(f"{workers.JOURNAL}: {len(journal.known)} members are known already")
    how = {"folder": run.workdir, "say": run.say}
    with pools.opened(asked, functools.partial(build, *args), **how) as pool:
        yield pool, journal
