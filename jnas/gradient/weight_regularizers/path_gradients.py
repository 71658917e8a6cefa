"""Weight regularizers that train several paths a step: strict fairness, split nets.

Each replaces the gradient of the training loss by the sum of the gradients of paths,
all on the step's training batch; one step of the optimizer follows.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jnas import registry, spaces, types
from jnas.gradient import losses, mixing, relaxations
from jnas.gradient.weight_regularizers import rule
from jnas.spaces import rows as rows_lib


def summed(problem: rule.Problem) -> Callable:
    """Builds the sum of the gradients of the training loss over paths.

    Paths are computed one after another, so that a supernet may skip options of weight
    zero, and memory holds the gradient of one.

    Args:
      problem: has the supernet and the task.

    Returns:
      (key, params, logits, paths: weights with a leading axis K, factors f32[K], batch)
      -> the sum over k of factors[k] * d L(params, paths[k]) / d params. Of the logits
      only those of edges are read.
    """
    loss, _ = losses.build_losses(
        problem.supernet, lambda key, weights, progress: weights, task=problem.task
    )

    def gradient(key, params, logits, paths, factors, batch):
        own, edges = batch._replace(mask=None), mixing.split(logits)[1]

        def add(total, given):
            own_key, path, factor = given
            arch = path if edges is None else types.ArchParams(path, edges)
            grads = jax.grad(lambda p: loss(own_key, p, arch, own)[0])(params)
            return jax.tree.map(lambda t, g: t + factor * g, total, grads), None

        keys = jax.random.split(key, len(factors))
        zeros = jax.tree.map(jnp.zeros_like, params)
        return jax.lax.scan(add, zeros, (keys, paths, factors))[0]

    return gradient


def fair_paths(key: types.Key, mask: types.Mask) -> types.Weights:
    """Draws K paths in which every option of every row is drawn once.

    Path k takes the k-th option of a random permutation of each row's options. A row of
    n options fewer than K begins its permutation again: the numbers of draws differ by
    one at most.

    Args:
      key: consumed.
      mask: bool arrays [..., O], the options that are drawn; a row without any stays 0.

    Returns:
      Weights like the mask, with a leading axis K, the largest O.
    """
    leaves, treedef = jax.tree.flatten(mask)
    most = max(leaf.shape[-1] for leaf in leaves)

    def of_leaf(key, mask):
        noise = jnp.where(mask, jax.random.uniform(key, mask.shape), 2.0)
        order, count = jnp.argsort(noise, -1), mask.sum(-1, keepdims=True)
        turns = jnp.arange(most) % jnp.maximum(count, 1)
        drawn = jnp.moveaxis(jnp.take_along_axis(order, turns, -1), -1, 0)
        return jax.nn.one_hot(drawn, mask.shape[-1]) * mask

    keys = jax.random.split(key, len(leaves))
    paths = [of_leaf(k, leaf) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, paths)


@registry.WEIGHT_REGULARIZERS.register
def strict_fairness(
    problem: rule.Problem,
) -> types.WeightRegularizer:
    """Builds FairNAS' gradient: every option has exactly one update in each step.

    The gradient of the training loss is replaced by the sum of those of as many paths
    as a row has options, ``fair_paths``.

    Args:
      problem: whose supernet is trained.

    Source: Chu, Zhang and Xu 2021, arXiv:1907.01845, algorithm 1. Differs: in cells
    whose nodes choose their inputs a path has all edges; of rows with fewer options
    than others some are drawn again.
    """
    gradient, space = summed(problem), problem.supernet.space

    def call(key, clock, params, logits, grads, train, valid, carry):
        del clock, grads, valid
        draw_key, own = jax.random.split(key)
        mask = train.mask
        if mask is None:
            mask = rows_lib.full(space, True, bool)
        paths = fair_paths(draw_key, mask)
        factors = jnp.ones(len(jax.tree.leaves(paths)[0]))
        fair = gradient(own, params, logits, paths, factors, train)
        return fair, None, carry

    return types.WeightRegularizer(lambda params, logits: (), call)


strict_fairness.replaces = True  # the gradient that it is given


def split_paths(
    key: types.Key, space: spaces.Space, row: int, mask: types.Mask | None
) -> tuple[types.Weights, types.Array]:
    """Draws a uniform path through each option of one row.

    Args:
      key: consumed.
      space: that is searched.
      row: number of the row, in the order of ``rows.rows``.
      mask: False for options that are never drawn; None draws all.

    Returns:
      (weights with a leading axis O, f32[O]: 1, or 0 for an option that no path has).
    """
    count = len(rows_lib.rows(space)[row].options)
    full = rows_lib.flat(space, rows_lib.full(space, True, bool), False)
    table = full if mask is None else rows_lib.flat(space, mask, False)

    def one(key, option):
        alone = table.at[row].set(table[row] & (jnp.arange(table.shape[1]) == option))
        logits = mixing.masked(rows_lib.full(space, 0.0), rows_lib.unflat(space, alone))
        path = relaxations.uniform_path(key, logits, jnp.float32(0), space=space)
        own = rows_lib.flat(space, path)[row, option]
        return path, own * table[row, option]

    return jax.vmap(one)(jax.random.split(key, count), jnp.arange(count))


@registry.WEIGHT_REGULARIZERS.register
def each_copy(problem: rule.Problem) -> types.WeightRegularizer:
    """Builds few-shot NAS' gradient: every copy of a split supernet is trained.

    The gradient is that of a uniform path through each option of the row that the
    supernet is split on: as if each copy were trained by itself, all on the same
    batches. Where the supernet is whole, the gradient stays as it is.

    Args:
      problem: whose supernet is trained.

    Source: Zhao et al. 2021, arXiv:2006.06863, section 3 and its released code.
    """
    row, space = problem.supernet.split, problem.supernet.space
    gradient = summed(problem)

    def call(key, clock, params, logits, grads, train, valid, carry):
        del clock, valid
        if row is None:
            return grads, None, carry
        draw_key, own = jax.random.split(key)
        paths, factors = split_paths(draw_key, space, row, train.mask)
        each = gradient(own, params, logits, paths, factors, train)
        return each, None, carry

    return types.WeightRegularizer(lambda params, logits: (), call)


each_copy.replaces = True
