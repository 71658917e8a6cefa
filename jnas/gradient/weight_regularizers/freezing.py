"""Operation-level early stopping: operations whose gradients disagree stop learning.

Source: Jiang et al. 2023, NeurIPS 36, and the code that makes it: PasaLab/oles and
confopt.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jnas import networks, registry, spaces, types
from jnas.gradient.weight_regularizers import rule


class Matching(NamedTuple):
    """What the rule carries, of each operation's instances such as f32[cells, edges].

    Attributes:
      sums: f32[...] of each operation, sum of its similarities since the last decision.
      counts: i32[...] of each operation, number of similarities in its sum.
      frozen: bool[...] of each operation.
      steps: i32[], number of steps since the last decision.
    """

    sums: tuple[types.Array, ...]
    counts: tuple[types.Array, ...]
    frozen: tuple[types.Array, ...]
    steps: types.Array


@registry.WEIGHT_REGULARIZERS.register
def freeze_operations(
    problem: rule.Problem, *, steps: int = 20, threshold: float = 0.4
) -> types.WeightRegularizer:
    """Builds the rule that freezes operations that fit the training batch alone.

    An instance is one operation on one edge of one cell, or at one position of a chain.
    Its similarity in a step is the mean over its arrays of

      mean over the other axes of cos(d L_train / d w, d L_valid / d w),

    the cosine along the last axis, the output features, which are axis 0 in the
    authors' code. After every ``steps`` steps the instances whose mean similarity is
    below the threshold keep their parameters, to the bit, until the segment ends;
    logits go on. A step in which an instance has no gradient, as it was not sampled,
    does not count for it. The rule costs a gradient of the validation loss in w.

    Args:
      problem: whose supernet says where its operations' parameters are.
      steps: between two decisions.
      threshold: mean similarity below which an instance is frozen.

    Raises:
      ValueError: a supernet that does not say it; steps below 1.

    Source: Jiang et al. 2023, section 4, and confopt's update_gradient_matching_scores.
    Differs: both gradients are of the same step, where the code compares a training
    gradient, clipped, with the validation gradient of the next step; a mean is that of
    ``steps`` similarities, where the code divides ``steps + 1`` by ``steps`` and the
    authors' own release freezes nothing; steps that do not move the logits count. As in
    both, skips of stride 2 are never frozen.
    """
    inside = problem.supernet.inside
    if inside is None:
        raise ValueError(
            "weight_regularizers must leave freeze_operations out for space "
            f"{problem.supernet.space.name}, whose supernet does not say where its "
            "operations' parameters are, got it. Give networks.Supernet its inside, "
            "or leave out a stage's split."
        )
    if steps < 1:
        raise ValueError(
            f"freeze_operations.steps must be at least 1, got {steps}. Raise it."
        )
    rule = _Rule(tuple(c for c in inside.candidates if c.name != spaces.SKIP))
    slopes = jax.grad(problem.valid_loss, 1, has_aux=True)

    def init(params, logits):
        del logits
        shapes = rule.shapes(params)
        return Matching(
            tuple(jnp.zeros(shape) for shape in shapes),
            tuple(jnp.zeros(shape, jnp.int32) for shape in shapes),
            tuple(jnp.zeros(shape, bool) for shape in shapes),
            jnp.int32(0),
        )

    def call(key, clock, params, logits, grads, train, valid, carry):
        del clock, train
        other, _ = slopes(key, params, logits, valid)
        carry = rule.decided(carry, rule.similarities(grads, other), steps, threshold)
        moves = rule.moves(params, carry.frozen)
        grads = jax.tree.map(lambda move, g: jnp.where(move, g, 0), moves, grads)
        return grads, moves, carry

    return types.WeightRegularizer(init, call)


class _Rule:
    """The similarities and decisions of some candidates."""

    def __init__(self, candidates: tuple[networks.Candidate, ...]):
        self.candidates = candidates

    def _owned(self, params) -> list[list[types.Array]]:
        """Lists the arrays of each candidate."""
        found = []
        for one in self.candidates:
            tree = params
            for key in one.path:
                tree = tree[key]
            found.append(jax.tree.leaves(tree))
        return found

    def shapes(self, params) -> list[tuple[int, ...]]:
        """Lists the shapes of the candidates' instances."""
        return [
            leaves[0].shape[: one.axes]
            for one, leaves in zip(self.candidates, self._owned(params), strict=True)
        ]

    def similarities(self, grads, other) -> list[tuple[types.Array, types.Array]]:
        """Returns (similarity, whether both gradients are there) of the instances."""
        found = []
        for one, *pair in zip(
            self.candidates, self._owned(grads), self._owned(other), strict=True
        ):
            each = [similarity(a, b, one.axes) for a, b in zip(*pair, strict=True)]
            # an array that does not train, such as a frozen kernel, does not count
            there = jnp.stack(
                [
                    _any(a, one.axes) & _any(b, one.axes)
                    for a, b in zip(*pair, strict=True)
                ]
            )
            found.append((sum(each) / jnp.maximum(there.sum(0), 1), there.any(0)))
        return found

    def decided(self, carry, found, steps, threshold) -> Matching:
        """Adds similarities; decides after ``steps`` steps and begins again."""
        due = carry.steps + 1 == steps
        sums, counts, frozen = [], [], []
        for total, count, was, (own, there) in zip(
            carry.sums, carry.counts, carry.frozen, found, strict=True
        ):
            total, count = total + jnp.where(there, own, 0), count + there
            low = (count > 0) & (total < threshold * count)
            sums.append(jnp.where(due, 0, total))
            counts.append(jnp.where(due, 0, count))
            frozen.append(was | (due & low))
        left = jnp.where(due, 0, carry.steps + 1)
        return Matching(tuple(sums), tuple(counts), tuple(frozen), left)

    def moves(self, params, frozen) -> types.Params:
        """Returns bool arrays that broadcast against the params: False where frozen."""
        each = zip(self.candidates, frozen, strict=True)
        paths = {one.path: still for one, still in each}

        def of_leaf(path, leaf):
            keys = tuple(getattr(entry, "key", None) for entry in path)
            for own, still in paths.items():
                if keys[: len(own)] == own:
                    return ~still.reshape(still.shape + (1,) * (leaf.ndim - still.ndim))
            return jnp.ones((1,) * leaf.ndim, bool)

        return jax.tree_util.tree_map_with_path(of_leaf, params)


def similarity(a: types.Array, b: types.Array, axes: int) -> types.Array:
    """Returns the mean cosine along the last axis of two arrays, for each instance.

    Args:
      a: f32[instances..., ..., features].
      b: likewise.
      axes: number of the axes of instances.

    Returns:
      f32[instances...]; a cosine with zeros is 0.
    """
    if a.ndim == axes:
        a, b = a[..., None], b[..., None]
    norms = jnp.sqrt((a**2).sum(-1)) * jnp.sqrt((b**2).sum(-1))
    cosines = jnp.where(norms > 0, (a * b).sum(-1) / jnp.where(norms > 0, norms, 1), 0)
    return cosines.mean(tuple(range(axes, cosines.ndim)))


def _any(leaf: types.Array, axes: int) -> types.Array:
    """Returns bool[instances...], whether anything is not zero."""
    return (leaf != 0).any(tuple(range(axes, leaf.ndim)))
