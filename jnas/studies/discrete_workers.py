"""Cells of a discrete search that workers score."""

from collections.abc import Callable
from typing import Any

from jnas import settings as settings_lib
from jnas.discrete.objectives import workers
from jnas.run import pools
from jnas.studies import augmentation, members, scoring, setup
from jnas.studies import discrete_plan as plan_lib


def build_member(origin: members.Origin, values: dict[str, Any]) -> Callable:
    """Builds what a worker computes: a task's scores by the objective of single cells.

    Args:
      origin: of data and space.
      values: JSON of the search's settings.

    Returns:
      workers.Task -> scores f32[M].
    """
    dataset, space = origin.open()
    settings = settings_lib.from_json(plan_lib.DiscreteSettings, values)
    (part,) = _of_cells(settings)
    objective = scoring.build(
        part,
        space,
        settings,
        setup.network_size(settings, dataset, stem=settings.stem),
        setup.two_splits(dataset, settings.valid_rate, seed=origin.seed),
        augmentation.build(settings, dataset),
        dataset.task,
    )
    return workers.compiled(workers.member_of(objective))


def check(settings: plan_lib.DiscreteSettings, asked: pools.Asked | None) -> None:
    """Refuses workers of an objective that has no members.

    Args:
      settings: of the search.
      asked: the workers; None is allowed for all.

    Raises:
      ValueError: the objective is a table, shared weights, or a cost alone.
    """
    named = _of_cells(settings)
    if asked and (len(named) != 1 or scoring.SUPERNET in named):
        raise ValueError(
            "workers must have one objective of single cells, such as scratch or one "
            f"of your own, got {settings.objective}. Leave --workers out."
        )


def _of_cells(settings: plan_lib.DiscreteSettings) -> list[Any]:
    """Returns the parts of an objective on images that are no costs."""
    objective = settings.objective
    if isinstance(objective, str) and objective.startswith("table:"):
        return []
    return [one for one in scoring.parts(objective) if one not in scoring.COSTS]
