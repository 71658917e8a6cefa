"""The spaces of published papers, by name in ``registry.SPACES``."""

import dataclasses

from jnas import registry
from jnas.spaces import cell, published

DARTS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NASBENCH201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
COMPACT = ("none", "skip_connect", "nor_conv_3x3", "mbconv_3x3_e3", "avg_pool_3x3")
TINY = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3")


@registry.SPACES.register
def darts() -> cell.CellSpace:
    """Returns the DARTS space: two cells of four nodes that keep two inputs each.

    It has (180 * 7**8)**2 architectures, about 1.1e18.

    Source: Liu et al., 2019, arXiv:1806.09055, section 3.1.1.
    """
    return _pair("darts", 4, DARTS)


@registry.SPACES.register
def nasbench201() -> cell.CellSpace:
    """Returns the NAS-Bench-201 space: one cell of six edges and five operations.

    Genes are in the order of the benchmark's strings, so ``encoding.index`` numbers its
    15,625 cells with the string's first operation slowest. The benchmark's own numbers
    differ. In 2,140 cells the benchmark's network adds a bias that jnas' leaves out:
    see ``constants`` of ``networks.cell.derived_cell``.

    Source: Dong and Yang, 2020, arXiv:2001.00326, section 2.1.
    """
    return cell.CellSpace(
        name="nasbench201",
        cells=("cell",),
        num_inputs=1,
        num_nodes=3,
        candidates=NASBENCH201,
        num_kept=None,
        concat=(3,),
    )


@registry.SPACES.register
def tiny() -> cell.CellSpace:
    """Returns a small variant of the DARTS space, for tests and first trials.

    Source: none; with fewer than two nodes there is no choice of inputs.
    """
    return _pair("tiny", 2, TINY)


@registry.SPACES.register
def compact() -> cell.CellSpace:
    """Returns a space of small networks: NAS-Bench-201's cell, in the skeleton mobile.

    An inverted residual takes the place of the 1x1 convolution, which the skeleton's
    reductions hold already. It has 15,625 cells.

    Source: none. The cell is that of arXiv:2001.00326, the inverted residual that of
    arXiv:1801.04381.
    """
    return dataclasses.replace(
        nasbench201(), name="compact", candidates=COMPACT, skeleton="mobile"
    )


@registry.SPACES.register
def s1() -> cell.CellSpace:
    """Returns RobustDARTS' S1: on each edge the two operations pruned last.

    Source: Zela et al., 2020, arXiv:1909.09656, section 3.
    """
    return _pair("s1", 4, published.candidates("s1"))


@registry.SPACES.register
def s2() -> cell.CellSpace:
    """Returns RobustDARTS' S2: skip connection and 3x3 separable convolution.

    Source: Zela et al., 2020, arXiv:1909.09656, section 3.
    """
    return _pair("s2", 4, published.candidates("s2"))


@registry.SPACES.register
def s3() -> cell.CellSpace:
    """Returns RobustDARTS' S3: S2 and ``none``.

    Source: Zela et al., 2020, arXiv:1909.09656, section 3.
    """
    return _pair("s3", 4, published.candidates("s3"))


@registry.SPACES.register
def s4() -> cell.CellSpace:
    """Returns RobustDARTS' S4: 3x3 separable convolution and noise.

    Source: Zela et al., 2020, arXiv:1909.09656, section 3.
    """
    return _pair("s4", 4, published.candidates("s4"))


def _pair(name: str, num_nodes: int, candidates: tuple) -> cell.CellSpace:
    return cell.CellSpace(
        name=name,
        cells=("normal", "reduce"),
        num_inputs=2,
        num_nodes=num_nodes,
        candidates=candidates,
        num_kept=2,
        concat=tuple(range(2, 2 + num_nodes)),
    )
