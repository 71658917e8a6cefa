"""Words among the processes of one run: process 0 decides, the others follow.

A run of several processes (``--coordinator``, or Slurm) is one program on the devices
of all of them, so that all must make the same calls in the same order. What depends on
a clock, a signal or a file is decided by process 0, which tells the others; it alone
has the workdir. Every word is the same pair of small broadcasts, so that whatever the
others wait for, they also hear that process 0 stops.
"""

import contextlib
import contextvars
import json
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from jnas.run import files

HEARTBEAT_SECONDS = 30  # after which JAX ends the processes beside a lost one
_JOIN_SECONDS, _LEAVE_SECONDS = 300, 10
_END = "end"
_ERROR = "error"
_MEETS: contextvars.ContextVar[bool] = contextvars.ContextVar("meets", default=False)


class Ended(SystemExit):
    """Raised where process 0 has ended the run; ``code`` is its exit status."""


def join(
    coordinator: str | None, num_processes: int | None, process: int | None
) -> None:
    """Connects this process with the others of the run; before any array is made.

    Without arguments, the tasks of a Slurm step join each other; elsewhere nothing
    happens.

    Args:
      coordinator: host:port of process 0.
      num_processes: number of processes; 1 joins none.
      process: number of this one, from 0.

    Raises:
      ValueError: some arguments are given and others are not, or do not fit.
      RunError: the others did not come.
    """
    given = {
        "coordinator": coordinator,
        "num_processes": num_processes,
        "process": process,
    }
    if num_processes == 1 and coordinator is None and process is None:
        return
    if all(value is None for value in given.values()):
        if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) == 1:
            return
    else:
        _check(given)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process,
            initialization_timeout=_JOIN_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_LEAVE_SECONDS,
        )
    except RuntimeError as error:
        where = coordinator or "Slurm's first task"
        raise files.RunError(
            f"all processes must reach {where} within {_JOIN_SECONDS} s, got "
            f"{error}. Start the same command for each --process."
        ) from error
    _check_counts()
    # all are here now; later one may wait for another longer than a first word may
    multihost_utils.sync_global_devices("joined")


def _check(given: dict[str, Any]) -> None:
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise ValueError(
            "coordinator, num_processes and process must be given together, got no "
            f"{missing[0]}. Add --{missing[0]}."
        )
    if given["process"] >= given["num_processes"]:
        raise ValueError(
            f"process must be below num_processes, {given['num_processes']}, got "
            f"{given['process']}. The first is 0."
        )
    host, _, port = given["coordinator"].rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(
            f"coordinator must be host:port of process 0, got "
            f"{given['coordinator']!r}. Write --coordinator=host:1234."
        )


def _check_counts() -> None:
    """Refuses processes of different numbers of devices, which make no mesh."""
    counts = [0] * jax.process_count()
    for one in jax.devices():
        counts[one.process_index] += 1
    if len(set(counts)) > 1:
        raise ValueError(
            "num_devices must be the same on all processes, got "
            f"{', '.join(map(str, counts))}. Start all with the same command."
        )


def expect() -> None:
    """Begins to wait for ``meet``: an error before it is one that others must hear."""
    _MEETS.set(joined())


def meet(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns what each process brings to the first word of a run; see ``gather``.

    Args:
      value: JSON value.

    Raises:
      RunError: another process has brought an error instead.
    """
    _MEETS.set(False)
    found = gather(value)
    for number, other in enumerate(found):
        if _ERROR in other and number != jax.process_index():
            raise files.RunError(f"process {number} has stopped: {other[_ERROR]}")
    return found


def report_error(line: str) -> None:
    """Brings an error of this process to the others, where they still wait for it.

    Args:
      line: what the user reads.
    """
    if _MEETS.get():
        _MEETS.set(False)
        gather({_ERROR: line})


def joined() -> bool:
    """Returns whether the run has several processes."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def leads() -> bool:
    """Returns whether this process decides, and has the workdir."""
    return not joined() or jax.process_index() == 0


def leave() -> None:
    """Disconnects from the other processes, once all of them come here."""
    if jax.distributed.is_initialized():
        with contextlib.suppress(Exception):  # one that was lost is no news any more
            jax.distributed.shutdown()


def tell(value: Any) -> Any:
    """Returns process 0's value on all processes.

    Args:
      value: JSON value; that of other processes is not read.
    """
    data = np.frombuffer(json.dumps(value).encode() if leads() else b"", np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    data = data if leads() else np.zeros(size, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(data)).tobytes())


def gather(value: Any) -> list[Any]:
    """Returns the values of all processes, in order.

    Args:
      value: JSON value.
    """
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.int32(len(data)))).ravel()
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(data)] = data
    rows = np.asarray(multihost_utils.process_allgather(padded))
    return [
        json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)
    ]


