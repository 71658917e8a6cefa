"""Scores of untrained networks, from one batch: cheap, and often no better than size.

Each is an objective over encodings; member i's network is initialised from the i-th key
that is split from the objective's key. Gradients are those of the convolution and
linear kernels; norms go by the batch.

Source: Abdelfattah et al. 2021, arXiv:2101.08134, for the set; each has its own.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jnas import networks, ops, registry, spaces, types
from jnas.data import tasks
from jnas.training import placement

BATCH = ops.Norm(affine=True, running=False)


def proxy(
    score: Callable,
    space: spaces.Space,
    size: networks.Size,
    *data: types.Array | tuple[int, ...],
    norm: ops.Norm = BATCH,
    over_members: Callable | None = None,
) -> types.Objective:
    """Builds the objective that scores networks before any training.

    Args:
      score: (params, apply, *data) -> f32[], where apply(params, images) gives
        (outputs f32[B, num_classes], statistics).
      space: of the encodings.
      size: of every network.
      *data: what the score reads: images f32[B, H, W, F], normalised, and labels
        i32[B], or the shape of one image.
      norm: of every network.
      over_members: as in ``objectives.scratch``.

    Returns:
      (key, encodings i32[P, G]) -> scores f32[P, 1].
    """
    own = {"norm": norm, "stem_norm": norm}
    if space.supernet not in registry.SWITCHED:  # norms of its own, if it has any
        if norm != BATCH:
            raise ValueError(
                f"space {space.name} must have a switched network for this score, "
                f"which sets its norms, got none of {space.supernet!r}. Use another "
                "objective."
            )
        own = {}
    build = networks.switched(space, size, **own)
    over_members = over_members or placement.divided

    def member(pair):
        key, encoding = pair
        network = build(space.weights(encoding))
        init_key, op_key = jax.random.split(key)
        params, stats = network.init(init_key)

        def apply(params, x):
            outputs, stats_after = network.apply(
                params, stats, x, train=True, key=op_key
            )
            return outputs[0], stats_after

        return score(params, apply, *data)[None]

    def objective(key, encodings):
        keys = jax.random.split(key, len(encodings))
        return over_members(member, (keys, encodings))

    objective.member = lambda key, encoding: member((key, encoding))
    return objective


def _builder(norm: Callable[..., ops.Norm] = lambda *data: BATCH) -> Callable:
    """Makes (space, size, *data, over_members=None) -> objective of a score.

    Args:
      norm: the score's data -> the norm of every network.
    """

    def of(score):
        @functools.wraps(score)
        def build(space, size, *data, over_members=None):
            own = norm(*data)
            return proxy(score, space, size, *data, norm=own, over_members=over_members)

        del build.__wrapped__  # whose arguments are the score's
        return build

    return of


def _kernels(tree: types.Params) -> list[types.Array]:
    """The leaves that are kernels; of a network that names none, all of two axes."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = [leaf for path, leaf in leaves if getattr(path[-1], "key", "") == "kernel"]
    return named or [leaf for _, leaf in leaves if leaf.ndim > 1]


def _loss_grads(params, apply, images, labels, task) -> list[types.Array]:
    """The kernels' gradients of a task's mean loss."""

    def loss(params):
        outputs, _ = apply(params, images)
        return task.loss(outputs, labels).mean()

    return _kernels(jax.grad(loss)(params))


@_builder()
def grad_norm(params, apply, images, labels, task=tasks.CLASSIFICATION):
    """Builds the objective sqrt(sum of squared gradients of the loss).

    Takes space, size, images f32[B, H, W, F], normalised, labels i32[B] and, where
    it is not classification, the task.

    Source: Abdelfattah et al. 2021, arXiv:2101.08134, section 3.1. Differs: their code
    adds up the norms of layers.
    """
    grads = _loss_grads(params, apply, images, labels, task)
    return jnp.sqrt(sum((g * g).sum() for g in grads))


@_builder()
def snip(params, apply, images, labels, task=tasks.CLASSIFICATION):
    """Builds the objective sum |gradient of the loss * kernel|.

    Takes space, size, images f32[B, H, W, F], normalised, labels i32[B] and, where
    it is not classification, the task.

    Source: Lee, Ajanthan and Torr 2019, arXiv:1810.02340; summed over the network as
    in arXiv:2101.08134, section 3.2.
    """
    grads = _loss_grads(params, apply, images, labels, task)
    pairs = zip(grads, _kernels(params), strict=True)
    return sum(jnp.abs(g * w).sum() for g, w in pairs)


@_builder(lambda *data: ops.Norm(affine=True, running=False, active=False))
def synflow(params, apply, image_shape):
    """Builds the objective log sum kernel * dR / dkernel, with R of absolute values.

    R is the sum of the outputs for an image of ones, in a network without norms whose
    parameters are all made positive. No data is read. The logarithm keeps the order;
    a network of very many layers may still overflow float32, and scores infinity.
    Takes space, size and the rows, columns and channels of one image.

    Source: Tanaka et al. 2020, arXiv:2006.05467, equation 2; arXiv:2101.08134.
    """
    ones = jnp.ones((1, *image_shape))
    positive = jax.tree.map(jnp.abs, params)
    grads = jax.grad(lambda p: apply(p, ones)[0].sum())(positive)
    pairs = zip(_kernels(grads), _kernels(positive), strict=True)
    return jnp.log(sum((g * w).sum() for g, w in pairs))


@_builder()
def jacobian_covariance(params, apply, images):
    """Builds the objective -sum(log(v + k) + 1 / (v + k)), k = 1e-5.

    v are the eigenvalues of the correlation matrix [B, B] of the rows of the Jacobian:
    for each image, the gradient of the sum of its outputs with respect to its pixels.
    Takes space, size and images f32[B, H, W, F], normalised; B at least 2.

    Source: Mellor et al. 2020, arXiv:2006.04647, version 1, equation 4.
    """
    rows = jax.grad(lambda x: apply(params, x)[0].sum())(images)
    rows = rows.reshape(len(images), -1)
    rows = rows - rows.mean(1, keepdims=True)
    length = jnp.sqrt((rows * rows).sum(1, keepdims=True))
    rows = rows / jnp.where(length > 0, length, 1)
    values = jnp.linalg.eigvalsh(rows @ rows.T)
    values = jnp.maximum(values, 0) + 1e-5  # rounding makes zeros negative
    return -(jnp.log(values) + 1 / values).sum()


@_builder(lambda images: ops.Norm(affine=True, running=False, recorded=len(images)))
def naswot(params, apply, images):
    """Builds the objective log |det K|, K how alike two images activate the network.

    K[i, j] is the number of ReLU units that are on for both images, or off for both.
    Operations that do not take their ReLU from ``ops.activation`` are not counted. The
    score is -inf where two images are alike in every unit. Takes space, size and
    images f32[B, H, W, F], normalised.

    Source: Mellor et al. 2021, arXiv:2006.04647, equation 2.
    """
    _, stats = apply(params, images)
    kernels = jax.tree.leaves(stats)
    if not kernels:
        raise ValueError(
            "objective naswot must have networks with a ReLU of ops.activation, got "
            "none. Use another objective."
        )
    total = sum(k.reshape(-1, *[len(images)] * 2).sum(0) for k in kernels)
    return jnp.linalg.slogdet(total)[1]
