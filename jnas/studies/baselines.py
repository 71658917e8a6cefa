"""Baselines beside a found cell: hand-made networks, random cells, the largest cell.

All are trained as the found cell is: the same images, settings and seeds, a phase each.
"""

import dataclasses
import functools
import pathlib
import statistics
from collections.abc import Mapping
from typing import Any, NamedTuple

from jnas import data as data_lib
from jnas import models, networks, registry, spaces
from jnas import settings as settings_lib
from jnas.networks import baselines as baselines_lib
from jnas.run import workdir
from jnas.settings import option
from jnas.spaces import genotype as genotypes
from jnas.studies import baseline_verdict, cells, setup, train_scratch, trained

FOUND, LARGEST, RANDOM = "found", "largest_cell", "random"
COLUMNS = (
    "test_accuracy",
    "test_accuracy_sd",
    "valid_accuracy",
    "valid_accuracy_sd",
    "parameters",
    "macs",
    "seconds",
)


@dataclasses.dataclass(frozen=True)
class BaselineSettings:
    """What a found cell is compared with. The fields carry their own help text."""

    baselines: tuple[str, ...] = option(
        ("plain_cnn", "resnet", "mobilenet_v2"),
        "Hand-made networks, comma-separated, each as wide as gives it the parameters "
        "of the found network; empty trains none.",
        group="search",
    )
    num_random: int = option(
        3, "Number of random cells; 0 trains none.", group="search", least=0
    )
    largest_cell: bool = option(
        True, "Train the cell of the space with most parameters too.", group="search"
    )

    def __post_init__(self):
        """Raises KeyError for an unknown baseline, ValueError for one named twice."""
        settings_lib.check(self)
        for name in self.baselines:
            _ = registry.BASELINES[name]  # raises
        if len(set(self.baselines)) < len(self.baselines):
            raise ValueError(
                "baselines must have each name once, got "
                f"{', '.join(self.baselines)}. Leave one out."
            )


class Plan(NamedTuple):
    """What is trained, in order.

    Attributes:
      cells: name -> genotype; the found one first.
      hand_made: name -> baseline.
      left_out: one line for each baseline that is not trained.
    """

    cells: dict[str, genotypes.Genotype]
    hand_made: dict[str, networks.Baseline]
    left_out: tuple[str, ...]


def largest(
    space: spaces.CellSpace, size: networks.Size, image_shape: tuple[int, int, int]
) -> genotypes.Genotype:
    """Returns the cell of a space whose network has most parameters.

    Parameters are a sum over edges, so each node keeps the edges whose largest
    candidate has most of them; equal ones go to the earlier edge and candidate.

    Args:
      space: the space.
      size: of the network.
      image_shape: rows, columns and channels of one image.
    """
    costs = networks.edge_costs(space, size, image_shape)["parameters"]
    return space.genotype(space.strongest(costs.edges))


def prepare(
    found: genotypes.Genotype,
    space: spaces.CellSpace | None,
    dataset: data_lib.Dataset,
    settings: BaselineSettings,
    training: train_scratch.RetrainSettings,
    *,
    seed: int,
) -> Plan:
    """Chooses the networks that are trained beside a found cell.

    Args:
      found: the found cell.
      space: that random cells and the largest cell are of; None leaves them out.
      dataset: the images.
      settings: what to compare with.
      training: size of the cells' networks and type of the activations.
      seed: of the random cells.

    Raises:
      ValueError: a network that cannot be built.
    """
    size = setup.network_size(training, dataset, stem=training.stem)
    chosen, left_out = {FOUND: found}, []
    if space is not None:
        most = largest(space, size, dataset.image_shape)
        if settings.largest_cell and most == found:
            left_out.append("the found cell is the one with most parameters itself")
        elif settings.largest_cell:
            chosen[LARGEST] = most
        drawn = cells.random_connected(space, settings.num_random, seed=seed)
        chosen |= {f"{RANDOM}_{i}": cell for i, cell in enumerate(drawn)}
    wanted = networks.measure(networks.derived(found, size), dataset.image_shape)
    hand_made = {}
    for name in settings.baselines:
        try:
            hand_made[name] = baselines_lib.fit(
                name,
                dataset.num_classes,
                dataset.image_shape,
                parameters=wanted["parameters"],
                dtype=training.dtype,
            )
        except ValueError as error:
            left_out.append(f"baseline {name} is left out: {error}")
    return Plan(chosen, hand_made, tuple(left_out))


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
    if cell.num_inputs == 1:  # their network has no place for a head
        return dataclasses.replace(training, auxiliary=False)
    return training


def result(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the figures of a comparison, for result.json.

    Args:
      results: from ``train``.

    Returns:
      The found network's figures, the verdict (``baseline_verdict.Comparison``),
      ``random_test_accuracy_mean``, ``random_test_accuracy_sd`` and ``num_random``, and
      ``cells``: a row a network, for the closing table.
    """
    random = [one for name, one in results.items() if name.startswith(f"{RANDOM}_")]
    # the first seed of each: the spread is that of cells, not of seeds
    first = [baseline_verdict.accuracies(one)[0] for one in random]
    others = {
        name: baseline_verdict.accuracies(one)
        for name, one in results.items()
        if name != FOUND and one not in random
    }
    found = dict(results[FOUND])
    rows = [{"name": name, **_row(one)} for name, one in results.items()]
    figures = {"num_random": len(random)}
    if len(random) > 1:
        mean, spread = statistics.fmean(first), statistics.stdev(first)
        figures |= {
            "random_test_accuracy_mean": round(mean, 6),
            "random_test_accuracy_sd": round(spread, 6),
        }
        rows.append(
            {
                "name": f"mean of {len(random)} random cells",
                "test_accuracy": round(mean, 6),
                "test_accuracy_sd": round(spread, 6),
            }
        )
    if others or len(first) > 1:
        judged = baseline_verdict.compare(
            baseline_verdict.accuracies(found), others, first
        )
        figures |= judged.figures()
        figures["verdict"] += _beside_random(found["test_accuracy"], first)
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


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the figures of a network, and each seed's test accuracy."""
    row = {name: one[name] for name in COLUMNS if name in one}
    return row | {"test_accuracies": list(baseline_verdict.accuracies(one))}
