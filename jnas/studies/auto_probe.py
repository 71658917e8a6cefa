"""How fast this device trains: a short timed training of the largest cell."""

import dataclasses
import time

import jax

from jnas import data as data_lib
from jnas import networks, spaces
from jnas.studies import (
    auto_plan,
    auto_rules,
    baselines,
    keys,
    recipe_rows,
    setup,
    train_plan,
)
from jnas.training import program as program_lib

_EPOCHS, _BATCHES = 4, 6


def training(
    rule: auto_rules.Rule, features: int, batch_size: int
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
) -> tuple[auto_plan.Measured, int]:
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
    return auto_plan.Measured(max(0.1, first - epoch), step, 0.0), macs
