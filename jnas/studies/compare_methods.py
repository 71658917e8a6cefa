"""A comparison of gradient methods on a table: every method, and random search."""

from typing import Any

import jax
import numpy as np

from jnas import directions, networks, report
from jnas.discrete.tables import choice
from jnas.run import workdir
from jnas.studies import (
    augmentation,
    compared,
    limits,
    methods_beside,
    methods_judged,
    search_gradient,
)
from jnas.studies import kept as kept_lib
from jnas.studies.methods_judged import RANDOM as RANDOM
from jnas.studies.methods_judged import RANDOM_RUNS as RANDOM_RUNS
from jnas.studies.methods_judged import SAMPLE as SAMPLE
from jnas.studies.methods_judged import percentile as percentile
from jnas.studies.methods_plan import MethodsSettings as MethodsSettings
from jnas.studies.methods_plan import Plan
from jnas.studies.methods_plan import prepare as prepare


def compare_methods(run: workdir.Run, plan: Plan) -> tuple[dict[str, Any], str]:
    """Searches with every method, looks its cells up, and writes the results.

    Args:
      run: the open run, finished here; its seed is that of all searches.
      plan: the comparison, from ``prepare``.

    Returns:
      (result, text): method -> figures, and the printed text.

    Raises:
      ValueError: fewer than two runs of random search found a cell of the table.
    """
    settings = plan.settings
    plan = plan.within(_limits(run, plan))
    for line in choice.all_gaps(plan.table, [plan.signal], [plan.judged]):
        run.say(line)
    random = methods_judged.random(
        plan, run.seed
    )  # first: it is refused before hours of searches
    sample = methods_judged.sample(plan, run.seed)
    found = {name: _search(run, plan, name) for name in plan.methods}
    result = {
        name: methods_judged.judge(plan, one, *sample) for name, one in found.items()
    }
    result[RANDOM] = random
    most = methods_beside.most_parameters(plan, *sample)
    if most is not None:
        result[methods_beside.MOST] = most
    tested = methods_beside.significance(result, tuple(found), plan.judged.name)
    for name, p in tested.items():
        result[name]["p"] = p
    figures = {n: directions.Metric(n) for n in ("percentile", "tau")}
    best = plan.judged._replace(name="best")
    return compared.close(
        run,
        result,
        title=(
            f"{plan.space.name} on {plan.dataset.name}{_within(plan)}, "
            f"{settings.num_seeds} searches "
            f"of {settings.epochs} epochs each; mean ± sd"
        ),
        table=_table(plan, result),
        metrics=(plan.judged, best, *figures.values(), plan.signal),
        warnings=_warnings(plan, found, result),
        verdict=_verdict({n: one.result["warnings"] for n, one in found.items()}),
    )


class _Settings(search_gradient.SearchSettings):
    """Settings of a search whose limits are those of its own network."""

    size_flags = limits.BoundSettings.size_flags


def _limits(run: workdir.Run, plan: Plan) -> tuple[networks.Limit, ...]:
    """Builds the limits of the cells that are compared, and says what they are."""
    numbers = {"features": plan.settings.features, "layers": plan.settings.layers}
    made = limits.build(run, plan.space, plan.settings, numbers, plan.dataset)
    for one in made:
        if one.name in plan.table.metrics and not _agrees(plan, one):
            run.say_once(
                f"the table's {one.name} are those of another network; cells are "
                "limited by those of the network of --features and --layers"
            )
    return made


def _agrees(plan: Plan, one: networks.Limit) -> bool:
    """Returns whether a table holds the costs of the network that is limited."""
    rows = np.arange(min(plan.table.num_rows, SAMPLE))
    weights = jax.vmap(plan.space.weights)(plan.table.cells(rows))
    held = plan.table.column(one.name)[rows]
    costs = networks.costs_of(one.costs, weights)
    return np.allclose(costs, held, rtol=1e-5, equal_nan=True)


def _search(run: workdir.Run, plan: Plan, name: str) -> search_gradient.Found:
    settings = plan.settings
    return search_gradient.search_cells(
        run,
        plan.dataset,
        plan.space,
        _Settings(
            plan.methods[name],
            num_seeds=settings.num_seeds,
            **limits.of_network(
                settings, features=settings.features, layers=settings.layers
            ),
            **augmentation.fields(settings),
        ),
        prefix=f"{name}_",
    )


def _warnings(plan: Plan, found: dict, result: dict[str, Any]) -> list[str]:
    """Returns each search's own warnings, and what the table does not hold of it."""
    lines = []
    for name, one in found.items():
        lines += [f"{name}: {text}" for text in one.result["warnings"]]
        unknown, total = result[name]["unknown"], len(one.encodings)
        if unknown:
            lines.append(
                f"{name}: the table does not hold {plan.judged.name} of {unknown} of "
                f"the {total} found cells; the mean is of the others"
            )
        taus = result[name]["tau"]["n"]
        if taus < total and not (taus == 0 and not plan.methods[name].moves_logits):
            lines.append(
                f"{name}: {total - taus} of {total} rankings have no Kendall's tau, "
                "since all their cells, or all of the table's, are equal"
            )
    return lines


def _verdict(warnings: dict[str, list[str]]) -> str:
    """Returns a sentence on the methods whose searches warned; "" if none did."""
    still = [name for name, lines in warnings.items() if lines]
    if not still:
        return ""
    return (
        f"{len(still)} of {len(warnings)} methods had searches that learned nothing "
        f"their cells can be trusted for: {', '.join(still)}."
    )


def _within(plan: Plan) -> str:
    """Returns the limits for the title; empty without any."""
    if plan.held is None:
        return ""
    return f", cells within {kept_lib.flags(limits.bounds(plan.settings))}"


def _table(plan: Plan, result: dict[str, Any]) -> report.Table:
    """Returns the printed table, a row a method."""
    header = ["method", plan.judged.label, "best", "percentile", "p", "Kendall's tau"]
    header += ["skips", "seconds"]
    rows = [_row(plan, name, one) for name, one in result.items()]
    if any(one["unknown"] for one in result.values()):
        header.append("cells outside the table")
        for row, one in zip(rows, result.values(), strict=True):
            total = one["unknown"] + one[plan.judged.name]["n"]
            row.append(f"{one['unknown']} of {total}")
    return report.Table(header, rows)


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "< .001" if value < 1e-3 else f"{value:.3f}"


def _row(plan: Plan, name: str, figures: dict[str, Any]) -> list[Any]:
    def shown(key, digits):
        return compared.shown(figures[key], digits) if key in figures else "-"

    best = figures["best"]
    digits = compared.digits_of(plan.table.column(plan.judged.name))
    return [
        name,
        shown(plan.judged.name, digits),
        "-" if best is None else f"{best:.{digits}f}",
        shown("percentile", 1),
        _p(figures.get("p")),
        shown("tau", 2),
        shown("skip_connects", 1),
        f"{figures['wall_seconds']:.0f}",
    ]
