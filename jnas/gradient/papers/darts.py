"""DARTS, first and second order."""

from jnas import registry
from jnas.gradient.methods import Method

DARTS = "Liu et al. 2019, arXiv:1806.09055"


@registry.METHODS.register
def darts() -> Method:
    """Returns first-order DARTS. Source: arXiv:1806.09055, xi = 0."""
    return Method(DARTS)


@registry.METHODS.register
def darts2() -> Method:
    """Returns second-order DARTS, with the exact gradient. Source: arXiv:1806.09055."""
    return Method(DARTS, hypergradient="unrolled")


@registry.METHODS.register
def darts2_fd() -> Method:
    """Returns second-order DARTS by finite differences. Source: arXiv:1806.09055."""
    return Method(DARTS, hypergradient="finite_difference")
