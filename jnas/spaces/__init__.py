"""Search spaces: what an encoding, its weights and its genotype have in common."""

from jnas.spaces import encoding, zoo
from jnas.spaces.cell import CellSpace

__all__ = ["CellSpace", "encoding", "zoo"]
