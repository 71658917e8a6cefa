"""Limits of a search: flags, the network whose cost is counted, and what is said."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jnas import data as data_lib
from jnas import networks, spaces
from jnas import settings as settings_lib
from jnas.networks import latency as latency_lib
from jnas.networks import limits as limits_lib
from jnas.networks import stems
from jnas.run import files, workdir
from jnas.settings import option
from jnas.spaces import genotype as genotypes
from jnas.studies import recipe_rows, setup, train_scratch

LATENCY = "latency.json"
LATENCY_MS = "latency_ms"  # as a metric; latency alone is in seconds
COSTS = ("parameters", "macs", LATENCY_MS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoundSettings:
    """Largest costs of the found cell's network. The fields carry their own help text.

    Attributes:
      size_flags: flags that set the size of this network, for errors.
    """

    size_flags = "--features and --layers"

    max_parameters: float | None = option(
        None,
        "Largest number of parameters of the found cell's network, without auxiliary "
        "head; without it any.",
        least=1,
    )
    max_macs: float | None = option(
        None,
        "Largest number of multiply-accumulates of one image in the found cell's "
        "network; without it any.",
        least=1,
    )
    max_latency_ms: float | None = option(
        None,
        "Largest latency in milliseconds of one image in the found cell's network, by "
        "a table that is measured on this device; without it any.",
        least=0,
    )
    __post_init__ = settings_lib.check


@dataclasses.dataclass(frozen=True, kw_only=True)
class LimitSettings(BoundSettings):
    """Limits with the size of their network; settings of searches extend it.

    The fields carry their own help text.
    """

    size_flags = "--cost_features and --cost_layers"

    cost_features: int | None = option(
        None,
        "Features of the network whose costs are limited; without it those that the "
        "next command, retrain, trains.",
        least=1,
    )
    cost_layers: int | None = option(
        None,
        "Number of cells of the network whose costs are limited; without it those that "
        "the next command, retrain, trains.",
        least=1,
    )
    __post_init__ = settings_lib.check


def of_network(
    settings: BoundSettings, *, features: int, layers: int
) -> dict[str, Any]:
    """Returns the fields of a search's limits in a network of a size.

    Args:
      settings: that hold the bounds.
      features: of the network's first cells.
      layers: number of its cells, or of those of a stage.

    Returns:
      Field of ``LimitSettings`` -> value; empty where no limit is set.
    """
    own = {f"max_{name}": value for name, value in bounds(settings).items()}
    return own and own | {"cost_features": features, "cost_layers": layers}


def bounds(settings: BoundSettings) -> dict[str, float]:
    """Returns cost -> bound of the limits that are set.

    Args:
      settings: of the search.
    """
    given = {name: getattr(settings, f"max_{name}") for name in COSTS}
    return {name: float(value) for name, value in given.items() if value is not None}


def cost_numbers(
    settings: LimitSettings,
    changed: dict[str, Any],
    space: spaces.Space | genotypes.Genotype,
    image_shape: tuple[int, ...],
) -> dict[str, int]:
    """Returns features and layers of the network that the next command trains.

    Args:
      settings: of the search.
      changed: features and layers that the user of the search set, which the next
        command takes too.
      space: that is searched, or a genotype of it; it and the images decide the
        recipe.
      image_shape: rows, columns and channels of one image.
    """
    row = recipe_rows.row_of(space, image_shape)
    numbers = {}
    for name in ("features", "layers"):
        default = row.get(name, getattr(train_scratch.RetrainSettings, name))
        own = getattr(settings, f"cost_{name}")
        numbers[name] = own or changed.get(name, default)
    return numbers


def counted(settings: LimitSettings) -> bool:
    """Returns whether costs are those of a network of its own, not of the search's."""
    own = settings.cost_features is not None or settings.cost_layers is not None
    return own or bool(bounds(settings))


