"""The recipe of a training from scratch as settings: optimiser, schedule, numbers."""

import dataclasses

from jnas import pieces, registry
from jnas import settings as settings_lib
from jnas.settings import option
from jnas.studies import augmentation
from jnas.training import recipe as recipe_lib
from jnas.training import schedules


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecipeSettings(augmentation.AugmentSettings):
    """How a network is trained; the defaults are DARTS' on CIFAR-10.

    The fields carry their own help text.
    """

    optimizer: pieces.Piece = option(
        "momentum_sgd",
        "Optimizer of the network's parameters.",
        group="schedule",
        pieces=registry.OPTIMIZERS,
    )
    learning_rate: float = option(
        0.025,
        "Learning rate at the start of the schedule; cosine and linear end at 0.",
        group="schedule",
        least=0,
    )
    weight_decay: float | None = option(
        None,
        "Weight decay; without it the optimizer's own, 3e-4 of momentum_sgd.",
        group="schedule",
        least=0,
    )
    momentum: float | None = option(
        None,
        "Momentum; without it the optimizer's own, 0.9 of momentum_sgd.",
        group="schedule",
        least=0,
        most=1,
    )
    nesterov: bool | None = option(
        None,
        "Use Nesterov momentum; without it the optimizer's own, false of momentum_sgd.",
        group="schedule",
    )
    clip_norm: float | None = option(
        None,
        "Largest global norm of the gradient, 0 disables clipping; without it the "
        "optimizer's own, 5 of momentum_sgd, and none of the others.",
        group="schedule",
        least=0,
    )
    schedule: str = option(
        "cosine",
        "Shape of the learning-rate schedule.",
        group="schedule",
        among=tuple(schedules.SHAPES),
    )
    schedule_by: str = option(
        "epoch",
        "Change the learning rate once an epoch (as DARTS) or at each step.",
        group="schedule",
        among=schedules.UNITS,
    )
    warmup_epochs: int = option(
        0,
        "Epochs in which the learning rate rises linearly to --learning_rate; 5 in "
        "P-DARTS and PC-DARTS on ImageNet.",
        group="schedule",
        least=0,
    )
    drop_path_rate: float = option(
        0.2, "Drop-path rate at the end of training.", group="schedule"
    )
    label_smoothing: float = option(
        0.0,
        "Share of the target that is spread over all classes; 0.1 in DARTS on "
        "ImageNet.",
        group="schedule",
    )
    mixup: float = option(
        0.0,
        "Alpha of mixup's Beta(alpha, alpha), which mixes pairs of images and their "
        "labels; 0 disables it.",
        group="schedule",
    )
    ema_decay: float = option(
        0.0,
        "Decay of the moving average of weights and statistics, which is evaluated "
        "and kept instead of the last ones; 0 disables it.",
        group="schedule",
    )
    __post_init__ = settings_lib.check


def recipe(settings: RecipeSettings) -> recipe_lib.Recipe:
    """Returns what a training does beside its numbers.

    Args:
      settings: of the training.
    """
    names = [field.name for field in dataclasses.fields(recipe_lib.Recipe)]
    return recipe_lib.Recipe(**{name: getattr(settings, name) for name in names})


def numbers(settings: RecipeSettings) -> recipe_lib.Numbers:
    """Returns the numbers of a training, as Python floats.

    The augmentation has its own cutout, so it is None here.

    Args:
      settings: of the training.
    """
    names = [name for name in recipe_lib.Numbers._fields if name != "cutout"]
    return recipe_lib.Numbers(**{name: getattr(settings, name) for name in names})
