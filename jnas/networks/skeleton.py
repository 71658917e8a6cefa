"""The order of a network's layers in the papers' two skeletons, a list of places.

Cells of two inputs follow DARTS: reductions at a third and two thirds of the layers,
where features double. Cells of one input follow NAS-Bench-201: three stages of equal
cells with a residual block between stages. ``networks/skeletons.py`` has all of them.

Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055; Dong and Yang 2020,
arXiv:2001.00326.
"""

import dataclasses
from collections.abc import Sequence

from jnas import registry
from jnas.networks import cell, stems

_RANGES = {  # beyond the largest, building takes minutes, or all memory
    "features": (1, 10_000),
    "num_layers": (1, 1_000),
    "num_classes": (1, 100_000),
    "channels": (1, 10_000),
}


_MOST_PIXELS = 100_000  # rows or columns


@dataclasses.dataclass(frozen=True)
class Size:
    """The size of a network.

    Attributes:
      features: F of the first cells' states.
      num_layers: cells in the whole (two-input cells) or in a stage (one-input cells).
      num_classes: outputs, of classification the classes.
      channels: of the images.
      stem: key in ``registry.STEMS``; ``stems.named`` chooses one for images.
      image_size: rows and columns of the images, for a skeleton that follows them;
        None where no layer depends on them.
    """

    features: int
    num_layers: int
    num_classes: int
    channels: int = 3
    stem: str = "small"
    image_size: tuple[int, int] | None = None

    def __post_init__(self):
        """Raises ValueError where a size is out of its range, KeyError for a stem."""
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(
                    f"{name} must be from {least} to {most}, got "
                    f"{getattr(self, name)}. Choose another."
                )
        _ = registry.STEMS[self.stem]  # raises
        pair = self.image_size
        if pair is not None and not (
            isinstance(pair, tuple)
            and len(pair) == 2
            and all(type(n) is int and 0 < n <= _MOST_PIXELS for n in pair)
        ):
            raise ValueError(
                "image_size must be rows and columns, two integers from 1 to "
                f"{_MOST_PIXELS}, got {pair!r:.80}. Correct it."
            )


def stem_of(num_inputs: int, size: Size) -> stems.Stem:
    """Returns the stem of a network.

    Args:
      num_inputs: of the cells.
      size: of the network.
    """
    return registry.STEMS[size.stem](num_inputs, size.features, size.channels)


def check_auxiliary(size: Size, image_shape: tuple[int, ...]) -> None:
    """Refuses images that stem and reductions leave too small for the auxiliary head.

    Args:
      size: of a network of two-input cells.
      image_shape: rows, columns and channels of one image.

    Raises:
      ValueError: less than 2x2 pixels are left.
    """
    halved = 4 * stem_of(2, size).strides[1]  # by two reductions
    rows, columns = image_shape[:2]
    if min(rows, columns) <= halved:
        raise ValueError(
            f"images must have more than {halved} rows and columns for the auxiliary "
            f"head, got {rows}x{columns}. Use larger images or --noauxiliary."
        )


def check(num_inputs: int, cells: Sequence[str], num_layers: int) -> None:
    """Checks that each kind of cell is in the network; the others would not be trained.

    Args:
      num_inputs: of the cells, 1 or 2.
      cells: names of the kinds of cells.
      num_layers: of the network's size.

    Raises:
      ValueError: more kinds than the skeleton uses, or so few layers that one of them
        does not occur.
    """
    least = least_layers(num_inputs, cells)
    if num_layers < least:
        raise ValueError(
            f"num_layers must be at least {least} for the cells {', '.join(cells)}, "
            f"got {num_layers}, which leaves one of them out. Use --layers={least}."
        )


def least_layers(num_inputs: int, cells: Sequence[str]) -> int:
    """Returns the least number of layers in which each kind of cell occurs.

    Args:
      num_inputs: of the cells, 1 or 2.
      cells: names of the kinds of cells.

    Raises:
      ValueError: more kinds than the skeleton uses.
    """
    if len(cells) > num_inputs:  # one kind, or a normal cell and a reduction
        kinds = "one kind of cell" if num_inputs == 1 else "one or two kinds of cells"
        raise ValueError(
            f"cells must be {kinds} for the network of {num_inputs}-input cells, got "
            f"{', '.join(cells)}. Describe the cell that is repeated."
        )
    least = 1
    while num_inputs == 2 and len(_kinds(len(cells), least)) < len(cells):
        least += 1
    return least


def _kinds(num_cells: int, num_layers: int) -> set[int]:
    """Returns the kinds of cells that occur among two-input cells."""
    reductions = _reductions(num_layers)
    return {_kind(num_cells, i in reductions) for i in range(num_layers)}


def _reductions(num_layers: int) -> set[int]:
    return {num_layers // 3, 2 * num_layers // 3}


def _kind(num_cells: int, reduction: bool) -> int:
    return min(num_cells - 1, int(reduction))


def plan(num_inputs: int, cells: Sequence[str], width: int | list, size: Size) -> list:
    """Lists the places of all layers, first to last.

    Args:
      num_inputs: of the cells, 1 or 2.
      cells: names of the kinds; the second, where there is one, makes the reductions.
      width: states in a cell's output, one number or one for each kind.
      size: of the network.

    Returns:
      A Place for a cell; an int, its number of output features, for a residual layer.

    Raises:
      ValueError: see ``check``.
    """
    check(num_inputs, cells, size.num_layers)
    if num_inputs == 1:
        stages = [1, 2, 4]
        place = [
            cell.Place(0, size.features * s, (size.features * s,) * 2, False, False)
            for s in stages
        ]
        each = [[p] * size.num_layers for p in place]
        return [
            *each[0], place[1].features, *each[1], place[2].features, *each[2]
        ]  # fmt: skip
    widths = [width] * len(cells) if isinstance(width, int) else width
    reductions = _reductions(size.num_layers)
    stem = stem_of(num_inputs, size)
    before, last = stem.features
    features, after, plan = size.features, stem.strides[0] < stem.strides[1], []
    for i in range(size.num_layers):
        reduction = i in reductions
        features *= 2 if reduction else 1
        kind = _kind(len(cells), reduction)
        plan.append(cell.Place(kind, features, (before, last), reduction, after))
        before, last, after = last, widths[kind] * features, reduction
    return plan


def stage_of(place: cell.Place | int) -> tuple | int:
    """Returns what a stage's cells have in common; a residual layer is one by itself.

    Args:
      place: one of a plan.
    """
    if isinstance(place, int):
        return place
    return place.cell, place.features, place.reduction
