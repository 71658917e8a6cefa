"""How wide networks are, so that limits are used and kept."""

from collections.abc import Mapping

import numpy as np

from jnas import data as data_lib
from jnas import networks, spaces, types
from jnas.networks import limits as limits_lib
from jnas.spaces import genotype as genotypes
from jnas.spaces import rows
from jnas.studies import cells, limits
from jnas.studies.auto import rules

_EVERY, _FEWEST = 2, 4  # features of a training are even
_PARTIAL = 4  # those of a search are a multiple of PC-DARTS' partial channels
_DRAWN = 32  # random cells, whose median is the typical one
COUNTED = ("parameters", "macs")  # a latency is measured, not counted


def for_search(
    rule: rules.Rule,
    space: spaces.CellSpace,
    dataset: data_lib.Dataset,
    bounds: Mapping[str, float],
) -> int:
    """Returns the most features at which a typical cell keeps the limits.

    Half of the cells then have more: the limit decides among cells, and is not merely
    kept. Without limits they are the rule's.

    Args:
      rule: the row of the table.
      space: that is searched.
      dataset: the images.
      bounds: cost -> bound.

    Raises:
      ValueError: a bound below the cheapest cell at the fewest features.
    """
    wanted = {name: bounds[name] for name in COUNTED if name in bounds}
    if not wanted:
        return rule.features
    weights = _drawn(space)

    def fits(features):
        known = _costs(rule, features, space, dataset)
        for name, bound in wanted.items():
            if np.median(limits_lib.costs_of(known[name], weights)) > bound:
                return False
        return True

    found = _most(_FEWEST, rule.most_features, _PARTIAL, fits)
    if found is None:
        _check(wanted, _costs(rule, _FEWEST, space, dataset))
    return found or _FEWEST


def likely_macs(
    rule: rules.Rule,
    space: spaces.CellSpace,
    dataset: data_lib.Dataset,
    features: int,
) -> float:
    """Returns the multiply-accumulates that nine of ten cells' networks do not exceed.

    A found cell has more of them than most.

    Args:
      rule: gives the layers.
      space: of the cells.
      dataset: the images.
      features: of the first cells.
    """
    known = _costs(rule, features, space, dataset)["macs"]
    return float(np.quantile(limits_lib.costs_of(known, _drawn(space)), 0.9))


def _drawn(space) -> types.Weights:
    """Draws cells; returns their one-hot weights."""
    drawn = cells.random_connected(space, _DRAWN, seed=0)
    return rows.stacked([space.weights(space.encode(one)) for one in drawn])


def _costs(rule, features, space, dataset) -> dict[str, networks.Costs]:
    size = _size(rule, features, dataset)
    return networks.option_costs(space, size, dataset.image_shape)


def _size(rule, features, dataset) -> networks.Size:
    numbers = {"features": features, "layers": rule.layers}
    return limits.cost_size(numbers, dataset)


def _check(wanted, known) -> None:
    for name, bound in wanted.items():
        least = limits_lib.extent(known[name])[0]
        if least > bound:
            raise ValueError(
                f"max_{name} must be at least {limits_lib.shown(least)}, the cheapest "
                f"network of {_FEWEST} features, got {limits_lib.shown(bound)}. Raise "
                "it, or use smaller images (?size=)."
            )


def _most(least: int, most: int, every: int, fits) -> int | None:
    """Returns the largest multiple that fits, where smaller ones do too."""
    found = None
    low, high = -(-least // every), most // every
    while low <= high:
        middle = (low + high) // 2
        if fits(every * middle):
            found, low = every * middle, middle + 1
        else:
            high = middle - 1
    return found


def for_training(
    rule: rules.Rule,
    cell: genotypes.Genotype,
    dataset: data_lib.Dataset,
    bounds: Mapping[str, float],
    searched: int,
) -> int:
    """Returns the most features at which a found cell keeps the limits.

    Without limits they are the rule's, as many as trained best in the same time.

    Args:
      rule: the row of the table.
      cell: the found cell.
      dataset: the images.
      bounds: cost -> bound.
      searched: features of the search, which kept them; a latency was limited there.
    """
    if limits.LATENCY_MS in bounds:
        return searched
    wanted = {name: bounds[name] for name in COUNTED if name in bounds}
    if not wanted:
        return max(searched, rule.train_features)

    def fits(features):
        counts = counted(rule, cell, dataset, features)
        return all(counts[name] <= bound for name, bound in wanted.items())

    return _most(searched, max(searched, rule.most_features), _EVERY, fits) or searched


def counted(
    rule: rules.Rule,
    cell: genotypes.Genotype,
    dataset: data_lib.Dataset,
    features: int,
) -> dict[str, int]:
    """Returns parameters and MACs of a cell's network.

    Args:
      rule: gives the layers.
      cell: the cell.
      dataset: the images.
      features: of the first cells.
    """
    size = _size(rule, features, dataset)
    return networks.measure(networks.derived(cell, size), dataset.image_shape)
