"""ChoiceSpace: independent choices by name, for a network of one's own."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from jnas.spaces import genes as genes_lib
from jnas.spaces import genotype as rules


@dataclasses.dataclass(frozen=True)
class ChoiceSpace(genes_lib.GeneSpace):
    """A space of independent choices, each a row of the weights and a gene.

    The weights are a dict: a tuple of names is one row, ``weights["pool"]`` f32[O];
    several such tuples are rows of equally many options, ``weights["block"]`` f32[R,
    O], whose genes are named block/0, block/1 and so on.

    Attributes:
      name: the space's name, written into its genotypes.
      leaves: name of a leaf of the weights -> its options; a mapping or its items.
      supernet: key in ``registry.SUPERNETS``, the network that computes all options.

    Raises:
      ValueError: a name that is not printable or occurs twice, no options, rows of one
        leaf with different numbers of options.

    Example:
      >>> space = ChoiceSpace("mine", {"pool": ("max", "average"),
      ...                              "block": (("3", "5"), ("3", "5"))}, "mine")
      >>> space.gene_names, space.sizes
      (('pool', 'block/0', 'block/1'), (2, 2, 2))
    """

    name: str
    leaves: Any
    supernet: str

    def __post_init__(self):
        """Checks the choices, which become hashable."""
        rules.check_name("name", self.name)
        rules.check_name("supernet", self.supernet)
        items = self.leaves
        if isinstance(items, Mapping):
            items = tuple(items.items())
        pairs = tuple((name, _tuples(options)) for name, options in map(_pair, items))
        object.__setattr__(self, "leaves", pairs)
        for leaf, options in pairs:
            counts = {len(row) for row in _rows(options)}
            if len(counts) > 1:
                raise ValueError(
                    f"options of {leaf} must be equally many in each row, got "
                    f"{sorted(counts)}. Make rows of other numbers another leaf."
                )
        grouped = [
            ((leaf, name) if name else (self.name, leaf))
            for leaf, options in pairs
            for name in (map(str, range(len(options))) if _several(options) else ("",))
        ]
        if len(set(grouped)) < len(grouped):
            raise ValueError(
                f"leaves must have other names than the space, {self.name!r}, where it "
                "has single rows too. Rename the space or the leaf."
            )
        _ = self.genes  # checks every name

    @functools.cached_property
    def genes(self) -> genes_lib.Genes:
        """The genes and their rows."""
        names, options, leaves = [], [], []
        for leaf, given in self.leaves:
            first, own = len(names), _rows(given)
            single = bool(given) and isinstance(given[0], str)
            names += [leaf] if single else [f"{leaf}/{i}" for i in range(len(own))]
            options += own
            here = first if single else tuple(range(first, len(names)))
            leaves.append((leaf, here))
        return genes_lib.Genes(tuple(names), tuple(options), tuple(leaves))


def _pair(item: Any) -> tuple[str, Any]:
    """Checks one leaf: a name, and a tuple of names or of tuples of names."""
    if not (isinstance(item, list | tuple) and len(item) == 2):
        raise ValueError(
            f"leaves must be a mapping of names to options, got {item!r:.80}. Write "
            '{"pool": ("max", "mean")}.'
        )
    name, options = item
    ok = isinstance(options, list | tuple) and len(options) > 0
    ok = ok and (
        all(isinstance(one, str) for one in options)
        or all(
            isinstance(row, list | tuple) and all(isinstance(one, str) for one in row)
            for row in options
        )
    )
    if not ok:
        raise ValueError(
            f"options of {name} must be a tuple of names, or several of them, got "
            f"{options!r:.80}. Write names as text, in order."
        )
    return name, options


def _several(options: tuple) -> bool:
    return not isinstance(options[0], str)


def _rows(options: tuple) -> list[tuple[str, ...]]:
    """Returns the options of each row of a leaf."""
    if options and isinstance(options[0], str):
        return [options]
    return list(options)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
