"""Cells as a user names them, and as a line shows them."""

import collections
import pathlib

import jax

from jnas import controllers, registry, zoo
from jnas import genotype as genotypes
from jnas.run import keys


def find(text: str, *, space: str, seed: int) -> genotypes.Genotype:
    """Reads a genotype from what a user wrote.

    Args:
      text: a JSON file, a published name, a NAS-Bench-201 string, or "random".
      space: the space that random draws from.
      seed: of the draw.

    Raises:
      ValueError: none of these, or a bad file; the nearest name is guessed.
    """
    if text == "random":
        drawn = registry.SPACES[space]()
        return random_cells(drawn, 1, seed=seed)[0]
    if text.startswith("|"):
        return genotypes.from_nasbench201(text)
    if text in zoo.names():
        return zoo.genotype(text)
    if pathlib.Path(text).is_file():
        return genotypes.load(text)
    raise ValueError(
        "genotype must be an existing file, a NAS-Bench-201 string, random, or one of "
        f"{', '.join(zoo.names())}, got {text!r}. "
        f"{registry.nearest(text, zoo.names())}"
    )


def random_cells(space, count: int, *, seed: int) -> list[genotypes.Genotype]:
    """Draws genotypes uniformly, a function of the seed.

    Args:
      space: the space.
      count: how many.
      seed: of the draw.
    """
    key = jax.random.fold_in(jax.random.key(seed), keys.CELLS)
    draw = controllers.random_search(space.sizes, num_proposals=count)
    return [space.genotype(e) for e in draw.ask(key, draw.init(key))]


def short(genotype: genotypes.Genotype) -> str:
    """Returns the operations of each cell, counted, the most frequent first.

    Args:
      genotype: the cells.
    """
    cells = []
    for name, cell in genotype.cells:
        counts = collections.Counter(op for _, _, op in cell.edges)
        listed = ", ".join(f"{n} {op}" for op, n in counts.most_common())
        cells.append(f"{name}: {listed}")
    return "; ".join(cells)
