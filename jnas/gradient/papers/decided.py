"""Methods whose cell is decided, or whose search ends, by a hook."""

import dataclasses

from jnas import pieces, registry
from jnas.gradient.methods import Method

ROBUST = "Zela et al. 2020, arXiv:1909.09656"


@registry.METHODS.register
def darts_pt() -> Method:
    """Returns DARTS-PT: DARTS, derived by perturbation.

    After 50 epochs of search the first edge is decided; then there are 81 epochs at a
    constant learning rate of 0.0025, with a decision after every fifth.

    Source: arXiv:2108.04392, algorithm 1 and its released code, which makes a cosine
    schedule of that rate and never moves it. Differs: as ``hooks.projection.project``;
    its tuning on NAS-Bench-201 ends an epoch earlier, after 25.
    """
    return Method("Wang et al. 2021, arXiv:2108.04392", projection_epochs=5)


@registry.METHODS.register
def robust_darts() -> Method:
    """Returns second-order DARTS with early stopping (DARTS-ES).

    Source: arXiv:1909.09656, section 5.1 and its released code. Differs: there images
    of the search have cutout, here with ``--cutout=16``; the second order is exact.
    """
    return Method(
        ROBUST, hypergradient="unrolled", hooks=("stop_early",), watch_interval=2
    )


@registry.METHODS.register
def robust_darts_ada() -> Method:
    """Returns second-order DARTS with adaptive L2 (DARTS-ADA).

    A search of 50 epochs takes up to 74, as those that are rolled back are repeated.

    Source: arXiv:1909.09656, section 5.2 and its released code. Differs: as
    ``robust_darts``.
    """
    return dataclasses.replace(robust_darts(), hooks=("adaptive_decay",))


@registry.METHODS.register
def sgas() -> Method:
    """Returns SGAS with criterion 1: a cell is decided edge by edge.

    ``--options=hook.decide_edges.stability=true`` is criterion 2.

    Source: arXiv:1912.00195, section 4.1 and its released code. Differs: batches do not
    grow with each decision.
    """
    return Method("Li et al. 2020, arXiv:1912.00195", hooks=("watch", "decide_edges"))


@registry.METHODS.register
def asap() -> Method:
    """Returns ASAP: the softmax cools, and options of small weight are removed.

    Source: arXiv:1904.04123. Differs: no code of the authors was found; the numbers,
    two levels among them, are those of a third party's, UniNAS, without its drop path.
    There the logits wait until the temperature is below 1, which is 10 of 50 epochs.
    """
    return Method(
        "Noy et al. 2020, arXiv:1904.04123",
        relaxation="annealed_softmax",
        eval_relaxation="annealed_softmax",
        progress="by_epochs_done",
        frozen_rate=0.2,
        hooks=("watch", pieces.bind(registry.HOOKS, "prune", {"every": 1})),
        logits_clip_norm=5.0,
    )
