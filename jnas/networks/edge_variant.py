"""How the candidates of an edge are combined, beside their weighted sum."""

import dataclasses
from typing import NamedTuple

from jnas import types


@dataclasses.dataclass(frozen=True)
class EdgeVariant:
    """How a mixture's candidates are combined; the defaults are DARTS'.

    Attributes:
      partial: k; 1 / k of the features go through the candidates, the others past them
        with the sum of an edge's weights, and a channel shuffle follows (PC-DARTS,
        arXiv:1907.05737).
      auxiliary_skip: whether each edge also adds a skip that no logit weighs (DARTS-,
        arXiv:2009.01027); ``apply`` then takes its factor.
      skip_dropout: whether dropout applies to ``skip_connect`` where it is the identity
        (P-DARTS, arXiv:1904.12760); ``apply`` then takes its rate.
      skip_zeros: whether candidates of weight zero are not computed;
        ``networks/edge_scan.py`` explains their gradient.
      entangled: whether candidates that differ in the size of their kernels alone
        share the largest, which their weights multiply (TangleNAS, arXiv:2312.10440);
        ``networks/entangle.py`` explains it.
      lora_rank: r of the factors that each convolution kernel of the cells has beside
        it (LoRA-DARTS); 0 gives it none. ``networks/low_rank.py`` explains it.
      drop_path: whether an edge's sum is zeroed at random, image by image (SNAS,
        arXiv:1812.09926); ``apply`` then takes its rate.
    """

    partial: int = 1
    auxiliary_skip: bool = False
    skip_dropout: bool = False
    skip_zeros: bool = False
    entangled: bool = False
    lora_rank: int = 0
    drop_path: bool = False

    def __post_init__(self):
        """Raises ValueError for numbers out of range, or what passes drop_path by."""
        if self.drop_path and (self.partial > 1 or self.auxiliary_skip):
            raise ValueError(
                "drop_path must be left out with partial features or an auxiliary "
                "skip, which pass it by, got all. Set its rate to 0."
            )
        if self.partial < 1:
            raise ValueError(
                f"partial must be at least 1, got {self.partial}. 1 takes all features."
            )
        if self.lora_rank < 0:
            raise ValueError(
                f"lora_rank must be at least 0, got {self.lora_rank}. 0 disables it."
            )


PLAIN = EdgeVariant()


class VariantInputs(NamedTuple):
    """The inputs of an edge variant in one forward pass.

    Attributes:
      auxiliary_skip: f32[] factor of the auxiliary skip.
      skip_dropout: f32[] rate of the skips' dropout.
      drop_path: f32[] rate of the edges' drop path; None is 0.
    """

    auxiliary_skip: types.Array | None = None
    skip_dropout: types.Array | None = None
    drop_path: types.Array | None = None


NOTHING = VariantInputs()
