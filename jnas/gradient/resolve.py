"""Looks up the registered functions that a method names."""

import dataclasses
import functools
import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnas import networks, registry, spaces, types
from jnas import pieces as pieces_lib
from jnas.gradient import alternations, methods, mixing, relaxations, search, selections
from jnas.gradient import regularizers as regularizers_lib
from jnas.gradient.hooks import hook as hook_lib
from jnas.spaces import rows as rows_lib
from jnas.training import optimizers
from jnas.training import program as program_lib
from jnas.training import recipe as recipe_lib

_WATCHES = "watch", "stop_early", "adaptive_decay"  # hooks of one set of metrics
_OF_STEPS = (  # fields of a method that act in steps of the logits
    "logits_learning_rate",
    "logits_optimizer",
    "logits_clip_norm",
    "logits_weight_decay",
    "regularizers",
    "frozen_rate",
)
_OF_EDGES = (  # fields of a method that need cells
    "edge_weights",
    "partial",
    "auxiliary_skip",
    "drop_path_rate",
    "entangled",
    "lora_rank",
    "projection_epochs",
    "max_skips",
    "widens",
)


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


def check(method: methods.Method, space: spaces.Space) -> None:
    """Checks that a method's pieces and a space's operations exist and fit together.

    Args:
      method: the method.
      space: the space whose operations are looked up.

    Raises:
      KeyError: a name that is not registered; the message names the nearest one.
      ValueError: pieces that cannot be combined.
    """
    resolve(method, space, steps_per_epoch=1, epochs=1)
    _check_relaxations(method, space)
    _ = registry.SUPERNETS[space.supernet]  # raises
    for name in getattr(space, "operations", ()):
        registry.OPERATIONS[name]
    rows_lib.tables(space)  # raises
    if not rows_lib.has_edges(space):
        _check_edges(method, space)
    _check_costs(method)
    _check_hooks(method)
    _check_simplex(method)
    _check_order(method)
    _check_factors(method)
    _check_rules(method)
    _check_still(method)
    _check_stages(method, space)
    for one in method.weight_regularizers:
        pieces_lib.resolve(registry.WEIGHT_REGULARIZERS, one)  # raises


def _check_relaxations(method, space) -> None:
    """Traces the relaxations, which raise where a number is out of its range."""
    given = jax.random.key(0), rows_lib.shapes(space), None, jnp.float32(0)
    for one in (method.relaxation, method.eval_relaxation):
        relaxation = pieces_lib.resolve(registry.RELAXATIONS, one)
        relaxation = mixing.in_space(relaxation, space)
        jax.eval_shape(functools.partial(mixing.relax, relaxation), *given)
    relaxation = pieces_lib.resolve(registry.RELAXATIONS, method.relaxation)
    if method.skip_zeros and relaxations.marked(relaxation, "needs_zeros"):
        raise ValueError(
            "skip_zeros must be off with relaxation "
            f"{pieces_lib.name_of(registry.RELAXATIONS, method.relaxation)}, whose "
            "gradient needs every candidate's output, got True. Leave it out."
        )


def _check_rules(method) -> None:
    """Refuses rules on gradients that would discard something, or do nothing."""
    if method.drop_path_rate >= 1:
        raise ValueError(
            f"drop_path_rate must be below 1, got {method.drop_path_rate}. Lower it."
        )
    made = [
        pieces_lib.resolve(registry.WEIGHT_REGULARIZERS, one)
        for one in method.weight_regularizers
    ]
    names = [
        pieces_lib.name_of(registry.WEIGHT_REGULARIZERS, one)
        for one in method.weight_regularizers
    ]
    if any(relaxations.marked(one, "replaces") for one in made[1:]):
        raise ValueError(
            "weight_regularizers must have a rule that replaces the gradient in the "
            f"first place alone, got {', '.join(names)}. Change their order, or leave "
            "one out."
        )
    if made and method.perturbation and relaxations.marked(made[0], "replaces"):
        name = pieces_lib.name_of(registry.PERTURBATIONS, method.perturbation)
        raise ValueError(
            f"perturbation must be left out with the weight regularizer {names[0]}, "
            f"which replaces the gradient of perturbed weights, got {name}. Leave one "
            "out."
        )
    if "each_copy" in names and all(stage.split is None for stage in method.stages):
        raise ValueError(
            "weight_regularizers must leave each_copy out without a stage's split, got "
            "it. Use --method=few_shot, or strict_fairness."
        )
    for name, one in zip(names, made, strict=True):
        if method.skip_zeros and relaxations.marked(one, "needs_zeros"):
            raise ValueError(
                f"skip_zeros must be off with the weight regularizer {name}, whose "
                "gradients need every candidate's output, got True. Add --noskip_zeros."
            )


