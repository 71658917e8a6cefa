"""A comparison of controllers on a table: a phase for each, then tables and report."""

import json
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from jnas import report
from jnas.discrete import comparison
from jnas.discrete.tables import choice
from jnas.run import files, workdir
from jnas.studies import compared, controllers_table
from jnas.studies import kept as kept_lib
from jnas.studies.controllers_plan import RANDOM as RANDOM
from jnas.studies.controllers_plan import SECONDS, TIMES, Plan
from jnas.studies.controllers_plan import CompareSettings as CompareSettings
from jnas.studies.controllers_plan import prepare as prepare
from jnas.training import placement


def compare(run: workdir.Run, plan: Plan) -> tuple[dict, str]:
    """Runs every controller as a phase of its own, and writes the results.

    Each metric is judged by itself, over the runs whose cell has a value of it.

    Args:
      run: the open run, finished here; its seed is that of all runs.
      plan: the comparison, from ``prepare``.

    Returns:
      (result, text): controller -> metric -> mean, sd and n, with ``evaluations``
      (mean), ``wall_seconds`` and ``compile_seconds``; and the printed text.

    Raises:
      ValueError: fewer than two runs of a controller have a value of a metric.
    """
    for line in kept_lib.described(plan.table, plan.settings) if plan.kept else ():
        run.say_once(line)
    costs = () if plan.unknown_cost is None else (SECONDS,)
    for line in choice.all_gaps(plan.table, plan.signals, plan.reports, costs):
        run.say(line)
    found = {name: _phase(run, plan, name) for name in plan.controllers}
    values = {name: _values(plan, name, one) for name, one in found.items()}
    rates = controllers_table.rates(plan)
    result = {
        name: {
            metric.name: compared.spread(column)
            for metric, column in zip(plan.reports, values[name].T, strict=True)
        }
        | {key: one[key] for key in (*TIMES, *rates)}
        for name, one in found.items()
    }
    traces = controllers_table.traces(plan, found)
    run.write_text("traces.json", json.dumps(files.plain(traces), allow_nan=False))
    if all(one["cost"] for one in traces["traces"].values()):
        run.write_text("traces.svg", report.to_svg(report.charts.traces(traces)))
    return compared.close(
        run,
        result,
        title=controllers_table.title(plan),
        table=controllers_table.table(plan, result, values),
        metrics=(*plan.reports, *plan.signals),
        warnings=controllers_table.warnings(plan, result),
    )


def _values(plan: Plan, name: str, one: dict[str, Any]) -> np.ndarray:
    """Returns f64[S, M], the reported metrics of each run; NaN where there is none.

    Raises:
      ValueError: fewer than two runs have a value of a metric.
    """
    rows = np.array(one["final"], np.float64)
    counts = np.isfinite(rows).sum(0)
    for metric, count in zip(plan.reports, counts, strict=True):
        if count >= 2:
            continue
        within = "that keeps the limits and " if plan.kept else ""
        lacking = len(rows) - one["unpaid"] - one["unfound"] - count
        reasons = {
            "could pay for no evaluation": one["unpaid"],
            f"proposed no cell {within}whose {plan.signals[0].name} is known": one[
                "unfound"
            ],
            f"chose a cell whose {metric.name} is unknown": lacking,
        }
        said = ", ".join(f"{n} {text}" for text, n in reasons.items() if n)
        raise ValueError(
            f"runs must have {metric.name} for at least two of {len(rows)} of {name}, "
            f"got {count}: {said}. {_whole(plan)}Use a fuller table or another metric, "
            "or raise the budget."
        )
    return rows * [metric.sign for metric in plan.reports]


def _whole(plan: Plan) -> str:
    """Returns the gaps of the table in one sentence for an error."""
    lines = choice.all_gaps(plan.table, plan.signals, plan.reports)
    return "".join(f"The {line.partition(';')[0]}. " for line in lines)


