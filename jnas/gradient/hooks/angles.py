"""Chooses the path whose parameters turned most: RLNAS.

Source: Zhang et al. 2021, arXiv:2101.11834, section 3.3 and its released code.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import pieces, registry, types
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.hooks import proposals as proposals_lib
from jnas.gradient.hooks import signal as signal_lib

_IMAGES = 16  # by which a path's parameters are found: no unit is 0 for all
_NOISE = 0.1  # added to constant ones: none may hide behind a parameter that is 0
_LEAST = 1e-5  # gradients below this share of the largest are rounding


class Turned(NamedTuple):
    """What the hook carries.

    Attributes:
      initial: parameters before the first step.
      best: the path that it chose.
    """

    initial: types.Params
    best: proposals_lib.Best


def angle(first: types.Params, second: types.Params, chosen: Any) -> types.Array:
    """Computes the angle between two vectors of parameters, f32[] in radians.

    2 atan2(|u - v|, |u + v|), u and v of length 1: unlike an arccosine it is accurate
    for small angles too.

    Args:
      first: parameters.
      second: likewise.
      chosen: bool arrays like them, the entries that count.

    Returns:
      0 to pi; 0 where either vector is zero.
    """
    u, v = (
        jnp.concatenate(
            [
                jnp.where(keep, leaf, 0).astype(jnp.float32).reshape(-1)
                for leaf, keep in zip(
                    *map(jax.tree.leaves, (params, chosen)), strict=True
                )
            ]
        )
        for params in (first, second)
    )
    lengths = jnp.linalg.norm(u), jnp.linalg.norm(v)
    u, v = u * lengths[1], v * lengths[0]
    return 2 * jnp.arctan2(jnp.linalg.norm(u - v), jnp.linalg.norm(u + v))


def used(
    key: types.Key,
    apply: Callable,
    params: types.Params,
    weights: types.Weights,
    inputs: Any,
    num_draws: int = 2,
) -> tuple[Any, types.Array]:
    """Finds the parameters that a path computes with, of any supernet.

    They are those with a gradient of the outputs, at parameters drawn around the given
    ones. A parameter that changes no output, such as a bias before a normalisation, is
    not one of them, nor is one behind ``none`` alone, or in a unit that is 0 for all
    inputs in every draw.

    Args:
      key: consumed.
      apply: (params, inputs, weights, key) -> outputs f32[B, K].
      params: of the supernet.
      weights: of the path.
      inputs: B examples, at least 2.
      num_draws: parameters are drawn anew, and those count that have a gradient once.

    Returns:
      (bool arrays like the params, bool[]: whether the outputs depend on the inputs).
    """

    def one(key):
        drawn, out_key, op_key = jax.random.split(key, 3)
        near = _near(drawn, params)
        outputs, back = jax.vjp(lambda p: apply(p, inputs, weights, op_key), near)
        (grads,) = back(jax.random.normal(out_key, outputs.shape, outputs.dtype))
        sizes = jax.tree.map(jnp.abs, grads)
        most = jnp.stack([leaf.max() for leaf in jax.tree.leaves(sizes)]).max()
        some = jax.tree.map(lambda size: size > _LEAST * most, sizes)
        return some, (jnp.ptp(outputs, 0) > 0).any()

    each = jax.lax.map(one, jax.random.split(key, num_draws))
    return jax.tree.map(lambda leaf: leaf.any(0), each)


def _near(key: types.Key, params: types.Params) -> types.Params:
    """Adds noise to parameters, as large as they are."""
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    noisy = [
        leaf + (leaf.std() + _NOISE) * jax.random.normal(own, leaf.shape, leaf.dtype)
        for own, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, noisy)


@registry.HOOKS.register
def angle_paths(
    search: hook_lib.Search,
    *,
    controller: pieces.Piece = "nsga2",
    num_evaluations: int = 1000,
    population_size: int | None = 50,
    mutation_rate: float | None = 0.1,
    crossover_rate: float | None = 0.5,
) -> hook_lib.Hook:
    """Builds the hook that chooses the path of the largest angle after the last epoch.

    The angle is the one between a path's parameters before and after training. A path
    whose outputs do not depend on its inputs has 0. No label is read.

    Args:
      search: whose supernet is trained.
      controller: that proposes paths.
      num_evaluations: paths whose angle is computed.
      population_size: of the controller; None leaves its own.
      mutation_rate: likewise.
      crossover_rate: likewise.

    Returns:
      The hook; ``best_path_angle`` is that of the chosen path, in radians,
      ``mean_path_angle`` the mean of all proposed ones.

    Raises:
      ValueError: num_evaluations below 1, or a number that the controller lacks.

    Source: arXiv:2101.11834, section 3.3 and its released code. Differs: each parameter
    counts once, there once for each way through the cell that passes it; operations
    without parameters add nothing, there pools add constants, of both vectors; the
    evolution is NSGA-II's, with as many children as parents, there ten parents.
    """
    if num_evaluations < 1:
        raise ValueError(
            "angle_paths must have num_evaluations at least 1, got "
            f"{num_evaluations}. Raise it."
        )
    numbers = {"population_size": population_size, "mutation_rate": mutation_rate}
    made = proposals_lib.controller_of(
        search, controller, **numbers, crossover_rate=crossover_rate
    )

    def call(key, clock, state, carry, split):
        draw_key, own = jax.random.split(key)
        variant = signal_lib.without_dropout(search.variant_inputs(clock))
        batches = signal_lib.fixed_batches(split, search.augment, _count(search), 1)
        inputs = jax.tree.map(lambda leaf: leaf[0], batches[0])

        def apply(params, inputs, weights, key):
            return search.supernet.apply(
                params, inputs, weights, key=key, variant_inputs=variant
            )

        def score(encoding):
            weights = search.space.weights(encoding)
            mine, depends = used(own, apply, carry.initial, weights, inputs)
            turned = angle(carry.initial, state.params, mine)
            allowed = proposals_lib.allowed(search, state.mask, weights)
            return jnp.where(allowed, jnp.where(depends, turned, 0), -jnp.inf)

        proposals = proposals_lib.propose(draw_key, made, score, num_evaluations)
        best = proposals_lib.best_of(proposals)
        values = {"best_path_angle": best.score}
        values["mean_path_angle"] = proposals_lib.mean_of(proposals)
        return state, carry._replace(best=best), values, False

    return hook_lib.Hook(
        search.num_epochs,
        lambda state: Turned(
            jax.tree.map(jnp.copy, state.params), proposals_lib.no_path(search)
        ),
        call,
        ("best_path_angle", "mean_path_angle"),
        rows=functools.partial(_rows, batch_size=_count(search)),
        found=lambda carry: proposals_lib.found(carry.best),
        score=lambda carry: carry.best.score,
    )


def _count(search: hook_lib.Search) -> int:
    return max(2, min(_IMAGES, search.batch_size))


def _rows(count: int, batch_size: int) -> np.ndarray:
    return signal_lib.fixed_rows(count, batch_size, 1)
