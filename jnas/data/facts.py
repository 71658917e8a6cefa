"""What one pass over a data set finds: its digest, moments and range; kept if slow."""

import hashlib
import json
import os
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from jnas import caches
from jnas.data import moments as moments_lib
from jnas.data import source

MAX_VALUE = 1e38  # the difference of two values must be a finite float32


class Facts(NamedTuple):
    """Facts about the arrays of a data set.

    Attributes:
      digest: SHA-256 over the arrays' names, shapes, types and bytes, in hex.
      moments: of the training images; of several arrays a dict of them.
      low: the smallest value of the training images, in their own unit.
      high: the largest.
    """

    digest: str
    moments: Any
    low: float
    high: float


def gather(
    x_train: Any,
    y_train: Any,
    x_test: Any,
    y_test: Any,
    *,
    name: str,
) -> Facts:
    """Reads all images once.

    Args:
      x_train: uint8 or f32 [N, H, W, C], other arrays [N, ...], or a dict of them.
      y_train: i32[N], or other targets.
      x_test: images of the test split.
      y_test: their labels.
      name: name of the data set in messages.

    Raises:
      ValueError: a value that is not finite, or too large; the message names the image.
    """
    sha = hashlib.sha256()
    several = isinstance(x_train, dict)
    sums = {
        key: moments_lib.Sums(x.shape[-1] if x.ndim > 1 else 1, x.dtype)
        for key, x in named("x_train", x_train)
    }

    def add(key, array, each=lambda part: None):
        sha.update(f"{key} {tuple(array.shape)} {array.dtype.str}".encode())
        done = 0
        for part in source.parts(array):
            if part.dtype == np.float32 and key.startswith("x_"):
                check_values(f"{key} of {name}", part, done)
            sha.update(np.ascontiguousarray(part).data)
            each(part)
            done += len(part)

    for key, x in named("x_train", x_train):
        add(key, x, sums[key].add)
    for key, tree in (("y_train", y_train), ("x_test", x_test), ("y_test", y_test)):
        for own, array in named(key, tree):
            add(own, array)
    found = {key.partition("/")[2]: one.moments() for key, one in sums.items()}
    low, high = min(s.low for s in sums.values()), max(s.high for s in sums.values())
    return Facts(sha.hexdigest(), found if several else found[""], low, high)


def named(key: str, tree: Any) -> list[tuple[str, Any]]:
    """Returns the arrays of a data set's split by name.

    Args:
      key: such as "x_train".
      tree: an array, "x_train", or a dict of them, "x_train/NAME".
    """
    if not isinstance(tree, dict):
        return [(key, tree)]
    return [(f"{key}/{name}", tree[name]) for name in sorted(tree)]


def check_values(
    name: str, images: np.ndarray, first: int = 0, *, what: str = "image"
) -> None:
    """Refuses values that float32 cannot be computed with.

    Args:
      name: name of the array in messages.
      images: f32 [N, ...].
      first: number of the first image.
      what: each of them is.

    Raises:
      ValueError: a value that is not finite, or too large.
    """
    finite = np.isfinite(images).reshape(len(images), -1).all(1)
    if not finite.all():
        bad = int(np.flatnonzero(~finite)[0])
        values = images[bad][~np.isfinite(images[bad])]
        raise ValueError(
            f"{name} must be finite, got {values[0]} in {what} {first + bad}. Remove "
            f"the {what}."
        )
    largest = np.abs(images).reshape(len(images), -1).max(1)
    if largest.max() >= MAX_VALUE:
        bad = int(largest.argmax())
        raise ValueError(
            f"{name} must be below {MAX_VALUE:g}, got {largest[bad]:g} in {what} "
            f"{first + bad}. Scale the {what}s."
        )


def kept(identity: str, compute: Callable[[], Any]) -> Any:
    """Returns JSON values that were computed before, or computes and keeps them.

    They are files of the folder ``data`` in the user's cache folder; one that cannot be
    read is computed again, and where none can be written nothing is kept.

    Args:
      identity: text that differs wherever the values could.
      compute: () -> the values.
    """
    name = hashlib.sha256(identity.encode()).hexdigest()
    try:
        path = caches.folder("data") / f"{name}.json"
        held = json.loads(path.read_text())
        if held["identity"] == identity:
            return held["values"]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        pass
    values = compute()
    try:
        path = caches.folder("data") / f"{name}.json"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = path.with_name(f".{name}.{uuid.uuid4().hex}")
        beside.write_text(json.dumps({"identity": identity, "values": values}))
        beside.replace(path)
    except (OSError, RuntimeError) as error:
        logging.warning("facts of the data are not kept: %s", error)
    return values


def identity_of(paths: list[str], *more: Any) -> str:
    """Returns a text that changes when one of some files does.

    Args:
      paths: of the files; each counts with its size, its number on the disk, and the
        times of its last changes, of which one cannot be set back.
      *more: options and versions that they are read with.
    """
    sha = hashlib.sha256()
    for path in paths:
        stat = os.stat(path)
        about = stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns
        sha.update(os.fsencode(path) + f" {about}\n".encode())
    return f"1 {sha.hexdigest()} {' '.join(map(str, more))}"
