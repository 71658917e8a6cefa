"""The interface between Flax NNX and the rest: a module as two pure functions.

A module is split once, under eval_shape, and merged inside each call with
``copy=True``; parameters and statistics are plain nested dicts of arrays. Stacking them
over edges, cells or seeds is then ``jax.vmap`` of ``init``.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jnas import registry, types


class Functional(NamedTuple):
    """A module as pure functions.

    Attributes:
      init: key -> (params, stats).
      apply: (params, stats, x, *, train, key) -> (y, stats). key is used only by a
        module that draws random numbers.
      module: the abstract module, for reading its attributes.
      has_params: whether it has parameters.
      has_stats: whether it keeps statistics.
      draws: whether it draws random numbers.
    """

    init: Callable[[types.Key], tuple[types.Params, types.Params]]
    apply: Callable[..., tuple[types.Array, types.Params]]
    module: nnx.Module
    has_params: bool
    has_stats: bool
    draws: bool


def _split(module: nnx.Module) -> tuple:
    return nnx.split(module, nnx.Param, nnx.RngState, ...)


def _restate(like: nnx.State, plain: Any) -> nnx.State:
    """Gives the leaves of a plain dict the structure of an nnx.State."""
    return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(plain))


def _streams(like: nnx.State, key: types.Key | None) -> nnx.State:
    """Makes fresh random streams: every key leaf from ``key``, every count zero."""
    leaves, treedef = jax.tree.flatten(like)
    if not leaves:
        return like
    if key is None:
        raise ValueError(
            "key must be given to a network with a random operation, got None. "
            "Pass key=jax.random.key(...)."
        )

    def fresh(i, leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.fold_in(key, i)
        return jnp.zeros(leaf.shape, leaf.dtype)

    return jax.tree.unflatten(
        treedef, [fresh(i, leaf) for i, leaf in enumerate(leaves)]
    )


def functional(build: Callable[[nnx.Rngs], nnx.Module]) -> Functional:
    """Turns a module's builder into pure functions.

    Args:
      build: rngs -> module; called once under eval_shape and once in each ``init``.

    Returns:
      The pure functions; both may be jitted, vmapped and scanned over.
    """
    module = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    module.eval()
    evaluation, *_ = _split(module)
    module.train()
    training, params_like, streams_like, stats_like = _split(module)

    def init(key):
        _, params, _, stats = _split(build(nnx.Rngs(key)))
        return nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    @functools.partial(jax.jit, static_argnames="train")  # traced once per shape
    def apply(params, stats, x, *, train=True, key=None):
        merged = nnx.merge(
            training if train else evaluation,
            _restate(params_like, params),
            _streams(streams_like, key),
            _restate(stats_like, stats),
            copy=True,
        )
        y = merged(x)
        return y, nnx.to_pure_dict(_split(merged)[3])

    return Functional(
        init,
        apply,
        module,
        has_params=bool(jax.tree.leaves(params_like)),
        has_stats=bool(jax.tree.leaves(stats_like)),
        draws=bool(jax.tree.leaves(streams_like)),
    )


def operation(
    name: str,
    features: int,
    stride: int,
    *,
    norm: Callable,
    normalise: bool = False,
    in_features: int | None = None,
) -> Functional:
    """Builds a registered operation as pure functions.

    Args:
      name: its key in ``registry.OPERATIONS``.
      features: F of its output, and of its input unless ``in_features`` is given.
      stride: 1 or 2, in pixels.
      norm: the network's normalisation, ``norm(features, rngs=rngs)``.
      normalise: whether a norm follows an operation that asks for one inside a
        mixture (the pools of DARTS).
      in_features: F of its input in a chain; None in a cell, whose operations keep F.

    Raises:
      KeyError: no such operation.
      ValueError: its output has another shape than its contract says, or it cannot
        change the features.
    """
    make = registry.OPERATIONS[name]
    chained = "in_features" in inspect.signature(make).parameters
    if not chained and in_features not in (None, features):
        raise ValueError(
            f"operation {name!r} must take in_features where a chain changes its "
            f"features, got a position from {in_features} to {features}. Use it where "
            "features stay, or another operation."
        )
    own = in_features if chained else None
    return _operation(name, make, features, stride, norm, normalise, own)


@functools.lru_cache(maxsize=1024)
def _operation(name, make, features, stride, norm, normalise, before) -> Functional:
    """Builds one kind of candidate once, so that it is traced once per shape."""
    chained = {} if before is None else {"in_features": before}

    def build(rngs):
        op = make(features, stride, norm=norm, rngs=rngs, **chained)
        if normalise and getattr(op, "normalise_in_mixture", False):
            return nnx.Sequential(op, norm(features, rngs=rngs))
        return op

    op = functional(build)
    images = getattr(norm, "recorded", 0) or 2  # a recording norm knows its batch
    check_shape(name, op, (images, 8, 8, before or features), stride, features)
    return op


def check_shape(
    name: str,
    op: Functional,
    shape: tuple[int, int, int, int],
    stride: int,
    out_features: int | None = None,
) -> None:
    """Checks the shape of an operation's output, without computing it.

    Args:
      name: of the operation.
      op: the operation.
      shape: B, H, W, F of its input.
      stride: 1 or 2, in pixels.
      out_features: F of its output; that of its input when None.

    Raises:
      ValueError: the shape is not [B, ceil(H / stride), ceil(W / stride), F].
    """
    b, rows, columns, features = shape
    features = features if out_features is None else out_features
    wanted = b, -(-rows // stride), -(-columns // stride), features
    key = jax.random.key(0)
    params, stats = jax.eval_shape(op.init, key)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    try:
        found = jax.eval_shape(op.apply, params, stats, x, key=key)[0].shape
    except (TypeError, ValueError) as error:
        first = str(error).partition("\n")[0].rstrip(".")
        text = f"{type(error).__name__}: {first}"
        raise ValueError(_shape_rule(name, shape, wanted, stride, text)) from error
    if found != wanted:
        raise ValueError(_shape_rule(name, shape, wanted, stride, _f32(found)))


def _shape_rule(name, shape, wanted, stride, found) -> str:
    return (
        f"operation {name!r} must map {_f32(shape)} to {_f32(wanted)} at stride "
        f"{stride}, got {found}. Build it with the features and the stride it is given."
    )


def _f32(shape) -> str:
    return f"f32[{', '.join(map(str, shape))}]"
