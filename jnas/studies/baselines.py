"""Baselines beside a found cell: hand-made networks, random cells, the largest cell.

All are trained as the found cell is: the same images, settings and seeds, a phase each.
"""

import dataclasses
import functools
import pathlib
import statistics
from collections.abc import Mapping
from typing import Any

from jnas import data as data_lib
from jnas import models, networks
from jnas.run import workdir
from jnas.studies import baseline_verdict, train_scratch, trained
from jnas.studies.baselines_plan import FOUND as FOUND
from jnas.studies.baselines_plan import LARGEST as LARGEST
from jnas.studies.baselines_plan import RANDOM as RANDOM
from jnas.studies.baselines_plan import BaselineSettings as BaselineSettings
from jnas.studies.baselines_plan import Plan as Plan
from jnas.studies.baselines_plan import largest as largest
from jnas.studies.baselines_plan import prepare as prepare


def columns(signal: str) -> tuple[str, ...]:
    """Returns the figures of a network in the closing table.

    Args:
      signal: of the task.
    """
    judged = [
        f"{split}_{signal}{sd}" for split in ("test", "valid") for sd in ("", "_sd")
    ]
    return (*judged, "parameters", "macs", "seconds")


COLUMNS = columns("accuracy")


def train(
    run: workdir.Run,
    plan: Plan,
    dataset: data_lib.Dataset,
    training: train_scratch.RetrainSettings,
    *,
    keep: Mapping[str, pathlib.Path] | None = None,
) -> dict[str, dict[str, Any]]:
    """Trains and tests every network of a plan, a phase each.

    Args:
      run: the open run.
      plan: from ``prepare``.
      dataset: the images.
      training: settings of every training; hand-made networks have no auxiliary head,
        random cells one seed.
      keep: name -> folder in which the trained network is saved as a model.

    Returns:
      name -> the phase's result, as of ``train_scratch.retrain_cell``.
    """
    for line in plan.left_out:
        run.say_once(line)
    results = {}
    for name, cell in plan.cells.items():
        own = _of_cell(cell, training)
        if name.startswith(f"{RANDOM}_"):  # their spread is that of cells, not of seeds
            own = dataclasses.replace(own, num_seeds=1)
        results[name] = train_scratch.retrain_cell(
            run, f"retrain_{name}", cell, dataset, own, keep=(keep or {}).get(name)
        )
    for name, one in plan.hand_made.items():
        describe = functools.partial(models.of_baseline, one)
        results[name] = train_scratch.train_network(
            run,
            f"retrain_{name}",
            one.network(),
            dataset,
            training,
            kept={"baseline": one.to_json()},
            saver=trained.Saver((keep or {}).get(name), run, describe, dataset),
        )
    return results


def _of_cell(cell, training):
    if not networks.has_auxiliary(cell):
        return dataclasses.replace(training, auxiliary=False)
    return training


def result(
    results: Mapping[str, Mapping[str, Any]], signal: str = "accuracy"
) -> dict[str, Any]:
    """Returns the figures of a comparison, for result.json.

    Args:
      results: from ``train``.
      signal: of the task.

    Returns:
      The found network's figures, the verdict (``baseline_verdict.Comparison``),
      ``random_test_accuracy_mean``, ``random_test_accuracy_sd`` (or of another signal)
      and ``num_random``, and ``cells``: a row a network, for the closing table.
    """
    test = f"test_{signal}"
    random = [one for name, one in results.items() if name.startswith(f"{RANDOM}_")]
    # the first seed of each: the spread is that of cells, not of seeds
    first = [baseline_verdict.accuracies(one, test)[0] for one in random]
    others = {
        name: baseline_verdict.accuracies(one, test)
        for name, one in results.items()
        if name != FOUND and one not in random
    }
    found = dict(results[FOUND])
    rows = [{"name": name, **_row(one, signal)} for name, one in results.items()]
    figures = {"num_random": len(random)}
    if len(random) > 1:
        mean, spread = statistics.fmean(first), statistics.stdev(first)
        figures |= {
            f"random_{test}_mean": round(mean, 6),
            f"random_{test}_sd": round(spread, 6),
        }
        rows.append(
            {
                "name": f"mean of {len(random)} random cells",
                test: round(mean, 6),
                f"{test}_sd": round(spread, 6),
            }
        )
    if others or len(first) > 1:
        own = baseline_verdict.accuracies(found, test)
        judged = baseline_verdict.compare(own, others, first, metric=test)
        figures |= judged.figures()
        figures["verdict"] += _beside_random(found[test], first)
    return found | figures | {"cells": rows}


def _beside_random(accuracy: float, random: list[float]) -> str:
    """Returns a sentence on random cells, whose mean has an error of its own."""
    if len(random) < 2 or not (spread := statistics.stdev(random)):
        return ""
    mean, error = statistics.fmean(random), spread / len(random) ** 0.5
    return (
        f" {len(random)} random cells have {mean:.4f} ± {spread:.4f}; the found "
        f"network is {(accuracy - mean) / error:+.1f} standard errors of their mean "
        "from it."
    )


def _row(one: Mapping[str, Any], signal: str) -> dict[str, Any]:
    """Returns the figures of a network, and each seed's signal on the test split."""
    row = {name: one[name] for name in columns(signal) if name in one}
    values = list(baseline_verdict.accuracies(one, f"test_{signal}"))
    return row | {"test_accuracies" if signal == "accuracy" else "test_values": values}
