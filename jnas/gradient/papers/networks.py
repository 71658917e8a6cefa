"""Methods that change the network: fewer features, stages, a skip beside."""

from jnas import registry
from jnas.gradient.methods import Method, Stage


@registry.METHODS.register
def pcdarts() -> Method:
    """Returns PC-DARTS. Source: arXiv:1907.05737, section 4.2 and its released code."""
    return Method(
        "Xu et al. 2020, arXiv:1907.05737",
        partial=4,
        edge_weights=True,
        frozen_rate=0.3,
        batch_size=256,
        learning_rate=0.1,
        final_learning_rate=0.0,
        logits_learning_rate=6e-4,
    )


@registry.METHODS.register
def pdarts() -> Method:
    """Returns P-DARTS: 5, 11 and 17 layers with 8, 5 and 3 candidates.

    Source: arXiv:1904.12760, section 4.2 and its released code.
    """
    return Method(
        "Chen et al. 2019, arXiv:1904.12760",
        max_skips=2,
        skip_zeros=True,
        stages=(
            Stage(epochs_rate=1 / 3, skip_dropout=0.1),
            Stage(1 / 3, depth_rate=11 / 5, candidates_rate=5 / 8, skip_dropout=0.4),
            Stage(1 / 3, depth_rate=17 / 5, candidates_rate=3 / 8, skip_dropout=0.7),
        ),
        frozen_rate=0.4,
        layers=5,
        epochs=75,
        batch_size=96,
        final_learning_rate=0.0,
        logits_learning_rate=6e-4,
    )


@registry.METHODS.register
def darts_minus() -> Method:
    """Returns DARTS-. Source: arXiv:2009.01027, section 3.3 and its released code."""
    return Method("Chu et al. 2021, arXiv:2009.01027", auxiliary_skip=True)
