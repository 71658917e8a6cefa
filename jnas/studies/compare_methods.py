"""A comparison of gradient methods on a table: every method, then random search."""

import dataclasses
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from jnas import data as data_lib
from jnas import directions, gradient, registry, report, spaces
from jnas import settings as settings_lib
from jnas.discrete import comparison, controllers, objectives, tables
from jnas.discrete.tables import choice
from jnas.gradient import methods
from jnas.run import workdir
from jnas.settings import option
from jnas.studies import augmentation, closing, keys, search_gradient, setup

ALL = "all"
SAMPLE = 1000  # cells that a method's ranking is judged on
RANDOM_RUNS = 500


@dataclasses.dataclass(frozen=True)
class MethodsSettings(augmentation.AugmentSettings):
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
    logits_rate_factor: float = option(
        30.0,
        "Factor on each method's own learning rate of the logits, which is made for "
        "tens of thousands of steps.",
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
      judged: the table's metric that cells are judged by.
    """

    settings: MethodsSettings
    space: spaces.CellSpace
    table: tables.Table
    methods: dict[str, methods.Method]
    dataset: data_lib.Dataset
    judged: directions.Metric

    @property
    def truth(self) -> np.ndarray:
        """f[N]: the judged metric of each row, negated if it is to be minimised."""
        return self.judged.sign * self.table.column(self.judged.name)


def prepare(
    settings: MethodsSettings, space: spaces.CellSpace, dataset: data_lib.Dataset
) -> Plan:
    """Looks everything up, before anything runs.

    Args:
      settings: of the comparison.
      space: space that is searched.
      dataset: data set that is searched on.

    Raises:
      ValueError: a table of another space, an unknown metric.
      KeyError: an unknown method or table; the nearest is guessed.
    """
    table = choice.load_table(settings.objective)
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
    judged = table.metric(settings.report[-1])
    return Plan(settings, space, table, made, dataset, judged)


def _budgeted(method: methods.Method, settings: MethodsSettings) -> methods.Method:
    """Gives a method the comparison's sizes, and scales numbers counted in epochs."""
    rises = method.early_stopping or method.adaptive_decay
    tuning = round(method.projection_epochs * settings.epochs / method.epochs)
    return dataclasses.replace(
        method,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        features=settings.features,
        layers=settings.layers,
        logits_learning_rate=(
            method.logits_learning_rate * settings.logits_rate_factor
        ),
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


def compare_methods(run: workdir.Run, plan: Plan) -> tuple[dict[str, Any], str]:
    """Searches with every method, looks its cells up, and writes the results.

    Args:
      run: the open run, finished here; its seed is that of all searches.
      plan: the comparison, from ``prepare``.

    Returns:
      (result, text): method -> figures, and the printed table.
    """
    settings = plan.settings
    judged, gaps = plan.judged, choice.gaps(plan.table, plan.judged)
    if gaps:
        run.say(gaps)
    sample = _sample(plan, run.seed)
    result, rows = {}, []
    for name, method in plan.methods.items():
        found = search_gradient.search_cells(
            run,
            plan.dataset,
            plan.space,
            search_gradient.SearchSettings(
                method,
                num_seeds=settings.num_seeds,
                **augmentation.fields(settings),
            ),
            prefix=f"{name}_",
        )
        result[name] = _judge(plan, found, sample)
        rows.append(_row(name, result[name]))
    result["random_search"] = _random(plan, run.seed)
    rows.append(_row("random_search", result["random_search"]))
    header = ["method", judged.label, "best", "percentile", "Kendall's tau", "skips"]
    table = report.Table([*header, "seconds"], rows)
    text = report.markdown(table)
    title = (
        f"{plan.space.name} on {plan.dataset.name}, {settings.num_seeds} searches of "
        f"{settings.epochs} epochs each; mean ± sd"
    )
    closing.finish(run, result, tables={title: table})
    return result, text


def _sample(plan: Plan, seed: int) -> np.ndarray:
    """i32[N, G]: the cells that rankings are judged on, the same for all methods."""
    key = jax.random.fold_in(jax.random.key(seed), keys.CELLS)
    draw = controllers.random_search(plan.table.sizes, num_proposals=SAMPLE)
    drawn = np.unique(np.asarray(draw.ask(key, draw.init(key))), axis=0)
    rows = np.asarray(plan.table.row(drawn))
    return drawn[rows < plan.table.num_rows]


def _judge(plan: Plan, found: search_gradient.Found, sample) -> dict:
    """Compares the cells and the ranking of each seed with the table."""
    from scipy import stats  # late: it costs as much as importing JAX

    truth = plan.truth
    scores = np.append(truth, np.nan)[np.asarray(plan.table.row(found.encodings))]
    known = np.isfinite(scores)
    if not known.any():
        raise ValueError(
            f"cells must be in the table for at least one search, got none of "
            f"{len(scores)}. The {choice.gaps(plan.table, plan.judged)}. Use a fuller "
            "table."
        )
    true_sample = truth[np.asarray(plan.table.row(sample))]
    masks = np.asarray(jax.vmap(plan.space.weights)(sample)) > 0
    taus = [
        float(stats.kendalltau(_ranks(weights, masks), true_sample).statistic)
        for weights in found.weights
    ]
    skips = [
        sum(op == spaces.SKIP for _, c in plan.space.genotype(e).cells
            for _, _, op in c.edges)
        for e in found.encodings
    ]  # fmt: skip
    return _judged(plan, scores[known]) | {
        "unknown": int((~known).sum()),
        "tau": _spread(np.array(taus)),
        "skip_connects": _spread(np.array(skips, np.float64)),
        "evaluations": 0,
        "wall_seconds": found.result["seconds"],
    }


def _judged(plan: Plan, scores: np.ndarray) -> dict[str, Any]:
    """Returns the judged metric of cells, the best, and their percentiles."""
    values = plan.judged.sign * scores.astype(np.float64)
    return {
        plan.judged.name: _spread(values),
        "best": float(plan.judged.sign * scores.max()),
        "percentile": _spread(percentile(plan.truth, scores)),
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
    return _judged(plan, scores[np.isfinite(scores)]) | {
        "evaluations": evaluations,
        "wall_seconds": round(time.perf_counter() - began, 2),
    }


def _spread(values: np.ndarray) -> dict[str, Any]:
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(values.mean()), "sd": deviation, "n": len(values)}


def _row(name: str, figures: dict[str, Any]) -> list[Any]:
    metric = next(iter(figures))

    def shown(key, digits):
        if key not in figures:
            return "-"
        one = figures[key]
        return f"{one['mean']:.{digits}f} ± {one['sd']:.{digits}f}"

    return [
        name,
        shown(metric, 2),
        f"{figures['best']:.2f}",
        shown("percentile", 1),
        shown("tau", 2),
        shown("skip_connects", 1),
        f"{figures['wall_seconds']:.0f}",
    ]
