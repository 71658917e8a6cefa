"""How fast this device trains: a short timed training of the largest cell."""

import dataclasses
import time
from collections.abc import Sequence

import jax

from jnas import data as data_lib
from jnas import models, networks, registry, spaces
from jnas.studies import baselines, keys, recipe_rows, setup, train_plan
from jnas.studies.auto import plan as plan_lib
from jnas.studies.auto import rules, width
from jnas.studies.auto import setting as setting_lib
from jnas.training import program as program_lib

_EPOCHS, _BATCHES = 4, 6


def training(
    rule: rules.Rule, features: int, batch_size: int
) -> train_plan.RetrainSettings:
    """Returns how the rule trains a network.

    Args:
      rule: the row of the table.
      features: of the first cells.
      batch_size: images in a batch.
    """
    row = recipe_rows.changed(
        "compact",
        features=features,
        layers=rule.layers,
        batch_size=batch_size,
        epochs=_EPOCHS,
        **rule.recipe,
    )
    return train_plan.RetrainSettings(**row)


def measure(
    dataset: data_lib.Dataset,
    space: spaces.CellSpace,
    settings: train_plan.RetrainSettings,
) -> tuple[plan_lib.Measured, int]:
    """Times the training of the largest cell on a few batches.

    Args:
      dataset: its first training images are used, the test split is not.
      space: of the cells.
      settings: size of the network and batch size.

    Returns:
      (seconds of compiling and of a step, those of the start 0; multiply-accumulates
      of the network).
    """
    count = min(len(dataset.y_train), _BATCHES * settings.batch_size)
    few = dataclasses.replace(
        dataset, x_train=dataset.x_train[:count], y_train=dataset.y_train[:count]
    )
    size = setup.network_size(settings, dataset, stem=settings.stem)
    cell = baselines.largest(space, size, dataset.image_shape)
    network = train_plan.build_network(cell, few, settings)
    plan = train_plan.prepare(network, few, settings, seed=0)
    key = jax.random.fold_in(jax.random.key(0), keys.RETRAIN)
    marks = [time.monotonic()]
    program_lib.run(
        plan.program,
        plan.program.init(key),
        plan.splits,
        observe=lambda *_: marks.append(time.monotonic()),
    )
    first, *rest = (b - a for a, b in zip(marks, marks[1:], strict=False))
    epoch = sum(rest) / len(rest)
    step = epoch / plan.program.steps_per_epoch
    macs = networks.measure(network, dataset.image_shape)["macs"]
    return plan_lib.Measured(max(0.1, first - epoch), step, 0.0), macs


def latencies(folders: Sequence[str]) -> dict[str, float]:
    """Times the networks of models on this device, one image at a time.

    Args:
      folders: of the models.

    Returns:
      folder -> milliseconds, as a table of latencies times a network.
    """
    found = {}
    for folder in folders:
        model = models.load(folder)
        shape = model.preprocessing.image_shape
        took = networks.network_latency(model.architecture.network, shape)
        found[folder] = round(took, 6)
    return found


def figures(setting: setting_lib.Setting) -> dict[str, float]:
    """Measures how fast this device trains the largest cell of the search.

    Args:
      setting: what is fixed before the first step.

    Returns:
      ``compile`` and ``step`` in seconds, ``macs`` of the network, and ``seconds`` of
      the whole measurement.
    """
    began = time.monotonic()
    asked, dataset = setting.asked, setting.data.dataset
    space = registry.SPACES[asked.rule.space]()
    features = width.for_search(asked.rule, space, dataset, asked.bounds)
    found, macs = measure(
        dataset, space, training(asked.rule, features, asked.batch_size)
    )
    seconds = time.monotonic() - began
    return {
        "compile": round(found.compiling, 3),
        "step": round(found.step, 6),
        "macs": macs,
        "seconds": round(seconds, 3),
    }