def _check_still(method) -> None:
    """Refuses what acts on logits where no step moves them."""
    if pieces_lib.name_of(registry.ALTERNATIONS, method.alternation) != "never":
        return
    row, plain = methods.row_of(method), methods.Method("")
    for name in _OF_STEPS:
        value = getattr(method, name)
        if value not in (getattr(row, name), getattr(plain, name)):
            raise ValueError(
                f"{name} must be left out where no step moves the logits, got {value}. "
                "Leave it out, or add --alternation=every_step."
            )


def _check_stages(method, space) -> None:
    """Refuses supernets that cannot be split, or not be continued."""
    for number, stage in enumerate(method.stages):
        if stage.split is None:
            continue
        networks.check_split(space_of(method, space), stage.split)
        before = method.stages[max(0, number - 1)]
        alike = (before.depth_rate, before.partial) == (stage.depth_rate, stage.partial)
        if method.widens or not alike or number and before.split is not None:
            raise ValueError(
                "split must be that of a stage that continues a whole supernet of its "
                f"own size, got {stage.split} of stage {number + 1}. Give both stages "
                "one depth_rate and one partial, without widens or another split."
            )


def _check_hooks(method) -> None:
    """Refuses hooks that are not registered, or that report the same metrics."""
    names = [pieces_lib.name_of(registry.HOOKS, one) for one in method.hooks]
    for one in method.hooks:
        pieces_lib.resolve(registry.HOOKS, one)  # raises
    watches = [name for name in names if name in _WATCHES]
    if len(watches) > 1:
        raise ValueError(
            f"hooks must hold one of {', '.join(_WATCHES)} at most, got "
            f"{', '.join(watches)}. Each of them evaluates the supernet: keep one."
        )
    if "adaptive_decay" in names and len(names) > 1:
        raise ValueError(
            "adaptive_decay must be the only hook, as it rolls the search back and not "
            f"the others, got {', '.join(names)}. Leave them out."
        )
    for name, one in zip(names, method.hooks, strict=True):
        bound = one.keywords if isinstance(one, functools.partial) else {}
        checks = name in _WATCHES[1:] and not bound.get("every")
        if checks and not method.watch_interval:
            raise ValueError(
                f"watch_interval must be at least 1 with the hook {name}, got 0. Set "
                "the number of epochs between two evaluations."
            )


def _check_order(method) -> None:
    """Refuses pieces that a step of one gradient for both levels does not use."""
    if pieces_lib.name_of(registry.ORDERS, method.order) != "together":
        return
    rule = pieces_lib.name_of(registry.HYPERGRADIENTS, method.hypergradient)
    if rule != "one_level":
        raise ValueError(
            f"hypergradient must be one_level with order together, got {rule}. Add "
            "--hypergradient=one_level, or use another order."
        )
    if method.perturbation:
        name = pieces_lib.name_of(registry.PERTURBATIONS, method.perturbation)
        raise ValueError(
            f"perturbation must be left out with order together, got {name}. Use "
            "another order."
        )


def _on_simplex(piece) -> bool:
    return relaxations.marked(piece, "on_simplex")


