"""Looks up the registered functions that a method names."""

import dataclasses
import functools
import inspect
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import optax

from jnas import networks, registry, spaces, types
from jnas import pieces as pieces_lib
from jnas.gradient import alternations, methods, mixing, search_pieces, selections
from jnas.gradient.hooks import hook as hook_lib
from jnas.spaces import rows as rows_lib
from jnas.training import optimizers
from jnas.training import program as program_lib
from jnas.training import recipe as recipe_lib


def space_of(method: methods.Method, space: spaces.Space) -> spaces.Space:
    """Returns the space that a method searches.

    It is the user's space, without ``none`` where the method's drop_none is on and
    nodes choose their inputs.

    Args:
      method: the method.
      space: the user's space.
    """
    chooses = getattr(space, "num_kept", None) is not None
    return space.without_none() if method.drop_none and chooses else space


def resolve(
    method: methods.Method,
    space: spaces.Space,
    *,
    steps_per_epoch: int,
    epochs: int,
) -> search_pieces.Pieces:
    """Builds the pieces of a gradient search from a method's names and numbers.

    Args:
      method: the method.
      space: the space that it searches.
      steps_per_epoch: steps in one pass over the training split.
      epochs: length of the learning rate's cosine schedule.

    Raises:
      KeyError: a name that is not registered.
    """
    regularizers = tuple(
        pieces_lib.resolve(registry.REGULARIZERS, one) for one in method.regularizers
    )
    perturbation = None
    if method.perturbation:
        perturbation = pieces_lib.resolve(registry.PERTURBATIONS, method.perturbation)
    return search_pieces.Pieces(
        _params_optimizer(method, steps_per_epoch, epochs),
        _logits_optimizer(method),
        relaxation=mixing.in_space(
            pieces_lib.resolve(registry.RELAXATIONS, method.relaxation), space
        ),
        hypergradient=pieces_lib.resolve(registry.HYPERGRADIENTS, method.hypergradient),
        regularizers=regularizers,
        perturbation=perturbation,
        weights_of=mixing.build_weights_of(
            space, pieces_lib.resolve(registry.RELAXATIONS, method.eval_relaxation)
        ),
        selection=selection(method),
        edge_weights=method.edge_weights,
        logits_scale=method.logits_scale,
        logits_mean=method.logits_mean,
        order=pieces_lib.resolve(registry.ORDERS, method.order),
        weight_regularizers=method.weight_regularizers,
        progress=pieces_lib.resolve(registry.PROGRESS, method.progress),
        alternation=_alternation(method),
        mask=first_mask(method, space),
    )


def first_mask(method: methods.Method, space: spaces.Space) -> types.Mask | None:
    """Returns which options a search starts with; None for all of them.

    They are all but ``none`` where the method's mask_none is on and the space is one of
    cells whose nodes do not choose their inputs.

    Args:
      method: the method.
      space: the space that it searches.
    """
    chooses = getattr(space, "num_kept", None) is not None
    if not method.mask_none or chooses or not rows_lib.has_edges(space):
        return None
    is_none = np.asarray(rows_lib.where(space, spaces.NONE))
    return ~is_none if is_none.any() else None


def _alternation(method) -> types.Alternation | None:
    """Looks up a method's alternation; None for every step: no condition is needed."""
    chosen = pieces_lib.resolve(registry.ALTERNATIONS, method.alternation)
    return None if chosen is alternations.every_step else chosen


def _logits_optimizer(method) -> optax.GradientTransformation:
    """Builds the optimizer of the logits from those of the method's numbers it has."""
    build = pieces_lib.resolve(registry.LOGITS_OPTIMIZERS, method.logits_optimizer)
    own = pieces_lib.options(build)
    given = {"b1": method.logits_b1, "weight_decay": method.logits_weight_decay}
    bound = build.keywords if isinstance(build, functools.partial) else {}
    numbers = {n: v for n, v in given.items() if n in own and n not in bound}
    optimizer = build(method.logits_learning_rate, **numbers)
    if not method.logits_clip_norm:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(method.logits_clip_norm), optimizer)


