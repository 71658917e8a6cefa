"""How images reach a program: all are on its devices, or chunks that are read ahead.

A chunk holds the batches of the next steps, in the very order of the resident form,
which is a pure function of key and epoch. So a run resumes at any step without a
loader's state, and no result depends on the size of the chunks:

    host      read 0 | read 1 | read 2 | read 3 ...
    devices            steps 0 | steps 1 | steps 2 ...
"""

import collections
import concurrent.futures
import contextlib
import contextvars
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from jnas import types
from jnas.data import residence, source
from jnas.training import placement

CHUNK_BYTES = 64 << 20  # of images, on a device at a time


def fits(*images: source.Source) -> bool:
    """Returns whether all images are held on each device, as ``residence`` says.

    Several processes call it together, and hold them if all can.

    Args:
      *images: sources.
    """
    here = residence.fits(sum(map(source.num_bytes, images)), device_bytes())
    if jax.process_count() == 1:
        return here
    return bool(multihost_utils.process_allgather(np.bool_(here)).all())


def device_bytes() -> int:
    """Returns the bytes of a device's memory; of a CPU device, those of the machine."""
    stats = jax.local_devices()[0].memory_stats()  # None of CPU devices
    return (stats or {}).get("bytes_limit") or residence.machine_bytes()


def split(
    images: source.Source,
    labels: np.ndarray,
    rows: np.ndarray | None = None,
    *,
    resident: bool,
) -> types.Batch:
    """Returns a split: images and labels on the device, or to be read when needed.

    Args:
      images: of the data set.
      labels: i32[N].
      rows: i64[R], of the split; None means all.
      resident: whether they are on the device.
    """
    if resident:
        if rows is None:
            return jnp.asarray(images[:]), jnp.asarray(labels)
        return jnp.asarray(images[rows]), jnp.asarray(labels[rows])
    rows = np.arange(len(labels)) if rows is None else rows
    return source.selected(images, rows), labels[rows]


def is_streamed(splits: Iterable[types.Batch]) -> bool:
    """Returns whether images of some split are read when they are needed.

    Args:
      splits: (images, labels) of each split.
    """
    return any(isinstance(leaf, source.Read) for leaf in jax.tree.leaves(splits))


def abstract(splits: tuple[types.Batch, ...]) -> tuple[types.Batch, ...]:
    """Returns the shapes and types of splits.

    Args:
      splits: (images, labels) of each split.
    """
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), splits)


@contextlib.contextmanager
def of(
    program: Any, splits: tuple[types.Batch, ...]
) -> Iterator["Resident | Streamed"]:
    """Feeds a program with splits.

    Args:
      program: a ``program.Program``.
      splits: (images, labels) of each split.

    Raises:
      ValueError: the program cannot read images when they are needed.
    """
    if not is_streamed(splits):
        yield Resident(program, splits)
        return
    if program.stream is None:
        raise ValueError(
            "images must be on the devices for this program, got images that are read "
            "when they are needed. Use --resident=yes."
        )
    fed = Streamed(program, splits)
    try:
        yield fed
    finally:
        fed.close()


class Resident:
    """All images are on the devices."""

    def __init__(self, program: Any, splits: tuple[types.Batch, ...]):
        """Places the splits.

        Args:
          program: a ``program.Program``.
          splits: (images, labels) of each split.
        """
        self._program = program
        self._splits = placement.put(splits, count=program.groups)

    def end(self, state, first) -> int:
        """Returns up to which step the images are there."""
        return self._program.num_steps

    def advance(self, state, first, stop) -> tuple:
        """Runs the steps from first up to stop."""
        return self._program.advance(state, first, stop, self._splits)

    def at_epoch_end(self, state, epoch) -> tuple:
        """Runs what comes after an epoch."""
        return self._program.at_epoch_end(state, epoch, self._splits)


class Chunk(NamedTuple):
    """The batches of some steps.

    Attributes:
      begin: number of the first step.
      stop: number after the last one.
      batches: (images [K, B, ...], labels [K, B]) of each split, K at least the number
        of steps; with seeds [S, K, B, ...].
    """

    begin: int
    stop: int
    batches: tuple[types.Batch, ...]


