"""Finds NaN and infinity in metrics and states before they are saved."""

import math
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas.run import files


class Diverged(files.RunError):
    """Raised for NaN or infinity in a run's metrics or state; one line."""


def bad_metrics(values: Mapping[str, float], names: Collection[str]) -> list[str]:
    """Lists the named metrics that are not finite, as "NaN in train_loss"."""
    return [
        f"{_kind(values[name])} in {name}"
        for name in names
        if name in values and not math.isfinite(values[name])
    ]


def bad_leaves(state: Any, *, free: Collection[str] = ()) -> list[str]:
    """Lists the arrays of a state that are not finite, as "NaN in state.logits".

    Args:
      state: a pytree of arrays; integers, booleans and keys are not checked.
      free: names of leaves, or of subtrees such as "inner.watched", that are not
        checked.

    Returns:
      One text per array; optimiser states come last, since they are not the cause.
    """
    found = {}
    for path, leaf in jax.tree.leaves_with_path(state):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        exempt = any(name == one or name.startswith(one + ".") for one in free)
        if not exempt and jnp.issubdtype(leaf.dtype, jnp.inexact):
            found[name] = leaf
    names = sorted(found, key=lambda name: "opt" in name)
    values = jax.device_get(found)
    return [
        f"{_kind(values[name])} in state.{name}"
        for name in names
        if not np.isfinite(values[name]).all()
    ]


def _kind(value: Any) -> str:
    return "NaN" if np.isnan(value).any() else "infinity"
