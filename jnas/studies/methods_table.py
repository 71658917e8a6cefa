"""Which paper is which pieces: the registry of methods as a table."""

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
        "penalty, perturbation",
        "schedule",
        "selection",
    )
    return tables.Table(
        header, [_row(name, make()) for name, make in registry.METHODS.items()]
    )


def _row(name: str, method: methods.Method) -> list[str]:
    perturbation = [method.perturbation] if method.perturbation else []
    parts = (
        [method.relaxation],
        [method.hypergradient],
        _network(method),
        [*method.regularizers, *perturbation],
        _schedule(method),
        _selection(method),
    )
    return [name, method.source, *(", ".join(part) or "-" for part in parts)]


def _network(method: methods.Method) -> list[str]:
    partial = [str(s.partial) for s in method.stages if s.partial > 1]
    partial = partial or [str(method.partial)] * (method.partial > 1)
    found = [f"partial {' then '.join(partial)}"] if partial else []
    found += ["edge weights"] * method.edge_weights
    found += ["auxiliary skip"] * method.auxiliary_skip
    found += ["entangled kernels"] * method.entangled
    found += [f"factors of rank {method.lora_rank}"] * bool(method.lora_rank)
    found += ["skip dropout"] * any(s.skip_dropout for s in method.stages)
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
    named = [pieces.name_of(registry.HOOKS, one) for one in method.hooks]
    return found + [name.replace("_", " ") for name in named if name != "watch"]


def _selection(method: methods.Method) -> list[str]:
    found = [method.selection]
    if method.projection_epochs:
        found = ["by perturbation"]
    if method.max_skips is not None:
        found.append(f"at most {method.max_skips} skips")
    return found
