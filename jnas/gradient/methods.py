"""Methods of papers, each a row of pieces; every piece can be replaced by flag.

``METHODS[name]()`` gives a Method with its paper's defaults for the DARTS space on
CIFAR-10. Pieces are named as in their registries; nothing here knows what they do.
"""

import dataclasses

from jnas import registry


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a search that goes on in stages.

    Attributes:
      epochs_rate: its share of the method's epochs.
      depth_rate: cells, as a multiple of the method's.
      candidates_rate: share of each edge's candidates that is left in it; those that
        weighed most at the end of the stage before.
      partial: as Method has it.
      skip_dropout: first rate of the dropout on skip connections.
    """

    epochs_rate: float = 1.0
    depth_rate: float = 1.0
    candidates_rate: float = 1.0
    partial: int = 1
    skip_dropout: float = 0.0


@dataclasses.dataclass(frozen=True)
class Method:
    """A gradient search as a combination of registered pieces and its paper's numbers.

    Attributes:
      source: the paper.
      relaxation: name in ``registry.RELAXATIONS``.
      hypergradient: name in ``registry.HYPERGRADIENTS``.
      perturbation: name in ``registry.PERTURBATIONS``; empty for none.
      regularizers: names in ``registry.REGULARIZERS``.
      eval_relaxation: the relaxation, without draws, that a cell is derived from.
      selection: name in ``registry.SELECTIONS``.
      max_skips: skip connections that a normal cell may keep; None for any number.
      partial: k; 1 / k of the features go through the candidates.
      edge_weights: whether the edges that enter a node are weighed too.
      auxiliary_skip: whether edges have a skip whose factor falls from 1 to 0.
      skip_zeros: whether candidates of weight zero are left out of the computation.
      drop_none: whether ``none`` is no candidate where nodes choose their inputs.
      stages: of a progressive search; one at least.
      widens: whether a stage goes on with the parameters of the one before, made wider;
        otherwise it starts anew.
      frozen_rate: share of a stage's epochs, at first, that leave the logits alone.
      projection_epochs: of tuning before each decision of DARTS-PT; 0 for none.
      early_stopping: whether a rise of the eigenvalue ends the search and goes back.
      adaptive_decay: whether a rise goes back with a stronger weight decay.
      watch_interval: epochs from one look for a collapse to the next; 0 for none.
      features: F of the first cells.
      layers: cells of the network (of a stage, for cells of one input).
      epochs: passes over the training split, all stages together.
      batch_size: B, of both levels.
      learning_rate: of the weights, at the start.
      final_learning_rate: that a cosine takes it to.
      weight_decay: of the weights.
      clip_norm: largest global norm of the weights' gradient; 0 for any.
      nesterov: whether momentum looks ahead.
      logits_learning_rate: of the architecture.
      logits_weight_decay: of the architecture.
      logits_b1: Adam's decay of the first moment.
      logits_scale: deviation of the first logits.
    """

    source: str
    relaxation: str = "softmax"
    hypergradient: str = "first_order"
    perturbation: str = ""
    regularizers: tuple[str, ...] = ()
    eval_relaxation: str = "softmax"
    selection: str = "strongest"
    max_skips: int | None = None
    partial: int = 1
    edge_weights: bool = False
    auxiliary_skip: bool = False
    skip_zeros: bool = False
    drop_none: bool = False
    stages: tuple[Stage, ...] = (Stage(),)
    widens: bool = False
    frozen_rate: float = 0.0
    projection_epochs: int = 0
    early_stopping: bool = False
    adaptive_decay: bool = False
    watch_interval: int = 1
    features: int = 16
    layers: int = 8
    epochs: int = 50
    batch_size: int = 64
    learning_rate: float = 0.025
    final_learning_rate: float = 0.001
    weight_decay: float = 3e-4
    clip_norm: float = 5.0
    nesterov: bool = False
    logits_learning_rate: float = 3e-4
    logits_weight_decay: float = 1e-3
    logits_b1: float = 0.5
    logits_scale: float = 1e-3

    def __post_init__(self):
        """Raises ValueError where a number is out of its range."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            least = 1 if field.name in _COUNTS else 0
            _check(value >= least, field.name, f"be at least {least}", value)
        for name in ("frozen_rate", "logits_b1"):
            value = getattr(self, name)
            _check(value <= 1, name, "be at most 1", value)
        _check(self.stages, "stages", "be one at least", self.stages)


_COUNTS = ("partial", "features", "layers", "epochs", "batch_size")


def _check(holds, name, rule, value) -> None:
    if not holds:
        raise ValueError(f"{name} must {rule}, got {value}. Choose another.")


DARTS = "Liu et al. 2019, arXiv:1806.09055"


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
    """Returns second-order DARTS as its code has it. Source: arXiv:1806.09055."""
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
    """Returns SNAS. Source: arXiv:1812.09926. Differs: no cost of resources."""
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
    return Method(
        "Zela et al. 2020, arXiv:1909.09656", early_stopping=True, watch_interval=2
    )


@registry.METHODS.register
def robust_darts_ada() -> Method:
    """Returns DARTS with adaptive L2 (DARTS-ADA). Source: arXiv:1909.09656."""
    return Method(
        "Zela et al. 2020, arXiv:1909.09656", adaptive_decay=True, watch_interval=2
    )
