"""Methods of papers, each a row of pieces; every piece can be replaced by flag."""

import dataclasses

from jnas import registry


@dataclasses.dataclass(frozen=True)
class Method:
    """A gradient search as a combination of registered pieces.

    Attributes:
      relaxation: name in ``registry.RELAXATIONS``.
      hypergradient: name in ``registry.HYPERGRADIENTS``.
    """

    relaxation: str
    hypergradient: str


@registry.METHODS.register
def darts() -> Method:
    """Returns first-order DARTS. Source: arXiv:1806.09055, xi = 0."""
    return Method("softmax", "first_order")


@registry.METHODS.register
def darts2() -> Method:
    """Returns second-order DARTS, with the exact gradient. Source: arXiv:1806.09055."""
    return Method("softmax", "unrolled")
