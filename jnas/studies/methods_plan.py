"""What a comparison of gradient methods needs, looked up before it runs."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jnas import data as data_lib
from jnas import directions, gradient, networks, pieces, registry, spaces
from jnas import settings as settings_lib
from jnas.discrete import tables
from jnas.discrete.tables import choice
from jnas.gradient import methods
from jnas.settings import option
from jnas.studies import augmentation, compared, limits, setup
from jnas.studies import kept as kept_lib

ALL = "all"
FIGURES = ("best", "percentile", "unknown", "tau", "skip_connects", "evaluations")
FIGURES += ("wall_seconds", "p")


@dataclasses.dataclass(frozen=True)
class MethodsSettings(limits.BoundSettings, augmentation.AugmentSettings):
    """A comparison of gradient methods. The fields carry their own help text."""

    methods: tuple[str, ...] = option(
        (),
        "Gradient methods that are compared instead of controllers, comma-separated, "
        "or all.",
        group="method",
    )
    objective: str = setup.table_option()
    num_seeds: int = option(8, "Number of searches of each method.", least=2)
    epochs: int = option(
        25, "Epochs of each search, all stages together.", group="schedule", least=1
    )
    batch_size: int = option(32, "Images in a batch.", group="schedule", least=1)
    features: int = option(8, "Features of the first cells.", group="network", least=1)
    layers: int = option(
        1, "Number of cells of a stage of the network.", group="network", least=1
    )
    frozen_rate: float | None = option(
        None,
        "Share of a stage's first epochs in which the logits do not move; without it "
        "each method's own. Not of methods whose logits no step moves.",
        group="schedule",
        least=0,
        most=1,
    )
    logits_rate_factor: float = option(
        30.0,
        "Factor on each method's own learning rate of the logits, which is made for "
        "tens of thousands of steps; not on steps that a rule gives itself (zarts).",
        group="schedule",
    )
    images_per_cell: int = option(
        2016,
        "Training images that one row of the table cost; random search gets as many "
        "rows as a search trains images.",
        least=1,
    )
    signal: tuple[str, ...] = setup.signal_option()
    report: tuple[str, ...] = setup.report_option()
    __post_init__ = settings_lib.check


class Plan(NamedTuple):
    """A comparison that can be run.

    Attributes:
      settings: settings of the comparison.
      space: space that is searched.
      table: the benchmark.
      methods: name -> method, with the comparison's sizes and epochs.
      dataset: data set that is searched on.
      signal: the table's metric that random search chooses its cells by.
      judged: the table's metric that cells are judged by.
      held: bool[N], which rows of the table are cells that keep the limits; None
        without limits.
    """

    settings: MethodsSettings
    space: spaces.CellSpace
    table: tables.Table
    methods: dict[str, methods.Method]
    dataset: data_lib.Dataset
    signal: directions.Metric
    judged: directions.Metric
    held: np.ndarray | None = None

    @property
    def truth(self) -> np.ndarray:
        """f[N]: the judged metric of each row, negated if it is to be minimised.

        NaN where it is unknown, and of cells that exceed a limit.
        """
        found = self.judged.sign * self.table.column(self.judged.name)
        return found if self.held is None else np.where(self.held, found, np.nan)

    def within(self, made: Sequence[networks.Limit]) -> "Plan":
        """Returns the comparison among the cells that keep limits.

        Args:
          made: the limits.

        Raises:
          ValueError: the table holds the metrics of no such cell.
        """
        if not made:
            return self
        held = kept_lib.rows_within(self.table, self.space, made)
        choice.check_known(self.table, [self.signal], [self.judged], within=held)
        return self._replace(held=held)


def prepare(
    settings: MethodsSettings, space: spaces.CellSpace, dataset: data_lib.Dataset
) -> Plan:
    """Looks everything up, before anything runs.

    Args:
      settings: of the comparison.
      space: space that is searched.
      dataset: data set that is searched on.

    Raises:
      ValueError: a table of another space, a metric that is unknown or that no cell
        has, or a limit that no cell keeps.
      KeyError: an unknown method or table; the nearest is guessed.
    """
    table = choice.load_table(settings.objective)
    entry = registry.TABLES.get(settings.objective.partition(":")[2])
    embedded = entry is not None and entry.__module__.startswith("jnas.")
    if embedded and dataset.task_name != "classification":
        raise ValueError(
            f"objective must be a table of the task {dataset.task_name}, which judges "
            f"the cells that are found, got {table.name}, which holds accuracies of "
            "classes. Make one with make_table.py, and name its file."
        )
    if tuple(table.sizes) != space.sizes:
        raise ValueError(
            f"objective must be a table of {space.name}, got one with sizes "
            f"{tuple(table.sizes)}. Name its own --space."
        )
    choice.check_metrics(table, settings.signal, settings.report)
    names = settings.methods
    if ALL in names:
        names = tuple(registry.METHODS)
    made = {name: _budgeted(registry.METHODS[name](), settings) for name in names}
    for method in made.values():
        gradient.check(method, space)
    signal = table.metric(settings.signal[0])
    judged = table.metric(settings.report[-1])
    choice.check_known(table, [signal], [judged])
    compared.check_names(made, [judged], FIGURES)
    plan = Plan(settings, space, table, made, dataset, signal, judged)
    return plan.within(_limits(settings, space, made, dataset))


def _limits(settings, space, made, dataset) -> tuple[networks.Limit, ...]:
    """Returns the limits of the space's cells; refuses what no useful one keeps."""
    numbers = {"features": settings.features, "layers": settings.layers}
    searched = [(gradient.space_of(one, space), one.max_skips) for one in made.values()]
    for own, max_skips in dict.fromkeys(searched):
        limits.check(own, settings, numbers, dataset, max_skips=max_skips)
    return limits.check(space, settings, numbers, dataset)


def _budgeted(method: methods.Method, settings: MethodsSettings) -> methods.Method:
    """Gives a method the comparison's sizes, and scales numbers counted in epochs."""
    names = {pieces.name_of(registry.HOOKS, one) for one in method.hooks}
    rises = bool(names & {"stop_early", "adaptive_decay"})
    tuning = round(method.projection_epochs * settings.epochs / method.epochs)
    frozen, factor = settings.frozen_rate, settings.logits_rate_factor
    rule = pieces.resolve(registry.HYPERGRADIENTS, method.hypergradient)
    if pieces.marked(rule, "gives_steps"):
        factor = 1.0  # its steps are of the logits themselves
    if not method.moves_logits:
        frozen, factor = None, 1.0  # a hook decides
    return dataclasses.replace(
        method,
        frozen_rate=method.frozen_rate if frozen is None else frozen,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        features=settings.features,
        layers=settings.layers,
        logits_learning_rate=method.logits_learning_rate * factor,
        projection_epochs=max(1, tuning) if method.projection_epochs else 0,
        stages=_dividing(method.stages, settings.features),
        watch_interval=method.watch_interval if rises else 0,
    )


def _dividing(stages: tuple, features: int) -> tuple:
    """Makes partial channels divide the features: smaller ones, each below the last."""
    found, most = [], features
    for stage in stages:
        partial = stage.partial
        if partial > 1:
            fitting = [k for k in range(1, min(partial, most) + 1) if not features % k]
            partial, most = fitting[-1], max(1, fitting[-1] - 1)
        found.append(dataclasses.replace(stage, partial=partial))
    return tuple(found)
