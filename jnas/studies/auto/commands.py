"""The commands of ``auto``'s steps: what a user could have typed."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jnas.studies import recipe_rows
from jnas.studies.auto import plan as plan_lib
from jnas.studies.auto import rules
from jnas.studies.auto.plan import COMPARE, SEARCH, TUNE, TUNED

_LAUNCHERS = {SEARCH: "search", COMPARE: "retrain", TUNE: "tune", TUNED: "retrain"}
STREAMED = ("resident", "chunk_steps")  # flags that a tuning does not have
_LOWER, _HIGHER = 8.0, 3.0  # a tuning's learning rates: so many times


class Asked(NamedTuple):
    """What the commands are made of.

    Attributes:
      folder: of the whole run; each step has a folder in it.
      shared: flags of every step: data, seed, plug-ins.
      rule: the row of the table.
      bounds: cost -> bound.
      batch_size: images in a batch.
    """

    folder: str
    shared: Mapping[str, Any]
    rule: rules.Rule
    bounds: Mapping[str, float]
    batch_size: int


def launcher(step: str) -> str:
    """Returns the launcher of a step.

    Args:
      step: one of ``plan_lib.STEPS``.
    """
    return _LAUNCHERS[step]


def flags(
    step: str, asked: Asked, amounts: plan_lib.Amounts, features: int
) -> list[str]:
    """Returns the flags of a step.

    Args:
      step: one of ``plan_lib.STEPS``.
      asked: what the user wants.
      amounts: how much is done.
      features: of the first cells.
    """
    shared = dict(asked.shared)
    if step == TUNE:
        shared = {name: one for name, one in shared.items() if name not in STREAMED}
    own = {"workdir": f"{asked.folder}/{step}", **shared}
    own |= _OF[step](asked, amounts, features)
    return [_flag(name, value) for name, value in own.items()]


def shared_flags(asked: Asked) -> list[str]:
    """Returns the flags of every step, with the folder of the probe.

    Args:
      asked: what the user wants.
    """
    own = {"workdir": f"{asked.folder}/probe", **asked.shared}
    return [_flag(name, value) for name, value in own.items()]


def latency_flags(asked: Asked, places: Sequence[str]) -> list[str]:
    """Returns the flags that measure the latencies of models.

    Args:
      asked: what the user wants.
      places: folders of the models, in that of the run.
    """
    folders = ",".join(f"{asked.folder}/{one}" for one in places)
    own = {"workdir": f"{asked.folder}/probe", "latency_of": folders}
    if "plugins" in asked.shared:
        own["plugins"] = asked.shared["plugins"]
    return [_flag(name, value) for name, value in own.items()]


def bound_flags(asked: Asked) -> list[str]:
    """Returns the limits as flags.

    Args:
      asked: what the user wants.
    """
    return [_flag(f"max_{name}", value) for name, value in asked.bounds.items()]


def _search(asked, amounts, features) -> dict[str, Any]:
    rule = asked.rule
    own = {
        "space": rule.space,
        "method": rule.method,
        "features": features,
        "layers": rule.layers,
        "batch_size": asked.batch_size,
        "epochs": amounts.search_epochs,
        **recipe_rows.SEARCH_COMPACT,
        "augment": "none",
        "cost_features": features,
        "cost_layers": rule.layers,
    }
    if amounts.finalists:
        own |= {
            "finalists": amounts.finalists,
            "finalist_epochs": rule.finalist_epochs,
        }
    return own | {f"max_{name}": value for name, value in asked.bounds.items()}


def _training(asked, amounts, features) -> dict[str, Any]:
    return {
        "genotype": f"{asked.folder}/{SEARCH}/genotype.json",
        "features": features,
        "layers": asked.rule.layers,
        "batch_size": asked.batch_size,
        "epochs": amounts.epochs,
        "valid_rate": plan_lib.VALID_RATE,
    }


def _compare(asked, amounts, features) -> dict[str, Any]:
    own = _training(asked, amounts, features) | dict(asked.rule.recipe)
    own |= {"num_seeds": amounts.seeds} if amounts.seeds > 1 else {}
    return own | {"baselines": ",".join(amounts.baselines)}


def with_baselines(given: Sequence[str], names: Sequence[str]) -> list[str]:
    """Returns the flags of a comparison that is resumed with fewer baselines.

    Args:
      given: its flags.
      names: of the baselines.
    """
    set_here = ("--baselines", "--allow_changed")
    rest = [one for one in given if one.partition("=")[0] not in set_here]
    return [*rest, f"--baselines={','.join(names)}", "--allow_changed"]


def _tune(asked, amounts, features) -> dict[str, Any]:
    recipe = dict(asked.rule.recipe)
    usual = recipe_rows.RECIPES["compact"]()["learning_rate"]
    rate = recipe.pop("learning_rate", usual)
    recipe.pop("weight_decay", None)
    ranges = (
        f"learning_rate:log:{rate / _LOWER:.3g}:{rate * _HIGHER:.3g}",
        "weight_decay:log:1e-5:1e-2",
    )
    return {
        **_training(asked, amounts, features),
        **recipe,
        "trials": amounts.trials,
        "min_epochs": plan_lib.tune_epochs(amounts),
        "tune": ",".join(ranges),
        "test": False,
    }


def _tuned(asked, amounts, features) -> dict[str, Any]:
    own = _training(asked, amounts, features)
    own |= {"num_seeds": amounts.seeds} if amounts.seeds > 1 else {}
    return own | {"settings": f"{asked.folder}/{TUNE}/best.json"}


_OF = {SEARCH: _search, COMPARE: _compare, TUNE: _tune, TUNED: _tuned}


def _flag(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={value:.12g}" if isinstance(value, float) else f"--{name}={value}"


def shown(start: str, given: list[str]) -> str:
    """Returns a command as a user types it.

    Args:
      start: how a launcher is called, such as "jnas search".
      given: its flags.
    """
    return f"{start} {shlex.join(given)}"
