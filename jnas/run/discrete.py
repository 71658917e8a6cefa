"""The stages of a discrete search: shared weights where they are asked for, search."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import data as data_lib
from jnas import genotype as genotypes
from jnas import (
    networks,
    objectives,
    optimizers,
    registry,
    sharing,
    spaces,
    tables,
    types,
)
from jnas import program as program_lib
from jnas.run import compare, stages, workdir

SUPERNET, SCRATCH = "supernet", "scratch"
DISCRETE_KEY = 4  # folded into the run's key, after those of stages


@dataclasses.dataclass(frozen=True)
class DiscreteSettings:
    """What a discrete search is made of.

    Attributes:
      controller: name in ``registry.CONTROLLERS``.
      objective: ``supernet``, ``scratch``, a name in ``registry.OBJECTIVES``, or
        "table:" and a name or a file.
      num_proposals: P, of one round; None for the controller's own.
      num_evaluations: of the search, in whole rounds.
      features: F of the first cells.
      layers: cells (of a stage, for cells of one input).
      batch_size: B.
      epochs: of the shared weights, or of each network from scratch.
      valid_rate: fraction of the training images that scores cells.
      learning_rate: of the weights, at the start.
      trainer: controller that draws the cells the shared weights are trained by.
      signal: metrics of a table; the first is searched on.
      report: metrics of a table that are told.
    """

    controller: str = "regularized_evolution"
    objective: str = SUPERNET
    num_proposals: int | None = None
    num_evaluations: int = 200
    features: int = 16
    layers: int = 5
    batch_size: int = 64
    epochs: int = 50
    valid_rate: float = 0.5
    learning_rate: float = 0.025
    trainer: str = "random_search"
    signal: tuple[str, ...] = ("valid_12",)
    report: tuple[str, ...] = ("valid_12", "test_12")


class SearchState(NamedTuple):
    """What a discrete search carries.

    Attributes:
      shared: the state of the program that trains shared weights, or ().
      controller: the controller's state.
      encodings: i32[R, P, G], zeros in rounds to come.
      scores: f32[R, P, M]; NaN counts as -inf.
    """

    shared: Any
    controller: Any
    encodings: types.Array
    scores: types.Array


def check(settings: DiscreteSettings) -> tables.Table | None:
    """Looks up everything that a search names; loads the table, where it is one.

    Args:
      settings: of the search.

    Raises:
      KeyError, ValueError: a name that does not exist; the nearest is guessed.
    """
    registry.CONTROLLERS[settings.controller]
    registry.CONTROLLERS[settings.trainer]
    if settings.objective.startswith("table:"):
        table = compare.load_table(settings.objective)
        for name in (*settings.signal, *settings.report):
            table.column(name.removeprefix("-"))
        return table
    if settings.objective not in (SUPERNET, SCRATCH, *registry.OBJECTIVES):
        names = ", ".join((SUPERNET, SCRATCH, "table:NAME", *registry.OBJECTIVES))
        guess = registry.nearest(settings.objective, names.split(", "))
        raise ValueError(
            f"objective must be one of {names}, got {settings.objective!r}. {guess}"
        )
    return None


def search_cells(
    run: workdir.Run,
    space: spaces.CellSpace,
    settings: DiscreteSettings,
    *,
    dataset: data_lib.Dataset | None = None,
    table: tables.Table | None = None,
    seed: int,
) -> tuple[genotypes.Genotype, dict[str, Any]]:
    """Searches a space by asking and telling, as the phase ``search``.

    With the objective ``supernet`` its first steps train the shared weights. The test
    part of the data set is not touched.

    Args:
      run: the open run.
      space: of the cells.
      settings: of the search.
      dataset: for every objective but a table.
      table: the benchmark.
      seed: of the split, the weights and the search.

    Returns:
      (genotype, result): the cell with the best signal, the first of equals, and its
      figures.

    Raises:
      ValueError: a table of another space.
    """
    controller = _controller(settings, space)
    if table is not None:
        _check_sizes(table, space)
        names = [*settings.signal, *settings.report]
        source = _Source((), lambda _: objectives.table(table, names))
    else:
        names, source = ["score"], _on_images(dataset, space, settings, seed)
    key = jax.random.fold_in(jax.random.key(seed), DISCRETE_KEY)
    search = _Search(controller, source, settings.num_evaluations, len(names), key)
    num_steps = search.num_rounds
    if source.program:
        num_steps += source.program.num_steps
    phase = run.phase("search", num_steps)
    if phase.result is None:
        state = _drive(phase, search, space)
        phase.end(_result(state, names, space) | {"seconds": round(phase.seconds, 2)})
    return genotypes.from_json(phase.result["genotype"]), phase.result


class _Source(NamedTuple):
    """Where scores come from.

    Attributes:
      parts: images and labels for the program.
      objective: shared parameters -> types.Objective.
      program: that trains shared weights, or None.
      jittable: whether the objective is.
    """

    parts: tuple
    objective: Callable
    program: program_lib.Program | None = None
    jittable: bool = True


class _Search(NamedTuple):
    """A search whose rounds are steps."""

    controller: types.Controller
    source: _Source
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
        """Asks, scores and tells; a function of the key, the number and the state."""
        ask_key, score_key = jax.random.split(jax.random.fold_in(self.key, number))
        params = state.shared.inner.params if self.source.program else ()
        encodings = self.controller.ask(ask_key, state.controller)
        scores = self.source.objective(params)(score_key, encodings)
        scores = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
        return state._replace(
            controller=self.controller.tell(state.controller, encodings, scores),
            encodings=state.encodings.at[number].set(encodings),
            scores=state.scores.at[number].set(scores),
        )

    def advance(self) -> Callable:
        """Builds (first, stop, state) -> state, compiled where the objective may be."""
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


def _drive(phase, search: _Search, space: spaces.CellSpace) -> SearchState:
    """Runs what is left of the phase."""
    done, state = phase.restore(jax.eval_shape(search.init)) or (0, search.init())
    program = search.source.program
    before = program.num_steps if program else 0
    if done < before:

        def observe(step, shared, metrics, epoch_ended):
            whole = state._replace(shared=shared)
            phase.observe(step, whole, metrics, record=epoch_ended)

        shared, _ = program_lib.run(
            program,
            state.shared,
            search.source.parts,
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
        shown = stages.short(space.genotype(best))
        phase.observe(done, state, values, best=shown)
    return state


def _result(state: SearchState, names: list[str], space) -> dict[str, Any]:
    scores = np.asarray(state.scores).reshape(-1, state.scores.shape[-1])
    best = int(scores[:, 0].argmax())
    encoding = np.asarray(state.encodings).reshape(len(scores), -1)[best]
    figures = dict(zip(names, map(float, scores[best]), strict=True))
    found = genotypes.to_json(space.genotype(encoding))
    return figures | {"evaluations": len(scores), "genotype": found}


def _check_sizes(table: tables.Table, space: spaces.CellSpace) -> None:
    if table.sizes != space.sizes:
        raise ValueError(
            f"space must have the table's sizes {table.sizes}, got {space.sizes} of "
            f"{space.name}. Use --space=nasbench201, or another table."
        )


def _controller(settings: DiscreteSettings, space) -> types.Controller:
    make = registry.CONTROLLERS[settings.controller]
    takes, given = inspect.signature(make).parameters, {}
    if settings.num_proposals is not None:
        size = "num_proposals" if "num_proposals" in takes else "population_size"
        given[size] = settings.num_proposals
    if "num_objectives" in takes:
        given["num_objectives"] = len(settings.signal)
    return make(space.sizes, **given)


def _on_images(dataset, space, settings, seed) -> _Source:
    """Builds the objectives that read images."""
    rows = data_lib.stratified(seed, dataset.y_train, settings.valid_rate)
    parts = tuple(
        (jnp.asarray(dataset.x_train[i]), jnp.asarray(dataset.y_train[i])) for i in rows
    )
    shape = networks.Shape(
        settings.features,
        settings.layers,
        dataset.num_classes,
        dataset.image_shape[-1],
    )
    augment = data_lib.for_search(dataset)
    if settings.objective == SUPERNET:
        return _shared(space, settings, shape, parts, augment)
    if settings.objective == SCRATCH:
        objective = objectives.scratch(
            space,
            shape,
            parts[0],
            parts[1:],
            augment=augment,
            num_epochs=settings.epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
        )
        return _Source(parts, lambda _: objective)
    task = objectives.Task(space, shape, *parts, augment)
    objective = registry.OBJECTIVES[settings.objective](task)
    return _Source(
        parts, lambda _: objective, jittable=getattr(objective, "jittable", True)
    )


def _shared(space, settings, shape, parts, augment) -> _Source:
    """Builds the training of shared weights, and the objective that reads them."""
    supernet = networks.one_shot(space, shape)
    (_, labels), (valid_images, valid_labels) = parts
    rate = optimizers.cosine_by_epoch(
        start=settings.learning_rate,
        end=settings.learning_rate / 25,
        num_epochs=settings.epochs,
        steps_per_epoch=max(1, len(labels) // settings.batch_size),
    )
    program = sharing.shared_training(
        space,
        supernet,
        registry.CONTROLLERS[settings.trainer](space.sizes),
        optimizer=optimizers.momentum_sgd(rate),
        augment=augment,
        num_examples=(len(labels), len(valid_labels)),
        batch_size=settings.batch_size,
        num_epochs=settings.epochs,
    )

    def objective(params):
        images = data_lib.normalise(valid_images, augment)
        return objectives.one_shot_accuracy(
            space, supernet, params, images, valid_labels
        )

    return _Source(parts, objective, program)
