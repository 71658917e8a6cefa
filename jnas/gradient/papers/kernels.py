"""Methods that train the kernels of the candidates otherwise: shared, or by factors."""

from jnas import registry
from jnas.gradient.methods import Method


@registry.METHODS.register
def tanglenas() -> Method:
    """Returns TangleNAS' DARTS with entangled weights: one kernel for several sizes.

    Source: arXiv:2312.10440, section 3 and its released code, whose numbers on this
    space are those of DARTS (``darts-darts_v2.config``).
    """
    return Method("Sukthanker et al. 2024, arXiv:2312.10440", entangled=True)


@registry.METHODS.register
def lora_darts() -> Method:
    """Returns LoRA-DARTS: kernels warmed for 10 of 100 epochs, then factors of rank 1.

    The logits do not move while the kernels do. The paper has no arXiv number (AutoML
    workshop 2024).

    Source: OpenReview YNyTumD0U9; the numbers are those of the scripts of its released
    code, https://github.com/automl/LoRA-DARTS, whose library is described in
    arXiv:2507.16533. Differs: there optimizer and schedule start anew with the factors.
    """
    return Method(
        "Krishnakumar et al. 2024, openreview YNyTumD0U9, code of arXiv:2507.16533",
        weight_regularizers=("freeze_kernels",),
        lora_rank=1,
        frozen_rate=0.1,
        epochs=100,
    )
