"""The rounds of a discrete search as the steps of a phase."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import directions, spaces, types
from jnas.discrete import search as search_lib
from jnas.run import drive as drive_lib
from jnas.run import metrics as metrics_lib
from jnas.run import pace
from jnas.run import phase as phase_lib
from jnas.studies import cells, verdict
from jnas.training import placement
from jnas.training import program as program_lib

FREE = ("shared.sums", "controller", "scores")  # a score may be -inf


class SearchState(NamedTuple):
    """State of a discrete search.

    Attributes:
      shared: state of the program that trains shared weights, or ().
      controller: state of the controller.
      encodings: i32[R, P, G], zeros in rounds that have not run.
      scores: f32[R, P, M], higher is better; NaN counts as -inf.
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
      round_cost: time of a round in steps of the program, until it is measured.
      num_scored: number of cells of a round that get a score; None means all.
    """

    splits: tuple
    objective: Callable
    program: program_lib.Program | None = None
    jittable: bool = True
    round_cost: float = 1.0
    num_scored: int | None = None


class Search(NamedTuple):
    """A search whose rounds are the steps of a phase.

    Attributes:
      controller: proposes encodings.
      source: scores encodings.
      num_evaluations: number of evaluations, in whole rounds.
      metrics: name and direction of each of the M metrics; the first selects the best.
      num_signals: number of metrics, the first ones, that the controller climbs.
      key: PRNG key of the whole search.
    """

    controller: types.Controller
    source: Source
    num_evaluations: int
    metrics: tuple[directions.Metric, ...]
    num_signals: int
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

    @property
    def num_unscored(self) -> int:
        """Number of proposed cells that get no score, of all rounds."""
        scored = self.source.num_scored
        if scored is None:
            return 0
        return self.num_rounds * (self.proposals.shape[0] - scored)

    def verdict(self, scores: np.ndarray) -> verdict.Verdict:
        """Returns what the evaluations so far have learned.

        Args:
          scores: f[T, M] of the signals, in order.
        """
        first = max(self.proposals.shape[0], len(scores) // 10)
        return verdict.of_scores(scores, self.metrics[: self.num_signals], first)

    def init(self) -> SearchState:
        """Returns the state before any step."""
        shared_key, controller_key = jax.random.split(self.key)
        program, rows = self.source.program, self.proposals.shape
        return SearchState(
            program.init(shared_key) if program else (),
            self.controller.init(controller_key),
            jnp.zeros((self.num_rounds, *rows), jnp.int32),
            jnp.full(
                (self.num_rounds, rows[0], len(self.metrics)), -jnp.inf, jnp.float32
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
        if found.scores.shape[1] != len(self.metrics):
            raise ValueError(
                f"objective must give {len(self.metrics)} columns, "
                f"{', '.join(metric.name for metric in self.metrics)}, got "
                f"{found.scores.shape[1]}. Declare them by objectives.declared."
            )
        return state._replace(
            controller=controller,
            encodings=state.encodings.at[number].set(found.encodings),
            scores=state.scores.at[number].set(found.scores),
        )

    def advance(self) -> Callable:
        """Builds (first, stop, state) -> state, compiled if the objective can be."""
        if self.source.jittable:
            return placement.jit(
                lambda first, stop, state: jax.lax.fori_loop(
                    first, stop, self.one_round, state
                ),
                count=self.proposals.shape[0],
            )

        init, ask, tell = self.controller
        steps = self._replace(
            controller=types.Controller(init, jax.jit(ask), jax.jit(tell))
        )

        def by_hand(first, stop, state):
            for number in range(int(first), int(stop)):
                state = steps.one_round(jnp.int32(number), state)
            return state

        return by_hand


def drive(phase: phase_lib.Phase, search: Search, space: spaces.Space) -> SearchState:
    """Runs the rest of the phase: first the source's program, then the rounds.

    The best evaluation so far is displayed with the metric itself, not its score.

    Args:
      phase: its ``observe`` is called after every compiled call.
      search: the search.
      space: the space of cells, for displaying the best so far.

    Returns:
      The state at the end.
    """
    program = search.source.program
    before = program.num_steps if program else 0
    spans = (pace.Span(search.num_rounds, search.source.round_cost, "rounds"),)
    phase.expect(pace.Plan((pace.Span(before), *spans) if before else spans))
    phase.must_keep(
        steps_per_epoch=program.steps_per_epoch if program else 1,
        num_evaluations=search.num_evaluations,
    )
    if program:
        phase.must_keep(**drive_lib.norm_devices(program.groups))
    members = search.proposals.shape[0]
    phase.must_keep(**drive_lib.norm_devices(members, "norm_devices_of_members"))
    done, state = phase.restore(jax.eval_shape(search.init)) or (0, search.init())
    if program:
        phase.runs_on(placement.layout(program.groups), "shared weights")
    phase.runs_on(placement.layout(members))
    if done < before:

        def observe(step, shared, metrics, epoch_ended):
            shared = placement.local(shared)
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
            begins=phase.begins,
        )
        done, state = before, state._replace(shared=placement.local(shared))
    advance, metric = search.advance(), search.metrics[0]
    while done < phase.num_steps:
        phase.begins("rounds")
        stop = done + phase.suggest_steps()
        first_round = done
        first, last = jnp.int32(done - before), jnp.int32(stop - before)
        state, done = placement.local(advance(first, last, state)), stop
        jax.block_until_ready(state)
        signal = state.scores[..., 0].reshape(-1)
        best = state.encodings.reshape(len(signal), -1)[signal.argmax()]
        last = signal.reshape(search.num_rounds, -1)[done - before - 1].max()
        values = {
            "best_score": metric.sign * signal.max(),
            "last_score": metric.sign * last,
        }
        found = metrics_lib.NOTHING
        if np.isfinite(signal.max()):  # the first of unknown scores is no best one
            found = cells.found(
                space.genotype(best),
                float(signal.max()),
                shown=f"{metric.name} {metric.sign * float(signal.max()):.6g}",
            )
        for text in _learned_nothing(search, state, done - before, stop - first_round):
            phase.say(f"warning: {text}")
        phase.observe(done, state, values, found=found)
    return state


def _learned_nothing(search, state, num_done: int, num_new: int) -> tuple[str, ...]:
    """Returns what is wrong with a search, after the call in which half was done."""
    half = -(-search.num_rounds // 2)
    if not num_done - num_new < half <= num_done:
        return ()
    # sliced on the host, where nothing is compiled
    scores = np.asarray(state.scores)[:num_done, :, : search.num_signals]
    scores = scores.reshape(-1, search.num_signals)
    return search.verdict(scores).warnings