def send(tree: Any, abstract: Any) -> Any:
    """Returns process 0's arrays on all processes.

    Args:
      tree: of arrays; that of other processes is not read.
      abstract: the same tree of ``jax.ShapeDtypeStruct``.

    Returns:
      Arrays of each process' own device.
    """

    def raw(leaf):
        return jax.random.key_data(leaf) if _is_key(leaf) else leaf

    def as_bytes(leaf):  # a broadcast is a sum, in which -0 + 0 is 0
        return np.ascontiguousarray(raw(leaf)).reshape(-1).view(np.uint8)

    shapes = jax.eval_shape(lambda tree: jax.tree.map(raw, tree), abstract)
    if leads():
        mine = jax.tree.map(as_bytes, tree)
    else:
        mine = jax.tree.map(lambda s: as_bytes(np.zeros(s.shape, s.dtype)), shapes)
    sent = multihost_utils.broadcast_one_to_all(mine)
    sent = jax.tree.map(
        lambda data, s: np.asarray(data).view(s.dtype).reshape(s.shape), sent, shapes
    )
    keys = [leaf for leaf in jax.tree.leaves(tree if leads() else ()) if _is_key(leaf)]
    impls = iter(tell([str(jax.random.key_impl(key)) for key in keys]))

    def whole(leaf, like):
        value = np.asarray(leaf)
        if _is_key(like):
            return jax.random.wrap_key_data(jnp.asarray(value), impl=next(impls))
        if getattr(like, "weak_type", False):
            return jnp.asarray(value.item())
        return jnp.asarray(value, like.dtype)

    return jax.tree.map(whole, sent, abstract)


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


class Words:
    """What process 0 tells the others of a run.

    Attributes:
      over: whether the end of the run has been told.
    """

    def __init__(self):
        """Begins with nothing told."""
        self.over = False

    def led(self, function: Callable[[], Any]) -> Any:
        """Calls a function on process 0; returns its value, or ends, on all.

        Args:
          function: () -> JSON value.

        Raises:
          Ended: on the others, where it raised an error on process 0.
        """
        error, word = None, {}
        if leads():
            try:
                word = {"value": files.plain(function())}
            except BaseException as raised:
                error, word = raised, {_ERROR: status_of(raised)}
        word = tell(word)
        self.over |= _ERROR in word
        if error is not None:
            raise error
        return self._value(word)

    def end(self, error: BaseException | None) -> None:
        """Tells, or waits to hear, how the run ended; once.

        Args:
          error: that ends process 0; None if it is done.

        Raises:
          Ended: on the others, with process 0's exit status.
        """
        if self.over:
            return
        self.over = True
        if leads():
            tell({_END: 0} if error is None else {_ERROR: status_of(error)})
        else:
            self._value(tell(None))

    def _value(self, word: dict[str, Any]) -> Any:
        for name in (_END, _ERROR):
            if name in word:
                self.over = True
                raise Ended(word[name])
        return word["value"]


def status_of(error: BaseException) -> int:
    """Returns the exit status of a process that an error ends.

    Args:
      error: such as signals.Interrupted.
    """
    code = getattr(error, "code", 1)
    return code if isinstance(code, int) else 1
