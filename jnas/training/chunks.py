"""Images that are read chunk by chunk, by a thread that is ahead of the devices."""

import collections
import concurrent.futures
import contextvars
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from jnas import types
from jnas.data import batches, source
from jnas.training import placement

BYTES = 64 << 20  # of the images of a chunk


def gathered(images: source.Source, rows: np.ndarray) -> np.ndarray:
    """Returns the images of rows of any shape, each read once, in an array of its own.

    Args:
      images: [N, ...].
      rows: i[...].

    Returns:
      [*rows.shape, ...].
    """
    own, places = np.unique(rows, return_inverse=True)
    return np.asarray(images[own])[places.reshape(rows.shape)]


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


def in_chunks(
    function: Callable[[types.Array, types.Array], Any],
    images: source.Source,
    labels: Any,
    *,
    batch_size: int,
    count: int | None = None,
) -> Any:
    """Applies a compiled function to all images, chunk by chunk, in order.

    Chunks have one size, whole batches: the last image is repeated for it, and left out
    of the result.

    Args:
      function: (images [R, ...], labels i32[R]), placed -> arrays [..., R].
      images: N images.
      labels: i32[N], or other targets.
      batch_size: R is a multiple of it, or N where it is larger.
      count: of equal things that devices are divided among, as for ``placement.mesh``.

    Returns:
      The arrays of all chunks [..., N], in the host's memory.
    """
    total = batches.count(labels)
    one = max(1, source.num_bytes(images) // total)
    batch_size = min(batch_size, total)
    number = max(1, BYTES // (one * batch_size))
    size = batch_size * min(number, -(-total // batch_size))

    def read(begin):
        rows = np.minimum(np.arange(begin, begin + size), total - 1)
        chunk = gathered(images, rows), batches.rows_of(labels, rows)
        return min(size, total - begin), placement.put(chunk, count=count)

    found = []
    for number, chunk in ahead(read, range(0, total, size)):
        made = placement.local(function(*chunk))
        found.append(jax.tree.map(lambda x, n=number: np.asarray(x)[..., :n], made))
    return jax.tree.map(lambda *some: np.concatenate(some, -1), *found)
