"""Builds the programs that run a method, one after another.

Most methods are one segment. P-DARTS and DrNAS have one segment for each of their
stages; DARTS-PT derives its cell in a segment after the search.

  darts      [search]
  pdarts     [search_1] -> [search_2] -> [search_3]
  darts_pt   [search] -> [projection]
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnas import networks, registry, spaces, types
from jnas import pieces as pieces_lib
from jnas.data import augment as augment_lib
from jnas.data import task as task_lib
from jnas.data import tasks
from jnas.gradient import methods, regularizers, search, search_pieces, start
from jnas.gradient import resolve as resolve_lib
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.hooks import projection
from jnas.training import program as program_lib


class Segment(NamedTuple):
    """One program of a search.

    Attributes:
      name: name of the segment.
      program: its state's ``inner`` is a GradientState.
      supernet: the network that it trains.
      pieces: the functions that it is composed of.
      carry: (last State of the segment before, fresh State) -> first State of this one.
      size: of the supernet.
      variant: the supernet's edge variant.
    """

    name: str
    program: program_lib.Program
    supernet: networks.Supernet
    pieces: search_pieces.Pieces
    carry: Callable[[program_lib.State, program_lib.State], program_lib.State]
    size: networks.Size
    variant: networks.EdgeVariant


class Setting(NamedTuple):
    """What a method is applied to.

    Attributes:
      size: size of the supernet; a stage's depth_rate multiplies its ``num_layers``.
      augment: augmentation of the images.
      num_examples: sizes of the training and the validation split.
      num_seeds: S searches as one program; None for one.
      remat: whether the backward pass computes cells again instead of storing them.
      dtype: dtype of the activations.
      limits: of the derived cell's costs.
      task: what is learned.
      image_shape: of one image, or of another input, for regularizers that take costs;
        None takes that of the size.
    """

    size: networks.Size
    augment: augment_lib.Augment
    num_examples: tuple[int, int]
    num_seeds: int | None = None
    remat: bool = False
    dtype: jnp.dtype = jnp.float32
    limits: tuple[networks.Limit, ...] = ()
    task: task_lib.Task = tasks.CLASSIFICATION
    image_shape: Any = None


def build_segments(
    method: methods.Method, space: spaces.Space, setting: Setting
) -> list[Segment]:
    """Builds the programs of a method.

    Args:
      method: the method.
      space: the space that it searches, as ``space_of`` returns it.
      setting: the network's size, the splits and the seeds.

    Raises:
      ValueError: sizes that do not fit.
    """
    built = [
        _stage(method, number, space, setting) for number in range(len(method.stages))
    ]
    if method.projection_epochs:
        built.append(_projection(method, space, setting, built[-1]))
    return built


def _stage(method, number, space, setting) -> Segment:
    """Builds the segment of one of the method's stages."""
    stage, many = method.stages[number], len(method.stages) > 1
    epochs = max(1, round(method.epochs * stage.epochs_rate))
    pieces = resolve_lib.resolve(
        method,
        space,
        steps_per_epoch=_steps_per_epoch(method, setting),
        epochs=method.epochs if method.widens else epochs,
    )
    pieces = dataclasses.replace(
        pieces,
        frozen_epochs=round(method.frozen_rate * epochs),
        variant_inputs=resolve_lib.variant_inputs(method, stage, epochs),
        limits=setting.limits,
        costs=_costs(pieces, space, _size(stage, setting), setting.image_shape),
    )
    size, variant = _size(stage, setting), _variant(method, stage)
    supernet = networks.supernet(
        space, size, remat=setting.remat, dtype=setting.dtype, variant=variant
    )
    if stage.split is not None:
        supernet = networks.split(supernet, stage.split)
    hooks = _hooks(method.hooks, method, supernet, pieces, setting, epochs)
    if many and any(hook.removes for hook in hooks):
        raise ValueError(
            "hooks that remove options must be left out with a method of several "
            f"stages, which remove options themselves, got {len(method.stages)} "
            "stages. Leave the hook out, or use another --method."
        )
    if method.projection_epochs and number + 1 == len(method.stages):
        # DARTS-PT decides first, and tunes the network after it
        first = functools.partial(projection.build, every=epochs)
        named = (*method.hooks, first)
        hooks = _hooks(named, method, supernet, pieces, setting, epochs)
    pieces = dataclasses.replace(pieces, hooks=hooks)
    masks = many or bool(method.projection_epochs)
    program = _program(method, supernet, pieces, setting, epochs, masks)
    carry = _stage_carry(method, stage, space, pieces)
    if setting.num_seeds is not None:
        carry = jax.vmap(carry)
    name = f"search_{number + 1}" if many else "search"
    return Segment(name, program, supernet, pieces, carry, size, variant)


def _costs(pieces, space, size, shape) -> dict[str, networks.Costs] | None:
    """Counts the options of a space where a regularizer takes their costs."""
    if not any(map(regularizers.needs_costs, pieces.regularizers)):
        return None
    if shape is None and size.image_size is not None:
        shape = *size.image_size, size.channels
    if shape is None:
        raise ValueError(
            "image_size must be rows and columns where a regularizer takes costs, got "
            "None. Give those of the images in networks.Size."
        )
    return networks.option_costs(space, size, shape)


