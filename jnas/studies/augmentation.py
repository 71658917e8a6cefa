"""How training images are augmented: settings, and what a run says of it."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jnas import data as data_lib
from jnas import settings as settings_lib
from jnas.settings import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """How training images are augmented; settings of searches and trainings extend it.

    The fields carry their own help text.
    """

    augment: str = option(
        "auto",
        "Augmentation: standard (crop and mirror, as papers on CIFAR-10 do), none "
        "(normalise only), or auto (crop, and mirror only data sets that are known to "
        "keep their labels when mirrored).",
        group="data",
        among=data_lib.POLICIES,
    )
    flip: bool | None = option(
        None,
        "Mirror images horizontally with probability 1/2; without it what --augment "
        "says.",
        group="data",
    )
    crop_padding: int | None = option(
        None,
        "Largest shift in pixels of a random crop; without it an eighth of each axis "
        "of at least 8 pixels.",
        group="data",
        least=0,
    )
    cutout: int | None = option(
        None,
        "Side in pixels of the square that cutout blanks; without it 0 in a search and "
        "half of the shorter side in a training from scratch.",
        group="data",
        least=0,
    )
    __post_init__ = settings_lib.check


def fields(settings: AugmentSettings) -> dict[str, Any]:
    """Returns field -> value of the augmentation alone, for settings that extend it.

    Args:
      settings: an instance of AugmentSettings, or of a class that extends it.
    """
    own = dataclasses.fields(AugmentSettings)
    return {field.name: getattr(settings, field.name) for field in own}


def changed(settings: AugmentSettings) -> dict[str, Any]:
    """Returns field -> value of what a user of a search set, for a training's flags.

    Args:
      settings: of the search. Its cutout is left out: a training has its own default.
    """
    given = settings_lib.changed(AugmentSettings(**fields(settings)))
    return {name: value for name, value in given.items() if name != "cutout"}


def build(
    settings: AugmentSettings,
    dataset: data_lib.Dataset,
    *,
    how: Callable[..., data_lib.Augment] = data_lib.for_search,
) -> data_lib.Augment:
    """Returns the augmentation of a run.

    Args:
      settings: policy, and what replaces it.
      dataset: its images are augmented.
      how: ``data.for_search``, or ``data.for_training``, whose default has cutout.

    Raises:
      ValueError: a crop or a cutout that could remove the image.
    """
    given = fields(settings)
    return how(dataset, policy=given.pop("augment"), **given)


def announce(
    say: Callable[[str], Any], dataset: data_lib.Dataset, augment: data_lib.Augment
) -> None:
    """Says how images are augmented, then what is to be known of the data set.

    Args:
      say: takes one line of text.
      dataset: its notes are said.
      augment: made for the data set.
    """
    for line in (data_lib.describe(augment, dataset), *dataset.notes):
        say(line)
