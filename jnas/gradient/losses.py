"""The two losses of a gradient search: training loss and validation loss."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jnas import networks, types
from jnas.data import task as task_lib
from jnas.data import tasks
from jnas.gradient import mixing
from jnas.gradient import regularizers as regularizers_lib


class Batch(NamedTuple):
    """The batch that either loss is computed on.

    Attributes:
      images: f32[B, H, W, F], augmented; or other inputs of the network.
      labels: i32[B], or other targets of the task.
      progress: f32[], 0 to 1 over the search.
      mask: bool arrays like the logits, False for removed options; None keeps all.
      variant_inputs: what the edge variant needs.
      multipliers: f32[L] of the limits; None without limits.
    """

    images: Any
    labels: Any
    progress: types.Array
    mask: types.Mask | None = None
    variant_inputs: networks.VariantInputs = networks.VariantInputs()
    multipliers: types.Array | None = None


def build_losses(
    supernet: networks.Supernet,
    relaxation: types.Relaxation,
    *,
    regularizers: Sequence[types.Regularizer] = (),
    perturbation: types.Perturbation | None = None,
    limit_penalty: Callable | None = None,
    costs: Mapping[str, networks.Costs] | None = None,
    task: task_lib.Task = tasks.CLASSIFICATION,
) -> tuple[types.Loss, types.Loss]:
    """Builds the training and the validation loss of a supernet.

    With weights w = relaxation(key, logits, progress), times the edge weights where a
    method has them, and the task's loss L (of classes, the cross-entropy),

      L_train(params, logits) = L(params, w + stop_gradient(perturbation(w) - w))
      L_valid(params, logits) = L(params, w) + sum of the regularizers + limit penalty

    Args:
      supernet: the network.
      relaxation: turns logits into weights.
      regularizers: penalties on the architecture.
      perturbation: disturbs the weights; None disables it.
      limit_penalty: (arch, mask, multipliers) -> f32[], as ``limits.penalty`` builds
        it; None without limits.
      costs: cost -> what each option costs, for regularizers that take it.
      task: gives the loss and the signal.

    Returns:
      (train_loss, valid_loss), each (key, params, arch, Batch) -> (f32[],
      metrics: the task's signal, by its name).

    Raises:
      TypeError: a regularizer of other arguments.
    """

    space = supernet.space
    task_loss = _task_loss(supernet, mixing.edge_weights_beside(relaxation), task)
    penalties = [regularizers_lib.with_all(one) for one in regularizers]

    def relax(key, logits, batch):
        return mixing.relax(relaxation, key, logits, batch.mask, batch.progress)

    def train_loss(key, params, arch, batch):
        relax_key, op_key = jax.random.split(key)
        logits, edges = mixing.split(arch)
        weights = relax(relax_key, logits, batch)
        if perturbation:
            op_key, perturb_key = jax.random.split(op_key)
            fixed = jax.lax.stop_gradient((params, weights, edges))

            def loss(moved):
                return task_loss(op_key, fixed[0], moved, fixed[2], batch)[0]

            moved = perturbation(perturb_key, fixed[1], batch.progress, loss)
            weights = jax.tree.map(
                lambda w, m: w + jax.lax.stop_gradient(m - w), weights, moved
            )
        return task_loss(op_key, params, weights, edges, batch)

    def valid_loss(key, params, arch, batch):
        relax_key, op_key = jax.random.split(key)
        logits, edges = mixing.split(arch)
        weights = relax(relax_key, logits, batch)
        loss, metrics = task_loss(op_key, params, weights, edges, batch)
        logits = mixing.masked(logits, batch.mask)
        given = logits, weights, batch.progress, space, loss, costs
        penalty = sum(regularizer(*given) for regularizer in penalties)
        if limit_penalty:
            penalty += limit_penalty(arch, batch.mask, batch.multipliers)
        return loss + penalty, metrics

    return train_loss, valid_loss


def _task_loss(supernet, edge_weights, task) -> Callable:
    """Builds the mean loss of a task, and its signal, at given weights."""

    def task_loss(key, params, weights, edges, batch):
        if edges is not None:
            weights = weights * edge_weights(supernet.space, edges)[..., None]
        outputs = supernet.apply(
            params, batch.images, weights, key=key, variant_inputs=batch.variant_inputs
        )
        loss = task.loss(outputs, batch.labels)
        return loss.mean(), {task.signal: task.batch_score(outputs, batch.labels)}

    return task_loss
