"""Methods on the simplex: exponentiated gradients."""

from jnas import registry
from jnas.gradient.methods import Method


@registry.METHODS.register
def gaea() -> Method:
    """Returns GAEA DARTS as on NAS-Bench-201: exponentiated gradients, one level.

    Source: arXiv:2004.07802, section 4 and its released code. Differs: there ``none``
    is left out of NAS-Bench-201 too, here of spaces whose nodes choose their inputs.
    """
    return Method(
        "Li et al. 2021, arXiv:2004.07802",
        relaxation="simplex",
        hypergradient="one_level",
        logits_optimizer="exponentiated",
        drop_none=True,
        features=24,
        layers=5,
        epochs=25,
        logits_learning_rate=0.1,
        logits_weight_decay=0.0,
        logits_scale=0.0,
    )
