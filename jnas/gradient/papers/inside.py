"""Methods that look inside the supernet: at its cells, gradients and outputs."""

from jnas import registry
from jnas.gradient.methods import Method


@registry.METHODS.register
def lambda_darts() -> Method:
    """Returns Lambda-DARTS as on NAS-Bench-201, with the exact regularizer.

    Source: arXiv:2210.07998 and the defaults of its released program; its script has
    ``alignment.strength`` .25 and ``logits_learning_rate`` 1e-4. Its other program, for
    DARTS' cells, takes 50 epochs and moves the logits first.
    """
    return Method(
        "Movahedi et al. 2022, arXiv:2210.07998",
        order="params_first",
        weight_regularizers=("alignment",),
        layers=5,
        epochs=100,
    )


@registry.METHODS.register
def oles() -> Method:
    """Returns OLES: DARTS whose operations stop learning one by one.

    Source: Jiang et al. 2023, NeurIPS 36, OpenReview yAOwkf4FyL, and its released code.
    """
    return Method(
        "Jiang et al. 2023, OpenReview:yAOwkf4FyL",
        weight_regularizers=("freeze_operations",),
    )


@registry.METHODS.register
def is_darts() -> Method:
    """Returns IS-DARTS as on NAS-Bench-201: no logits, options removed by outputs.

    In the space of DARTS it takes ``epochs`` 50 and ``layers`` 8.

    Source: arXiv:2312.12648 and its released code. Differs: the code trains on all
    images; here the architecture's split is for scores alone.
    """
    return Method(
        "He et al. 2024, arXiv:2312.12648",
        relaxation="uniform",
        eval_relaxation="uniform",
        alternation="never",
        hooks=("shrink",),
        layers=5,
        epochs=30,
        nesterov=True,
        logits_scale=0.0,
    )
