"""Where the candidates of cells and chains compute, by name of the supernet."""

from jnas import registry, spaces
from jnas.networks import cell_network, chain, chain_network, skeletons
from jnas.networks import skeleton as skeleton_lib
from jnas.networks.cell import Place
from jnas.networks.costs import Spot


@registry.SPOTS.register(name=cell_network.NAME)
def of_cells(
    space: spaces.CellSpace,
    size: skeleton_lib.Size,
    image_shape: tuple[int, int, int],
) -> list[tuple[tuple[int, int], Spot]]:
    """Lists every candidate of every cell of a network, ``none`` left out.

    Args:
      space: of the cells.
      size: of the network.
      image_shape: rows, columns and channels of one image.

    Returns:
      (index (cell * E + edge, operation), Spot) of each.
    """
    width, found = len(space.concat), []
    stride = skeleton_lib.stem_of(space.num_inputs, size).strides[1]
    rows, columns = (-(-n // stride) for n in image_shape[:2])
    for place in skeletons.plan(
        space.skeleton, space.num_inputs, space.cells, width, size
    ):
        if isinstance(place, Place):
            found += _of_place(space, place, (rows, columns))
        if isinstance(place, int) or place.reduction:
            rows, columns = -(-rows // 2), -(-columns // 2)
    return found


def _of_place(space, place, size) -> list:
    """Lists the candidates of one cell that reads images of a size."""
    found, first = [], place.cell * len(space.edges)
    for e, (source, _) in enumerate(space.edges):
        stride = 2 if place.reduction and source < space.num_inputs else 1
        halved = place.reduction and source >= space.num_inputs
        rows, columns = (-(-n // 2) for n in size) if halved else size
        for o, name in enumerate(space.candidates_of(place.cell, e)):
            if name != spaces.NONE:
                spot = Spot(name, place.features, stride, rows, columns)
                found.append(((first + e, o), spot))
    return found


@registry.SPOTS.register(name=chain_network.NAME)
def of_chain(
    space: spaces.ChainSpace,
    size: skeleton_lib.Size,
    image_shape: tuple[int, int, int],
) -> list[tuple[tuple[int, int], Spot]]:
    """Lists every candidate of every position of a chain.

    Args:
      space: the chain.
      size: of the network.
      image_shape: rows, columns and channels of one image.

    Returns:
      (index (row, option), Spot) of each.
    """
    stride = chain.stem_stride(space, size)
    rows, columns = (-(-n // stride) for n in image_shape[:2])
    starts, first = {}, 0
    for leaf, genes in sorted(space.genes.leaves):  # as JAX orders the leaves
        starts[leaf], first = first, first + len(genes)
    found = []
    for position, block in enumerate(chain.plan(space, size)):
        leaf, row = space.row_of(position)
        for option, name in enumerate(block.options):
            spot = Spot(name, block.features, block.stride, rows, columns, block.before)
            found.append(((starts[leaf] + row, option), spot))
        rows, columns = (-(-n // block.stride) for n in (rows, columns))
    return found
