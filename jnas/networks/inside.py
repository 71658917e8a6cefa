"""What methods that look inside a supernet need of it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jnas.networks import mixture


class Candidate(NamedTuple):
    """Where the parameters of an operation are, among those of a supernet.

    Attributes:
      name: of the operation.
      path: keys that lead to its parameters, a pytree.
      axes: number of leading axes of their arrays that number its instances, such as
        one of cells and one of edges; 0 where it has one instance.
    """

    name: str
    path: tuple[str, ...]
    axes: int


class Inside(NamedTuple):
    """The inside of a supernet.

    Attributes:
      candidates: operations that have parameters; entangled ones are one, under the
        name of the largest.
      kinds: for each cell, first to last, its index among the kinds of cells; () where
        a supernet has no cells.
      apply: (params, x, layers f32[L, E, O], *, key=None, variant_inputs=NOTHING) ->
        outputs, as ``Supernet.apply`` with weights of its own for each of the L cells;
        None without cells.
      statistics: (params, x, weights, statistic, *, key=None, variant_inputs=NOTHING)
        -> f32[L, E, O, ...], a statistic of the output of each candidate, as in
        ``networks/outputs.py``; None without cells.
    """

    candidates: tuple[Candidate, ...]
    kinds: tuple[int, ...] = ()
    apply: Callable | None = None
    statistics: Callable | None = None


def of_cells(layers: Sequence[tuple]) -> tuple[Candidate, ...]:
    """Lists the candidates of a supernet of cells; the auxiliary skip is none.

    Args:
      layers: (name, count, mixture) of each stage, as ``Supernet.layers``.
    """
    return tuple(
        Candidate(name, (layer, "nodes", group.name, name), 1 + (count > 1))
        for layer, count, one in layers
        if one is not None
        for group in one.groups
        for name in _with_params(group)
    )


def _with_params(group) -> list[str]:
    """Lists the names under which a group of edges keeps parameters of candidates."""
    found = [group.names[c] for c, op in group.stacked.items() if op.has_params]
    found += [family.name for family in group.families]
    return [name for name in found if name != mixture.AUXILIARY]