def _steps_per_epoch(method, setting) -> int:
    return max(1, setting.num_examples[0] // method.batch_size)


def _size(stage, setting) -> networks.Size:
    """Returns the size of a stage's supernet."""
    depth = max(1, round(setting.size.num_layers * stage.depth_rate))
    return dataclasses.replace(setting.size, num_layers=depth)


def _variant(method, stage) -> networks.EdgeVariant:
    """Returns the method's edge variant in a stage."""
    return networks.EdgeVariant(
        partial=method.partial if stage.partial == 1 else stage.partial,
        auxiliary_skip=method.auxiliary_skip,
        skip_dropout=stage.skip_dropout > 0,
        skip_zeros=method.skip_zeros,
        drop_path=method.drop_path_rate > 0,
        entangled=method.entangled,
        lora_rank=method.lora_rank,
    )


def _hooks(named, method, supernet, pieces, setting, epochs) -> tuple:
    """Builds the hooks of a segment."""
    search_of = hook_lib.Search(
        supernet,
        pieces.weights_of,
        pieces.selection,
        setting.augment,
        method.batch_size,
        epochs,
        method.watch_interval,
        pieces.variant_inputs,
        setting.task,
        lambda clock: pieces.progress(clock, epochs),
        setting.limits,
    )
    return hook_lib.build(named, search_of)


def _program(method, supernet, pieces, setting, epochs, masks):
    """Builds the program of a segment."""
    return search.gradient_search(
        supernet,
        pieces,
        augment=setting.augment,
        num_examples=setting.num_examples,
        batch_size=method.batch_size,
        num_epochs=epochs,
        masks=masks or any(hook.removes for hook in pieces.hooks),
        hooks=pieces.hooks,
        num_seeds=setting.num_seeds,
        task=setting.task,
    )


def _stage_carry(method, stage, space, pieces) -> Callable:
    """Builds what a stage keeps of the one before: its strongest options.

    The limits' multipliers continue. A method that widens also keeps the parameters,
    made wider, and the logits. A supernet that is split keeps the parameters in each of
    its copies.
    """
    rate = stage.candidates_rate

    def carry(before, fresh):
        # copies, as a program donates its first state
        old, new = jax.tree.map(jnp.copy, before.inner), fresh.inner
        mask = strongest_candidates(pieces.weights_of(old), rate)
        if pieces.mask is not None:
            mask = jax.tree.map(jnp.logical_and, mask, pieces.mask)
        if method.widens:
            widen = functools.partial(networks.widen, jax.random.fold_in(fresh.key, 1))
            new = new._replace(
                params=widen(old.params, new.params),
                params_opt=widen(old.params_opt, new.params_opt),
                logits=old.logits,
                logits_opt=old.logits_opt,
            )
        if stage.split is not None:
            new = new._replace(params=networks.copied(old.params, new.params))
        new = new._replace(mask=mask, multipliers=old.multipliers)
        return fresh._replace(inner=_begun(pieces, new))

    return carry


def _begun(pieces, inner) -> start.GradientState:
    """Lets the hooks begin with what a segment begins with."""
    inner = inner._replace(hooks=())
    return inner._replace(hooks=hook_lib.begin(pieces.hooks, inner))


def strongest_candidates(weights: types.Weights, rate: float) -> types.Mask:
    """Marks the options with the largest weights of each row.

    Args:
      weights: of a space.
      rate: share of a row's options that are kept, at least one; of equal weights,
        those of lower index.

    Returns:
      bool arrays like the weights.
    """

    def of_leaf(weights):
        count = max(1, round(weights.shape[-1] * rate))
        order = jnp.argsort(-weights, axis=-1, stable=True)
        return jnp.argsort(order, axis=-1) < count

    return jax.tree.map(of_leaf, weights)


def _projection(method, space, setting, before) -> Segment:
    """Builds the segment of DARTS-PT, at a constant tenth of the learning rate."""
    supernet = before.supernet
    epochs, project = projection.segment(space, method.projection_epochs)
    rate = method.learning_rate / 10
    slower = dataclasses.replace(method, learning_rate=rate, final_learning_rate=rate)
    steps = _steps_per_epoch(method, setting)
    pieces = resolve_lib.resolve(slower, space, steps_per_epoch=steps, epochs=epochs)
    # as at the end of the search: the auxiliary skip has fallen to zero; no dropout
    off = jnp.float32(0)
    inputs = networks.VariantInputs(
        off if method.auxiliary_skip else None,
        off if method.stages[-1].skip_dropout else None,
    )
    pieces = dataclasses.replace(
        pieces,
        variant_inputs=lambda clock: inputs,
        limits=setting.limits,
        costs=before.pieces.costs,
    )
    # the search has ended: what would end it, or roll it back, is over
    over = ("stop_early", "adaptive_decay")
    name_of = functools.partial(pieces_lib.name_of, registry.HOOKS)
    named = [one for one in method.hooks if name_of(one) not in over]
    named.append(project)
    hooks = _hooks(named, method, supernet, pieces, setting, epochs)
    pieces = dataclasses.replace(pieces, hooks=hooks)
    program = _program(method, supernet, pieces, setting, epochs, True)
    carry = functools.partial(_carry_all, pieces)
    if setting.num_seeds is not None:
        carry = jax.vmap(carry)
    return before._replace(
        name="projection", program=program, pieces=pieces, carry=carry
    )


def _carry_all(pieces, before, fresh) -> program_lib.State:
    """Continues with all but the optimizer of w, which starts anew, and the hooks."""
    old, new = jax.tree.map(jnp.copy, before.inner), fresh.inner
    kept = new._replace(params=old.params, logits=old.logits, logits_opt=old.logits_opt)
    kept = kept._replace(mask=old.mask, multipliers=old.multipliers)
    return fresh._replace(inner=_begun(pieces, kept))
