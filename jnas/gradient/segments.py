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

from jnas import networks, spaces, types
from jnas.data import augment as augment_lib
from jnas.gradient import methods, mixing, search
from jnas.gradient import resolve as resolve_lib
from jnas.gradient.hooks import projection
from jnas.gradient.hooks import rise as rise_lib
from jnas.gradient.hooks import watch as watch_lib
from jnas.training import program as program_lib


class Segment(NamedTuple):
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
      size: of the network; ``num_layers`` are the method's.
      augment: of the images.
      num_examples: sizes of the training and the validation split.
      num_seeds: S searches as one program; None for one.
      remat: whether cells are computed again for the gradient.
      dtype: of the activations.
    """

    size: networks.Size
    augment: augment_lib.Augment
    num_examples: tuple[int, int]
    num_seeds: int | None = None
    remat: bool = False
    dtype: jnp.dtype = jnp.float32


def build_segments(
    method: methods.Method, space: spaces.CellSpace, setting: Setting
) -> list[Segment]:
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
        pieces = resolve_lib.resolve(
            method,
            steps_per_epoch=steps,
            epochs=method.epochs if method.widens else epochs,
        )
        pieces = dataclasses.replace(
            pieces,
            frozen_epochs=round(method.frozen_rate * epochs),
            variant_inputs=resolve_lib.variant_inputs(method, stage, epochs),
        )
        supernet = _supernet(method, stage, space, setting)
        made.append(
            Segment(
                name,
                _program(method, supernet, pieces, setting, epochs, masks, None),
                supernet,
                _over_seeds(_stage_carry(method, stage, space, pieces), setting),
            )
        )
    if method.projection_epochs:
        made.append(_projection(method, space, setting, made[-1].supernet, steps))
    return made


def _projection(method, space, setting, supernet, steps) -> Segment:
    """The leg that derives a cell by perturbation."""
    epochs = method.projection_epochs * projection.num_decisions(space)
    slower = dataclasses.replace(method, learning_rate=method.learning_rate / 10)
    pieces = resolve_lib.resolve(slower, steps_per_epoch=steps, epochs=epochs)
    # as at the end of the search: the auxiliary skip has fallen to zero; no dropout
    off = jnp.float32(0)
    inputs = networks.VariantInputs(
        off if method.auxiliary_skip else None,
        off if method.stages[-1].skip_dropout else None,
    )
    pieces = dataclasses.replace(pieces, variant_inputs=lambda clock: inputs)
    answer = projection.project(
        supernet,
        pieces.eval_relaxation,
        augment=setting.augment,
        batch_size=method.batch_size,
        interval=method.projection_epochs,
        variant_inputs=pieces.variant_inputs,
    )

    def carry(before, fresh):
        old, new = jax.tree.map(jnp.copy, before.inner), fresh.inner
        kept = new._replace(
            params=old.params, logits=old.logits, logits_opt=old.logits_opt
        )
        return fresh._replace(inner=kept._replace(mask=old.mask))

    program = _program(method, supernet, pieces, setting, epochs, True, answer)
    return Segment("projection", program, supernet, carry)


def _supernet(method, stage, space, setting) -> networks.Supernet:
    variant = networks.EdgeVariant(
        partial=method.partial if stage.partial == 1 else stage.partial,
        auxiliary_skip=method.auxiliary_skip,
        skip_dropout=stage.skip_dropout > 0,
        skip_zeros=method.skip_zeros,
    )
    depth = max(1, round(setting.size.num_layers * stage.depth_rate))
    size = dataclasses.replace(setting.size, num_layers=depth)
    return networks.supernet(
        space, size, remat=setting.remat, dtype=setting.dtype, variant=variant
    )


def _program(method, supernet, pieces, setting, epochs, masks, answer):
    rise, projects = rise_lib.Rise(), answer is not None
    if method.early_stopping and not projects:
        answer = rise_lib.stop_early(rise)
    if method.adaptive_decay and not projects:
        answer = rise_lib.strengthen(rise)
    watch = None
    if method.watch_interval or answer:
        watch = watch_lib.watch(
            supernet,
            pieces.eval_relaxation,
            pieces.selection,
            augment=setting.augment,
            batch_size=method.batch_size,
            variant_inputs=pieces.variant_inputs,
            interval=method.watch_interval,
            answer=answer,
            snapshots=method.adaptive_decay and not projects,
        )
    return search.gradient_search(
        supernet,
        pieces,
        augment=setting.augment,
        num_examples=setting.num_examples,
        batch_size=method.batch_size,
        num_epochs=epochs,
        masks=masks,
        watch=watch,
        num_seeds=setting.num_seeds,
    )


def _stage_carry(method, stage, space, pieces) -> Callable:
    """What a stage takes from the one before: fewer candidates, or all, made wider."""
    count = max(1, round(space.shape[-1] * stage.candidates_rate))

    def carry(before, fresh):
        # copies: a program donates the state that it begins with
        old, new = jax.tree.map(jnp.copy, before.inner), fresh.inner
        weights = mixing.eval_weights(
            space, pieces.eval_relaxation, old.logits, old.mask
        )
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
