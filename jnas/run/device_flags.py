"""--num_devices, --norm_group, --coordinator: what a launcher's programs run on."""

import contextlib
import os
import re
from collections.abc import Iterator

import jax
from absl import flags

from jnas.data import residence
from jnas.run import launch_help, team
from jnas.training import placement

flags.disclaim_key_flags()  # what is defined here is the launcher's, also for --help

MAX_DEVICES = 1024
# no atomics, and no measuring of which kernel is faster, which chance decides
DETERMINISTIC = ("--xla_gpu_deterministic_ops=true", "--xla_gpu_autotune_level=0")
STREAM_FLAGS = ("resident", "chunk_steps")
PROCESS_FLAGS = ("coordinator", "num_processes", "process")
_FORCED = re.compile(r"--xla_force_host_platform_device_count=(\d+)")


def define() -> None:
    """Defines the flags, for a launcher that computes."""
    flags.DEFINE_integer(
        "num_devices",
        None,
        "Number of devices of each process: seeds are divided among them first, the "
        "rest split the batches. Without it all accelerators, or one CPU device.",
        lower_bound=1,
        upper_bound=MAX_DEVICES,
    )
    flags.DEFINE_enum(
        "norm_group",
        "global",
        list(placement.NORM_GROUPS),
        "Images that a batch norm takes its statistics from where devices split a "
        "batch: global (the whole batch) or device (each device's own images).",
    )
    flags.DEFINE_boolean(
        "deterministic",
        False,
        "Use only GPU kernels that give the same bits each time, and choose them the "
        "same way in each process, so that a resumed run does too; slower. CPU always "
        "does.",
    )
    for name in ("num_devices", "norm_group", "deterministic"):
        launch_help.describe(name, "run")


def define_processes() -> None:
    """Defines the flags of several processes, for a launcher that can be several."""
    flags.DEFINE_string(
        "coordinator",
        None,
        "host:port of process 0, where a run has several processes. Start the same "
        "command once for each process; under Slurm none of these flags is needed.",
    )
    flags.DEFINE_integer(
        "num_processes",
        None,
        "Number of processes of the run; 1 makes the tasks of Slurm runs of their own.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "process",
        None,
        "Number of this process, from 0. Process 0 has the workdir.",
        lower_bound=0,
    )
    for name in PROCESS_FLAGS:
        launch_help.describe(name, "run")


def define_streaming() -> None:
    """Defines the flags of images that are read when needed, for launchers that can."""
    flags.DEFINE_enum(
        "resident",
        residence.AUTO,
        list(residence.CHOICES),
        "Whether all images are held in memory and on each device: no reads them from "
        "disk when they are needed, auto does so where they would take more than a "
        "quarter of the memory. The results are the same bit for bit.",
    )
    flags.DEFINE_integer(
        "chunk_steps",
        None,
        "Number of steps of a chunk, where images are read when needed; a device holds "
        "two chunks. Without it as many steps as 64 MiB of images hold.",
        lower_bound=1,
    )
    for name in STREAM_FLAGS:
        launch_help.describe(name, "run")


@contextlib.contextmanager
def use() -> Iterator[None]:
    """Makes the devices of the flags those of all programs inside.

    Must come before any array is made. Without the flags nothing changes.

    Raises:
      ValueError: more devices than there are, another number of CPU devices than the
        environment asks for, or flags of processes that do not fit each other.
      RunError: the other processes of the run did not come.
    """
    if "num_devices" not in flags.FLAGS:
        yield
        return
    if flags.FLAGS.deterministic:
        os.environ["XLA_FLAGS"] = " ".join(
            [os.environ.get("XLA_FLAGS", ""), *DETERMINISTIC]
        ).strip()
    wanted = flags.FLAGS.num_devices
    if wanted is not None:
        _check_forced(wanted)
        if jax.config.jax_num_cpu_devices != wanted:
            jax.config.update("jax_num_cpu_devices", wanted)
    if PROCESS_FLAGS[0] in flags.FLAGS:
        team.join(*(flags.FLAGS[name].value for name in PROCESS_FLAGS))
        team.expect()
    with (
        placement.over(_taken(wanted), norm_group=flags.FLAGS.norm_group),
        _residence(),
    ):
        yield


def _residence() -> contextlib.AbstractContextManager:
    if STREAM_FLAGS[0] not in flags.FLAGS:
        return contextlib.nullcontext()
    return residence.over(flags.FLAGS.resident, chunk_steps=flags.FLAGS.chunk_steps)


def _check_forced(wanted: int) -> None:
    """Refuses a number that the environment contradicts."""
    forced = _FORCED.findall(os.environ.get("XLA_FLAGS", ""))
    asked = {"XLA_FLAGS": int(forced[-1])} if forced else {}
    if jax.config.jax_num_cpu_devices > 0:
        asked["JAX_NUM_CPU_DEVICES"] = jax.config.jax_num_cpu_devices
    for name, count in asked.items():
        if count != wanted:
            raise ValueError(
                f"num_devices must be the {count} CPU devices that {name} asks for, "
                f"got {wanted}. Remove one of the two."
            )


def _taken(wanted: int | None) -> list[jax.Device] | None:
    """Returns the first devices of each process; None for all."""
    if wanted is None:
        return None
    here = jax.local_devices()
    if len(here) < wanted:
        raise ValueError(
            f"num_devices must be at most the {len(here)} devices of this machine "
            f"({here[0].platform}), got {wanted}. Lower it."
        )
    counts: dict[int, int] = {}
    found = []
    for one in jax.devices():
        counts[one.process_index] = counts.get(one.process_index, 0) + 1
        if counts[one.process_index] <= wanted:
            found.append(one)
    return found