def cost_size(
    numbers: dict[str, int], dataset: data_lib.Dataset, *, stem: str = stems.AUTO
) -> networks.Size:
    """Returns the size of the network whose costs are limited.

    Args:
      numbers: of ``cost_numbers``.
      dataset: classes, channels and the size of the images.
      stem: name of the stem, or "auto".
    """
    return setup.network_size(_Numbers(**numbers), dataset, stem=stem)


@dataclasses.dataclass(frozen=True)
class _Numbers:
    """A size as ``setup.network_size`` takes it."""

    features: int
    layers: int


def costs(
    run: workdir.Run,
    space: spaces.Space,
    size: networks.Size,
    image_shape: tuple[int, int, int],
    names: tuple[str, ...],
) -> dict[str, networks.Costs]:
    """Returns the named costs of a space's candidates.

    Latencies are measured once a run, and kept in its folder.

    Args:
      run: the open run.
      space: of the cells.
      size: of the network.
      image_shape: rows, columns and channels of one image.
      names: some of ``COSTS``.
    """
    found = networks.option_costs(space, size, image_shape)
    if LATENCY_MS in names:
        content = run.led(lambda: _latencies(run, space, size, image_shape).to_json())
        table = latency_lib.from_json(content)
        found[LATENCY_MS] = table.costs(space, size, image_shape)
    return {name: found[name] for name in names}


def _latencies(run, space, size, image_shape) -> networks.Latencies:
    """Reads the run's latencies, or measures them.

    Those of another network are measured again; those of another device are kept, for
    a search that is resumed there.
    """
    path = run.workdir / LATENCY
    own = {"size": dataclasses.asdict(size), "image_shape": image_shape}
    network = json.loads(json.dumps(own))  # as the file gives it back
    if path.exists():
        content = files.read_json(path)
        table = latency_lib.from_json(content)
        if content.get("network") == network:
            here = latency_lib.device_name()
            if table.device != here:
                run.say_once(
                    f"latencies are those that were measured on {table.device}, not on "
                    f"{here}; remove {LATENCY} to measure them again"
                )
            return table
    run.say_once("measuring the latency of each candidate on this device")
    table = networks.measure_latencies(space, size, image_shape)
    content = table.to_json() | {"network": network}
    run.write_text(LATENCY, json.dumps(content, indent=1) + "\n")
    return table


def build(
    run: workdir.Run,
    space: spaces.Space,
    settings: BoundSettings,
    numbers: dict[str, int],
    dataset: data_lib.Dataset,
    *,
    stem: str = stems.AUTO,
    max_skips: int | None = None,
) -> tuple[networks.Limit, ...]:
    """Builds the limits of cells in one network; empty where none is set.

    Args:
      run: the open run, in which latencies are measured.
      space: of the cells.
      settings: that hold the limits.
      numbers: features and layers of the network.
      dataset: classes, channels and images.
      stem: name of the network's stem, or "auto".
      max_skips: largest number of skip connections that the method allows.

    Raises:
      ValueError: as ``resolve``.
    """
    names = tuple(bounds(settings))
    if not names:
        return ()
    size = cost_size(numbers, dataset, stem=stem)
    known = costs(run, space, size, dataset.image_shape, names)
    return resolve(run, space, settings, numbers, known, max_skips=max_skips)


def resolve(
    run: workdir.Run,
    space: spaces.Space,
    settings: BoundSettings,
    numbers: dict[str, int],
    known: Mapping[str, networks.Costs],
    *,
    max_skips: int | None = None,
) -> tuple[networks.Limit, ...]:
    """Builds the limits of a search, and says what they are.

    Args:
      run: the open run.
      space: that is searched.
      settings: of the search.
      numbers: of ``cost_numbers``.
      known: the costs, of ``costs``.
      max_skips: largest number of skip connections that the method allows.

    Raises:
      ValueError: a limit below the cheapest cell that computes something, or limits
        that no cell keeps together.
    """
    made = _kept_by_some(space, settings, known, max_skips)
    for one in made:
        run.say_once(describe(one, numbers))
    return made


