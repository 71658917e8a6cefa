"""Which paper is which pieces: the registry of methods as tables, and as a page."""

from collections.abc import Callable

from jnas import pieces, registry
from jnas.gradient import methods
from jnas.report import tables


def methods_table() -> tables.Table:
    """Makes a row for each registered method, with the pieces that are not DARTS'."""
    header = (
        "--method",
        "paper",
        "relaxation",
        "hypergradient",
        "network",
        "penalty, rule on gradients, perturbation",
        "schedule",
        "selection",
    )
    return tables.Table(
        header, [_row(name, make()) for name, make in registry.METHODS.items()]
    )


def _row(name: str, method: methods.Method) -> list[str]:
    penalties = _names(method, "regularizers", "weight_regularizers", "perturbation")
    parts = (
        _names(method, "relaxation"),
        _names(method, "hypergradient"),
        _network(method),
        penalties,
        _schedule(method),
        _selection(method),
    )
    return [name, method.source, *(", ".join(part) or "-" for part in parts)]


def _names(method: methods.Method, *fields: str) -> list[str]:
    """Lists the names of the pieces that some fields hold."""
    kinds = {field: kind for field, kind in pieces.slots(methods.Method).values()}
    found = []
    for field in fields:
        held = getattr(method, field)
        several = held if isinstance(held, tuple) else (held,) if held else ()
        found += [pieces.name_of(kinds[field], one) for one in several]
    return found


def _network(method: methods.Method) -> list[str]:
    partial = [str(s.partial) for s in method.stages if s.partial > 1]
    partial = partial or [str(method.partial)] * (method.partial > 1)
    found = [f"partial {' then '.join(partial)}"] if partial else []
    found += ["edge weights"] * method.edge_weights
    found += ["auxiliary skip"] * method.auxiliary_skip
    found += ["entangled kernels"] * method.entangled
    found += [f"factors of rank {method.lora_rank}"] * bool(method.lora_rank)
    found += ["skip dropout"] * any(s.skip_dropout for s in method.stages)
    found += [f"drop path {method.drop_path_rate}"] * (method.drop_path_rate > 0)
    found += ["zeros skipped"] * method.skip_zeros
    return found + ["no none"] * method.drop_none


def _schedule(method: methods.Method) -> list[str]:
    found = []
    if len(method.stages) > 1:
        found.append(f"{len(method.stages)} stages")
    if method.widens:
        found.append("widening")
    if method.frozen_rate:
        stage = method.epochs * method.stages[0].epochs_rate
        found.append(f"logits frozen {round(method.frozen_rate * stage)} epochs")
    for field, usual in (
        ("order", "logits_first"),
        ("alternation", "every_step"),
        ("progress", "by_step"),
        ("logits_optimizer", "adam"),
    ):
        if getattr(method, field) != usual:
            found.append(_words(field, getattr(method, field)))
    named = [pieces.name_of(registry.HOOKS, one) for one in method.hooks]
    return found + [name.replace("_", " ") for name in named if name != "watch"]


def _words(field: str, piece: pieces.Piece) -> str:
    """Writes a piece and the numbers that a row sets of it."""
    kind = pieces.slots(methods.Method)[field][1]
    bound = getattr(piece, "keywords", {})
    numbers = "".join(f" {value}" for value in bound.values())
    return pieces.name_of(kind, piece).replace("_", " ") + numbers


def _selection(method: methods.Method) -> list[str]:
    found = _names(method, "selection")
    if method.projection_epochs:
        found = ["by perturbation"]
    if method.max_skips is not None:
        found.append(f"at most {method.max_skips} skips")
    return found


def numbers_table() -> tables.Table:
    """Makes a row for each registered method, with its numbers and their source."""
    header = ("--method", "cells x features", "epochs", "batch", "learning rate")
    header += (
        "weight decay",
        "logits' rate",
        "logits' decay",
        "source and differences",
    )
    rows = [_numbers(name, make) for name, make in registry.METHODS.items()]
    return tables.Table(header, rows)


def _numbers(name: str, make: Callable[[], methods.Method]) -> list[str]:
    one = make()
    rates = f"{one.learning_rate:g} to {one.final_learning_rate:g}"
    return [
        name,
        f"{one.layers} x {one.features}",
        str(one.epochs),
        str(one.batch_size),
        rates,
        f"{one.weight_decay:g}",
        f"{one.logits_learning_rate:g}" if one.moves_logits else "-",
        f"{one.logits_weight_decay:g}" if one.moves_logits else "-",
        source_of(make),
    ]


def source_of(make: Callable[[], methods.Method]) -> str:
    """Returns what a row's docstring says of its sources, and of what differs.

    Args:
      make: the registered function.

    Raises:
      ValueError: a docstring without them.
    """
    text = " ".join((make.__doc__ or "").split())
    _, found, rest = text.partition("Source: ")
    if not found:
        raise ValueError(
            f"method {make.__name__} must name its source, got no 'Source: ' in its "
            "docstring. Add it."
        )
    return rest.rstrip(".")


def page() -> str:
    """Writes both tables as Markdown, as the README of ``gradient/papers`` has them."""
    pieces_of = tables.markdown(methods_table())
    numbers_of = tables.markdown(numbers_table())
    return _PAGE.format(pieces=pieces_of, numbers=numbers_of)


_PAGE = """# From papers to pieces

`experiments/describe.py --methods` prints this page from the registry; a test compares
them. Each row's function stands in a file of this folder.

{pieces}

Its numbers, and where they are from:

{numbers}
"""
