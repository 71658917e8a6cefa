"""The trials of a tuning, and what happens to them between two rungs."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import types
from jnas.training import scratch

LOST = float(np.finfo(np.float32).min)  # score of a trial that diverged


class Trials(NamedTuple):
    """State of all trials, each array but ``counted`` with a leading axis T.

    Attributes:
      ranked: i32[T], numbers of the trials, the best first inside each bracket.
      numbers: name -> f32[T], what is tuned.
      train: TrainState of each.
      score: f32[T], on the validation split at the end of the last rung; 0 before,
        LOST where it diverged.
      rung: i32[T], number of the last rung that was finished; -1 before.
      epochs: i32[T], number of epochs trained for.
      diverged: bool[T], whether a step was not finite. The state is that before it,
        and no further step changes it.
      copied: i32[T], number of the trial whose weights were copied last; -1 for none.
      counted: i32[], finite steps of this rung so far.
    """

    ranked: types.Array
    numbers: dict[str, types.Array]
    train: scratch.TrainState
    score: types.Array
    rung: types.Array
    epochs: types.Array
    diverged: types.Array
    copied: types.Array
    counted: types.Array


def rank(
    key: types.Key,
    trials: Trials,
    number: types.Array,
    first: types.Array,
    count: types.Array,
) -> Trials:
    """Sorts a rung's trials, the best first; of equals the one with the lower number.

    The next rung of the bracket trains the first of them.

    Args:
      key: not used.
      trials: after the rung.
      number: i32[], of the rung; not used.
      first: i32[], place of the bracket's first trial in ``ranked``.
      count: i32[], number of trials of the rung.
    """
    del key, number
    places = jnp.arange(len(trials.ranked))
    within = (places >= first) & (places < first + count)
    group = jnp.where(places < first, 0, jnp.where(within, 1, 2))
    score = jnp.where(within, -trials.score[trials.ranked], 0)
    last = jnp.where(within, trials.ranked, places)
    order = jnp.lexsort((last, score, group))
    return trials._replace(ranked=trials.ranked[order])


def evolve(
    key: types.Key,
    trials: Trials,
    number: types.Array,
    first: types.Array,
    count: types.Array,
    *,
    inside: Callable[[dict], dict],
    num_rungs: int,
    share: float = 0.25,
    factors: tuple[float, float] = (0.8, 1.2),
) -> Trials:
    """Exploits and explores: the worst trials copy the best, and vary their numbers.

    Each trial of the last quarter takes weights and numbers of a random one of the
    first quarter, and multiplies each number by 0.8 or 1.2: one that is 0 stays 0.
    Nothing is copied after the last rung.

    Args:
      key: consumed.
      trials: after the rung.
      number: i32[], of the rung.
      first: i32[], as in ``rank``.
      count: i32[], as in ``rank``.
      inside: numbers -> numbers moved into their ranges.
      num_rungs: number of rungs of the plan.
      share: of the trials that copy.
      factors: that a number is multiplied by.

    Source: Jaderberg et al. 2017, arXiv:1711.09846, section 4.1 (truncation selection,
    perturbation). Differs: a quarter instead of a fifth.
    """
    trials = rank(key, trials, number, first, count)
    total = len(trials.ranked)
    quarter = max(1, int(total * share))
    pick_key, vary_key = jax.random.split(key)
    best = jax.random.randint(pick_key, (quarter,), 0, quarter)
    source = (
        jnp.arange(total).at[trials.ranked[total - quarter :]].set(trials.ranked[best])
    )
    copies = (source != jnp.arange(total)) & (number < num_rungs - 1)
    source = jnp.where(copies, source, jnp.arange(total))
    numbers = {}
    for i, (name, values) in enumerate(trials.numbers.items()):
        up = jax.random.bernoulli(jax.random.fold_in(vary_key, i), 0.5, (total,))
        varied = values[source] * jnp.where(up, factors[1], factors[0])
        numbers[name] = jnp.where(copies, varied, values)
    kept = jax.tree.map(
        lambda x: x[source], (trials.train, trials.score, trials.diverged)
    )
    return trials._replace(
        numbers=inside(numbers),
        train=kept[0],
        score=kept[1],
        diverged=kept[2],
        copied=jnp.where(copies, source, trials.copied),
    )


def winner(trials: Trials) -> types.Array:
    """Returns the number of the trial that won.

    Of those that were trained for most epochs the most accurate one; of equals the one
    with the lower number.

    Args:
      trials: after the last rung.
    """
    places = jnp.arange(len(trials.score))
    return jnp.lexsort((places, -trials.score, -trials.epochs))[0]
