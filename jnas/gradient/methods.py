"""Methods of papers, each a row of pieces; every piece can be replaced by a flag.

``METHODS[name]()`` gives a Method with its paper's defaults for the DARTS space on
CIFAR-10. Pieces are given by their names in the registries; this file imports none.
"""

import dataclasses

from jnas import registry


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a progressive search.

    Attributes:
      epochs_rate: Share of the method's epochs, 0 to 1.
      depth_rate: Number of cells, as a multiple of the method's layers.
      candidates_rate: Share of each edge's candidates that the stage searches; those
        with the largest weights at the end of the stage before.
      partial: As in Method; 1 takes the method's own.
      skip_dropout: Initial dropout rate on skip connections.
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
      source: Paper that the method is from.
      relaxation: Turns logits into mixing weights; a name in RELAXATIONS.
      hypergradient: Rule for the architecture's gradient; a name in HYPERGRADIENTS.
      perturbation: Disturbs the mixing weights in the training loss; a name in
        PERTURBATIONS, empty disables it.
      regularizers: Penalties added to the architecture's loss; names in REGULARIZERS.
      eval_relaxation: Relaxation without random draws, for deriving the cell; a name in
        RELAXATIONS.
      selection: Derives the cell from its weights; a name in SELECTIONS.
      max_skips: Most skip connections in a normal cell; None sets no limit.
      partial: Send 1 / partial of the channels through the candidates; 1 sends all.
      edge_weights: Learn weights for the edges that enter a node too.
      auxiliary_skip: Add to each edge a skip connection whose factor falls from 1 to 0.
      skip_zeros: Do not compute candidates whose weight is 0.
      drop_none: Remove the candidate none where nodes choose their inputs.
      stages: Stages of a progressive search; at least one.
      widens: Start each stage from the parameters of the one before, made wider,
        instead of new parameters.
      frozen_rate: Share of a stage's epochs, at its start, that keep the logits fixed.
      projection_epochs: Epochs of tuning before each decision of DARTS-PT; 0 disables
        it.
      early_stopping: Stop when the Hessian's largest eigenvalue rises, with the cell
        from before the rise.
      adaptive_decay: Roll back and increase the weight decay when the Hessian's largest
        eigenvalue rises.
      watch_interval: Epochs between two checks for collapse; 0 disables them.
      features: Number of channels of the first cells.
      layers: Number of cells in the supernet (per stage, for cells with one input).
      epochs: Passes over the training split, in all stages together.
      batch_size: Images per training batch, and per validation batch.
      learning_rate: Initial learning rate of the network's parameters.
      final_learning_rate: Learning rate at the end of the cosine schedule.
      weight_decay: Weight decay of the network's parameters.
      clip_norm: Largest global norm of the parameters' gradient; 0 disables clipping.
      nesterov: Use Nesterov momentum.
      logits_learning_rate: Learning rate of the architecture's logits (Adam).
      logits_weight_decay: Weight decay of the architecture's logits.
      logits_b1: Adam's b1, the decay of its first moment, for the logits.
      logits_scale: Standard deviation of the initial logits.
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
    return Method(
        "Zela et al. 2020, arXiv:1909.09656", early_stopping=True, watch_interval=2
    )


@registry.METHODS.register
def robust_darts_ada() -> Method:
    """Returns DARTS with adaptive L2 (DARTS-ADA). Source: arXiv:1909.09656."""
    return Method(
        "Zela et al. 2020, arXiv:1909.09656", adaptive_decay=True, watch_interval=2
    )
