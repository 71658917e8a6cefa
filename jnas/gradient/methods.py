"""Methods of papers, each a row of pieces; every piece can be replaced by a flag.

``METHODS[name]()`` gives a Method with its paper's defaults for the DARTS space on
CIFAR-10; the rows are in ``gradient/papers``. Pieces are given by their names in the
registries; neither imports any.
"""

import dataclasses
from collections.abc import Callable

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
    split: int | None = option(
        None,
        "Row of the space, such as an edge, for each of whose options the supernet has "
        "a copy of its parameters, begun from those of the stage before (few-shot "
        "NAS); without it all share them.",
        least=0,
    )


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
    weight_regularizers: tuple[pieces.Piece, ...] = option(
        (),
        "Rules on the gradient of the parameters, comma-separated.",
        group="method",
        pieces=registry.WEIGHT_REGULARIZERS,
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
    drop_path_rate: float = option(
        0.0,
        "Rate of the drop path on each edge while the parameters are trained.",
        group="network",
        least=0,
        most=1,
    )
    entangled: bool = option(
        False,
        "Candidates that differ in the size of their kernels alone share the largest "
        "kernel, which their weights multiply (TangleNAS).",
        group="network",
    )
    lora_rank: int = option(
        0,
        "Rank of the factors beside each convolution kernel of the cells (LoRA-DARTS); "
        "0 disables them.",
        group="network",
        least=0,
    )
    skip_zeros: bool = option(
        False, "Do not compute candidates whose weight is zero.", group="network"
    )
    drop_none: bool = option(
        False,
        "Remove the candidate none where nodes choose their inputs.",
        group="network",
    )
    mask_none: bool = option(
        False,
        "Mask the candidate none where nodes do not choose their inputs; the space "
        "stays the same.",
        group="network",
    )
    stages: tuple[Stage, ...] = option(
        (Stage(),),
        "Stages of a progressive search as a JSON list of objects with epochs_rate, "
        "depth_rate, candidates_rate, partial, skip_dropout and split.",
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
    order: pieces.Piece = option(
        "logits_first",
        "Order in which a step moves logits and parameters.",
        group="schedule",
        pieces=registry.ORDERS,
    )
    progress: pieces.Piece = option(
        "by_step",
        "Rule by which temperatures, strengths and radii of pieces follow the search.",
        group="schedule",
        pieces=registry.PROGRESS,
    )
    projection_epochs: int = option(
        0,
        "Epochs of tuning between two decisions of DARTS-PT; 0 derives the cell "
        "without it.",
        group="schedule",
        least=0,
    )
    hooks: tuple[pieces.Piece, ...] = option(
        ("watch",),
        "Hooks that are called after epochs, in order, comma-separated: watch reports "
        "signs of collapse, stop_early ends the search at one with the cell from "
        "before, adaptive_decay rolls it back and increases the weight decay, prune "
        "removes options of small weight, decide_edges fixes rows one by one, shrink "
        "removes options by their outputs, shapley moves logits by accuracy, "
        "score_paths and angle_paths choose a path at the end, or your own.",
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
    random_labels: bool = option(
        False,
        "Train the parameters on random classes, drawn once for each training image "
        "(RLNAS); the validation split keeps its own.",
        group="data",
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
    logits_clip_norm: float = option(
        0.0,
        "Largest global norm of the logits' gradient; 0 disables clipping.",
        group="schedule",
        least=0,
    )
    logits_scale: float = option(
        1e-3, "Standard deviation of the initial logits.", group="schedule", least=0
    )
    logits_mean: float = option(0.0, "Mean of the initial logits.", group="schedule")

    @property
    def moves_logits(self) -> bool:
        """Whether steps move the logits; else a hook moves them, or finds the cell."""
        return pieces.name_of(registry.ALTERNATIONS, self.alternation) != "never"

    def __post_init__(self):
        """Raises ValueError where a number is out of its range."""
        settings.check(self)
        if not self.stages:
            raise ValueError(
                f"stages must be one at least, got {self.stages}. Choose another."
            )


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


def __getattr__(name: str) -> Callable[[], Method]:
    """Returns a registered method by its name, such as ``methods.darts``."""
    if name in registry.METHODS:
        return registry.METHODS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
