"""Trials of a tuning one by one: what a trial was trained with decides what it scores.

A trial's lineage holds the numbers of every rung that its weights went through, its own
or those of the trial that they were copied from. Weights, and the score at the end
of a rung, are a pure function of the lineage, so that anybody can compute them:

    rung          0       1       2
    trial 0       0.1     0.1     -         learning rates; - where it did not train
    trial 1       0.3     -       -
    trial 2       0.1     0.08    -         copied trial 0 after rung 0, then varied
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import types
from jnas.training import placement, promotion, rungs, trials
from jnas.training import program as program_lib


class State(NamedTuple):
    """Trials whose weights are elsewhere.

    Attributes:
      key: of the run.
      trials: their ``train`` is i32[T], whose weights each had before the last rung.
      lineage: f32[T, R, K], the K numbers of each trial in each rung; NaN where it did
        not train.
    """

    key: types.Key
    trials: promotion.Trials
    lineage: types.Array


class Rounds(NamedTuple):
    """A tuning, rung by rung.

    Attributes:
      init: key -> State before the first rung.
      asked: (State, rung's number) -> (State, i32[P, G], the encodings of its trials).
      noted: (State, rung's number, scores f32[P, 2]) -> (State, metrics).
    """

    init: Callable[[types.Key], State]
    asked: Callable[[State, int], tuple[State, np.ndarray]]
    noted: Callable[..., tuple[State, dict[str, types.Array]]]


def rounds(tuning: trials.Tuning, names: Sequence[str]) -> Rounds:
    """Builds the rungs of a tuning, whose trials somebody else scores.

    Args:
      tuning: what the trials are of.
      names: of the numbers, in the order of a lineage.
    """

    def init(key):
        drawn, _, run_key = trials.untrained(tuning, key)
        count = rungs.num_trials(tuning.rungs)
        shape = count, len(tuning.rungs), len(names)
        drawn = drawn._replace(train=jnp.arange(count))
        return State(run_key, drawn, jnp.full(shape, jnp.nan, jnp.float32))

    def asked(state, number):
        rung = tuning.rungs[number]
        own = np.asarray(state.trials.ranked)[rung.first : rung.first + rung.num_trials]
        lineage = np.array(state.lineage)
        for i, name in enumerate(names):
            lineage[own, number, i] = np.asarray(state.trials.numbers[name])[own]
        encodings = np.stack([encoded(lineage[one], number) for one in own])
        return state._replace(lineage=jnp.asarray(lineage)), encodings

    @jax.jit
    def noted(state, number, scores):
        rung = rungs.Rung(*jnp.array(tuning.rungs, jnp.int32)[number])
        places = rung.first + jnp.arange(len(scores))
        own = state.trials.ranked[places]
        found = state.trials._replace(
            diverged=state.trials.diverged.at[own].set(scores[:, 1] > 0)
        )
        score = found.score.at[own].set(scores[:, 0])
        _, key = trials.keys_between(state.key, number)
        found, metrics = trials.noted(tuning, key, found, score, number)
        lineage = state.lineage[found.train]
        found = found._replace(train=jnp.arange(len(lineage)))
        return State(state.key, found, lineage), metrics

    return Rounds(jax.jit(init), asked, noted)


def encoded(lineage: np.ndarray, number: int) -> np.ndarray:
    """Returns the encoding of a lineage up to a rung.

    Args:
      lineage: f32[R, K].
      number: of the last rung.

    Returns:
      i32[1 + (number + 1) K]: the rung, then the bits of the numbers.
    """
    bits = np.ascontiguousarray(lineage[: number + 1], np.float32).view(np.int32)
    return np.concatenate([[number], bits.ravel()]).astype(np.int32)


def decoded(encoding: np.ndarray) -> np.ndarray:
    """Returns the lineage f32[number + 1, K] of an encoding.

    Args:
      encoding: as ``encoded`` returns it.
    """
    bits = np.ascontiguousarray(encoding[1:], np.int32)
    return bits.view(np.float32).reshape(int(encoding[0]) + 1, -1)


def before(encoding: np.ndarray) -> np.ndarray | None:
    """Returns the encoding of the same weights before the last rung.

    Args:
      encoding: as ``encoded`` returns it.

    Returns:
      An encoding; None where the last rung is the first that they were trained in.
    """
    lineage = decoded(encoding)
    earlier = np.flatnonzero(~np.isnan(lineage[:-1, 0]))
    return encoded(lineage, earlier[-1]) if len(earlier) else None


def scorer(
    tuning: trials.Tuning,
    names: Sequence[str],
    splits: tuple[types.Batch, ...],
    *,
    load: Callable[[np.ndarray, Any], Any] = lambda encoding, like: None,
    keep: Callable[[np.ndarray, Any], None] = lambda encoding, state: None,
) -> Callable[[types.Key, np.ndarray], np.ndarray]:
    """Builds what scores a trial by its lineage; it is compiled once.

    Args:
      tuning: as for ``rounds``.
      names: as for ``rounds``.
      splits: training and validation split, (images, labels) each.
      load: (encoding, state's shapes) -> the weights that were kept, or None.
      keep: called with an encoding and its weights.

    Returns:
      (key of the tuning, encoding) -> f32[2], the score and whether it diverged.
    """
    alone = tuning._replace(
        draw=lambda key: {name: jnp.zeros(1) for name in names},
        rungs=tuple(rungs.Rung(0, 1, one.start, one.stop) for one in tuning.rungs),
        promote=promotion.rank,
        side_by_side=1,
    )
    program = trials.program(alone)
    splits = placement.put(splits, count=program.groups)
    begins = 0, *program.ends
    like = jax.eval_shape(program.init, jax.random.key(0))

    def trained(key, encoding) -> program_lib.State:
        """Returns the state after the encoding's last rung."""
        number, lineage = int(encoding[0]), decoded(encoding)
        state = load(encoding, like)
        if state is not None:
            return state
        earlier = before(encoding)
        state = program.init(key) if earlier is None else trained(key, earlier)
        numbers = {
            n: jnp.asarray(lineage[number, i : i + 1]) for i, n in enumerate(names)
        }
        state = state._replace(inner=state.inner._replace(numbers=numbers))
        state = placement.put(state, program.place, count=program.groups)
        span = jnp.int32(begins[number]), jnp.int32(begins[number + 1])
        state, _ = program.advance(state, *span, splits)
        keep(encoding, state)
        return state

    def score(key, encoding):
        state = placement.put(trained(key, encoding), count=program.groups)
        number = jnp.int32(encoding[0])
        state, _ = program.at_epoch_end(state, number, splits)
        score, diverged = state.inner.score[0], state.inner.diverged[0]
        return np.array([score, diverged], np.float32)

    return score
