"""Layer alignment: cells that share weights are made to agree on their gradients.

Source: Movahedi et al. 2022, arXiv:2210.07998, and its released code.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jnas import registry, types
from jnas.gradient.weight_regularizers import rule


@registry.WEIGHT_REGULARIZERS.register
def alignment(
    problem: rule.Problem, *, strength: float = 0.125, kinds: int = 1
) -> types.WeightRegularizer:
    """Builds the rule that increases the alignment of the cells' gradients.

    Let g_l be the gradient of the training loss in the mixing weights of cell l, as if
    each cell had weights of its own. In epoch e of E the rule adds to the gradient of w

      -strength * e / (E - 1) * d Lambda / d w,
      Lambda = sum over kinds of cells of the mean cosine of g_k and g_l, k < l.

    With p = d Lambda / d g, the derivative d Lambda / d w = d (p' g(w)) / d w at fixed
    p is that of the gradient of w along p in the cells' weights: a forward derivative
    of one gradient. It costs about three gradients. A kind with one cell is left out.

    Args:
      problem: whose supernet is of cells.
      strength: of the last epoch.
      kinds: number of kinds of cells that are aligned, from the first: 1 leaves the
        reductions of DARTS out, as the authors do.

    Raises:
      ValueError: a supernet without cells; kinds below 1.

    Source: arXiv:2210.07998 and its released code. Differs: exact, where that takes the
    difference of two gradients at weights -+ 1e-4 p / |p|; removed options do not
    count; a relaxation that draws at random draws anew.
    """
    inside = problem.supernet.inside
    if inside is None or inside.apply is None:
        raise ValueError(
            "weight_regularizers must leave alignment out for space "
            f"{problem.supernet.space.name}, whose network has no cells that share "
            "weights, got it. Use another --method."
        )
    if kinds < 1:
        raise ValueError(
            f"alignment.kinds must be at least 1, got {kinds}. Leave alignment out of "
            "weight_regularizers to disable it."
        )
    groups = _groups(inside.kinds, kinds)
    loss = shifted_loss(problem)

    def added(key, clock, params, logits, batch):
        if not groups:
            return jax.tree.map(jnp.zeros_like, params)

        def gradient(argnum, params, shifts):
            return jax.grad(loss, argnum)(params, shifts, key, logits, batch)

        none = _no_shifts(problem.supernet, params)
        direction = jax.grad(score)(gradient(1, params, none), groups)
        _, slopes = jax.jvp(
            lambda shifts: gradient(0, params, shifts), (none,), (direction,)
        )
        done = clock.epoch / max(1, problem.num_epochs - 1)
        return jax.tree.map(lambda slope: -strength * done * slope, slopes)

    return rule.without_carry(added)


alignment.needs_zeros = True  # gradients of weights that are zero


alignment.needs_cells = True  # read by ``gradient.check``


def _groups(kinds: tuple[int, ...], count: int) -> list[np.ndarray]:
    """Lists the numbers of the cells of each kind that has several."""
    each = [np.flatnonzero(np.array(kinds) == kind) for kind in range(count)]
    return [cells for cells in each if len(cells) > 1]


def _no_shifts(supernet, params) -> types.Array:
    """Returns zeros f32[L, E, O]."""
    shape = len(supernet.inside.kinds), *supernet.space.shape[1:]
    return jnp.zeros(shape, jnp.result_type(*jax.tree.leaves(params)))


def shifted_loss(problem: rule.Problem) -> Callable:
    """Builds the training loss at weights that are shifted in each cell by itself.

    Args:
      problem: whose supernet is of cells.

    Returns:
      (params, shifts f32[L, E, O], key, logits, batch) -> f32[]; the shifts of removed
      options are not read.
    """
    supernet = problem.supernet
    kinds = np.array(supernet.inside.kinds)

    def loss(params, shifts, key, logits, batch):
        own = shifts if batch.mask is None else shifts * batch.mask[kinds]

        def apply(params, x, weights, **given):
            return supernet.inside.apply(params, x, weights[kinds] + own, **given)

        train_loss, _ = problem.losses_of(supernet._replace(apply=apply))
        return train_loss(key, params, logits, batch)[0]

    return loss


def score(grads: types.Array, groups: list[np.ndarray]) -> types.Array:
    """Computes the alignment: the mean cosine over pairs of cells, summed over kinds.

    Args:
      grads: f32[L, E, O], a gradient of each cell; the cosine with zeros is 0.
      groups: numbers of the cells of each kind, at least two.

    Returns:
      f32[], at most the number of kinds.
    """
    total = 0.0
    for cells in groups:
        own = grads[cells].reshape(len(cells), -1)
        squares = (own**2).sum(-1, keepdims=True)
        some = squares > 0
        units = jnp.where(some, own / jnp.sqrt(jnp.where(some, squares, 1)), 0)
        pairs = (units.sum(0) ** 2).sum() - (units**2).sum()
        total += pairs / (len(cells) * (len(cells) - 1))
    return total