def _kept_by_some(space, settings, known, max_skips) -> tuple[networks.Limit, ...]:
    """Builds the limits of the costs that are known, which some useful cell keeps."""
    made = tuple(
        networks.limit(name, bound, known[name], size_flags=settings.size_flags)
        for name, bound in bounds(settings).items()
        if name in known
    )
    limits_lib.check_all(space, made, max_skips=max_skips)
    _check_useful(space, made)
    return made


def _check_useful(space: spaces.Space, made: Sequence[networks.Limit]) -> None:
    """Refuses limits that only cells keep whose output is the same for every image."""
    for one in made:
        least = networks.cheapest(space, one.costs)
        if least is not None and least > one.bound:
            raise ValueError(
                f"max_{one.name} must be at least {limits_lib.shown(least)}, the "
                "cheapest cell whose output depends on its input, got "
                f"{limits_lib.shown(one.bound)}. Raise it."
            )


def check(
    space: spaces.Space,
    settings: BoundSettings,
    numbers: dict[str, int],
    dataset: data_lib.Dataset,
    *,
    stem: str = stems.AUTO,
    max_skips: int | None = None,
) -> tuple[networks.Limit, ...]:
    """Refuses limits that no cell keeps, before a run is opened.

    Latencies are not checked: they are measured in the run.

    Args:
      space: that is searched.
      settings: of the search.
      numbers: of ``cost_numbers``.
      dataset: classes, channels and images.
      stem: name of the network's stem, or "auto".
      max_skips: largest number of skip connections that the method allows.

    Returns:
      The limits that were checked.

    Raises:
      ValueError: as ``resolve``.
    """
    if not set(bounds(settings)) - {LATENCY_MS}:
        return ()
    size = cost_size(numbers, dataset, stem=stem)
    known = networks.option_costs(space, size, dataset.image_shape)
    return _kept_by_some(space, settings, known, max_skips)


def describe(one: networks.Limit, numbers: dict[str, int]) -> str:
    """Returns a limit in words: its bound, and the range of the space's cells.

    Args:
      one: the limit.
      numbers: features and layers of the network.
    """
    least, most = (limits_lib.shown(value) for value in limits_lib.extent(one.costs))
    text = (
        f"limit: max_{one.name}={limits_lib.shown(one.bound)} in the network of "
        f"{numbers['features']} features and {numbers['layers']} layers, where cells "
        f"cost {least} to {most}"
    )
    if one.bound >= limits_lib.extent(one.costs)[1]:
        text += "; no cell exceeds it: it is without effect"
    return text


def figures(
    limits: tuple[networks.Limit, ...], space: spaces.Space, encoding: np.ndarray
) -> dict[str, Any]:
    """Returns bound and cost of a cell for each limit, as an entry of result.json.

    Args:
      limits: of the search.
      space: of the cell.
      encoding: i32[G].
    """
    if not limits:
        return {}
    weights = limits_lib.one_of(space.weights(encoding))
    found = {}
    for one in limits:
        least, most = limits_lib.extent(one.costs)
        found[one.name] = {
            "bound": one.bound,
            "found": float(limits_lib.costs_of(one.costs, weights)[0]),
            "cheapest": least,
            "dearest": most,
        }
    return {"limits": found}


def warning(replaced: Sequence[bool]) -> str:
    """Returns what is said of derived cells that exceeded a limit.

    Args:
      replaced: of each search, whether its cell is another than the derived one.
    """
    several = f" of {sum(replaced)} of {len(replaced)} searches"
    return (
        f"the derived cell{several if len(replaced) > 1 else ''} exceeded a limit; "
        "the result is the cell with the largest product of weights that keeps all "
        "limits; raise --epochs or --logits_learning_rate to let the search follow them"
    )
