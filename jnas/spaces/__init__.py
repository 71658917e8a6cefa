"""Search spaces: what an encoding, its weights and its genotype have in common."""

from jnas.spaces import encoding, zoo
from jnas.spaces.canonical import canonical, prune, representatives
from jnas.spaces.cell import CellSpace
from jnas.spaces.lookups import NONE

__all__ = [
    "NONE",
    "CellSpace",
    "canonical",
    "encoding",
    "prune",
    "representatives",
    "zoo",
]
