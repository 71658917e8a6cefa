"""Rows of recipes: the numbers of a training that suit a space and an image size.

A row sets fields of a training's settings. It replaces the defaults, never what a user
set. ``darts`` has the defaults themselves, those of its paper on CIFAR-10.
"""

import dataclasses
from collections.abc import Collection
from typing import Any

from jnas import registry, spaces
from jnas import settings as settings_lib
from jnas.networks import stems
from jnas.settings import option
from jnas.spaces import genotype_choices, genotype_text
from jnas.studies import setup

AUTO = "auto"
# of a method's search of minutes in the space compact
SEARCH_COMPACT = {
    "learning_rate": 0.1,
    "final_learning_rate": 0.0,
    "logits_learning_rate": 0.03,
    "frozen_rate": 0.3,
    "watch_interval": 0,  # it takes longer to compile than such a search
}
_OF_SKELETON = {"mobile": "compact"}
RECIPES = registry.Registry("recipe")  # name -> () -> settings of a training


@dataclasses.dataclass(frozen=True)
class RowSettings:
    """Which row of numbers a training has. The field carries its own help text."""

    recipe: str = option(
        AUTO,
        "Row of numbers in place of the defaults: darts, nasbench201, imagenet, "
        "compact, macro, or auto (compact for cells of that space, nasbench201 for "
        "other cells of one input, macro for what is not made of cells, imagenet for "
        f"images of at least {stems.LARGE} pixels a side, otherwise darts). A flag "
        "that is given wins.",
        group="schedule",
    )
    __post_init__ = settings_lib.check


@RECIPES.register
def darts() -> dict[str, Any]:
    """Returns nothing: the defaults are DARTS' own numbers on CIFAR-10.

    Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, section 3.2.
    """
    return {}


@RECIPES.register
def nasbench201() -> dict[str, Any]:
    """Returns the numbers of NAS-Bench-201: SGD with Nesterov momentum, no head.

    Source: Dong and Yang 2020, arXiv:2001.00326, table 1 and its released code.
    Differs: in 2,140 of its 15,625 cells the benchmark adds the bias of a norm that
    nothing reaches; ``networks.derived`` does with ``constants=True``.
    """
    return {
        "features": 16,
        "layers": 5,
        "batch_size": 256,
        "epochs": 200,
        "learning_rate": 0.1,
        "nesterov": True,
        "weight_decay": 5e-4,
        "clip_norm": 0.0,
        "drop_path_rate": 0.0,
        "auxiliary": False,
        "cutout": 0,
    }


@RECIPES.register
def imagenet() -> dict[str, Any]:
    """Returns the numbers of the DARTS family on ImageNet.

    Source: arXiv:1806.09055, section 3.3: 48 features, 14 cells, batch 128, learning
    rate 0.1, weight decay 3e-5, 250 epochs, label smoothing 0.1, auxiliary weight 0.4,
    no drop path. Differs: the rate rises in 5 epochs and then falls linearly, as in
    Chen et al. 2019, arXiv:1904.12760, where DARTS multiplies it by 0.97 an epoch.
    """
    return {
        "features": 48,
        "layers": 14,
        "batch_size": 128,
        "epochs": 250,
        "learning_rate": 0.1,
        "schedule": "linear",
        "warmup_epochs": 5,
        "weight_decay": 3e-5,
        "label_smoothing": 0.1,
        "drop_path_rate": 0.0,
        "cutout": 0,
    }


@RECIPES.register
def compact() -> dict[str, Any]:
    """Returns numbers for small networks and trainings of minutes.

    Source: none; README has what was measured. Differs from those of papers in its rate
    and in its images: in so few epochs a crop costs accuracy, and mixing pairs of
    images does not.
    """
    return {
        "features": 8,
        "layers": 1,
        "batch_size": 64,
        "epochs": 30,
        "learning_rate": 0.6,
        "warmup_epochs": 1,
        "schedule_by": "step",
        "nesterov": True,
        "weight_decay": 5e-4,
        "clip_norm": 5.0,
        "label_smoothing": 0.1,
        "mixup": 0.2,
        "drop_path_rate": 0.0,
        "auxiliary": False,
        "augment": "none",
        "cutout": 0,
    }


@RECIPES.register
def macro() -> dict[str, Any]:
    """Returns the numbers of NAS-Bench-Macro: SGD with momentum, 50 epochs.

    Features are those of the chain's own stem.

    Source: Su et al. 2021, arXiv:2103.11922, its released code. Differs: networks that
    are no chains have 16 features.
    """
    return {
        "features": 16,
        "layers": 1,
        "batch_size": 256,
        "epochs": 50,
        "learning_rate": 0.1,
        "weight_decay": 5e-4,
        "clip_norm": 0.0,
        "drop_path_rate": 0.0,
        "auxiliary": False,
        "cutout": 0,
    }


