"""Methods that train the kernels of the candidates otherwise: shared, or by factors."""

from jnas import registry
from jnas.gradient.methods import Method


@registry.METHODS.register
def tanglenas() -> Method:
    """Returns TangleNAS' DARTS with entangled weights: one kernel for several sizes.

    Its numbers on this space are those of DARTS (the file ``darts-darts_v2.config`` of
    the released code). Source: arXiv:2312.10440, section 3 and its released code.
    """
    return Method("Sukthanker et al. 2024, arXiv:2312.10440", entangled=True)


@registry.METHODS.register
def lora_darts() -> Method:
    """Returns LoRA-DARTS: kernels warmed for 10 of 100 epochs, then factors of rank 1.

    The logits do not move while the kernels do. The paper has no arXiv number (AutoML
    workshop 2024, OpenReview YNyTumD0U9); the numbers are those of the scripts of its
    released code, https://github.com/automl/LoRA-DARTS, whose library is described in
    arXiv:2507.16533.
    """
    return Method(
        "Krishnakumar et al. 2024, openreview YNyTumD0U9, code of arXiv:2507.16533",
        weight_regularizers=("freeze_kernels",),
        lora_rank=1,
        frozen_rate=0.1,
        epochs=100,
    )
