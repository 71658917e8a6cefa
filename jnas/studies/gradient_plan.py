"""What a search by gradient is: its settings, and the limits of its cells."""

import dataclasses

from jnas import data as data_lib
from jnas import gradient, networks, spaces
from jnas import settings as settings_lib
from jnas.gradient import methods
from jnas.run import workdir
from jnas.settings import option
from jnas.studies import augmentation, limits, setup
from jnas.studies import finalists as finalists_lib


@dataclasses.dataclass(frozen=True)
class SearchSettings(
    finalists_lib.FinalistSettings,
    limits.LimitSettings,
    augmentation.AugmentSettings,
):
    """How a method is run. The fields carry their own help text."""

    method: methods.Method = option(text="Row of pieces and numbers.", group="method")
    valid_rate: float = option(
        0.5,
        "Share of the training images in the split that trains the architecture.",
        group="data",
    )
    num_seeds: int | None = option(
        None,
        "Number of searches run side by side as one program; without it one.",
        group="search",
        least=1,
    )
    stem: str = setup.stem_option()
    remat: bool = setup.remat_option()
    dtype: str = setup.dtype_option()
    __post_init__ = settings_lib.check


def check_limits(
    space: spaces.Space, settings: SearchSettings, dataset: data_lib.Dataset
) -> None:
    """Refuses limits that no cell keeps whose output depends on its input.

    Args:
      space: the user's space.
      settings: of the search.
      dataset: the images.

    Raises:
      ValueError: a limit below the cheapest cell that computes something, or limits
        that no cell keeps together.
    """
    method = settings.method
    limits.check(
        gradient.space_of(method, space),
        settings,
        limits.cost_numbers(settings, changed(method), space, dataset.image_shape),
        dataset,
        stem=settings.stem,
        max_skips=method.max_skips,
    )


def build_limits(
    run: workdir.Run,
    space: spaces.Space,
    settings: SearchSettings,
    dataset: data_lib.Dataset,
) -> tuple[networks.Limit, ...]:
    """Builds the limits of a search.

    Args:
      run: the open run.
      space: the method's space.
      settings: of the search.
      dataset: the images.

    Raises:
      ValueError: as ``check_limits``.
    """
    method = settings.method
    return limits.build(
        run,
        space,
        settings,
        limits.cost_numbers(settings, changed(method), space, dataset.image_shape),
        dataset,
        stem=settings.stem,
        max_skips=method.max_skips,
    )


def changed(method: methods.Method) -> dict[str, int]:
    """Returns the numbers that a user set, which a training takes too.

    Args:
      method: of the search.
    """
    row, names = methods.row_of(method), ("features", "layers", "epochs")
    given = {name: getattr(method, name) for name in names}
    return {name: v for name, v in given.items() if v != getattr(row, name)}
