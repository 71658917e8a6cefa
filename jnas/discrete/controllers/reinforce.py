"""REINFORCE: a policy of independent genes, updated by the scores of its samples."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnas import registry, types
from jnas.discrete.controllers import draws, rewards


class ReinforceState(NamedTuple):
    """The policy, its optimiser's state and the baseline.

    Attributes:
      logits: f32[G, V], log-probabilities, V the largest number of values of a gene;
        -inf where a gene has fewer.
      chances: f32[G, V], the probabilities.
      opt_state: state of Adam.
      baseline: (numerator f32[], denominator f32[]) of the moving average.
      seen: (lowest f32[], highest f32[]) score of a feasible cell; None without
        constraints.
    """

    logits: types.Array
    chances: types.Array
    opt_state: optax.OptState
    baseline: tuple[types.Array, types.Array]
    seen: tuple[types.Array, types.Array] | None = None


@registry.CONTROLLERS.register
def reinforce(
    sizes: tuple[int, ...],
    *,
    learning_rate: float = 0.01,
    baseline_decay: float = 0.9,
    entropy_weight: float = 0.0,
    num_proposals: int = 1,
    num_constraints: int = 0,
    initial_logits: types.Array | None = None,
) -> types.Controller:
    """Builds the controller that trains a policy by REINFORCE with a baseline.

    loss = -mean over proposals of (score - baseline) log p(encoding)
           - entropy_weight * entropy, minimised by Adam. The baseline is the moving
    average of scores, this round's included, divided by the sum of its weights, so that
    it is unbiased from the first round. Only finite scores update the policy.

    With constraints an infeasible cell has the reward of ``rewards.penalised``: below
    every feasible cell, lower for a larger violation, of the scores' own magnitude.

    Args:
      sizes: number of values of each of the G genes.
      learning_rate: learning rate of Adam.
      baseline_decay: decay of the moving average.
      entropy_weight: weight of the entropy bonus, in units of the score per nat.
      num_proposals: number P of encodings sampled from the policy per round.
      num_constraints: number of score columns after the first that are constraint
        margins, at least 0 where a constraint holds.
      initial_logits: f32[G, V], such as ``spaces.gene_logits`` of a gradient search;
        None draws them from 1e-3 N(0, 1).

    Raises:
      ValueError: a setting is out of range, or initial_logits has a wrong shape or no
        finite value for a gene.

    Source: Williams 1992; Dong and Yang 2020, arXiv:2001.00326, for the defaults, where
    scores are accuracies in percent and there is no bonus. Differs: logits are kept
    normalised, which changes neither the policy nor its gradient.
    """
    draws.check("num_proposals", num_proposals, 1, 1_000_000)
    draws.check("num_constraints", num_constraints, 0, 1_000)
    draws.check_rate("baseline_decay", baseline_decay)
    draws.check_rate("learning_rate", learning_rate, most=float("inf"))
    draws.check_rate("entropy_weight", entropy_weight, most=float("inf"))
    shape = len(sizes), max(sizes)
    exists = np.arange(shape[1]) < np.array(sizes)[:, None]
    if initial_logits is not None and np.shape(initial_logits) != shape:
        raise ValueError(
            f"initial_logits must have the shape {shape}, got "
            f"{np.shape(initial_logits)}. Make them with spaces.gene_logits."
        )
    if initial_logits is not None:
        given = np.where(exists, initial_logits, -np.inf)
        if np.isnan(given).any() or not np.isfinite(given.max(-1)).all():
            raise ValueError(
                "initial_logits must have a finite value for each gene and no NaN, got "
                "others. Check the search that made them."
            )
    optimizer = optax.adam(learning_rate)

    def init(key):
        logits = initial_logits
        if logits is None:
            logits = 1e-3 * jax.random.normal(key, shape)
        logits = jnp.where(exists, jnp.asarray(logits, jnp.float32), -jnp.inf)
        policy = jax.nn.log_softmax(logits, -1), jax.nn.softmax(logits, -1)
        seen = rewards.nothing_seen() if num_constraints else None
        baseline = (jnp.zeros(()),) * 2
        return ReinforceState(*policy, optimizer.init(policy[1]), baseline, seen)

    def ask(key, state):
        unit = jax.random.uniform(key, (num_proposals, shape[0]))
        drawn, below = jnp.zeros(unit.shape, jnp.int32), 0.0
        for value in range(shape[1] - 1):  # few sums, each vectorised over all runs
            below = below + state.chances[:, value]
            drawn += unit >= below
        return jnp.minimum(drawn, jnp.array(sizes) - 1)

    def tell(state, encodings, scores):
        values, seen = draws.signal(scores), state.seen
        if num_constraints:
            margins = scores[:, 1 : 1 + num_constraints]
            values, seen = rewards.penalised(values, margins, seen)
        known = jnp.isfinite(values)
        values = jnp.where(known, values, 0)
        share = known / jnp.maximum(known.sum(), 1)
        old = jnp.where(known.any(), baseline_decay, 1.0)
        average = rewards.averaged(state.baseline, (share * values).sum(), old)
        advantage = share * (values - rewards.mean(average))
        # d log p(e) / d logits = onehot(e) - p
        hot = encodings[..., None] == jnp.arange(shape[1])
        grads = -(advantage[:, None, None] * (hot - state.chances)).sum(0)
        if entropy_weight:
            # a probability of 0 contributes nothing to the entropy
            finite = jnp.where(state.chances > 0, state.logits, 0)
            entropy = -(state.chances * finite).sum(-1, keepdims=True)
            grads += entropy_weight * state.chances * (finite + entropy)
        updates, opt_state = optimizer.update(grads, state.opt_state)
        logits = state.logits + updates  # log-probabilities, so exp cannot overflow
        weights = jnp.exp(logits)
        total = weights.sum(-1, keepdims=True)
        policy = logits - jnp.log(total), weights / total
        return ReinforceState(*policy, opt_state, average, seen)

    return types.Controller(init, ask, tell)
