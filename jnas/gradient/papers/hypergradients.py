"""Methods that differ in how the logits' step is computed."""

import functools

from jnas import registry
from jnas.gradient import alternations, bilevel
from jnas.gradient.methods import Method


@registry.METHODS.register
def idarts() -> Method:
    """Returns iDARTS as on NAS-Bench-201: implicit gradients, every fourth step.

    Source: arXiv:2106.10784, section 3 and its released code, with two products with H
    and the learning rate as step size. An epoch there is a pass of the architecture's
    split with four steps of the parameters for each batch: four epochs here. Differs:
    the mixed derivative is exact, there a difference over a distance of .01; that code
    then leaves the parameters at w - R (v_1 + v_2), R = .01 / |v|, which is not copied,
    and its notebook's four steps move a copy of them. Its file of the rate .01 is not
    released; the numbers are those of DARTS.config.
    """
    return Method(
        "Zhang et al. 2021, arXiv:2106.10784",
        hypergradient=functools.partial(
            bilevel.neumann, num_terms=2, step_size=0.01, final_step_size=0.001
        ),
        alternation=functools.partial(alternations.every, steps=4),
        progress="by_epochs_done",
        layers=5,
        epochs=120,
        learning_rate=0.01,
        weight_decay=5e-4,
        nesterov=True,
    )


@registry.METHODS.register
def zarts() -> Method:
    """Returns ZARTS: a step of the logits from samples, without a gradient through w.

    Source: arXiv:2110.04743, MGS, and its released code. Differs: see the hypergradient
    ``zarts``; a cosine over the epochs after the warm-up, there one epoch behind.
    """
    return Method(
        "Wang et al. 2021, arXiv:2110.04743",
        hypergradient="zarts",
        alternation=functools.partial(alternations.every, steps=10),
        progress="by_epochs_done",
        drop_none=True,
        frozen_rate=0.2,
        logits_optimizer="sgd",
        logits_learning_rate=1.0,
        logits_weight_decay=0.0,
    )


@registry.METHODS.register
def shapley() -> Method:
    """Returns Shapley-NAS: options are scored by the accuracy that they bring.

    Source: arXiv:2206.09811, section 4.1 and its released code: PC-DARTS' features,
    without weights of edges. Differs: see the hook ``shapley``; in NAS-Bench-201's
    space, which that code does not have, ``none`` is removed as in DARTS': it costs
    nothing in every order, and so would be above options whose worth varies.
    """
    return Method(
        "Xiao et al. 2022, arXiv:2206.09811",
        hooks=("watch", "shapley"),
        alternation="never",
        partial=4,
        drop_none=True,
        mask_none=True,
        batch_size=256,
        learning_rate=0.1,
        final_learning_rate=0.0,
    )
