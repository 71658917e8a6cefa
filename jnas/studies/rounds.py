"""The rounds of a discrete search as the steps of a phase."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import spaces, types
from jnas.discrete import search as search_lib
from jnas.run import drive as drive_lib
from jnas.run import files
from jnas.run import phase as phase_lib
from jnas.spaces import genotype_text
from jnas.studies import cells
from jnas.training import program as program_lib

FREE = ("shared.sums", "controller", "scores")  # a score may be -inf
_MOST_EVALUATIONS = 5000  # written to evaluations.jsonl, evenly spread


class SearchState(NamedTuple):
    """State of a discrete search.

    Attributes:
      shared: state of the program that trains shared weights, or ().
      controller: state of the controller.
      encodings: i32[R, P, G], zeros in rounds that have not run.
      scores: f32[R, P, M]; NaN counts as -inf.
    """

    shared: Any
    controller: Any
    encodings: types.Array
    scores: types.Array


class Source(NamedTuple):
    """Source of the scores.

    Attributes:
      splits: (images, labels) of each split that the program takes.
      objective: shared parameters -> types.Objective.
      program: program that trains shared weights, or None.
      jittable: whether the objective can be compiled.
    """

    splits: tuple
    objective: Callable
    program: program_lib.Program | None = None
    jittable: bool = True


class Search(NamedTuple):
    """A search whose rounds are the steps of a phase.

    Attributes:
      controller: proposes encodings.
      source: scores encodings.
      num_evaluations: number of evaluations, in whole rounds.
      num_metrics: number M of metrics.
      key: PRNG key of the whole search.
    """

    controller: types.Controller
    source: Source
    num_evaluations: int
    num_metrics: int
    key: types.Key

    @property
    def proposals(self) -> jax.ShapeDtypeStruct:
        """The shape of a round's proposals, i32[P, G]."""
        state = jax.eval_shape(self.controller.init, self.key)
        return jax.eval_shape(self.controller.ask, self.key, state)

    @property
    def num_rounds(self) -> int:
        """R, enough for num_evaluations."""
        return -(-self.num_evaluations // self.proposals.shape[0])

    def init(self) -> SearchState:
        """Returns the state before any step."""
        shared_key, controller_key = jax.random.split(self.key)
        program, rows = self.source.program, self.proposals.shape
        return SearchState(
            program.init(shared_key) if program else (),
            self.controller.init(controller_key),
            jnp.zeros((self.num_rounds, *rows), jnp.int32),
            jnp.full(
                (self.num_rounds, rows[0], self.num_metrics), -jnp.inf, jnp.float32
            ),
        )

    def one_round(self, number: types.Array, state: SearchState) -> SearchState:
        """Runs one round; a function of the key, the round's number and the state."""
        ask_key, score_key = jax.random.split(jax.random.fold_in(self.key, number))
        params = state.shared.inner.params if self.source.program else ()
        controller, found, _ = search_lib.one_round(
            self.controller,
            search_lib.scored(self.source.objective(params)),
            ask_key,
            score_key,
            state.controller,
        )
        return state._replace(
            controller=controller,
            encodings=state.encodings.at[number].set(found.encodings),
            scores=state.scores.at[number].set(found.scores),
        )

    def advance(self) -> Callable:
        """Builds (first, stop, state) -> state, compiled if the objective can be."""
        if self.source.jittable:
            return jax.jit(
                lambda first, stop, state: jax.lax.fori_loop(
                    first, stop, self.one_round, state
                )
            )

        def by_hand(first, stop, state):
            for number in range(int(first), int(stop)):
                state = self.one_round(jnp.int32(number), state)
            return state

        return by_hand


def drive(
    phase: phase_lib.Phase, search: Search, space: spaces.CellSpace
) -> SearchState:
    """Runs the rest of the phase: first the source's program, then the rounds.

    Args:
      phase: its ``observe`` is called after every compiled call.
      search: the search.
      space: the space of cells, for displaying the best so far.

    Returns:
      The state at the end.
    """
    done, state = phase.restore(jax.eval_shape(search.init)) or (0, search.init())
    program = search.source.program
    before = program.num_steps if program else 0
    if done < before:

        def observe(step, shared, metrics, epoch_ended):
            whole = state._replace(shared=shared)
            phase.observe(
                step,
                whole,
                metrics,
                record=epoch_ended,
                finite_metrics=program.metrics,
                broken_step=drive_lib.first_broken(shared),
            )

        shared, _ = program_lib.run(
            program,
            state.shared,
            search.source.splits,
            first=done,
            suggest_steps=phase.suggest_steps,
            observe=observe,
        )
        done, state = before, state._replace(shared=shared)
    advance = search.advance()
    while done < phase.num_steps:
        stop = done + phase.suggest_steps()
        first, last = jnp.int32(done - before), jnp.int32(stop - before)
        state, done = jax.block_until_ready(advance(first, last, state)), stop
        signal = state.scores[..., 0].reshape(-1)
        best = state.encodings.reshape(len(signal), -1)[signal.argmax()]
        values = {"best_score": signal.max(), "last_score": signal[done - before - 1]}
        found = cells.found(space.genotype(best), float(signal.max()))
        phase.observe(done, state, values, found=found)
    return state


def evaluations(
    state: SearchState, names: list[str], space: spaces.CellSpace
) -> list[dict[str, Any]]:
    """Returns the evaluations: number, short form of the cell, and scores by name.

    A cell that was proposed more than once is listed once, at its first evaluation; of
    more than 5,000 cells every n-th is listed.

    Args:
      state: state at the end of the search.
      names: names of the M metrics.
      space: the space of cells.
    """
    scores = np.asarray(state.scores).reshape(-1, state.scores.shape[-1])
    encodings = np.asarray(state.encodings).reshape(len(scores), -1)
    first = np.sort(np.unique(encodings, axis=0, return_index=True)[1])
    every = -(-len(first) // _MOST_EVALUATIONS)
    return [
        {
            "evaluation": int(i),
            "cell": cells.short(space.genotype(encodings[i])),
            "scores": files.plain(dict(zip(names, scores[i].tolist(), strict=True))),
        }
        for i in first[::every]
    ]


def result(
    state: SearchState, names: list[str], space: spaces.CellSpace
) -> dict[str, Any]:
    """Returns the best cell's metrics by name, ``evaluations`` and its ``genotype``.

    Args:
      state: state at the end of the search.
      names: names of the M metrics; the first is the signal.
      space: the space of cells.
    """
    scores = np.asarray(state.scores).reshape(-1, state.scores.shape[-1])
    best = int(scores[:, 0].argmax())
    encoding = np.asarray(state.encodings).reshape(len(scores), -1)[best]
    figures = dict(zip(names, map(float, scores[best]), strict=True))
    found = genotype_text.to_json(space.genotype(encoding))
    return figures | {"evaluations": len(scores), "genotype": found}
