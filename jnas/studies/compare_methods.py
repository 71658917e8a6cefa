"""A comparison of gradient methods on a table: every method, and random search."""

import math
import time
from typing import Any

import jax
import numpy as np

from jnas import directions, report, spaces
from jnas.discrete import comparison, controllers, objectives
from jnas.discrete.tables import choice
from jnas.run import workdir
from jnas.studies import augmentation, compared, keys, search_gradient
from jnas.studies.methods_plan import MethodsSettings as MethodsSettings
from jnas.studies.methods_plan import Plan
from jnas.studies.methods_plan import prepare as prepare

SAMPLE = 1000  # cells that a method's ranking is judged on
RANDOM, RANDOM_RUNS = "random_search", 500


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
    for line in choice.all_gaps(plan.table, [plan.signal], [plan.judged]):
        run.say(line)
    random = _random(plan, run.seed)  # first: it is refused before hours of searches
    sample = _sample(plan, run.seed)
    found = {name: _search(run, plan, name) for name in plan.methods}
    result = {name: _judge(plan, one, *sample) for name, one in found.items()}
    result[RANDOM] = random
    figures = {n: directions.Metric(n) for n in ("percentile", "tau")}
    best = plan.judged._replace(name="best")
    return compared.close(
        run,
        result,
        title=(
            f"{plan.space.name} on {plan.dataset.name}, {settings.num_seeds} searches "
            f"of {settings.epochs} epochs each; mean ± sd"
        ),
        table=_table(plan, result),
        metrics=(plan.judged, best, *figures.values(), plan.signal),
        warnings=_warnings(plan, found, result),
        verdict=_verdict({n: one.result["warnings"] for n, one in found.items()}),
    )


