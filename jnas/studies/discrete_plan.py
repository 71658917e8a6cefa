"""What a discrete search is: its settings, and what is checked before it runs."""

import dataclasses

from jnas import data as data_lib
from jnas import pieces, registry, spaces
from jnas import settings as settings_lib
from jnas.discrete import tables
from jnas.discrete.tables import choice
from jnas.settings import option
from jnas.studies import augmentation, limits, scoring, setup
from jnas.studies import kept as kept_lib


@dataclasses.dataclass(frozen=True)
class DiscreteSettings(limits.LimitSettings, augmentation.AugmentSettings):
    """How cells are proposed and scored. The fields carry their own help text."""

    controller: pieces.Piece = option(
        "regularized_evolution",
        "Controller that proposes cells.",
        group="search",
        pieces=registry.CONTROLLERS,
    )
    objective: pieces.Piece = option(
        scoring.SUPERNET,
        "Score of a cell: supernet (accuracy with shared weights), scratch (accuracy "
        "after training from scratch), table:NAME or table:FILE, a cost (parameters, "
        "macs, latency_ms), or a registered objective; several on images are separated "
        "by commas, and each adds its columns.",
        group="search",
        pieces=registry.OBJECTIVES,
    )
    num_proposals: int | None = option(
        None, "Cells proposed in one round; without it the controller's own number."
    )
    num_evaluations: int = option(
        200, "Number of evaluated cells, in whole rounds.", least=1
    )
    features: int = setup.features_option(16)
    layers: int = setup.layers_option(5)
    stem: str = setup.stem_option()
    batch_size: int = option(64, "Images in a batch.", group="schedule")
    epochs: int = option(
        50,
        "Epochs of the shared weights, or of each network trained from scratch.",
        group="schedule",
        least=1,
    )
    valid_rate: float = option(
        0.5, "Share of the training images that scores cells.", group="data"
    )
    learning_rate: float = option(
        0.025,
        "Learning rate of the weights at the start of the cosine schedule.",
        group="schedule",
        least=0,
    )
    trainer: pieces.Piece = option(
        "random_search",
        "Controller that draws the cells by which shared weights are trained: "
        "random_search is SPOS, enas_lstm is ENAS.",
        group="search",
        pieces=registry.CONTROLLERS,
    )
    controller_rounds: int = option(
        0,
        "Rounds in which the trainer learns after each epoch of the shared weights, "
        "each cell on a validation batch of its own (ENAS: 50); 0 lets it learn in "
        "every training step.",
        group="search",
        least=0,
    )
    recalibrate: int = option(
        0,
        "Batches of training images on which the batch norms' statistics of each cell "
        "are measured before it is scored with shared weights; they and the validation "
        "images are one batch. 0 takes the statistics of the validation images.",
        group="search",
        least=0,
    )
    rescore: int = option(
        0,
        "Cells of a round that are scored on all validation images, the best ones on a "
        "few drawn batches; the others have no score. 0 scores every cell on all. RSPS "
        "is --controller=random_search --num_proposals=1000 --rescore=10.",
        group="search",
        least=0,
    )
    screening_batches: int = option(
        10,
        "Validation batches on which --rescore screens the cells of a round.",
        group="search",
        least=1,
    )
    signal: tuple[str, ...] = option(
        (),
        "Metrics that are searched on, comma-separated; the first chooses the best "
        "cell, and controllers of several objectives (nsga2) see all. Of a table its "
        "metrics, without it valid_12 or else the first; on images those of the "
        "objective, without it all of them, and parameters, macs and latency_ms. "
        "minimize:NAME and maximize:NAME override a metric's direction.",
    )
    report: tuple[str, ...] = setup.report_option()
    __post_init__ = settings_lib.check


def check(settings: DiscreteSettings) -> tables.Table | None:
    """Looks up everything that a search names; loads the table, if it names one.

    Args:
      settings: of the search.

    Raises:
      KeyError, ValueError: a name that does not exist; the nearest is guessed.
    """
    pieces.resolve(registry.CONTROLLERS, settings.controller)
    pieces.resolve(registry.CONTROLLERS, settings.trainer)
    _check_shared(settings)
    if not isinstance(settings.objective, str):
        return None
    if settings.objective.startswith("table:"):
        table = choice.load_table(settings.objective)
        signal = settings.signal or (choice.default_signal(table),)
        choice.check_metrics(table, signal, settings.report)
        kept_lib.check_table(table, settings)
        return table
    scoring.check(settings.objective)
    return None


def _check_shared(settings: DiscreteSettings) -> None:
    """Refuses options of shared weights where no objective has any."""
    shared = scoring.SUPERNET in scoring.parts(settings.objective)
    for name in ("recalibrate", "controller_rounds", "rescore"):
        value = getattr(settings, name)
        if value and not shared:
            raise ValueError(
                f"{name} must be 0 without the objective supernet, got {value}. Leave "
                f"--{name} out."
            )
    usual = DiscreteSettings.screening_batches
    if settings.screening_batches != usual and not settings.rescore:
        raise ValueError(
            "screening_batches must be left out without --rescore, got "
            f"{settings.screening_batches}. Leave it out, or add --rescore."
        )
    if settings.rescore and limits.bounds(settings):
        raise ValueError(
            "rescore must be 0 in a search with limits, whose cells are scored one by "
            f"one, got {settings.rescore}. Leave one of them out."
        )


def check_limits(
    space: spaces.Space, settings: DiscreteSettings, dataset: data_lib.Dataset
) -> None:
    """Refuses limits that no useful cell keeps in a search on images.

    Args:
      space: of the cells.
      settings: of the search.
      dataset: the images.

    Raises:
      ValueError: a limit below the cheapest cell that computes something, or limits
        that no cell keeps together.
    """
    numbers = limits.cost_numbers(
        settings, settings_lib.changed(settings), space, dataset.image_shape
    )
    limits.check(space, settings, numbers, dataset, stem=settings.stem)
