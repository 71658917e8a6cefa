"""Methods whose cell is decided, or whose search ends, by a hook."""

from jnas import pieces, registry
from jnas.gradient.methods import Method

ROBUST = "Zela et al. 2020, arXiv:1909.09656"


@registry.METHODS.register
def darts_pt() -> Method:
    """Returns DARTS-PT: DARTS, derived by perturbation. Source: arXiv:2108.04392."""
    return Method("Wang et al. 2021, arXiv:2108.04392", projection_epochs=5)


@registry.METHODS.register
def robust_darts() -> Method:
    """Returns DARTS with early stopping (DARTS-ES). Source: arXiv:1909.09656."""
    return Method(ROBUST, hooks=("stop_early",), watch_interval=2)


@registry.METHODS.register
def robust_darts_ada() -> Method:
    """Returns DARTS with adaptive L2 (DARTS-ADA). Source: arXiv:1909.09656."""
    return Method(ROBUST, hooks=("adaptive_decay",), watch_interval=2)


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
