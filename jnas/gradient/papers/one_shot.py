"""Methods that share parameters among paths, and choose one after training."""

import dataclasses
from typing import Any

from jnas import pieces, registry
from jnas.gradient.methods import Method, Stage

_EVOLUTION = {  # 20 rounds of 50 paths; half of the children have two parents
    "controller": "nsga2",
    "num_evaluations": 1000,
    "population_size": 50,
    "mutation_rate": 0.1,
    "crossover_rate": 0.5,
}


def _scored(**numbers: Any) -> tuple[pieces.Piece, ...]:
    """Returns the hook that chooses a path by its signal."""
    return (pieces.bind(registry.HOOKS, "score_paths", numbers),)


def _one_path(source: str, **changes: Any) -> Method:
    """Returns a method that trains a uniformly drawn path a step, and no logits."""
    shared = {
        "relaxation": "uniform_path",
        "alternation": "never",
        "skip_zeros": True,
        "drop_none": True,
        "logits_scale": 0.0,
    }
    return Method(source, **shared | changes)


@registry.METHODS.register
def rsps() -> Method:
    """Returns random search with weight sharing (RSPS).

    Its code scores in as many rounds as there are 10,000 steps, three of 100 epochs.

    Source: arXiv:1902.07638, section 3.2 and its released code, at its own defaults.
    Differs: there ``none`` can be chosen in the DARTS space, and drop path is on.
    """
    return _one_path(
        "Li and Talwalkar 2019, arXiv:1902.07638",
        hooks=_scored(
            num_evaluations=1000, num_batches=10, num_finalists=10, num_rounds=3
        ),
        epochs=100,
        clip_norm=0.25,
    )


@registry.METHODS.register
def spos() -> Method:
    """Returns single path one-shot (SPOS), by the numbers of NAS-Bench-201.

    Source: arXiv:1904.00420, section 3 and its released code; the training of its
    SPOS.config in the released code of arXiv:2101.11834. Differs: its own chain trains
    150,000 steps of 1,024 images of ImageNet, paths drawn by balanced FLOPs, and at
    those numbers every cell draws a path of its own; the evolution is NSGA-II's, with
    as many parents as children, there ten parents; statistics are those of 20 batches,
    there of a moving average over 200.
    """
    return _one_path(
        "Guo et al. 2020, arXiv:1904.00420",
        hooks=_scored(**_EVOLUTION, recalibrate=20),
        epochs=250,
        weight_decay=5e-4,
        nesterov=True,
        clip_norm=0.0,
    )


@registry.METHODS.register
def fair() -> Method:
    """Returns FairNAS' strict fairness: each option has one update in every step.

    Source: arXiv:1907.01845, algorithm 1. Differs: its released code has no training,
    so that the numbers are those of ``spos``.
    """
    return dataclasses.replace(
        spos(),
        source="Chu et al. 2021, arXiv:1907.01845",
        weight_regularizers=("strict_fairness",),
    )


@registry.METHODS.register
def rlnas() -> Method:
    """Returns RLNAS: trained on random labels, chosen by the angle of the parameters.

    Source: arXiv:2101.11834, section 3 and its released code for the DARTS space on
    CIFAR-10. Differs: there all training images are used, here those of one split.
    """
    return _one_path(
        "Zhang et al. 2021, arXiv:2101.11834",
        hooks=("angle_paths",),
        random_labels=True,
        epochs=250,
    )


@registry.METHODS.register
def few_shot() -> Method:
    """Returns few-shot NAS: a supernet, then a copy for each option of the first edge.

    Source: arXiv:2006.06863, section 3 and its released code for NAS-Bench-201: 600
    epochs of the supernet and 300 of its copies. Differs: there every cell of a network
    draws a path of its own, the copies are trained one after another, and all
    architectures are scored.
    """
    return _one_path(
        "Zhao et al. 2021, arXiv:2006.06863",
        weight_regularizers=("each_copy",),
        hooks=_scored(**_EVOLUTION),
        stages=(Stage(epochs_rate=2 / 3), Stage(epochs_rate=1 / 3, split=0)),
        epochs=900,
        batch_size=48,
        weight_decay=1e-4,
        nesterov=True,
        clip_norm=0.0,
    )