def _phase(run: workdir.Run, plan: Plan, name: str) -> dict[str, Any]:
    phase = run.phase(name, 1)
    if phase.result is not None:
        return phase.result
    saved = phase.restore({"step": jnp.int32(0)})
    phase.runs_on(placement.layout(plan.settings.num_runs))
    runs = comparison.play(
        plan.controllers[name],
        plan.objective,
        num_runs=plan.settings.num_runs,
        num_evaluations=plan.num_evaluations,
        seed=run.seed,
    )
    outcome, shares = _judge(plan, runs)
    reported = outcome.final[:, len(plan.signals) :][:, : len(plan.reports)]
    unpaid = int((outcome.evaluations == 0).sum())
    figures = {
        "mean": compared.spread(plan.judged.sign * reported[:, -1])["mean"],
        **{name: shares[name] for name in controllers_table.rates(plan)},
        "evaluations": float(outcome.evaluations.mean()),
        "wall_seconds": round(runs.seconds, 5),
        "compile_seconds": round(runs.compile_seconds, 3),
    }
    if saved is None:  # else it was broken off between its step and its end
        numbers = {k: math.nan if v is None else v for k, v in figures.items()}
        phase.observe(1, {"step": jnp.int32(1)}, numbers)
    phase.end(
        figures
        | {
            "unpaid": unpaid,
            "unfound": int(np.isnan(outcome.final[:, 0]).sum()) - unpaid,
            "final": reported,
        }
        | _trace(plan, outcome)
    )
    return phase.result


def _judge(
    plan: Plan, runs: comparison.Runs
) -> tuple[comparison.Outcome, dict[str, float]]:
    """Returns the results within the budget, and the shares of unknown evaluations.

    An evaluation whose seconds the table does not hold, with or without its cell, is
    charged the largest that it does hold: were it free, it would make a budget endless.
    """
    width, scores = len(plan.signals), runs.scores
    unfit = np.zeros(scores.shape[:2], bool)
    if plan.kept:  # also a cell that exceeds a limit by less than float32 can tell
        flat = runs.encodings.reshape(-1, runs.encodings.shape[-1])
        known = np.asarray(plan.table.row(flat)) < plan.table.num_rows
        unfit = (known & ~plan.kept.fits(flat)).reshape(unfit.shape)
        scores = np.where(unfit[:, :, None] & (np.arange(scores.shape[2]) == 0),
                          -np.inf, scores)  # fmt: skip
    costs, unpriced = np.ones(scores.shape[:2]), False
    if plan.unknown_cost is not None:
        unpriced = ~np.isfinite(scores[:, :, -1])
        costs = np.where(unpriced, plan.unknown_cost, scores[:, :, -1])
    outcome = comparison.judge(
        scores, costs, plan.budget, judged=width + len(plan.reports) - 1
    )
    paid = np.arange(costs.shape[1]) < outcome.evaluations[:, None]
    unknown = ~np.isfinite(scores[:, :, :width]).all(2) & ~unfit
    return outcome, {
        "unfit_rate": _share(unfit, paid),
        "unknown_rate": _share(unknown, paid),
        "unknown_cost_rate": _share(unpriced, paid),
    }


def _share(wanted: np.ndarray | bool, among: np.ndarray) -> float:
    return float((wanted & among).sum() / max(1, among.sum()))


def _trace(plan: Plan, outcome: comparison.Outcome) -> dict[str, np.ndarray]:
    """Returns quartiles of the judged metric over the runs that end with a value.

    At costs where all of these runs have a cell with a value; of a metric with gaps,
    where half of them have.
    """
    trace = plan.judged.sign * outcome.trace
    trace = np.where(np.isfinite(trace), trace, np.nan)
    trace = trace[np.isfinite(trace[:, -1])]
    trace = trace if len(trace) else np.full((1, trace.shape[1]), np.nan)
    least = 0.5 if plan.has_gaps(plan.judged) else 1.0
    whole = np.isfinite(trace).mean(0) >= least
    quartiles = np.nanquantile(trace[:, whole], (0.25, 0.5, 0.75), axis=0)
    return {"cost": outcome.cost[whole], "quartiles": quartiles}
