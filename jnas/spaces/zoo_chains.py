"""The chains of published papers, by name in ``registry.SPACES``."""

import dataclasses

from jnas import registry
from jnas.spaces import chain, lookups

FBNET = tuple(
    f"ir_k{kernel}_{inside}"
    for kernel in (3, 5)
    for inside in ("e1", "e1_g2", "e3", "e6")
)
PROXYLESS = tuple(
    f"mbconv_{kernel}x{kernel}_e{expansion}"
    for kernel in (3, 5, 7)
    for expansion in (3, 6)
)
MACRO = (lookups.SKIP, "mb3_k3", "mb6_k5")
TINY = (lookups.SKIP, "mbconv_3x3_e3")


def _stages(*stages: tuple[int, int, int], options: tuple) -> tuple:
    """Lists positions: (features, number, stride of the first) of each stage."""
    return tuple(
        chain.Position(options, features, 1 if i else stride)
        for features, count, stride in stages
        for i in range(count)
    )


@registry.SPACES.register
def fbnet() -> chain.ChainSpace:
    """Returns FBNet's space: 22 positions of nine blocks, 9**22 architectures.

    A block ``ir_k5_e6`` is an inverted residual of kernel 5, six times as wide inside;
    ``g2`` has 1x1 convolutions in two groups. Convolutions of blocks have a bias too.

    Source: Wu et al., 2019, arXiv:1812.03443, table 1, and its released code.
    """
    positions = _stages(
        (16, 1, 1),
        (24, 4, 2),
        (32, 4, 2),
        (64, 4, 2),
        (112, 4, 1),
        (184, 4, 2),
        (352, 1, 1),
        options=(*FBNET, lookups.SKIP),
    )
    return chain.ChainSpace("fbnet", positions, 16, 1984, stem_stride=2)


@registry.SPACES.register
def fbnet_a() -> chain.ChainSpace:
    """Returns FBNet's space with the smaller head of FBNet-A, 1504 features.

    Source: arXiv:1812.03443, table 1, and its released code.
    """
    return dataclasses.replace(fbnet(), name="fbnet_a", head_features=1504)


@registry.SPACES.register
def proxyless() -> chain.ChainSpace:
    """Returns ProxylessNAS' space: 21 positions after a fixed inverted residual.

    Where a position keeps its shape it can be skipped.

    Source: Cai, Zhu and Han, 2019, arXiv:1812.00332, and its released code.
    """
    fixed = chain.Position(("mbconv_3x3_e1",), 16)
    stages = _stages(
        (24, 4, 2),
        (40, 4, 2),
        (80, 4, 2),
        (96, 4, 1),
        (192, 4, 2),
        (320, 1, 1),
        options=PROXYLESS,
    )
    before, positions = 16, [fixed]
    for one in stages:
        if one.stride == 1 and one.features == before:
            one = dataclasses.replace(one, options=(*PROXYLESS, lookups.SKIP))
        positions.append(one)
        before = one.features
    return chain.ChainSpace(
        "proxyless", tuple(positions), 32, 1280, stem_stride=2, activation="relu6"
    )


@registry.SPACES.register
def macro() -> chain.ChainSpace:
    """Returns NAS-Bench-Macro's space: eight positions, 6,561 architectures.

    Each is skipped or an inverted residual: ``mb3_k3`` of kernel 3, three times as wide
    inside, or ``mb6_k5``. Where a position changes the shape, skipping is a 1x1
    convolution and a norm. Genes are in the order of the benchmark's names.

    Source: Su et al., 2021, arXiv:2103.11922, and its released code.
    """
    positions = _stages((64, 2, 2), (128, 3, 2), (256, 3, 2), options=MACRO)
    return chain.ChainSpace("macro", positions, 32, 1280)


@registry.SPACES.register
def tiny_chain() -> chain.ChainSpace:
    """Returns a small chain, for tests and first trials.

    Source: none; its positions have different numbers of options.
    """
    positions = (
        chain.Position((*TINY, "max_pool_3x3"), 4),
        chain.Position(TINY, 8, 2),
        chain.Position(TINY, 8),
        chain.Position(TINY, 8),
    )
    return chain.ChainSpace("tiny_chain", positions, 4, 0)
