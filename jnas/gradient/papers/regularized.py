"""Methods that add a penalty, or perturb the weights."""

import dataclasses

from jnas import registry
from jnas.gradient.methods import Method


@registry.METHODS.register
def fairdarts() -> Method:
    """Returns FairDARTS.

    Source: arXiv:1911.12126, section 4 and its released code. Differs: a cell keeps two
    inputs a node. There an input below the threshold is dropped: the normal cells of
    its FairDARTS-a to -g have 4 to 8 of 8 edges, one of them all 8, and four of them
    lack a node; ``selections.sparse_genotype`` drops them too.
    """
    return Method(
        "Chu et al. 2020, arXiv:1911.12126",
        relaxation="sigmoid",
        regularizers=("zero_one",),
        eval_relaxation="sigmoid",
        selection="above_threshold",
        drop_none=True,
        batch_size=128,
        learning_rate=0.005,
        logits_learning_rate=3e-3,
        logits_b1=0.9,
        logits_scale=0.0,
    )


@registry.METHODS.register
def beta_darts() -> Method:
    """Returns beta-DARTS: logits decay by the mean of their logsumexp.

    Source: arXiv:2203.01665 and its released code for NAS-Bench-201. Differs: that code
    divides the epoch by 100 whatever their number is.
    """
    return Method(
        "Ye et al. 2022, arXiv:2203.01665",
        regularizers=("beta_decay",),
        progress="by_epochs_done",
        epochs=100,
    )


@registry.METHODS.register
def sdarts_rs() -> Method:
    """Returns SmoothDARTS with random perturbation.

    Its radius follows the epochs that are done: 0.03 + 0.27 e / E.

    Source: arXiv:2002.05283, section 3 and its released code.
    """
    return Method(
        "Chen and Hsieh 2020, arXiv:2002.05283",
        perturbation="uniform",
        progress="by_epochs_done",
    )


@registry.METHODS.register
def sdarts_adv() -> Method:
    """Returns SmoothDARTS with adversarial perturbation, of the same radius.

    Source: arXiv:2002.05283, section 3 and its released code. Differs: the attack uses
    batch statistics; ``perturbations.adversarial`` has what was measured.
    """
    return dataclasses.replace(sdarts_rs(), perturbation="adversarial")
