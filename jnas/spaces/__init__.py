"""Search spaces: what an encoding, its weights and its genotype have in common."""

from jnas.spaces import encoding, zoo
from jnas.spaces.canonical import canonical, prune, representatives
from jnas.spaces.cell import CellSpace

__all__ = [
    "CellSpace",
    "canonical",
    "encoding",
    "prune",
    "representatives",
    "zoo",
]