def _check_simplex(method) -> None:
    """Refuses what does not fit an optimizer whose rows are those of a simplex."""
    piece = method.logits_optimizer
    build = pieces_lib.resolve(registry.LOGITS_OPTIMIZERS, piece)
    name = pieces_lib.name_of(registry.LOGITS_OPTIMIZERS, piece)
    relaxation = pieces_lib.resolve(registry.RELAXATIONS, method.relaxation)
    if _on_simplex(build) and not _on_simplex(relaxation):
        fitting = [n for n, f in registry.RELAXATIONS.items() if _on_simplex(f)]
        raise ValueError(
            f"relaxation must be {' or '.join(fitting)} with logits_optimizer {name}, "
            "which needs the gradient of weights, got "
            f"{pieces_lib.name_of(registry.RELAXATIONS, method.relaxation)}. Add "
            f"--relaxation={fitting[0]}."
        )
    for one in method.regularizers:
        penalty = pieces_lib.resolve(registry.REGULARIZERS, one)
        if _on_simplex(penalty) and not _on_simplex(build):
            raise ValueError(
                "logits_optimizer must be exponentiated with regularizer "
                f"{pieces_lib.name_of(registry.REGULARIZERS, one)}, whose gradient is "
                f"that of weights, got {name}. Add --logits_optimizer=exponentiated."
            )
    row, plain = methods.row_of(method), methods.Method("")
    for number, option in (
        ("logits_weight_decay", "weight_decay"),
        ("logits_b1", "b1"),
    ):
        value = getattr(method, number)
        known = getattr(row, number), getattr(plain, number)
        if option not in pieces_lib.options(build) and value not in known:
            raise ValueError(
                f"{number} must be left out with logits_optimizer {name}, which has no "
                f"{option}, got {value}. Leave it out."
            )


def _check_factors(method) -> None:
    """Refuses what does not fit factors of low rank beside kernels."""
    for name in ("widens", "projection_epochs"):
        value = getattr(method, name)
        if method.lora_rank and value:
            raise ValueError(
                f"{name} must be left out with lora_rank, whose factors cannot be "
                "widened and whose kernels would move again in another segment, got "
                f"{value}. Leave one of them out."
            )


def _check_costs(method) -> None:
    """Refuses cost terms that would not see the edge weights of a method."""
    for one in method.regularizers:
        piece = pieces_lib.resolve(registry.REGULARIZERS, one)
        regularizers_lib.with_all(piece)  # raises
        if method.edge_weights and regularizers_lib.needs_costs(piece):
            name = pieces_lib.name_of(registry.REGULARIZERS, one)
            raise ValueError(
                f"edge_weights must be off with regularizer {name}, whose cost is that "
                "of rows without them, got True. Use --max_parameters or --max_macs."
            )


def _check_edges(method, space) -> None:
    """Refuses pieces that need the edges of cells in a space that has none."""
    defaults = {field.name: field.default for field in dataclasses.fields(method)}
    found = [(name, getattr(method, name), defaults[name]) for name in _OF_EDGES]
    for stage in method.stages:
        found += [("partial", stage.partial, 1)]
        found += [("skip_dropout", stage.skip_dropout, 0.0)]
    for name, value, off in found:
        if value != off:
            raise ValueError(
                f"{name} must be {off} for space {space.name}, whose rows are no edges "
                f"of cells, got {value}. Use another --method, or leave {name} out."
            )
    for field, known in (
        ("hooks", registry.HOOKS),
        ("weight_regularizers", registry.WEIGHT_REGULARIZERS),
    ):
        for one in getattr(method, field):
            piece, name = pieces_lib.resolve(known, one), pieces_lib.name_of(known, one)
            bare = piece.func if isinstance(piece, functools.partial) else piece
            if getattr(bare, "needs_cells", False):
                raise ValueError(
                    f"{field} must leave {name} out for space {space.name}, whose rows "
                    f"are no edges of cells, got {name}. Use another --method."
                )


def resolve(
    method: methods.Method,
    space: spaces.Space,
    *,
    steps_per_epoch: int,
    epochs: int,
) -> search.Pieces:
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
    return search.Pieces(
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
    pieces: search.Pieces, space: spaces.Space, state: program_lib.State
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