def _params_optimizer(method, steps_per_epoch, epochs) -> optax.GradientTransformation:
    """Builds the method's optimizer, with a cosine schedule of the learning rate."""
    rate = optimizers.cosine_by_epoch(
        start=method.learning_rate,
        end=method.final_learning_rate,
        num_epochs=epochs,
        steps_per_epoch=steps_per_epoch,
    )
    recipe = recipe_lib.Recipe(method.optimizer, method.nesterov or None)
    numbers = recipe_lib.Numbers(
        weight_decay=method.weight_decay, clip_norm=method.clip_norm
    )
    names = [pieces_lib.name_of(registry.HOOKS, one) for one in method.hooks]
    if "adaptive_decay" in names:
        recipe = dataclasses.replace(recipe, optimizer=_carried(recipe.optimizer))
    return recipe_lib.optimizer(recipe, numbers, rate)


def _carried(optimizer):
    """Returns an optimizer whose weight decay can change during the search."""
    build = pieces_lib.resolve(registry.OPTIMIZERS, optimizer)
    if "decay" not in inspect.signature(build).parameters:
        name = pieces_lib.name_of(registry.OPTIMIZERS, optimizer)
        raise ValueError(
            f"optimizer must be one whose weight decay can change with the hook "
            f"adaptive_decay, got {name}. Use momentum_sgd."
        )
    return functools.partial(build, decay=optimizers.carried_decay)


def selection(method: methods.Method) -> types.Selection:
    """Looks up a method's selection, limited to its max_skips.

    Args:
      method: the method.

    Raises:
      KeyError: a name that is not registered.
    """
    chosen = pieces_lib.resolve(registry.SELECTIONS, method.selection)
    if method.max_skips is None:
        return chosen
    return selections.limit_skips(chosen, method.max_skips)


def variant_inputs(
    method: methods.Method, stage: methods.Stage, epochs: int
) -> Callable:
    """Builds the schedules of the auxiliary skip's factor and of the skips' dropout.

    The factor falls linearly from 1 to 0, epoch by epoch. The dropout rate at epoch e
    is p (E - e - 1) / E while the logits are frozen, then p exp(-5 (e - frozen) / E):
    for P-DARTS' 25 epochs, of which 10 are frozen, its own p exp(-.2 (e - 10)). The
    rate of drop path is constant.

    Args:
      method: has the auxiliary skip and the share of frozen epochs.
      stage: has the first dropout rate p.
      epochs: E, of the stage.

    Returns:
      Clock -> VariantInputs.

    Source: arXiv:2009.01027, section 3.3; arXiv:1904.12760, its released code.
    """
    frozen = round(method.frozen_rate * epochs)
    rate, decay = stage.skip_dropout, 0.2 * 25 / epochs
    path = jnp.float32(method.drop_path_rate) if method.drop_path_rate else None

    def inputs(clock):
        factor = dropped = None
        if method.auxiliary_skip:
            factor = jnp.maximum(0.0, (epochs - clock.epoch) / epochs)
        if rate:
            early = rate * (epochs - clock.epoch - 1) / epochs
            late = rate * jnp.exp(-decay * (clock.epoch - frozen))
            dropped = jnp.where(clock.epoch < frozen, early, late)
        return networks.VariantInputs(factor, dropped, path)

    return inputs


def derive(
    pieces: search_pieces.Pieces, space: spaces.Space, state: program_lib.State
) -> tuple[types.Encoding, types.Weights]:
    """Derives the cells from the last state of a search.

    Args:
      pieces: the pieces of the last segment.
      space: the space that is searched, as ``space_of`` returns it.
      state: the last state of the last segment; of one seed.

    Returns:
      (encoding i32[G], weights that it is derived from). A search that a hook ended
      returns the encoding that the hook chose.
    """
    inner = state.inner
    weights = pieces.weights_of(inner)
    encoding = pieces.selection(space, weights)
    return hook_lib.found(pieces.hooks, inner.hooks, encoding), weights
