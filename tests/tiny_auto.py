"""A plug-in for tests of auto: one rule, whose steps take seconds."""

import dataclasses

from jnas.studies.auto import rules

TINY = dataclasses.replace(
    rules.RULES[-1],
    name="tiny",
    space="nasbench201",
    features=4,
    most_features=8,
    train_features=4,
    batch_size=8,
    search_epochs=(4, 4),
    epochs=(2, 2),
    finalists=0,
    seeds=1,
    trials=0,
    baselines=("plain_cnn",),
)
rules.RULES = (TINY,)
