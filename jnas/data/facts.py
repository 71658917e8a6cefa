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
      moments: of the training images.
      low: the smallest value of the training images, in their own unit.
      high: the largest.
    """

    digest: str
    moments: moments_lib.Moments
    low: float
    high: float


def gather(
    x_train: source.Source,
    y_train: np.ndarray,
    x_test: source.Source,
    y_test: np.ndarray,
    *,
    name: str,
) -> Facts:
    """Reads all images once.

    Args:
      x_train: uint8 or f32 [N, H, W, C].
      y_train: i32[N].
      x_test: images of the test split.
      y_test: their labels.
      name: name of the data set in messages.

    Raises:
      ValueError: a value that is not finite, or too large; the message names the image.
    """
    sha = hashlib.sha256()
    sums = moments_lib.Sums(x_train.shape[-1], x_train.dtype)

    def add(key, array, each=lambda part: None):
        sha.update(f"{key} {tuple(array.shape)} {array.dtype.str}".encode())
        done = 0
        for part in source.parts(array):
            if part.dtype == np.float32 and part.ndim == 4:
                check_values(f"{key} of {name}", part, done)
            sha.update(np.ascontiguousarray(part).data)
            each(part)
            done += len(part)

    add("x_train", x_train, sums.add)
    add("y_train", y_train)
    add("x_test", x_test)
    add("y_test", y_test)
    return Facts(sha.hexdigest(), sums.moments(), sums.low, sums.high)


def check_values(name: str, images: np.ndarray, first: int = 0) -> None:
    """Refuses values that float32 cannot be computed with.

    Args:
      name: name of the array in messages.
      images: f32 [N, ...].
      first: number of the first image.

    Raises:
      ValueError: a value that is not finite, or too large.
    """
    finite = np.isfinite(images).reshape(len(images), -1).all(1)
    if not finite.all():
        bad = int(np.flatnonzero(~finite)[0])
        values = images[bad][~np.isfinite(images[bad])]
        raise ValueError(
            f"{name} must be finite, got {values[0]} in image {first + bad}. Remove "
            "the image."
        )
    largest = np.abs(images).reshape(len(images), -1).max(1)
    if largest.max() >= MAX_VALUE:
        bad = int(largest.argmax())
        raise ValueError(
            f"{name} must be below {MAX_VALUE:g}, got {largest[bad]:g} in image "
            f"{first + bad}. Scale the images."
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
