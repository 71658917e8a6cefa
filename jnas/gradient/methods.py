"""Methods of papers, each a row of pieces; every piece can be replaced by a flag.

``METHODS[name]()`` gives a Method with its paper's defaults for the DARTS space on
CIFAR-10. Pieces are given by their names in the registries; this file imports none.
"""

import dataclasses

from jnas import pieces, registry, settings
from jnas.settings import option


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a progressive search. The fields carry their own help text."""

    epochs_rate: float = option(1.0, "Share of the method's epochs.")
    depth_rate: float = option(1.0, "Number of cells, as a multiple of the method's.")
    candidates_rate: float = option(
        1.0,
        "Share of each edge's candidates that stay in it: those that weighed most at "
        "the end of the stage before.",
    )
    partial: int = option(1, "As Method's partial; 1 takes the method's.", least=1)
    skip_dropout: float = option(0.0, "First rate of the dropout on skip connections.")


@dataclasses.dataclass(frozen=True)
class Method:
    """A gradient search as a combination of pieces and its paper's numbers.

    The fields carry their own help text. A field that names a piece holds a registered
    name or a function, such as ``functools.partial(relaxations.gumbel_softmax,
    start=5.0)``.

    Raises:
      ValueError: a number out of its range.
    """

    source: str = option(text="Paper of the method.", group="method", flag=False)
    relaxation: pieces.Piece = option(
        "softmax",
        "Relaxation that turns logits into mixing weights.",
        group="method",
        pieces=registry.RELAXATIONS,
    )
    hypergradient: pieces.Piece = option(
        "first_order",
        "Rule for the gradient of the architecture.",
        group="method",
        pieces=registry.HYPERGRADIENTS,
    )
    perturbation: pieces.Piece = option(
        "",
        "Perturbation of the mixing weights while parameters are trained; empty "
        "disables it.",
        group="method",
        pieces=registry.PERTURBATIONS,
    )
    regularizers: tuple[pieces.Piece, ...] = option(
        (),
        "Penalties added to the architecture's loss, comma-separated.",
        group="method",
        pieces=registry.REGULARIZERS,
    )
    eval_relaxation: pieces.Piece = option(
        "softmax",
        "Relaxation without random draws, from whose weights the cell is derived.",
        group="method",
        pieces=registry.RELAXATIONS,
    )
    selection: pieces.Piece = option(
        "strongest",
        "Rule that derives the cell from the final weights.",
        group="method",
        pieces=registry.SELECTIONS,
    )
    max_skips: int | None = option(
        None,
        "Largest number of skip connections in the derived normal cell; without it any "
        "number.",
        group="method",
        least=0,
    )
    partial: int = option(
        1,
        "Only 1/partial of the features pass through the candidates (PC-DARTS).",
        group="network",
        least=1,
    )
    edge_weights: bool = option(
        False,
        "Learn a weight for each edge that enters a node, too.",
        group="network",
    )
    auxiliary_skip: bool = option(
        False,
        "Add a skip to each edge whose factor falls from 1 to 0 (DARTS-).",
        group="network",
    )
    skip_zeros: bool = option(
        False, "Do not compute candidates whose weight is zero.", group="network"
    )
    drop_none: bool = option(
        False,
        "Remove the candidate none where nodes choose their inputs.",
        group="network",
    )
    stages: tuple[Stage, ...] = option(
        (Stage(),),
        "Stages of a progressive search as a JSON list of objects with epochs_rate, "
        "depth_rate, candidates_rate, partial and skip_dropout.",
        group="schedule",
    )
    widens: bool = option(
        False,
        "A stage continues with the parameters of the stage before, widened; otherwise "
        "it starts from new ones.",
        group="schedule",
    )
    frozen_rate: float = option(
        0.0,
        "Share of a stage's first epochs in which the logits do not move.",
        group="schedule",
        least=0,
        most=1,
    )
    alternation: pieces.Piece = option(
        "every_step",
        "Rule that decides which steps move the logits after the frozen epochs.",
        group="schedule",
        pieces=registry.ALTERNATIONS,
    )
    projection_epochs: int = option(
        0,
        "Epochs of tuning before each decision of DARTS-PT; 0 derives the cell without "
        "it.",
        group="schedule",
        least=0,
    )
    hooks: tuple[pieces.Piece, ...] = option(
        ("watch",),
        "Hooks that are called after epochs, in order, comma-separated: watch reports "
        "signs of collapse, stop_early ends the search at one with the cell from "
        "before, adaptive_decay rolls it back and increases the weight decay, prune "
        "removes options of small weight, decide_edges fixes them one by one, or your "
        "own.",
        group="method",
        pieces=registry.HOOKS,
    )
    watch_interval: int = option(
        1,
        "Epochs between two checks for collapse by the hooks watch, stop_early and "
        "adaptive_decay; 0 disables watch.",
        group="schedule",
        least=0,
    )
    features: int = option(16, "Features of the first cells.", group="network", least=1)
    layers: int = option(
        8,
        "Number of cells; for cells of one input, of a stage of the network.",
        group="network",
        least=1,
    )
    epochs: int = option(
        50,
        "Passes over the training split, all stages together.",
        group="schedule",
        least=1,
    )
    batch_size: int = option(
        64, "Images in a batch, of both splits.", group="schedule", least=1
    )
    optimizer: pieces.Piece = option(
        "momentum_sgd",
        "Optimizer of the parameters.",
        group="schedule",
        pieces=registry.OPTIMIZERS,
    )
    learning_rate: float = option(
        0.025,
        "Learning rate of the parameters at the start.",
        group="schedule",
        least=0,
    )
    final_learning_rate: float = option(
        0.001,
        "Learning rate of the parameters at the end of the cosine schedule.",
        group="schedule",
        least=0,
    )
    weight_decay: float = option(
        3e-4, "Weight decay of the parameters.", group="schedule", least=0
    )
    clip_norm: float = option(
        5.0,
        "Largest global norm of the parameters' gradient; 0 disables clipping.",
        group="schedule",
        least=0,
    )
    nesterov: bool = option(
        False, "Use Nesterov momentum for the parameters.", group="schedule"
    )
    logits_optimizer: pieces.Piece = option(
        "adam",
        "Optimizer of the logits.",
        group="schedule",
        pieces=registry.LOGITS_OPTIMIZERS,
    )
    logits_learning_rate: float = option(
        3e-4, "Learning rate of the logits.", group="schedule", least=0
    )
    logits_weight_decay: float = option(
        1e-3,
        "Weight decay of the logits, of an optimizer that has one.",
        group="schedule",
        least=0,
    )
    logits_b1: float = option(
        0.5,
        "Decay of the first moment of the logits, of an optimizer that has one.",
        group="schedule",
        least=0,
        most=1,
    )
    logits_scale: float = option(
        1e-3, "Standard deviation of the initial logits.", group="schedule", least=0
    )

    def __post_init__(self):
        """Raises ValueError where a number is out of its range."""
        settings.check(self)
        if not self.stages:
            raise ValueError(
                f"stages must be one at least, got {self.stages}. Choose another."
            )


DARTS = "Liu et al. 2019, arXiv:1806.09055"
ROBUST = "Zela et al. 2020, arXiv:1909.09656"


def row_of(method: Method) -> Method:
    """Returns the registered method of the same paper that is nearest to a method.

    Args:
      method: a registered method, some of whose fields may have been replaced; itself
        where its paper has no registered method.
    """
    rows = [build() for build in registry.METHODS.values()]
    same = [row for row in rows if row.source == method.source] or [method]
    names = [field.name for field in dataclasses.fields(Method)]

    def changed(row):
        return sum(getattr(row, name) != getattr(method, name) for name in names)

    return min(same, key=changed)


@registry.METHODS.register
def darts() -> Method:
    """Returns first-order DARTS. Source: arXiv:1806.09055, xi = 0."""
    return Method(DARTS)


@registry.METHODS.register
def darts2() -> Method:
    """Returns second-order DARTS, with the exact gradient. Source: arXiv:1806.09055."""
    return Method(DARTS, hypergradient="unrolled")


@registry.METHODS.register
def darts2_fd() -> Method:
    """Returns second-order DARTS by finite differences. Source: arXiv:1806.09055."""
    return Method(DARTS, hypergradient="finite_difference")


@registry.METHODS.register
def gdas() -> Method:
    """Returns GDAS.

    Source: arXiv:1910.04465 and its released code. Differs: its own space has a fixed
    reduction cell; here both cells are searched.
    """
    return Method(
        "Dong and Yang 2019, arXiv:1910.04465",
        relaxation="straight_through",
        skip_zeros=True,
        epochs=250,
        weight_decay=5e-4,
        nesterov=True,
    )


@registry.METHODS.register
def snas() -> Method:
    """Returns SNAS. Source: arXiv:1812.09926. Differs: no resource cost."""
    return Method(
        "Xie et al. 2019, arXiv:1812.09926", relaxation="gumbel_softmax", epochs=150
    )


@registry.METHODS.register
def drnas() -> Method:
    """Returns DrNAS in one stage, as for NAS-Bench-201.

    Source: arXiv:2006.10355, section 4.3 and its released code.
    """
    return Method(
        "Chen et al. 2021, arXiv:2006.10355", relaxation="dirichlet", epochs=100
    )


@registry.METHODS.register
def drnas_progressive() -> Method:
    """Returns DrNAS with progressive widening, as for CIFAR-10.

    Source: arXiv:2006.10355, sections 3.4 and 4.1 and its released code.
    """
    return dataclasses.replace(
        drnas(),
        drop_none=True,
        stages=(
            Stage(epochs_rate=0.5, partial=6),
            Stage(epochs_rate=0.5, candidates_rate=4 / 7, partial=4),
        ),
        widens=True,
        frozen_rate=0.4,
        features=36,
        layers=20,
        epochs=50,
        learning_rate=0.1,
        final_learning_rate=0.0,
        logits_learning_rate=6e-4,
    )


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
def sdarts_rs() -> Method:
    """Returns SmoothDARTS with random perturbation. Source: arXiv:2002.05283."""
    return Method("Chen and Hsieh 2020, arXiv:2002.05283", perturbation="uniform")


@registry.METHODS.register
def sdarts_adv() -> Method:
    """Returns SmoothDARTS with adversarial perturbation. Source: arXiv:2002.05283."""
    return Method("Chen and Hsieh 2020, arXiv:2002.05283", perturbation="adversarial")


@registry.METHODS.register
def darts_minus() -> Method:
    """Returns DARTS-. Source: arXiv:2009.01027, section 3.3 and its released code."""
    return Method("Chu et al. 2021, arXiv:2009.01027", auxiliary_skip=True)


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


@registry.METHODS.register
def sgas() -> Method:
    """Returns SGAS with criterion 1: a cell is decided edge by edge.

    ``--options=hook.decide_edges.stability=true`` is criterion 2.

    Source: arXiv:1912.00195, section 4.1 and its released code. Differs: batches do not
    grow with each decision.
    """
    return Method("Li et al. 2020, arXiv:1912.00195", hooks=("watch", "decide_edges"))
