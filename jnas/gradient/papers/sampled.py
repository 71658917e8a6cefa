"""Methods whose weights are drawn: one-hot, nearly so, or from a simplex."""

import dataclasses

from jnas import registry
from jnas.gradient.methods import Method, Stage


@registry.METHODS.register
def gdas() -> Method:
    """Returns GDAS as in the DARTS space: the drawn operation alone is computed.

    In NAS-Bench-201's space take ``gdas_nasbench201``: here ``none`` gets no gradient,
    and where a cell can have it, it rises while others fall.

    Source: arXiv:1910.04465 and its released code. Differs: its own space has a fixed
    reduction cell; here both cells are searched.
    """
    return Method(
        "Dong and Yang 2019, arXiv:1910.04465",
        relaxation="straight_through_winner",
        skip_zeros=True,
        order="params_first",
        progress="by_epoch",
        epochs=250,
        batch_size=256,
        weight_decay=5e-4,
        nesterov=True,
    )


@registry.METHODS.register
def gdas_nasbench201() -> Method:
    """Returns GDAS as in NAS-Bench-201: weights of 0 are numbers with a gradient.

    Source: arXiv:1910.04465 and the code of Dong and Yang 2020, arXiv:2001.00326.
    """
    return dataclasses.replace(gdas(), relaxation="straight_through", batch_size=64)


@registry.METHODS.register
def reinmax() -> Method:
    """Returns GDAS with the gradient estimator ReinMax.

    Source: arXiv:2304.08612 and its released code, which search no architecture: the
    numbers are those of ``gdas``, and not sourced for this estimator. Differs: it needs
    the output of every candidate, so that zeros are not skipped.
    """
    return dataclasses.replace(
        gdas(),
        source="Liu et al. 2023, arXiv:2304.08612",
        relaxation="reinmax",
        skip_zeros=False,
    )


@registry.METHODS.register
def snas() -> Method:
    """Returns SNAS: one loss and one draw for both levels.

    Source: arXiv:1812.09926 and its released code. Differs: no resource cost, which
    ``--regularizers=expected_cost`` adds; half of the images are held out for figures,
    where its code trains on all (``--valid_rate``). On one GPU its code moves the
    logits by plain SGD; here, as in the paper and on several GPUs, by Adam.
    """
    return Method(
        "Xie et al. 2019, arXiv:1812.09926",
        relaxation="gumbel_softmax_linear",
        hypergradient="one_level",
        order="together",
        progress="by_epochs_begun",
        drop_path_rate=0.3,
        epochs=150,
        logits_clip_norm=10.0,
        logits_scale=0.01,
        logits_mean=1.0,
    )


@registry.METHODS.register
def drnas() -> Method:
    """Returns DrNAS in one stage, as for NAS-Bench-201.

    Source: arXiv:2006.10355, section 4.3 and its released code.
    """
    return Method(
        "Chen et al. 2021, arXiv:2006.10355", relaxation="dirichlet", epochs=100
    )


@registry.METHODS.register
def drnas_progressive() -> Method:
    """Returns DrNAS with progressive widening, as for CIFAR-10.

    Source: arXiv:2006.10355, sections 3.4 and 4.1 and its released code.
    """
    return dataclasses.replace(
        drnas(),
        drop_none=True,
        stages=(
            Stage(epochs_rate=0.5, partial=6),
            Stage(epochs_rate=0.5, candidates_rate=4 / 7, partial=4),
        ),
        widens=True,
        frozen_rate=0.4,
        features=36,
        layers=20,
        epochs=50,
        learning_rate=0.1,
        final_learning_rate=0.0,
        logits_learning_rate=6e-4,
    )
