"""Finds NaN and infinity in metrics and states before they are saved."""

import math
from collections.abc import Collection, Mapping, Sequence
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


def diverged(
    name: str,
    bad: Sequence[str],
    leaves: Sequence[str],
    step: int,
    num_steps: int,
    saved: Sequence[int],
) -> Diverged:
    """Returns the error of a phase, which names up to two metrics and two arrays.

    Args:
      name: of the phase.
      bad: its metrics that are not finite, as from ``bad_metrics``.
      leaves: its arrays that are not finite, as from ``bad_leaves``.
      step: first step of the phase where that was so.
      num_steps: of the phase.
      saved: steps of the whole run that are saved, the newest last.
    """
    shown = [*bad[:2], *leaves[:2]]
    more = len(bad) + len(leaves) - len(shown)
    named = ", ".join(shown) + (f" and {more} more" if more else "")
    advice = "Lower a learning rate."
    if saved:
        advice = (
            "Lower a learning rate and resume with --allow_changed from the newest "
            f"checkpoint, step {saved[-1]} of the whole run, which is finite."
        )
    return Diverged(
        f"{name} must stay finite, got {named} at step {step} of {num_steps}. {advice}"
    )


def _kind(value: Any) -> str:
    return "NaN" if np.isnan(value).any() else "infinity"
