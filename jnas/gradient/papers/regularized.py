"""Methods that add a penalty, or perturb the weights."""

from jnas import registry
from jnas.gradient.methods import Method


@registry.METHODS.register
def fairdarts() -> Method:
    """Returns FairDARTS. Source: arXiv:1911.12126, section 4 and its released code."""
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
    """Returns SmoothDARTS with random perturbation. Source: arXiv:2002.05283."""
    return Method("Chen and Hsieh 2020, arXiv:2002.05283", perturbation="uniform")


@registry.METHODS.register
def sdarts_adv() -> Method:
    """Returns SmoothDARTS with adversarial perturbation. Source: arXiv:2002.05283."""
    return Method("Chen and Hsieh 2020, arXiv:2002.05283", perturbation="adversarial")
