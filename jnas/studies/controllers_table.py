"""The table, warnings and traces of a comparison of controllers."""

from typing import Any

import numpy as np

from jnas import directions, report
from jnas.discrete import comparison
from jnas.studies import compared
from jnas.studies.controllers_plan import RANDOM, SECONDS, Plan


def rates(plan: Plan) -> dict[str, str]:
    """Returns name -> header of the shares of evaluations that are reported.

    Args:
      plan: the comparison.
    """
    found = {}
    if plan.kept:
        found["unfit_rate"] = "proposals beyond the limits"
    if plan.has_gaps(*plan.signals):
        found["unknown_rate"] = "proposals outside the table"
    if plan.unknown_cost is not None and plan.has_gaps(directions.Metric(SECONDS)):
        found["unknown_cost_rate"] = "evaluations of unknown cost"
    return found


def table(
    plan: Plan, result: dict[str, Any], values: dict[str, np.ndarray]
) -> report.Table:
    """Returns the printed table, a row a controller.

    Args:
      plan: the comparison.
      result: controller -> its figures.
      values: controller -> f64[S, M], the reported metrics of each run, or NaN.
    """
    judged, shares, total = plan.judged, rates(plan), plan.settings.num_runs
    partly = [m for m in plan.reports if _is_partly(plan, result, m)]
    truth = judged.sign * plan.table.column(judged.name)
    best = float(np.nanmax(truth[plan.kept.rows(plan.table)] if plan.kept else truth))
    header = ["controller", *(metric.label for metric in plan.reports)]
    header += [f"runs with {metric.name}" for metric in partly]
    header += [f"regret of {judged.name}", "p against random"]
    header += ["evaluations", "wall seconds", *shares.values()]
    columns = {one.name: plan.table.column(one.name) for one in plan.reports}
    digits = {n: compared.digits_of(column) for n, column in columns.items()}
    rows = []
    for name, one in result.items():
        regret = best - judged.sign * one[judged.name]["mean"]
        rows.append(
            [name]
            + [compared.shown(one[n], digits[n]) for n in digits]
            + [f"{one[metric.name]['n']} of {total}" for metric in partly]
            + [f"{regret:.{digits[judged.name]}f}", _significance(name, values)]
            + [round(one["evaluations"], 1), f"{one['wall_seconds']:.3g}"]
            + [f"{100 * one[rate]:.1f} %" for rate in shares]
        )
    return report.Table(header, rows)


def _is_partly(plan: Plan, result: dict, metric: directions.Metric) -> bool:
    """Returns whether some run has no value of a metric."""
    total = plan.settings.num_runs
    return any(one[metric.name]["n"] < total for one in result.values())


def _significance(name: str, values: dict[str, np.ndarray]) -> str:
    """Writes the p-value against random search, of the runs that have a value."""
    if name == RANDOM:
        return "-"
    own, random = (values[one][:, -1] for one in (name, RANDOM))
    p = comparison.p_value(own[np.isfinite(own)], random[np.isfinite(random)])
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def warnings(plan: Plan, result: dict[str, Any]) -> list[str]:
    """Returns a sentence for each metric that some runs lack, and for unknown costs.

    Args:
      plan: the comparison.
      result: controller -> its figures.
    """
    found, total = [], plan.settings.num_runs
    for metric in plan.reports:
        if _is_partly(plan, result, metric):
            counts = [f"{one[metric.name]['n']} of {n}" for n, one in result.items()]
            found.append(
                f"{metric.name} is judged over the runs whose cell has a value: of "
                f"{total} runs each, {', '.join(counts)}"
            )
    unpriced = {n: one.get("unknown_cost_rate", 0.0) for n, one in result.items()}
    if any(unpriced.values()):
        shares = [f"{100 * rate:.3g} % of {name}" for name, rate in unpriced.items()]
        found.append(
            f"evaluations of unknown {SECONDS} were charged {plan.unknown_cost:.4g}, "
            f"the largest of the table: {', '.join(shares)}"
        )
    return found


def traces(plan: Plan, found: dict[str, dict]) -> dict[str, Any]:
    """Returns the content of traces.json.

    Args:
      plan: the comparison.
      found: controller -> the result of its phase.
    """
    judged = plan.judged
    curves = {
        name: {
            "cost": one["cost"],
            "quartiles": one["quartiles"],
            "n": sum(row[-1] is not None for row in one["final"]),
        }
        for name, one in found.items()
    }
    return {
        "x_label": "evaluations" if plan.unknown_cost is None else "simulated seconds",
        "y_label": judged.name,
        "directions": {judged.name: judged.direction},
        "traces": curves,
    }


def title(plan: Plan) -> str:
    """Returns the title of the table.

    Args:
      plan: the comparison.
    """
    unit = "evaluations" if plan.unknown_cost is None else "simulated seconds"
    within = f", cells within {plan.kept.flags()}" if plan.kept else ""
    return (
        f"{plan.settings.objective}{within}, {plan.budget:g} {unit}, "
        f"{plan.settings.num_runs} runs each; mean ± sd"
    )
