"""What a comparison of controllers on a table needs, looked up before it runs."""

import dataclasses
import math
from typing import Any, NamedTuple

from jnas import directions, pieces, registry
from jnas import settings as settings_lib
from jnas.discrete import limits as limits_of_cells
from jnas.discrete import objectives, tables
from jnas.discrete.tables import choice
from jnas.settings import option
from jnas.studies import compared, limits, setup
from jnas.studies import kept as kept_lib

RANDOM = "random_search"
DEFAULT = ("regularized_evolution", "reinforce")
MAX_EVALUATIONS = 10**8  # of all runs together: they are kept in memory
SECONDS = "seconds"
TIMES = ("evaluations", "wall_seconds", "compile_seconds")
FIGURES = (*TIMES, "unfit_rate", "unknown_rate", "unknown_cost_rate")


@dataclasses.dataclass(frozen=True)
class CompareSettings(limits.BoundSettings):
    """A comparison of controllers on a table. The fields carry their own help text."""

    controllers: tuple[pieces.Piece, ...] = option(
        (),
        "Controllers that are compared, comma-separated; without it "
        f"{' and '.join(DEFAULT)}. Random search is added.",
        pieces=registry.CONTROLLERS,
    )
    objective: str = setup.table_option()
    num_runs: int = option(500, "Number of runs of each controller.", least=2)
    budget_evaluations: int | None = option(
        None, "Evaluations of each run; give this or --budget_seconds.", least=1
    )
    budget_seconds: float | None = option(
        None,
        "Simulated seconds of each run, by the table's metric seconds, or its largest "
        "where a cell's is unknown; give this or --budget_evaluations.",
        least=0,
    )
    signal: tuple[str, ...] = setup.signal_option()
    report: tuple[str, ...] = setup.report_option()
    __post_init__ = settings_lib.check


class Plan(NamedTuple):
    """A comparison that can be run.

    Attributes:
      settings: settings of the comparison.
      table: the benchmark.
      signals: metrics that are searched on, each once.
      reports: metrics that are reported, each once; the last one judges.
      controllers: name -> controller, random search first.
      objective: scores signals, reports and, if they are the budget, seconds.
      num_evaluations: number T of evaluations that any run can afford.
      budget: budget of a run, in evaluations or seconds.
      unknown_cost: seconds of an evaluation of which the table holds none: the largest
        that it holds. None where evaluations are the budget.
      kept: the limits, by the costs in the table; None without any.
    """

    settings: CompareSettings
    table: tables.Table
    signals: tuple[directions.Metric, ...]
    reports: tuple[directions.Metric, ...]
    controllers: dict[str, Any]
    objective: Any
    num_evaluations: int
    budget: float
    unknown_cost: float | None
    kept: kept_lib.Kept | None = None

    @property
    def judged(self) -> directions.Metric:
        """The metric that judges controllers."""
        return self.reports[-1]

    def has_gaps(self, *metrics: directions.Metric) -> bool:
        """Returns whether the table lacks one of the metrics of some cell."""
        return any(choice.gaps(self.table, metric) for metric in metrics)


def prepare(settings: CompareSettings) -> Plan:
    """Looks everything up, before anything runs.

    Args:
      settings: settings of the comparison.

    Raises:
      ValueError: no budget or two, a metric that is unknown or that no cell has,
        seconds that the table lacks, or limits that none of its cells keeps.
      KeyError: an unknown controller or table; the nearest is guessed.
    """
    table = choice.load_table(settings.objective)
    choice.check_metrics(table, settings.signal, settings.report)
    signals, reports = (
        tuple(dict.fromkeys(map(table.metric, listed)))
        for listed in (settings.signal, settings.report)
    )
    kept = kept_lib.in_table(table, settings)
    choice.check_known(table, signals, reports, within=kept and kept.rows(table))
    evaluations, most = _budget(settings, table)
    settings = dataclasses.replace(
        settings, controllers=settings.controllers or DEFAULT
    )
    chosen = {RANDOM: RANDOM} | {
        pieces.name_of(registry.CONTROLLERS, piece): piece
        for piece in settings.controllers
    }
    compared.check_names(chosen, reports, FIGURES)
    made = {
        name: setup.controller(
            piece,
            table.sizes,
            num_objectives=len(signals),
            margins=kept and kept.margins,
        )
        for name, piece in chosen.items()
    }
    columns = [f"{metric.direction}:{metric.name}" for metric in (*signals, *reports)]
    if most is not None:
        columns.append(f"{directions.MAXIMIZE}:{SECONDS}")  # a cost here, no score
    objective = objectives.table(table, columns)
    if kept:
        objective = limits_of_cells.first_masked(objective, kept.margins)
    budget = float(settings.budget_seconds or evaluations)
    return Plan(
        settings,
        table,
        signals,
        reports,
        made,
        objective,
        evaluations,
        budget,
        most,
        kept,
    )


def _budget(settings: CompareSettings, table: tables.Table) -> tuple[int, float | None]:
    """Returns the most evaluations of a run, and the cost of those of unknown cost."""
    evaluations, seconds = settings.budget_evaluations, settings.budget_seconds
    if (evaluations is None) == (seconds is None):
        raise ValueError(
            "budget must be one of --budget_evaluations and --budget_seconds, got "
            f"{'neither' if seconds is None else 'both'}. Give one."
        )
    most = None
    if seconds is not None:
        least, most = choice.prices(table, SECONDS)
        if seconds < least:
            raise ValueError(
                f"budget_seconds must pay for the cheapest cell's {least:.4g} s, got "
                f"{seconds}. Raise it."
            )
        evaluations = seconds / least
    if evaluations > MAX_EVALUATIONS // settings.num_runs:
        raise ValueError(
            f"budget must be at most {MAX_EVALUATIONS} evaluations of all runs, got "
            f"{evaluations:.10g} for each of {settings.num_runs}. Lower it."
        )
    return math.ceil(evaluations), most
