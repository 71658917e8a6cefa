"""Methods on the simplex: exponentiated gradients."""

import dataclasses

from jnas import registry
from jnas.gradient.methods import Method

GAEA = "Li et al. 2021, arXiv:2004.07802"


@registry.METHODS.register
def gaea() -> Method:
    """Returns GAEA DARTS as on NAS-Bench-201: exponentiated gradients, one level.

    Source: arXiv:2004.07802, section 4 and its released code. Differs: that code moves
    the logits by another batch of the training images than the parameters, and its
    learning rate would reach the end of the cosine after 50 epochs.
    """
    return Method(
        GAEA,
        relaxation="simplex",
        hypergradient="one_level",
        logits_optimizer="exponentiated",
        drop_none=True,
        mask_none=True,
        features=24,
        layers=5,
        epochs=25,
        logits_learning_rate=0.1,
        logits_weight_decay=0.0,
        logits_scale=0.0,
    )


@registry.METHODS.register
def gaea_bilevel() -> Method:
    """Returns GAEA DARTS as on NAS-Bench-201, bilevel: logits by validation images.

    Source: arXiv:2004.07802, section 4 and its released code. Differs: its learning
    rate would reach the end of the cosine after 50 epochs.
    """
    return dataclasses.replace(gaea(), hypergradient="first_order")


@registry.METHODS.register
def gaea_pcdarts() -> Method:
    """Returns GAEA PC-DARTS as on CIFAR-10: edge weights on the simplex too.

    Unlike in PC-DARTS the logits move from the first epoch, and ``none`` stays.

    Source: the released code of arXiv:2004.07802 (eedarts).
    """
    return Method(
        GAEA,
        relaxation="simplex",
        logits_optimizer="exponentiated",
        partial=4,
        edge_weights=True,
        batch_size=256,
        learning_rate=0.1,
        final_learning_rate=0.0,
        logits_learning_rate=0.1,
        logits_weight_decay=0.0,
        logits_scale=0.0,
    )


@registry.METHODS.register
def egdas() -> Method:
    """Returns GAEA GDAS: one-hot samples of theta, an entropic penalty, 50 epochs wait.

    Source: the released code of arXiv:2004.07802. Differs: it gives no number of epochs
    (250 are those of ``gdas``), nor whether ``none`` is left out or the logits have
    images of their own (as in ``gaea_bilevel``).
    """
    return dataclasses.replace(
        gaea_bilevel(),
        relaxation="simplex_straight_through",
        regularizers=("entropic",),
        progress="by_epoch",
        skip_zeros=True,
        frozen_rate=0.2,
        epochs=250,
        logits_learning_rate=0.01,
    )