def _search(run: workdir.Run, plan: Plan, name: str) -> search_gradient.Found:
    return search_gradient.search_cells(
        run,
        plan.dataset,
        plan.space,
        search_gradient.SearchSettings(
            plan.methods[name],
            num_seeds=plan.settings.num_seeds,
            **augmentation.fields(plan.settings),
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
        if taus < total:
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


def _sample(plan: Plan, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws the cells that rankings are judged on, the same for all methods.

    Of a table with gaps they are drawn among the cells that it holds.

    Returns:
      (cells i32[N, G], their truth f[N], all finite).
    """
    known = np.flatnonzero(np.isfinite(plan.truth))
    if len(known) == math.prod(plan.table.sizes):
        key = jax.random.fold_in(jax.random.key(seed), keys.CELLS)
        draw = controllers.random_search(plan.table.sizes, num_proposals=SAMPLE)
        drawn = np.unique(np.asarray(draw.ask(key, draw.init(key))), axis=0)
        return drawn, plan.truth[np.asarray(plan.table.row(drawn))]
    rows = np.sort(np.random.default_rng(seed).permutation(known)[:SAMPLE])
    if plan.table.encodings is not None:
        return plan.table.encodings[rows], plan.truth[rows]
    cells = np.stack(np.unravel_index(rows, plan.table.sizes), 1).astype(np.int32)
    return cells, plan.truth[rows]


def _judge(plan: Plan, found: search_gradient.Found, sample, truth) -> dict:
    """Compares the cells and the ranking of each seed with the table."""
    from scipy import stats  # late: it costs as much as importing JAX

    scores = np.append(plan.truth, np.nan)[np.asarray(plan.table.row(found.encodings))]
    masks = np.asarray(jax.vmap(plan.space.weights)(sample)) > 0
    ranks = [_ranks(weights, masks) for weights in found.weights]
    some = len(truth) > 1 and np.ptp(truth) > 0
    taus = [
        stats.kendalltau(one, truth).statistic if some and np.ptp(one) > 0 else np.nan
        for one in ranks
    ]
    skips = [
        sum(op == spaces.SKIP for _, c in plan.space.genotype(e).cells
            for _, _, op in c.edges)
        for e in found.encodings
    ]  # fmt: skip
    return _judged(plan, scores) | {
        "tau": compared.spread(np.array(taus)),
        "skip_connects": compared.spread(np.array(skips, np.float64)),
        "evaluations": 0,
        "wall_seconds": found.result["seconds"],
    }


def _judged(plan: Plan, scores: np.ndarray) -> dict[str, Any]:
    """Returns the judged metric of cells, the best, and their percentiles.

    Args:
      plan: the comparison.
      scores: f[S], higher is better; what is not finite is unknown.
    """
    known = scores[np.isfinite(scores)]
    best = float(plan.judged.sign * known.max()) if len(known) else None
    return {
        plan.judged.name: compared.spread(plan.judged.sign * known.astype(np.float64)),
        "best": best,
        "percentile": compared.spread(percentile(plan.truth, known)),
        "unknown": len(scores) - len(known),
    }


def _ranks(weights: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """f64[N]: the logarithm of the product of a cell's weights."""
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(weights), -1e6)
    return (logs[None] * masks).sum((1, 2, 3))


def percentile(truth: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the share, in percent, of a table's cells that are worse.

    Args:
      truth: f[N] of all cells; NaN for unknown ones.
      values: f[S].

    Returns:
      f64[S]; of equal cells half count as worse.
    """
    known = np.sort(truth[np.isfinite(truth)])
    below = np.searchsorted(known, values.astype(known.dtype), "left")
    upto = np.searchsorted(known, values.astype(known.dtype), "right")
    return 50.0 * (below + upto) / len(known)


def _random(plan: Plan, seed: int) -> dict[str, Any]:
    """Random search that trains as many images as a gradient search does."""
    settings = plan.settings
    train = round(len(plan.dataset.y_train) * 0.5) // settings.batch_size
    images = 2 * settings.epochs * train * settings.batch_size
    evaluations = max(1, images // settings.images_per_cell)
    began = time.perf_counter()
    runs = comparison.play(
        controllers.random_search(plan.table.sizes),
        objectives.table(plan.table, [settings.signal[0], settings.report[-1]]),
        num_runs=RANDOM_RUNS,
        num_evaluations=evaluations,
        seed=seed,
    )
    outcome = comparison.judge(
        runs.scores, np.ones(runs.scores.shape[:2]), evaluations, judged=1
    )
    scores = outcome.final[:, 1]
    count = int(np.isfinite(scores).sum())
    if count < 2:
        gaps = choice.all_gaps(plan.table, [plan.signal], [plan.judged])
        held = "".join(f"The {line.partition(';')[0]}. " for line in gaps)
        raise ValueError(
            f"table must hold {plan.judged.name} of the cells of at least two of "
            f"{RANDOM_RUNS} runs of {RANDOM}, {evaluations} evaluations each, got "
            f"{count}. {held}Use a fuller table or another metric."
        )
    return _judged(plan, scores) | {
        "evaluations": evaluations,
        "wall_seconds": round(time.perf_counter() - began, 2),
    }


def _table(plan: Plan, result: dict[str, Any]) -> report.Table:
    """Returns the printed table, a row a method."""
    header = ["method", plan.judged.label, "best", "percentile", "Kendall's tau"]
    header += ["skips", "seconds"]
    rows = [_row(plan, name, one) for name, one in result.items()]
    if any(one["unknown"] for one in result.values()):
        header.append("cells outside the table")
        for row, one in zip(rows, result.values(), strict=True):
            total = one["unknown"] + one[plan.judged.name]["n"]
            row.append(f"{one['unknown']} of {total}")
    return report.Table(header, rows)


def _row(plan: Plan, name: str, figures: dict[str, Any]) -> list[Any]:
    def shown(key, digits):
        return compared.shown(figures[key], digits) if key in figures else "-"

    best = figures["best"]
    return [
        name,
        shown(plan.judged.name, 2),
        "-" if best is None else f"{best:.2f}",
        shown("percentile", 1),
        shown("tau", 2),
        shown("skip_connects", 1),
        f"{figures['wall_seconds']:.0f}",
    ]
