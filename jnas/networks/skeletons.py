"""The skeletons: what is between a network's cells, and how it ends.

A space names its skeleton (``CellSpace.skeleton``). ``papers`` is that of DARTS for
cells of two inputs and that of NAS-Bench-201 for cells of one. ``mobile`` is for small
networks of one-input cells:

    stem - cells - reduction - cells - ... - norm, ReLU, sum over pixels, norm, linear

Its stages follow the images: they are halved until 8 pixels or fewer are left. A
reduction is one inverted residual of stride 2 that doubles the features, where
NAS-Bench-201's two full 3x3 convolutions hold most parameters of a small network. The
sum over pixels has a learned weight for each pixel and feature, which start equal, as
an average.

Source: Sandler et al. 2018, arXiv:1801.04381 (inverted residuals); Chen et al. 2018,
arXiv:1804.07573, section 3.1 (the global depthwise convolution that replaces the
average). Differs: a norm and a ReLU come before it, as in NAS-Bench-201's network.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jnas import ops, registry
from jnas.networks import cell, functional, heads
from jnas.networks import skeleton as skeleton_lib
from jnas.networks.skeleton import Size
from jnas.spaces import genotype

PAPERS = genotype.PAPERS
EXPANSION = 3  # of the reductions of ``mobile``
_FEW = 8  # pixels of an axis that is not halved any more
_MOST_STAGES = 4


class Skeleton(NamedTuple):
    """A skeleton of cells of some number of inputs.

    Attributes:
      plan: (cells, width, size) -> the places of all layers, first to last: a Place for
        a cell, an int for a reduction between stages, its number of output features.
      reduction: (in_features, features, norm) -> the Layer of a reduction.
      classifier: (in_features, size, norm) -> Functional f32[B, H, W, F] -> f32[B, K].
    """

    plan: Callable
    reduction: Callable
    classifier: Callable


def of(name: str, num_inputs: int) -> Skeleton:
    """Returns a skeleton by name.

    Args:
      name: key in ``registry.SKELETONS``.
      num_inputs: of the cells, 1 or 2.

    Raises:
      KeyError: a skeleton that is not registered; the nearest is guessed.
      ValueError: the skeleton has no place for cells of so many inputs.
    """
    return registry.SKELETONS[name](num_inputs)


def plan(
    name: str, num_inputs: int, cells: Sequence[str], width: int | list, size: Size
) -> list:
    """Lists the places of all layers of a network, first to last.

    Args:
      name: of the skeleton.
      num_inputs: of the cells, 1 or 2.
      cells: names of the kinds of cells.
      width: states in a cell's output, one number or one for each kind.
      size: of the network.

    Returns:
      See ``Skeleton.plan``.

    Raises:
      KeyError: a skeleton that is not registered.
      ValueError: cells or a size that the skeleton has no place for.
    """
    return of(name, num_inputs).plan(cells, width, size)


@registry.SKELETONS.register
def papers(num_inputs: int) -> Skeleton:
    """Returns the skeleton of DARTS (two inputs) or NAS-Bench-201 (one input).

    Args:
      num_inputs: of the cells.
    """

    def plan(cells, width, size):
        return skeleton_lib.plan(num_inputs, cells, width, size)

    def classifier(in_features, size, norm):
        own = heads.head_norm(num_inputs, norm)
        return heads.classifier(in_features, size.num_classes, own)

    return Skeleton(plan, cell.residual_layer, classifier)


@registry.SKELETONS.register
def mobile(num_inputs: int) -> Skeleton:
    """Returns the skeleton of small networks whose stages follow the images.

    Args:
      num_inputs: of the cells; only 1.

    Raises:
      ValueError: cells of two inputs.
    """
    if num_inputs != 1:
        raise ValueError(
            f"num_inputs must be 1 for the skeleton mobile, got {num_inputs}. Use the "
            "skeleton papers."
        )
    return Skeleton(_mobile_plan, _inverted_reduction, _depthwise_classifier)


def stage_pixels(size: Size) -> list[tuple[int, int]]:
    """Lists rows and columns of the cells of each stage of ``mobile``.

    Args:
      size: of the network.

    Raises:
      ValueError: a size without the images' rows and columns.

    Example:
      >>> stage_pixels(Size(8, 1, 10, 3, image_size=(32, 48)))
      [(32, 48), (16, 24), (8, 12)]
    """
    if size.image_size is None:
        raise ValueError(
            "image_size must be rows and columns for the skeleton mobile, got None. "
            "Give those of the images."
        )
    stride = skeleton_lib.stem_of(1, size).strides[1]
    stages = [tuple(-(-n // stride) for n in size.image_size)]
    while len(stages) < _MOST_STAGES and min(stages[-1]) > 1:
        if min(stages[-1]) <= _FEW and len(stages) > 1:
            break
        stages.append(tuple(-(-n // 2) for n in stages[-1]))
    return stages


def _mobile_plan(cells, width, size) -> list:
    skeleton_lib.check(1, cells, size.num_layers)
    found: list = []
    for number in range(len(stage_pixels(size))):
        features = size.features * 2**number
        if number:
            found.append(features)
        place = cell.Place(0, features, (features,) * 2, False, False)
        found += [place] * size.num_layers
    return found


def _inverted_reduction(in_features, features, *, norm) -> cell.Layer:
    def build(rngs):
        return ops.inverted_branch(
            in_features,
            features,
            kernel=3,
            expansion=EXPANSION,
            stride=2,
            norm=norm,
            rngs=rngs,
        )

    return cell.single_layer("branch", functional.functional(build))


def _depthwise_classifier(in_features, size, norm) -> functional.Functional:
    return heads.depthwise_classifier(
        in_features,
        size.num_classes,
        stage_pixels(size)[-1],
        heads.head_norm(1, norm),
    )
