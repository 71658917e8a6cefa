"""A comparison of controllers on a table: a phase for each, then tables and report."""

import dataclasses
import json
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jnas import directions, pieces, registry, report
from jnas import settings as settings_lib
from jnas.discrete import comparison, objectives, tables
from jnas.discrete.tables import choice
from jnas.run import files, workdir
from jnas.settings import option
from jnas.studies import closing, setup

RANDOM = "random_search"
DEFAULT = ("regularized_evolution", "reinforce")
MAX_EVALUATIONS = 10**8  # of all runs together: they are kept in memory
SECONDS = "seconds"


@dataclasses.dataclass(frozen=True)
class CompareSettings:
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
        "Simulated seconds of each run, by the table's metric seconds; give this or "
        "--budget_evaluations.",
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
      signals: metrics that are searched on.
      reports: metrics that are reported; the last one judges.
      controllers: name -> controller, random search first.
      objective: scores signal, report and, if they are the budget, seconds.
      num_evaluations: number T of evaluations that any run can afford.
      budget: budget of a run, in evaluations or seconds.
    """

    settings: CompareSettings
    table: tables.Table
    signals: tuple[directions.Metric, ...]
    reports: tuple[directions.Metric, ...]
    controllers: dict[str, Any]
    objective: Any
    num_evaluations: int
    budget: float


def prepare(settings: CompareSettings) -> Plan:
    """Looks everything up, before anything runs.

    Args:
      settings: settings of the comparison.

    Raises:
      ValueError: no budget or two, an unknown metric, or seconds that the table lacks.
      KeyError: an unknown controller or table; the nearest is guessed.
    """
    evaluations, seconds = settings.budget_evaluations, settings.budget_seconds
    if (evaluations is None) == (seconds is None):
        raise ValueError(
            "budget must be one of --budget_evaluations and --budget_seconds, got "
            f"{'neither' if seconds is None else 'both'}. Give one."
        )
    table = choice.load_table(settings.objective)
    choice.check_metrics(table, settings.signal, settings.report)
    names = [*settings.signal, *settings.report]
    if seconds is not None:
        names.append(f"{directions.MAXIMIZE}:{SECONDS}")  # a cost here, no score
        least = float(np.nanmin(table.column(SECONDS)))
        if seconds < least or least <= 0:
            raise ValueError(
                f"budget_seconds must pay for the cheapest cell's {least:.4g} s, got "
                f"{seconds}. Raise it."
            )
        evaluations = math.ceil(seconds / least)
    if evaluations > MAX_EVALUATIONS // settings.num_runs:
        raise ValueError(
            f"budget must be at most {MAX_EVALUATIONS} evaluations of all runs, got "
            f"{evaluations} for each of {settings.num_runs}. Lower it."
        )
    settings = dataclasses.replace(
        settings, controllers=settings.controllers or DEFAULT
    )
    objective = objectives.table(table, names)
    chosen = {RANDOM: RANDOM} | {
        pieces.name_of(registry.CONTROLLERS, piece): piece
        for piece in settings.controllers
    }
    made = {
        name: setup.controller(piece, table.sizes, num_objectives=len(settings.signal))
        for name, piece in chosen.items()
    }
    budget = float(evaluations if seconds is None else seconds)
    signals, reports = (
        tuple(map(table.metric, listed))
        for listed in (settings.signal, settings.report)
    )
    return Plan(settings, table, signals, reports, made, objective, evaluations, budget)


def compare(run: workdir.Run, plan: Plan) -> tuple[dict, str]:
    """Runs every controller as a phase of its own, and writes the results.

    Args:
      run: the open run, finished here; its seed is that of all runs.
      plan: the comparison, from ``prepare``.

    Returns:
      (result, text): controller -> metric -> mean, sd and n, with ``evaluations``
      (mean), ``wall_seconds`` and ``compile_seconds``; and the printed table.
    """
    gaps = choice.gaps(plan.table, plan.signals[0])
    if gaps:
        run.say(gaps)
    found = {name: _phase(run, plan, name) for name in plan.controllers}
    judged = plan.reports[-1]
    best = float(np.nanmax(judged.sign * plan.table.column(judged.name)))
    result, rows = {}, []
    random = _finals(plan, found, RANDOM)[:, -1]
    for name, one in found.items():
        final = _finals(plan, found, name)
        reported = dict(zip(plan.reports, final.T, strict=True))
        result[name] = {
            metric.name: {
                "mean": float(values.mean()),
                "sd": float(values.std(ddof=1)),
                "n": len(values),
            }
            for metric, values in reported.items()
        } | {n: one[n] for n in ("evaluations", "wall_seconds", "compile_seconds")}
        p = None if name == RANDOM else comparison.p_value(final[:, -1], random)
        rows.append(
            [name]
            + [f"{v.mean():.2f} ± {v.std(ddof=1):.2f}" for v in reported.values()]
            + [f"{best - judged.sign * final[:, -1].mean():.2f}", _significance(p)]
            + [round(one["evaluations"], 1), f"{one['wall_seconds']:.3g}"]
        )
        if gaps:
            result[name]["unknown_rate"] = one["unknown_rate"]
            rows[-1].append(f"{100 * one['unknown_rate']:.1f} %")
    header = ["controller", *(metric.label for metric in plan.reports)]
    header += [f"regret of {judged.name}"]
    header += ["p against random", "evaluations", "wall seconds"]
    header += ["proposals outside the table"] if gaps else []
    table = report.Table(header, rows)
    _close(run, plan, result, table, _traces(plan, found, judged))
    return result, report.markdown(table)


def _finals(plan: Plan, found: dict[str, dict], name: str) -> np.ndarray:
    """Returns f64[S, M], the reported metrics of the runs that found a known cell.

    Raises:
      ValueError: fewer than two runs did.
    """
    rows = np.array(found[name]["final"], np.float64)
    rows = rows[np.isfinite(rows).all(1)]
    if len(rows) < 2:
        raise ValueError(
            f"runs must find a cell that the table holds, got {len(rows)} of "
            f"{len(found[name]['final'])} of {name} that did. "
            f"The {choice.gaps(plan.table, plan.signals[0])}. Use a fuller "
            "table, or raise the budget."
        )
    return rows * [metric.sign for metric in plan.reports]


def _phase(run: workdir.Run, plan: Plan, name: str) -> dict[str, Any]:
    phase = run.phase(name, 1)
    if phase.result is not None:
        return phase.result
    saved = phase.restore({"step": jnp.int32(0)})
    settings, width = plan.settings, len(plan.settings.signal)
    runs = comparison.play(
        plan.controllers[name],
        plan.objective,
        num_runs=settings.num_runs,
        num_evaluations=plan.num_evaluations,
        seed=run.seed,
    )
    known = np.isfinite(runs.scores[:, :, 0])
    costs = np.ones(runs.scores.shape[:2])
    if settings.budget_seconds is not None:
        # a proposal that the table does not hold costs nothing, for nothing is known
        costs = np.where(known, runs.scores[:, :, -1], 0.0)
    reported = slice(width, width + len(settings.report))
    outcome = comparison.judge(
        runs.scores, costs, plan.budget, judged=width + len(settings.report) - 1
    )
    figures = {
        "mean": float(plan.reports[-1].sign * outcome.final[:, reported][:, -1].mean()),
        "unknown_rate": float(1 - known.mean()),
        "evaluations": float(outcome.evaluations.mean()),
        "wall_seconds": round(runs.seconds, 5),
        "compile_seconds": round(runs.compile_seconds, 3),
    }
    if saved is None:  # else it was broken off between its step and its end
        phase.observe(1, {"step": jnp.int32(1)}, figures)
    trace = plan.reports[-1].sign * outcome.trace
    trace = trace[np.isfinite(trace).any(1)]  # runs that found a cell at all
    whole = np.isfinite(trace).all(0) & bool(len(trace))
    trace = trace if len(trace) else np.zeros((1, len(whole)))
    quartiles = np.quantile(trace[:, whole], (0.25, 0.5, 0.75), axis=0)
    phase.end(
        figures
        | {
            "final": outcome.final[:, reported],
            "cost": outcome.cost[whole],
            "quartiles": quartiles,
        }
    )
    return phase.result


def _significance(p: float | None) -> str:
    if p is None:
        return "-"
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def _traces(
    plan: Plan, found: dict[str, dict], judged: directions.Metric
) -> dict[str, Any]:
    """The content of traces.json."""
    seconds = plan.settings.budget_seconds is not None
    traces = {
        name: {
            "cost": one["cost"],
            "quartiles": one["quartiles"],
            "n": len(one["final"]),
        }
        for name, one in found.items()
    }
    x_label = "simulated seconds" if seconds else "evaluations"
    return {"x_label": x_label, "y_label": judged.label, "traces": traces}


def _close(run, plan, result, table, traces) -> None:
    run.write_text("traces.json", json.dumps(files.plain(traces), allow_nan=False))
    if all(one["cost"] for one in traces["traces"].values()):
        run.write_text("traces.svg", report.to_svg(report.charts.traces(traces)))
    settings = plan.settings
    budget = f"{plan.budget:g} " + (
        "evaluations" if settings.budget_seconds is None else "simulated seconds"
    )
    title = f"{settings.objective}, {budget}, {settings.num_runs} runs each"
    closing.finish(run, result, tables={f"{title}; mean ± sd": table})
