"""From a method's row of pieces to the programs that run it, one after another.

Most methods are one leg. P-DARTS and DrNAS go on in stages, DARTS-PT derives its cell
in a leg of its own.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jnas import methods, networks, optimizers, registry, selections, spaces, types
from jnas import program as program_lib
from jnas.data import augment as augment_lib
from jnas.search import gradient, mixing, projection, watching


class Leg(NamedTuple):
    """One program of a search.

    Attributes:
      name: of the leg.
      program: its state's ``inner`` is a GradientState.
      supernet: that it trains.
      carry: (State of the leg before, fresh State) -> State that this one begins with.
    """

    name: str
    program: program_lib.Program
    supernet: networks.Supernet
    carry: Callable[[program_lib.State, program_lib.State], program_lib.State]


class Setting(NamedTuple):
    """Where a method is put to work.

    Attributes:
      shape: of the network; ``num_layers`` are the method's.
      augment: of the images.
      num_examples: sizes of the training and the validation part.
      num_seeds: S searches as one program; None for one.
      remat: whether cells are computed again for the gradient.
      dtype: of the activations.
    """

    shape: networks.Shape
    augment: augment_lib.Augment
    num_examples: tuple[int, int]
    num_seeds: int | None = None
    remat: bool = False
    dtype: jnp.dtype = jnp.float32


def space_of(method: methods.Method, space: spaces.CellSpace) -> spaces.CellSpace:
    """Returns the space that a method searches: without ``none`` where it drops it.

    Args:
      method: the method.
      space: the user's space.
    """
    drops = method.drop_none and space.num_kept is not None
    return space.without_none() if drops else space


def check(method: methods.Method, space: spaces.CellSpace) -> None:
    """Looks up everything that a method names.

    Args:
      method: the method.
      space: its operations.

    Raises:
      KeyError: a name that is not registered; the nearest is guessed.
      ValueError: pieces that cannot go together.
    """
    pieces(method, steps_per_epoch=1, epochs=1)
    for name in space.operations:
        registry.OPERATIONS[name]
    if method.early_stopping and method.adaptive_decay:
        raise ValueError(
            "early_stopping must be off where adaptive_decay is on, got both. "
            "One ends a search that the other continues."
        )
    if (method.early_stopping or method.adaptive_decay) and not method.watch_interval:
        raise ValueError(
            "watch_interval must be at least 1 where a rise of the eigenvalue has "
            "consequences, got 0. Choose how many epochs lie between two looks."
        )


def pieces(
    method: methods.Method, *, steps_per_epoch: int, epochs: int
) -> gradient.Pieces:
    """Looks up a method's pieces.

    Args:
      method: the method.
      steps_per_epoch: of the training part.
      epochs: that the cosine of the learning rate takes.

    Raises:
      KeyError: a name that is not registered.
    """
    rate = optimizers.cosine_by_epoch(
        start=method.learning_rate,
        end=method.final_learning_rate,
        num_epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    )
    decay = optimizers.carried_decay if method.adaptive_decay else None
    params_optimizer = optimizers.momentum_sgd(
        rate,
        weight_decay=method.weight_decay,
        clip_norm=method.clip_norm or None,
        nesterov=method.nesterov,
        **({"decay": decay} if decay else {}),
    )
    logits_optimizer = optimizers.adam_l2(
        method.logits_learning_rate,
        b1=method.logits_b1,
        weight_decay=method.logits_weight_decay,
    )
    regularizers = tuple(registry.REGULARIZERS[name] for name in method.regularizers)
    perturbation = None
    if method.perturbation:
        perturbation = registry.PERTURBATIONS[method.perturbation]
    return gradient.Pieces(
        params_optimizer,
        logits_optimizer,
        relaxation=registry.RELAXATIONS[method.relaxation],
        hypergradient=registry.HYPERGRADIENTS[method.hypergradient],
        regularizers=regularizers,
        perturbation=perturbation,
        strengths=registry.RELAXATIONS[method.strengths],
        selection=selection(method),
        edge_weights=method.edge_weights,
        logits_scale=method.logits_scale,
    )


def selection(method: methods.Method) -> types.Selection:
    """Looks up how a method derives its cell.

    Args:
      method: the method.

    Raises:
      KeyError: a name that is not registered.
    """
    chosen = registry.SELECTIONS[method.selection]
    if method.max_skips is None:
        return chosen
    return selections.limit_skips(chosen, method.max_skips)


def legs(
    method: methods.Method, space: spaces.CellSpace, setting: Setting
) -> list[Leg]:
    """Builds the programs of a method.

    Args:
      method: the method.
      space: that it searches, as ``space_of`` gives it.
      setting: where.

    Raises:
      ValueError: sizes that do not fit.
    """
    steps = max(1, setting.num_examples[0] // method.batch_size)
    made, masks = [], len(method.stages) > 1 or bool(method.projection_epochs)
    for number, stage in enumerate(method.stages):
        epochs = max(1, round(method.epochs * stage.epochs_rate))
        name = "search" if len(method.stages) == 1 else f"search_{number + 1}"
        parts = pieces(
            method,
            steps_per_epoch=steps,
            epochs=method.epochs if method.widens else epochs,
        )
        parts = dataclasses.replace(
            parts,
            frozen_epochs=round(method.frozen_rate * epochs),
            form_inputs=form_inputs(method, stage, epochs),
        )
        supernet = _supernet(method, stage, space, setting)
        made.append(
            Leg(
                name,
                _program(method, supernet, parts, setting, epochs, masks, None),
                supernet,
                _over_seeds(_stage_carry(method, stage, space, parts), setting),
            )
        )
    if method.projection_epochs:
        made.append(_projection(method, space, setting, made[-1].supernet, steps))
    return made


def _projection(method, space, setting, supernet, steps) -> Leg:
    """The leg that derives a cell by perturbation."""
    epochs = method.projection_epochs * projection.num_decisions(space)
    slower = dataclasses.replace(method, learning_rate=method.learning_rate / 10)
    parts = pieces(slower, steps_per_epoch=steps, epochs=epochs)
    # the auxiliary skip has fallen to zero at the end of the search
    given = form_inputs(method, methods.Stage(), 1)
    inputs = given(program_lib.Clock(jnp.int32(1), jnp.float32(1)))
    parts = dataclasses.replace(parts, form_inputs=lambda clock: inputs)
    answer = projection.project(
        supernet,
        parts.strengths,
        augment=setting.augment,
        batch_size=method.batch_size,
        interval=method.projection_epochs,
        form_inputs=parts.form_inputs,
    )

    def carry(before, fresh):
        old, new = before.inner, fresh.inner
        kept = new._replace(
            params=old.params, logits=old.logits, logits_opt=old.logits_opt
        )
        return fresh._replace(inner=kept._replace(mask=old.mask))

    program = _program(method, supernet, parts, setting, epochs, True, answer)
    return Leg("projection", program, supernet, carry)


def _supernet(method, stage, space, setting) -> networks.Supernet:
    form = networks.Form(
        partial=method.partial if stage.partial == 1 else stage.partial,
        auxiliary_skip=method.auxiliary_skip,
        skip_dropout=stage.skip_dropout > 0,
        skip_zeros=method.skip_zeros,
    )
    depth = max(1, round(setting.shape.num_layers * stage.depth_rate))
    shape = dataclasses.replace(setting.shape, num_layers=depth)
    return networks.supernet(
        space, shape, remat=setting.remat, dtype=setting.dtype, form=form
    )


def _program(method, supernet, parts, setting, epochs, masks, answer):
    rise, projects = watching.Rise(), answer is not None
    if method.early_stopping and not projects:
        answer = watching.stop_early(rise)
    if method.adaptive_decay and not projects:
        answer = watching.strengthen(rise)
    watch = None
    if method.watch_interval or answer:
        watch = watching.watch(
            supernet,
            parts.strengths,
            parts.selection,
            augment=setting.augment,
            batch_size=method.batch_size,
            form_inputs=parts.form_inputs,
            interval=method.watch_interval,
            answer=answer,
            snapshots=method.adaptive_decay and not projects,
        )
    return gradient.gradient_search(
        supernet,
        parts,
        augment=setting.augment,
        num_examples=setting.num_examples,
        batch_size=method.batch_size,
        num_epochs=epochs,
        masks=masks,
        watch=watch,
        num_seeds=setting.num_seeds,
    )


def form_inputs(method: methods.Method, stage: methods.Stage, epochs: int) -> Callable:
    """Builds the schedule of the auxiliary skip's factor and of the skips' dropout.

    The factor falls from 1 to 0, epoch by epoch. The rate is p (E - e - 1) / E while
    logits are frozen, then p exp(-.2 (e - 10)) for P-DARTS' 25 epochs of which 10 are
    frozen; for other numbers of epochs it falls as much.

    Args:
      method: gives the share of frozen epochs.
      stage: gives p.
      epochs: E of the stage.

    Returns:
      Clock -> FormInputs.

    Source: arXiv:2009.01027, section 3.3; arXiv:1904.12760, its released code.
    """
    frozen = round(method.frozen_rate * epochs)
    rate, decay = stage.skip_dropout, 0.2 * 25 / epochs

    def inputs(clock):
        factor = dropped = None
        if method.auxiliary_skip:
            factor = jnp.maximum(0.0, (epochs - clock.epoch) / epochs)
        if rate:
            early = rate * (epochs - clock.epoch - 1) / epochs
            late = rate * jnp.exp(-decay * (clock.epoch - frozen))
            dropped = jnp.where(clock.epoch < frozen, early, late)
        return networks.FormInputs(factor, dropped)

    return inputs


def _stage_carry(method, stage, space, parts) -> Callable:
    """What a stage takes from the one before: fewer candidates, or all, made wider."""
    count = max(1, round(space.shape[-1] * stage.candidates_rate))

    def carry(before, fresh):
        old, new = before.inner, fresh.inner
        weights = mixing.strengths(space, parts.strengths, old.logits, old.mask)
        mask = strongest_candidates(weights, count)
        if method.widens:
            widen = functools.partial(networks.widen, jax.random.fold_in(fresh.key, 1))
            new = new._replace(
                params=widen(old.params, new.params),
                params_opt=widen(old.params_opt, new.params_opt),
                logits=old.logits,
                logits_opt=old.logits_opt,
            )
        return fresh._replace(inner=new._replace(mask=mask))

    return carry


def strongest_candidates(weights: types.Weights, count: int) -> types.Array:
    """Marks the candidates that weigh most on each edge; ties keep the lower one.

    Args:
      weights: f32[C, E, O].
      count: how many are kept.

    Returns:
      bool[C, E, O].
    """
    order = jnp.argsort(-weights, axis=-1, stable=True)
    return jnp.argsort(order, axis=-1) < count


def _over_seeds(carry: Callable, setting: Setting) -> Callable:
    return carry if setting.num_seeds is None else jax.vmap(carry)


def derive(
    method: methods.Method, space: spaces.CellSpace, state: program_lib.State
) -> tuple[types.Encoding, types.Weights]:
    """Derives the cells that a search came to.

    Args:
      method: the method.
      space: as ``space_of`` gives it.
      state: of the last leg; of one search.

    Returns:
      (encoding i32[G], final weights f32[C, E, O]).
    """
    inner = state.inner
    relaxation = registry.RELAXATIONS[method.strengths]
    weights = mixing.strengths(space, relaxation, inner.logits, inner.mask)
    encoding = selection(method)(space, weights)
    if inner.watched is not None:
        stopped = inner.watched.stopped
        encoding = jnp.where(stopped, inner.watched.answer, encoding)
    return encoding, weights
