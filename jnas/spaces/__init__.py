"""Search spaces: conversions between encodings, mixing weights and genotypes."""

from jnas.spaces import encoding, zoo, zoo_chains
from jnas.spaces.canonical import canonical, is_empty, prune, representatives
from jnas.spaces.cell import CellSpace
from jnas.spaces.chain import ChainSpace, Position
from jnas.spaces.choice import ChoiceSpace
from jnas.spaces.lookups import NONE, SKIP
from jnas.spaces.policy import gene_logits
from jnas.spaces.rows import Space

__all__ = [
    "NONE",
    "SKIP",
    "CellSpace",
    "ChainSpace",
    "ChoiceSpace",
    "Position",
    "Space",
    "canonical",
    "encoding",
    "gene_logits",
    "is_empty",
    "prune",
    "representatives",
    "zoo",
    "zoo_chains",
]