class Streamed:
    """Images are read when they are needed, by a thread that is a chunk ahead."""

    def __init__(self, program: Any, splits: tuple[types.Batch, ...]):
        """Reads nothing yet.

        Args:
          program: a ``program.Program`` with a ``stream``.
          splits: (images, labels) of each split.
        """
        self._program, self._splits = program, splits
        self._chunks: Iterator[Chunk] | None = None
        self._chunk: Chunk | None = None
        self._size = chunk_steps(program, splits) or program.steps_per_epoch

    def close(self) -> None:
        """Ends the thread."""
        if self._chunks is not None:
            self._chunks.close()

    def end(self, state, first) -> int:
        """Returns up to which step the images are there."""
        if self._chunks is None:
            key = np.asarray(jax.random.key_data(placement.local(state.key)))
            self._chunks = self._read(jax.random.wrap_key_data(key), first)
        if self._chunk is None or first >= self._chunk.stop:
            self._chunk = None  # before the next one is waited for
            self._chunk = next(self._chunks)
        return self._chunk.stop

    def advance(self, state, first, stop) -> tuple:
        """Runs the steps from first up to stop, which are in the chunk."""
        begin = jnp.int32(self._chunk.begin)
        stream = self._program.stream
        return stream.advance(state, first, stop, begin, self._chunk.batches)

    def at_epoch_end(self, state, epoch) -> tuple:
        """Runs what comes after an epoch, on images that are read for it."""
        stream, count = self._program.stream, self._program.groups
        images, labels = self._splits[1]
        if stream.measure is None:
            rows = np.arange(len(labels)) if stream.rows is None else stream.rows
            seen = placement.put((images[rows], labels[rows]), count=count)
            return stream.at_epoch_end(state, epoch, (None, seen))
        seen = in_pieces(
            lambda x, y: stream.measure(state, epoch, (None, (x, y))),
            images,
            labels,
            batch_size=stream.batch_size,
            count=count,
        )
        seen = placement.put(seen, self._program.place, count=count)
        return stream.at_epoch_end(state, epoch, seen)

    def _read(self, key, first) -> Iterator[Chunk]:
        program = self._program
        orders: dict[int, list[np.ndarray]] = {}

        def spans():
            at = first
            while at < program.num_steps:
                _, epoch_end = program.epoch_at(at)
                stop = min(at + self._size, epoch_end)
                yield at, stop
                at = stop

        def read(span):
            begin, stop = span
            epoch, _ = program.epoch_at(begin)
            if epoch not in orders:
                orders.clear()
                found = program.stream.orders(key, jnp.int32(epoch))
                orders[epoch] = [np.asarray(one) for one in found]
            steps = np.minimum(np.arange(begin, begin + self._size), stop - 1)
            places = steps % program.steps_per_epoch
            batches = tuple(
                self._batches(*split, order[..., places % order.shape[-2], :])
                for split, order in zip(self._splits, orders[epoch], strict=False)
            )
            return Chunk(begin, stop, batches)

        return ahead(read, spans())

    def _batches(self, images, labels, rows) -> types.Batch:
        """Returns the images and labels of rows i32[K, B] or [S, K, B], placed."""
        place, count = self._program.place, self._program.groups

        def read(rows):
            found = np.asarray(images[rows.reshape(-1)])
            return found.reshape(*rows.shape, *images.shape[1:])

        return (
            placement.put_batches(read, rows, images.shape[1:], place, count=count),
            placement.put_batches(labels.__getitem__, rows, (), place, count=count),
        )


def chunk_steps(program: Any, splits: tuple[types.Batch, ...]) -> int | None:
    """Returns the number of steps of a chunk; None where all images are on the devices.

    Args:
      program: a ``program.Program``; with a ``stream``, where images are not.
      splits: (images, labels) of each split.
    """
    if not is_streamed(splits):
        return None
    wanted = residence.chosen().chunk_steps
    if wanted is None:
        one = sum(
            math.prod(images.shape[1:]) * np.dtype(images.dtype).itemsize
            for images, _ in splits
        )
        step = one * program.stream.batch_size * (program.num_seeds or 1)
        wanted = max(1, CHUNK_BYTES // step)
    return min(wanted, program.steps_per_epoch)


def ahead(make: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Yields what a function makes of some items; a thread makes the next meanwhile.

    Args:
      make: item -> what is yielded.
      items: in order.

    Raises:
      Exception: what the function raises, in place of its result.
    """
    context = contextvars.copy_context()  # of devices, which threads do not inherit
    pool = concurrent.futures.ThreadPoolExecutor(1)
    waiting: collections.deque = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(context.run, make, item))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def in_pieces(
    function: Callable[[types.Array, types.Array], Any],
    images: source.Source,
    labels: np.ndarray,
    *,
    batch_size: int,
    count: int | None = None,
) -> Any:
    """Applies a compiled function to all images, piece by piece, in order.

    Pieces have one size, whole batches: the last image is repeated for it, and left out
    of the result.

    Args:
      function: (images [R, ...], labels i32[R]), placed -> arrays [..., R].
      images: N images.
      labels: i32[N].
      batch_size: R is a multiple of it, or N where it is larger.
      count: of equal things that devices are divided among, as for ``placement.mesh``.

    Returns:
      The arrays of all pieces [..., N], in the host's memory.
    """
    total = len(labels)
    one = max(1, source.num_bytes(images) // total)
    batch_size = min(batch_size, total)
    batches = max(1, CHUNK_BYTES // (one * batch_size))
    size = batch_size * min(batches, -(-total // batch_size))

    def read(begin):
        rows = np.minimum(np.arange(begin, begin + size), total - 1)
        piece = np.asarray(images[rows]), labels[rows]
        return min(size, total - begin), placement.put(piece, count=count)

    found = []
    for number, piece in ahead(read, range(0, total, size)):
        made = placement.local(function(*piece))
        found.append(jax.tree.map(lambda x, n=number: np.asarray(x)[..., :n], made))
    return jax.tree.map(lambda *some: np.concatenate(some, -1), *found)
