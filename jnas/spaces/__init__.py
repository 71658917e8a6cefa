"""Search spaces: conversions between encodings, mixing weights and genotypes."""

from jnas.spaces import encoding, zoo
from jnas.spaces.canonical import canonical, is_empty, prune, representatives
from jnas.spaces.cell import CellSpace
from jnas.spaces.lookups import NONE, SKIP
from jnas.spaces.policy import gene_logits

__all__ = [
    "NONE",
    "SKIP",
    "CellSpace",
    "canonical",
    "encoding",
    "gene_logits",
    "is_empty",
    "prune",
    "representatives",
    "zoo",
]
