"""From a data set and limits to a trained model, in minutes: the steps of ``auto``.

Each step is a command of jnas. The plan is said before it begins, and made again from
what is left of the minutes before each step.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from jnas import settings as settings_lib
from jnas.settings import option
from jnas.studies import limits
from jnas.studies.auto import commands, reading, rules
from jnas.studies.auto import plan as plan_lib

# flags of every step that do not decide a result
FREE = (
    "cache",
    "checkpoint_seconds",
    "checkpoint_steps",
    "num_devices",
    "deterministic",
    *commands.STREAMED,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoSettings(limits.BoundSettings):
    """What a user wants. The fields carry their own help text."""

    minutes: float = option(
        10.0, "Minutes of the whole, on a machine that does nothing else.", least=0.1
    )
    explain: bool = option(
        False, "Print the table of rules with the row that is used, and stop."
    )
    probe: bool = option(
        False, "Measure how fast this device trains, print it as JSON, and stop."
    )
    latency_of: tuple[str, ...] = option(
        (),
        "Model folders, comma-separated: measure the latency of their networks on this "
        "device, print it as JSON, and stop.",
    )
    __post_init__ = settings_lib.check


class Setting(NamedTuple):
    """What is fixed before the first step.

    Attributes:
      asked: what the commands are made of.
      data: the data set.
      facts: what the rules were asked.
      minutes: of the whole.
    """

    asked: commands.Asked
    data: reading.Read
    facts: rules.Facts
    minutes: float

    @property
    def work(self) -> plan_lib.Work:
        """What seconds depend on."""
        return plan_lib.Work(
            self.asked.rule,
            self.facts.images,
            self.asked.batch_size,
            limits.LATENCY_MS in self.asked.bounds,
        )


def prepare(
    settings: AutoSettings,
    data: reading.Read,
    shared: Mapping[str, Any],
    *,
    folder: str,
    device: str,
) -> Setting:
    """Applies the rules to what a user wants.

    Args:
      settings: what the user wants.
      data: the data set.
      shared: flags of every step.
      folder: of the run.
      device: its kind.
    """
    bounds = limits.bounds(settings)
    dataset = data.dataset
    facts = rules.Facts(
        len(dataset.y_train),
        dataset.num_classes,
        min(dataset.image_shape[:2]),
        settings.minutes,
        device,
    )
    rule = rules.choose(facts)
    batch = plan_lib.batch_size(rule.batch_size, facts.images)
    asked = commands.Asked(folder, {**shared, "data": data.spec}, rule, bounds, batch)
    return Setting(asked, data, facts, settings.minutes)


def explain(setting: Setting) -> str:
    """Returns the table of rules with the row that is used.

    Args:
      setting: with the facts.
    """
    facts = ", ".join(
        f"{name} {value}" for name, value in setting.facts._asdict().items()
    )
    return f"{rules.text(setting.asked.rule)}\nhere: {facts}"


def keep_device_free() -> None:
    """Keeps this process on the CPU, so that the steps can hold the accelerator."""
    jax.config.update("jax_platforms", "cpu")
