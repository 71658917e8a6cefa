"""What a found cell is compared with: random cells, the largest one, hand-made ones."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from jnas import data as data_lib
from jnas import networks, registry, spaces
from jnas import settings as settings_lib
from jnas.settings import option
from jnas.spaces import genotype as genotypes
from jnas.studies import cells, hand_made, setup, train_scratch

FOUND, LARGEST, RANDOM = "found", "largest_cell", "random"


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
    space: spaces.Space,
    size: networks.Size,
    image_shape: tuple[int, int, int],
    limits: Sequence[networks.Limit] = (),
) -> genotypes.Genotype | None:
    """Returns the cell of a space whose network has most parameters.

    Parameters are a sum over edges, so each node keeps the edges whose largest
    candidate has most of them; equal ones go to the earlier edge and candidate.

    Args:
      space: the space.
      size: of the network.
      image_shape: rows, columns and channels of one image.
      limits: that the cell keeps.

    Returns:
      The cell; None where it computes nothing within the limits.
    """
    costs = networks.option_costs(space, size, image_shape)["parameters"]
    if not limits:
        return space.genotype(space.strongest(costs.options))
    found = networks.dearest_within(space, costs, limits)
    if found is None or spaces.is_empty(space, found):
        return None
    return space.genotype(found)


def prepare(
    found: genotypes.Genotype,
    space: spaces.Space | None,
    dataset: data_lib.Dataset,
    settings: BaselineSettings,
    training: train_scratch.RetrainSettings,
    *,
    seed: int,
    limits: Sequence[networks.Limit] = (),
    latency: hand_made.Latency | None = None,
) -> Plan:
    """Chooses the networks that are trained beside a found cell.

    Args:
      found: the found cell.
      space: that random cells and the largest cell are of; None leaves them out.
      dataset: the images.
      settings: what to compare with.
      training: size of the cells' networks and type of the activations.
      seed: of the random cells.
      limits: that every network keeps.
      latency: times hand-made networks, where latency is limited.

    Raises:
      ValueError: a network that cannot be built.
    """
    size = setup.network_size(training, dataset, stem=training.stem)
    chosen, left_out = {FOUND: found}, []
    if space is not None:
        more, left_out = _cells(found, space, size, dataset, settings, seed, limits)
        chosen |= more
    wanted = networks.measure(networks.derived(found, size), dataset.image_shape)
    beside = {}
    for name in settings.baselines:
        try:
            beside[name] = hand_made.build(
                name,
                dataset,
                parameters=wanted["parameters"],
                dtype=training.dtype,
                limits=limits,
                latency=latency,
            )
        except ValueError as error:
            left_out.append(f"baseline {name} is left out: {error}")
    return Plan(chosen, beside, tuple(left_out))


def _cells(found, space, size, dataset, settings, seed, limits):
    """Returns the largest cell and random ones, and a line for what is left out."""
    chosen, left_out = {}, []
    if settings.largest_cell:
        most = largest(space, size, dataset.image_shape, limits)
        if most is None:
            left_out.append(
                "the largest cell is left out: the one with most parameters within the "
                "limits computes nothing"
            )
        elif most == found:
            within = " within the limits" if limits else ""
            left_out.append(
                f"the found cell is the one with most parameters{within} itself"
            )
        else:
            chosen[LARGEST] = most
    count = settings.num_random
    drawn = cells.random_connected(space, count, seed=seed, limits=limits)
    if limits and len(drawn) < count:
        left_out.append(
            f"{len(drawn)} of {count} random cells are trained: no more that keep the "
            "limits were drawn"
        )
    return chosen | {f"{RANDOM}_{i}": c for i, c in enumerate(drawn)}, left_out
