"""Checks inputs that are no images and targets that are no classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jnas.data import dataset as dataset_lib
from jnas.data import facts, source

_SHAPES = {dataset_lib.SERIES: "[N, L, C]", dataset_lib.VECTORS: "[N, F]"}
_AXES = {dataset_lib.SERIES: 3, dataset_lib.VECTORS: 2}
_MOST = 1e30  # of a target, whose square must be a finite float32 beside others


def inputs(name: str, x: Any, *, kind: str) -> tuple[Any, None]:
    """Checks series, vectors, or several arrays.

    Args:
      name: of the inputs in messages, such as "x_train of mine".
      x: uint8 or f32; a dict of arrays may hold integers too, which become i32 and are
        not normalised.
      kind: one of ``dataset.INPUTS`` but images.

    Returns:
      (the array or the dict, None), as for images.

    Raises:
      ValueError: another shape or type, or values that are not finite.
    """
    if kind != dataset_lib.ARRAYS:
        x = x if source.is_lazy(x) else np.asarray(x)
        if x.ndim != _AXES[kind]:
            raise ValueError(
                f"{name} must be {_SHAPES[kind]} for the inputs {kind}, got shape "
                f"{x.shape}. Reshape it, or use other --inputs."
            )
        return _array(name, x, (np.uint8, np.float32)), None
    if not isinstance(x, Mapping) or not x:
        raise ValueError(
            f"{name} must be a dict of arrays for the inputs arrays, got "
            f"{type(x).__name__}. In an npz file, write x_train/NAME and x_test/NAME."
        )
    known, made = (np.uint8, np.float32, np.int32), {}
    for key, one in sorted(x.items()):
        own, one = f"{name}, {key},", np.asarray(one)
        if one.dtype.kind in "iu" and one.dtype != np.uint8:
            one = _as_int32(own, one)
        made[str(key)] = _array(own, one, known)
    _check_lengths(name, made)
    return made, None


def targets(name: str, y: Any, num_examples: int) -> Any:
    """Checks targets that are no classes.

    Args:
      name: of the targets in messages.
      y: numbers [N, ...], or a dict of such arrays.
      num_examples: N.

    Returns:
      f32 of the same shape, or a dict of arrays, whose integers stay i32.

    Raises:
      ValueError: another length or type, or values that are not finite.
    """
    if isinstance(y, Mapping):
        made = {
            str(key): _target(f"{name}, {key},", np.asarray(one), num_examples, True)
            for key, one in sorted(y.items())
        }
        if not made:
            raise ValueError(f"{name} must hold an array, got none. Add targets.")
        return made
    return _target(name, np.asarray(y), num_examples, False)


def check_alike(name: str, train: Any, test: Any, prefix: str) -> None:
    """Refuses a test split of other shapes or types.

    Args:
      name: of the data set.
      train: of the training split.
      test: of the test split.
      prefix: "x" or "y".

    Raises:
      ValueError: they differ.
    """

    def about(tree):
        arrays = facts.named(f"{prefix}_", tree)
        return [(key, str(a.dtype), tuple(a.shape[1:])) for key, a in arrays]

    def text(tree):
        return ", ".join(
            " ".join([key.partition("/")[2], dtype, str(shape)]).strip()
            for key, dtype, shape in about(tree)
        )

    if about(train) != about(test):
        raise ValueError(
            f"{prefix}_test of {name} must match {prefix}_train, {text(train)}, got "
            f"{text(test)}. Convert one of them."
        )


def all_equal(train: Any) -> bool:
    """Returns whether all examples are equal, so that nothing can be learned.

    Args:
      train: inputs or targets, an array or a dict of arrays.
    """
    return all(dataset_lib.all_equal(one) for _, one in facts.named("", train))


def _array(name, x, known) -> Any:
    if x.dtype not in known:
        todo = "Convert it."
        if x.dtype.kind in "biuf":
            todo = "Write x.astype(np.float32)."
        names = " or ".join(np.dtype(one).name for one in known)
        raise ValueError(f"{name} must be {names}, got {x.dtype}. {todo}")
    if not np.prod(x.shape):
        raise ValueError(
            f"{name} must hold at least one value, got shape {x.shape}. Add examples."
        )
    if x.dtype == np.float32 and not source.is_lazy(x):
        facts.check_values(name, x, what="example")
    return x


def _check_lengths(name, arrays) -> None:
    lengths = {key: len(one) for key, one in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"{name} must have one row an example in every array, got {lengths}. "
            "Correct the arrays."
        )


def _target(name, y, num_examples, keep) -> np.ndarray:
    if y.dtype.kind not in "biuf" or not y.ndim:
        raise ValueError(
            f"{name} must be numbers [N, ...], got {y.dtype} of shape {y.shape}. "
            "Convert them."
        )
    if len(y) != num_examples:
        raise ValueError(
            f"{name} must have one target for each of {num_examples} examples, got "
            f"{len(y)}. Add or remove targets."
        )
    finite = np.isfinite(y).reshape(len(y), -1).all(1)
    if not finite.all():
        bad = int(np.flatnonzero(~finite)[0])
        raise ValueError(
            f"{name} must be finite, got {y[bad]} in example {bad}. Remove the example."
        )
    if np.abs(y.astype(np.float64)).max() > _MOST:
        bad = int(np.abs(y.astype(np.float64)).reshape(len(y), -1).max(1).argmax())
        raise ValueError(
            f"{name} must be at most {_MOST:g}, got {y[bad]} in example {bad}. Scale "
            "them."
        )
    whole = keep and y.dtype.kind in "iu"
    return _as_int32(name, y) if whole else _as_float32(name, y)


def _as_int32(name, values) -> np.ndarray:
    if values.size and not -(2**31) <= values.min() <= values.max() < 2**31:
        raise ValueError(
            f"{name} must fit int32, got {values.min()} to {values.max()}. Write "
            "floats."
        )
    return values.astype(np.int32)


def _as_float32(name, y) -> np.ndarray:
    """Refuses numbers whose differences float32 does not tell apart."""
    made, wide = y.astype(np.float32), y.astype(np.float64).reshape(len(y), -1)
    lost = np.abs(made.reshape(len(y), -1) - wide).max(0)
    spread = wide.std(0)
    coarse = (wide.max(0) > wide.min(0)) & (lost > 1e-3 * spread)
    if coarse.any():
        k = int(np.argmax(coarse))
        raise ValueError(
            f"{name} must differ by more than float32 resolves, got a deviation of "
            f"{spread[k]:.3g} around {wide[:, k].mean():.9g}. Subtract an offset."
        )
    return made
