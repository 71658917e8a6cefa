"""ChoiceSpace: independent choices by name, for a network of one's own."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jnas import types
from jnas.spaces import genes as genes_lib
from jnas.spaces import genotype as rules
from jnas.spaces import genotype_choices as genotypes
from jnas.spaces import lookups as lookup_tables


@dataclasses.dataclass(frozen=True)
class ChoiceSpace:
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

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of values of each gene."""
        return self.genes.sizes

    @property
    def gene_names(self) -> tuple[str, ...]:
        """The name of each gene's row."""
        return self.genes.names

    @property
    def num_architectures(self) -> int:
        """The number of encodings."""
        return math.prod(self.sizes)

    @property
    def lookups(self) -> lookup_tables.Tables:
        """The arrays that map genes to rows and options."""
        return self.genes.lookups

    @property
    def choices(self) -> dict[str, Any]:
        """The option names of each row, like the weights without their last axis."""
        return self.genes.like(self.genes.options)

    @property
    def row_names(self) -> dict[str, Any]:
        """The name of each row, like the weights without their last axis."""
        return self.genes.like(self.genes.names)

    def weights(self, encoding: types.Encoding) -> types.Weights:
        """Converts an encoding i32[G] to one-hot weights; may be jitted and vmapped."""
        return self.genes.weights(encoding)

    def strongest(self, weights: types.Weights) -> types.Encoding:
        """Returns i32[G], the option of the largest weight of each row."""
        return self.genes.strongest(weights)

    def genotype(self, encoding: types.Encoding) -> genotypes.Choices:
        """Converts an encoding i32[G] to a genotype, on the host.

        Raises:
          ValueError: the encoding has a wrong length, or a gene is out of its range.
        """
        return self.genes.genotype(self.name, encoding)

    def encode(self, genotype: genotypes.Choices) -> np.ndarray:
        """Converts a genotype to its encoding i32[G], on the host.

        Raises:
          GenotypeError: the space does not contain it.
        """
        return self.genes.encode(genotype)


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
