"""From a method's names to the functions that they are registered for."""

from collections.abc import Callable

import jax.numpy as jnp
import optax

from jnas import networks, registry, spaces, types
from jnas.gradient import methods, mixing, search, selections
from jnas.training import optimizers
from jnas.training import program as program_lib


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
    resolve(method, steps_per_epoch=1, epochs=1)
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


def resolve(
    method: methods.Method, *, steps_per_epoch: int, epochs: int
) -> search.Pieces:
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
    fixed, carried = optax.add_decayed_weights, optimizers.carried_decay
    params_optimizer = optimizers.momentum_sgd(
        rate,
        weight_decay=method.weight_decay,
        clip_norm=method.clip_norm or None,
        nesterov=method.nesterov,
        decay=carried if method.adaptive_decay else fixed,
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
    return search.Pieces(
        params_optimizer,
        logits_optimizer,
        relaxation=registry.RELAXATIONS[method.relaxation],
        hypergradient=registry.HYPERGRADIENTS[method.hypergradient],
        regularizers=regularizers,
        perturbation=perturbation,
        eval_relaxation=registry.RELAXATIONS[method.eval_relaxation],
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


def variant_inputs(
    method: methods.Method, stage: methods.Stage, epochs: int
) -> Callable:
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
        return networks.VariantInputs(factor, dropped)

    return inputs


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
    relaxation = registry.RELAXATIONS[method.eval_relaxation]
    weights = mixing.eval_weights(space, relaxation, inner.logits, inner.mask)
    encoding = selection(method)(space, weights)
    if inner.watched is not None:
        stopped = inner.watched.stopped
        encoding = jnp.where(stopped, inner.watched.answer, encoding)
    return encoding, weights
