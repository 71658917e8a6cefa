"""How images reach a program: all are on its devices, or chunks that are read ahead.

A chunk holds the batches of the next steps, in the very order of the resident form,
which is a pure function of key and epoch. So a run resumes at any step without a
loader's state, and no result depends on the size of the chunks:

    host      read 0 | read 1 | read 2 | read 3 ...
    devices            steps 0 | steps 1 | steps 2 ...
"""

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from jnas import types
from jnas.data import batches, residence, source
from jnas.training import chunks, placement


def fits(*images: Any) -> bool:
    """Returns whether all images are held on each device, as ``residence`` says.

    Several processes call it together, and hold them if all can.

    Args:
      *images: sources, or trees of arrays.
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
    images: Any,
    labels: Any,
    rows: np.ndarray | None = None,
    *,
    resident: bool,
) -> types.Batch:
    """Returns a split: images and labels on the device, or to be read when needed.

    Args:
      images: of the data set; or other inputs, of which trees are resident.
      labels: i32[N], or other targets.
      rows: i64[R], of the split; None means all.
      resident: whether they are on the device.
    """
    if resident:
        rows = slice(None) if rows is None else rows
        return jax.tree.map(jnp.asarray, batches.take(images, labels, rows))
    rows = np.arange(batches.count(labels)) if rows is None else rows
    return source.selected(images, rows), batches.rows_of(labels, rows)


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
        self._size = chunk_steps(program, splits)

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
        if len(self._splits) == 1:
            return stream.at_epoch_end(state, epoch, (None,))
        images, labels = self._splits[1]
        if stream.measure is None:
            rows = stream.rows
            rows = np.arange(batches.count(labels)) if rows is None else rows
            read = chunks.gathered(images, rows), batches.rows_of(labels, rows)
            seen = placement.put(read, count=count)
            return stream.at_epoch_end(state, epoch, (None, seen))
        seen = chunks.in_chunks(
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
            picked = tuple(
                self._batches(*split, order[..., places % order.shape[-2], :])
                for split, order in zip(self._splits, orders[epoch], strict=False)
            )
            return Chunk(begin, stop, picked)

        return chunks.ahead(read, spans())

    def _batches(self, images, labels, rows) -> types.Batch:
        """Returns the images and labels of rows i32[K, B] or [S, K, B], placed."""
        place, count = self._program.place, self._program.groups

        def read(rows):
            return chunks.gathered(images, rows)

        def placed(read, shape):
            return placement.put_batches(read, rows, shape, place, count=count)

        targets = jax.tree.map(lambda y: placed(y.__getitem__, y.shape[1:]), labels)
        return placed(read, images.shape[1:]), targets


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
            for images, _ in splits[: program.stream.num_splits]
        )
        step = one * program.stream.batch_size * (program.num_seeds or 1)
        wanted = max(1, chunks.BYTES // step)
    # an epoch's chunks are of about one size, as the last is filled up to the others'
    epoch = program.steps_per_epoch
    return -(-epoch // -(-epoch // min(wanted, epoch)))