def row_of(
    architecture: genotype_text.AnyGenotype | spaces.Space | None,
    image_shape: tuple[int, ...],
    *,
    recipe: str = AUTO,
) -> dict[str, Any]:
    """Returns the row of a recipe for an architecture: a chain has its own features.

    Args:
      architecture: a genotype, or a space; None where the recipe is named.
      image_shape: rows, columns and channels of one image.
      recipe: its name, or "auto".

    Raises:
      KeyError: a recipe that is not registered; the nearest is guessed.
    """
    row = RECIPES[name_of(architecture, image_shape, recipe=recipe)]()
    space = architecture
    if isinstance(space, genotype_text.Choices):
        space = genotype_choices.space_of(space)
    if hasattr(space, "stem_features"):
        row |= {"features": space.stem_features}
    return row


def changed(name: str, **changes: Any) -> dict[str, Any]:
    """Returns a row with other numbers, and a warm-up that the epochs leave room for.

    Args:
      name: key in ``RECIPES``.
      **changes: setting -> value.
    """
    return _with_room(RECIPES[name]() | changes)


def _with_room(row: dict[str, Any], epochs: int | None = None) -> dict[str, Any]:
    """Shortens the warm-up of a row to half of its epochs, or of those that are given.

    A short training that a user asks for has less.
    """
    if "warmup_epochs" not in row:
        return row
    most = row.get("epochs", epochs) // 2
    return row | {"warmup_epochs": min(row["warmup_epochs"], most)}


def name_of(
    genotype: genotype_text.AnyGenotype | spaces.Space | None,
    image_shape: tuple[int, ...],
    *,
    recipe: str = AUTO,
) -> str:
    """Returns the name of the recipe that suits an architecture and images.

    Args:
      genotype: a genotype or a space; cells of one input have NAS-Bench-201's network.
      image_shape: rows, columns and channels of one image.
      recipe: its name, or "auto".

    Raises:
      KeyError: a recipe that is not registered; the nearest is guessed.
    """
    if recipe != AUTO:
        _ = RECIPES[recipe]  # raises
        return recipe
    return suitable(genotype, image_shape)


def suitable(
    cells: genotype_text.AnyGenotype | spaces.Space, image_shape: tuple[int, ...]
) -> str:
    """Returns the name of the recipe that "auto" stands for.

    Args:
      cells: a genotype, or the space of it.
      image_shape: rows, columns and channels of one image.
    """
    if not hasattr(cells, "skeleton"):  # not made of cells
        return "macro"
    if cells.skeleton in _OF_SKELETON:
        return _OF_SKELETON[cells.skeleton]
    if cells.num_inputs == 1:
        return "nasbench201"
    return "imagenet" if stems.named(stems.AUTO, image_shape) == "imagenet" else "darts"


def defaults(
    genotype: genotype_text.AnyGenotype,
    image_shape: tuple[int, ...],
    *,
    recipe: str = AUTO,
) -> dict[str, Any]:
    """Returns the settings of a training that differ from the defaults of its class.

    Args:
      genotype: the cells.
      image_shape: rows, columns and channels of one image.
      recipe: its name, or "auto".

    Returns:
      setting -> value.

    Raises:
      KeyError: a recipe that is not registered; the nearest is guessed.
    """
    return row_of(genotype, image_shape, recipe=recipe)


def apply(
    settings: Any,
    given: Collection[str],
    genotype: genotype_text.AnyGenotype | None,
    image_shape: tuple[int, ...],
    *,
    recipe: str = AUTO,
) -> tuple[Any, str]:
    """Returns the settings of a training by its recipe, and a line that says so.

    Args:
      settings: of the training, with the values of its flags.
      given: names of the settings that the user set; they stay.
      genotype: the cells.
      image_shape: rows, columns and channels of one image.
      recipe: its name, or "auto".

    Returns:
      (settings of the same class, one line of text).

    Raises:
      KeyError: a recipe that is not registered; the nearest is guessed.
      ValueError: a recipe with a setting that a training does not have, or layers for
        a chain.
    """
    if isinstance(genotype, genotype_text.Choices):
        setup.check_layers(genotype_choices.space_of(genotype), given)
    name = name_of(genotype, image_shape, recipe=recipe)
    row = row_of(genotype, image_shape, recipe=name)
    known = [field.name for field in dataclasses.fields(settings)]
    for key in row:
        if key not in known:
            raise ValueError(
                f"recipe {name} must have settings of a training, got {key!r}. "
                f"{registry.nearest(key, known)}".rstrip()
            )
    kept = sorted(set(row) & set(given))
    changed = {key: value for key, value in row.items() if key not in kept}
    changed = _with_room(changed, settings.epochs)
    text = f"recipe: {name}" + (f", except {', '.join(kept)}" if kept else "")
    if changed:
        values = ", ".join(f"{key} {_text(value)}" for key, value in changed.items())
        text = f"{text} ({values})"
    return dataclasses.replace(settings, **changed), text


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
