"""Checks that the pieces of a method fit each other and a space, before it runs."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jnas import networks, registry, spaces
from jnas import pieces as pieces_lib
from jnas.gradient import methods, mixing
from jnas.gradient import regularizers as regularizers_lib
from jnas.gradient import resolve as resolve_lib
from jnas.spaces import rows as rows_lib

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


def check(method: methods.Method, space: spaces.Space) -> None:
    """Checks that a method's pieces and a space's operations exist and fit together.

    Args:
      method: the method.
      space: the space whose operations are looked up.

    Raises:
      KeyError: a name that is not registered; the message names the nearest one.
      ValueError: pieces that cannot be combined.
    """
    resolve_lib.resolve(method, space, steps_per_epoch=1, epochs=1)
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
    if method.skip_zeros and pieces_lib.marked(relaxation, "needs_zeros"):
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
    if any(pieces_lib.marked(one, "replaces") for one in made[1:]):
        raise ValueError(
            "weight_regularizers must have a rule that replaces the gradient in the "
            f"first place alone, got {', '.join(names)}. Change their order, or leave "
            "one out."
        )
    if made and method.perturbation and pieces_lib.marked(made[0], "replaces"):
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
        if method.skip_zeros and pieces_lib.marked(one, "needs_zeros"):
            raise ValueError(
                f"skip_zeros must be off with the weight regularizer {name}, whose "
                "gradients need every candidate's output, got True. Add --noskip_zeros."
            )


def _check_still(method) -> None:
    """Refuses what acts on logits where no step moves them."""
    if method.moves_logits:
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
        networks.check_split(resolve_lib.space_of(method, space), stage.split)
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
    return pieces_lib.marked(piece, "on_simplex")


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
