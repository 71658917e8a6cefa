"""What networks read: inputs that do not fit are refused before anything runs."""

import functools

import jax

from jnas import data as data_lib
from jnas import networks, registry, spaces
from jnas.spaces import genotype_choices, genotype_text
from jnas.spaces import rows as rows_lib


def check(space: spaces.Space, dataset: data_lib.Dataset) -> None:
    """Refuses inputs that the networks of a space cannot read.

    Args:
      space: that is searched, or of a genotype.
      dataset: of the run.

    Raises:
      ValueError: series, vectors or several arrays, for cells or a chain.
    """
    if _of_images(space) and dataset.inputs != data_lib.IMAGES:
        raise ValueError(
            f"inputs must be images for space {space.name}, got {dataset.inputs}. "
            "Search a space whose supernet reads them (--plugins), or write series as "
            "images of one row, x[:, None]."
        )


def check_genotype(
    genotype: genotype_text.AnyGenotype, dataset: data_lib.Dataset
) -> None:
    """Refuses inputs that the network of a genotype cannot read.

    Args:
      genotype: the cells, or choices.
      dataset: of the run.

    Raises:
      ValueError: series, vectors or several arrays, for cells or a chain.
    """
    if dataset.inputs == data_lib.IMAGES:
        return
    if isinstance(genotype, genotype_text.Choices):
        check(genotype_choices.space_of(genotype), dataset)
        return
    raise ValueError(
        f"inputs must be images for cells of {genotype.space}, got {dataset.inputs}. "
        "Use the network of another space (--plugins)."
    )


def check_network(
    space: spaces.Space, size: networks.Size, dataset: data_lib.Dataset
) -> None:
    """Refuses a supernet of one's own that does not fit inputs or task, before it runs.

    Args:
      space: that is searched.
      size: of its networks.
      dataset: of the run.

    Raises:
      ValueError: its network cannot read the inputs, or has other outputs.
    """
    if _of_images(space) or space.supernet not in registry.SUPERNETS:
        return
    supernet, key = networks.supernet(space, size), jax.random.key(0)
    given = networks.abstract(dataset.image_shape), rows_lib.shapes(space)
    params = jax.eval_shape(supernet.init, key)
    apply = functools.partial(supernet.apply, key=key)
    _check_apply(f"supernet {space.supernet}", apply, (params, *given), dataset)


def check_derived(
    genotype: genotype_text.AnyGenotype,
    network: networks.Network,
    dataset: data_lib.Dataset,
) -> None:
    """Refuses a derived network of one's own that does not fit inputs or task.

    Args:
      genotype: of the network; cells and chains are not checked here.
      network: as ``networks.derived`` builds it.
      dataset: of the run.

    Raises:
      ValueError: it cannot read the inputs, or has other outputs.
    """
    of_cells = not isinstance(genotype, genotype_text.Choices)
    if of_cells or _of_images(genotype_choices.space_of(genotype)):
        return
    params, stats = jax.eval_shape(network.init, jax.random.key(0))

    def apply(params, stats, x):
        key = jax.random.key(0)
        return network.apply(params, stats, x, train=False, key=key)[0][0]

    given = params, stats, networks.abstract(dataset.image_shape)
    _check_apply(f"network of space {genotype.space}", apply, given, dataset)


def _check_apply(who, apply, given, dataset) -> None:
    """Refuses a function that raises on its shapes, or has other outputs."""
    shapes = jax.tree.leaves(networks.abstract(dataset.image_shape))
    read = ", ".join(f"{x.dtype}{list(x.shape)}" for x in shapes)
    where = f"{who} must read {dataset.inputs} of one example, {read}"
    try:
        out = jax.eval_shape(apply, *given)
    except Exception as error:  # of any kind, in a user's function
        line = str(error).partition("\n")[0]
        raise ValueError(
            f"{where}, got {type(error).__name__}: {line}. Use other --data or "
            "--inputs, or correct it."
        ) from error
    wanted, shape = (1, dataset.num_outputs), getattr(out, "shape", None)
    if shape != wanted:
        got = type(out).__name__ if shape is None else f"shape {list(shape)}"
        raise ValueError(
            f"{where}, and give shape {list(wanted)}, got {got}. Give size.num_classes "
            "outputs."
        )


def check_images(dataset: data_lib.Dataset, who: str) -> None:
    """Refuses inputs that are no images.

    Args:
      dataset: of the run.
      who: name in the error of what reads images.

    Raises:
      ValueError: series, vectors or several arrays.
    """
    if dataset.inputs != data_lib.IMAGES:
        raise ValueError(
            f"inputs must be images for {who}, got {dataset.inputs}. Leave it out."
        )


def _of_images(space) -> bool:
    return rows_lib.has_edges(space) or isinstance(space, spaces.ChainSpace)
