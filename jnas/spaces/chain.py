"""ChainSpace: a row of positions, each of which computes one of its own operations."""

import dataclasses
import functools
import reprlib
from typing import Any

from jnas.spaces import genes as genes_lib
from jnas.spaces import genotype as rules


@dataclasses.dataclass(frozen=True)
class Position:
    """One position of a chain.

    Attributes:
      options: names of its candidate operations.
      features: F of its output.
      stride: 1 or 2, in pixels.
    """

    options: tuple[str, ...]
    features: int
    stride: int = 1


@dataclasses.dataclass(frozen=True)
class ChainSpace(genes_lib.GeneSpace):
    """A space of chains: a stem, positions that choose their operation, and a head.

    Attributes:
      name: the space's name, written into its genotypes.
      positions: first to last; a position of one option is fixed.
      stem_features: F of the first convolution's output.
      head_features: F of the 1x1 convolution before the classifier; 0 for none.
      stem_stride: of the first convolution, 1 or 2, in pixels.
      activation: after the convolutions of stem and head: relu or relu6.

    Raises:
      ValueError: a field breaks one of these rules.

    Example:
      >>> block = Position(("skip_connect", "mbconv_3x3_e3"), 8)
      >>> space = ChainSpace("mine", (block, block), stem_features=8, head_features=0)
      >>> space.gene_names, space.sizes
      (('block_00', 'block_01'), (2, 2))
    """

    supernet = "chain"  # key in registry.SUPERNETS

    name: str
    positions: tuple[Position, ...]
    stem_features: int
    head_features: int
    stem_stride: int = 1
    activation: str = "relu"

    def __post_init__(self):
        """Checks every field."""
        rules.check_name("name", self.name)
        ok = type(self.positions) is tuple and self.positions
        ok = ok and all(isinstance(one, Position) for one in self.positions)
        _check(ok, "positions", "be a tuple of Position", self.positions)
        for one in self.positions:
            _check_int("features", one.features, 1, 100_000)
            _check_int("stride", one.stride, 1, 2)
        _check_int("stem_features", self.stem_features, 1, 100_000)
        _check_int("head_features", self.head_features, 0, 100_000)
        _check_int("stem_stride", self.stem_stride, 1, 2)
        ok = self.activation in ("relu", "relu6")
        _check(ok, "activation", "be relu or relu6", self.activation)
        _ = self.genes  # checks every name

    @functools.cached_property
    def genes(self) -> genes_lib.Genes:
        """The genes and their rows; rows of equally many options are one leaf."""
        digits = max(2, len(str(len(self.positions) - 1)))
        names = tuple(f"block_{i:0{digits}d}" for i in range(len(self.positions)))
        options = tuple(one.options for one in self.positions)
        counts = dict.fromkeys(len(own) for own in options)
        leaves = tuple(
            (
                f"of_{count}",
                tuple(i for i, own in enumerate(options) if len(own) == count),
            )
            for count in counts
        )
        return genes_lib.Genes(names, options, leaves)

    def row_of(self, position: int) -> tuple[str, int]:
        """Returns (leaf, row) of a position in the weights.

        Args:
          position: its number, from 0.
        """
        for leaf, genes in self.genes.leaves:
            if position in genes:
                return leaf, genes.index(position)
        raise IndexError(position)

    @property
    def operations(self) -> tuple[str, ...]:
        """Every candidate's name once, in order of appearance."""
        return tuple(dict.fromkeys(n for one in self.positions for n in one.options))


def _check_int(name: str, value: Any, low: int, high: int) -> None:
    ok = type(value) is int and low <= value <= high
    _check(ok, name, f"be an integer from {low} to {high}", value)


def _check(condition: Any, name: str, rule: str, value: Any) -> None:
    if not condition:
        raise ValueError(
            f"{name} must {rule}, got {reprlib.repr(value)}. Correct the space."
        )
