"""Cells as a user names them, and as a progress line shows them."""

import collections
import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jnas import networks, registry, spaces
from jnas.discrete import controllers
from jnas.run import metrics
from jnas.settings import option
from jnas.spaces import drawing, genotype_choices, genotype_text, published
from jnas.spaces.genotype_text import AnyGenotype
from jnas.studies import keys

_APART = 1_000_003  # between the seeds of rounds of draws
_DRAWN, _ROUNDS = 1_000, 50  # random cells of a round under limits, most rounds


@dataclasses.dataclass(frozen=True)
class GenotypeSettings:
    """The cell that a run is about. The field carries its own help text."""

    genotype: str = option(
        text="Genotype: a file (FILE.py:NAME for one of several), a published name, "
        "a NAS-Bench-201 string, the Genotype(...) that DARTS prints (of --space), "
        "JSON on one line, or random (drawn by the seed).",
        group="space",
    )


def find(text: str, *, space: str, seed: int) -> AnyGenotype:
    """Finds the genotype that a user names.

    Args:
      text: a file, or FILE:NAME; a published name; any form that
        ``genotype_text.parse`` reads; or "random".
      space: name of the space that random draws from, and of what DARTS printed.
      seed: seed of the draw.

    Raises:
      ValueError: none of these, a bad file, or cells whose inputs are not certain; the
        nearest name is guessed.
    """
    if text == "random":
        drawn = registry.SPACES[space]()
        return random_cells(drawn, 1, seed=seed)[0]
    genotype = _named(text) or _written(text, space)
    if genotype is None:
        raise ValueError(
            "genotype must be an existing file, a NAS-Bench-201 string, "
            "Genotype(...) as DARTS prints it, JSON, random, or one of "
            f"{', '.join(published.names())}, got {text!r}. "
            f"{registry.nearest(text, published.names())}"
        )
    if isinstance(genotype, genotype_text.Choices):
        genotype_choices.space_of(genotype)  # raises
    else:
        _ = genotype.num_inputs  # raises where the space has to be registered
    return genotype


def _named(text: str) -> AnyGenotype | None:
    return published.genotype(text) if text in published.names() else None


def _written(text: str, space: str) -> AnyGenotype | None:
    """Reads a file, one genotype of a file, or the genotype itself."""
    path, _, name = text.rpartition(":")
    if os.path.isfile(text):
        return genotype_text.load(text, space=space)
    if os.path.isfile(path):
        return genotype_text.load(path, name=name, space=space)
    if text.strip()[:1] in ("|", "{", "\ufeff") or "Genotype(" in text:
        return genotype_text.parse(text, space=space)
    return None


def random_cells(space, count: int, *, seed: int) -> list[AnyGenotype]:
    """Draws genotypes uniformly, a function of the seed.

    Args:
      space: the space.
      count: how many.
      seed: of the draw.
    """
    key = jax.random.fold_in(jax.random.key(seed), keys.CELLS)
    draw = controllers.random_search(space.sizes, num_proposals=count)
    return [space.genotype(e) for e in draw.ask(key, draw.init(key))]


def random_connected(
    space: spaces.Space,
    count: int,
    *,
    seed: int,
    limits: Sequence[networks.Limit] = (),
) -> list[AnyGenotype]:
    """Draws genotypes uniformly among those that compute something.

    A cell without a path from its input to its output gives the same outputs for every
    image; nobody would train it, and its accuracy says nothing of a space. Under limits
    no cell is drawn twice, since few may keep them.

    Args:
      space: the space.
      count: how many; of a space of empty cells, or under tight limits, fewer are
        found.
      seed: of the draw.
      limits: that each cell keeps.
    """
    if not count:
        return []
    if limits:
        return _random_within(space, count, seed, limits)
    found: list[AnyGenotype] = []
    for number in range(10):
        drawn = random_cells(space, 2 * count, seed=seed + _APART * number)
        found += [one for one in drawn if not spaces.is_empty(space, space.encode(one))]
        if len(found) >= count:
            break
    return found[:count]


def _random_within(space, count, seed, limits) -> list[AnyGenotype]:
    """Draws different cells that keep limits, in rounds of many encodings."""
    draw = controllers.random_search(space.sizes, num_proposals=_DRAWN)
    weights_of = jax.jit(jax.vmap(space.weights))
    found: list[AnyGenotype] = []
    seen = set()
    for number in range(_ROUNDS):
        if len(found) >= count:
            break
        key = jax.random.key(seed + _APART * number)
        key = jax.random.fold_in(key, keys.CELLS)
        drawn = np.asarray(draw.ask(key, draw.init(key)))
        for one in drawn[networks.all_fit(_host(weights_of(drawn)), limits)]:
            if one.tobytes() in seen:
                continue
            seen.add(one.tobytes())
            if not spaces.is_empty(space, one):
                found.append(space.genotype(one))
    return found[:count]


def _host(weights: Any) -> Any:
    return jax.tree.map(np.asarray, weights)


def operations(genotype: AnyGenotype) -> dict[str, list[str]]:
    """Returns the operations of each cell, or the options of each group of choices.

    Args:
      genotype: cells, or choices.
    """
    if isinstance(genotype, genotype_text.Choices):
        found: dict[str, list[str]] = {}
        for row, option in genotype.choices:
            group = row.rpartition("/")[0] or genotype.space
            found.setdefault(group, []).append(option)
        return found
    return {name: [op for _, _, op in cell.edges] for name, cell in genotype.cells}


def num_skips(genotype: AnyGenotype) -> int:
    """Returns the number of skip connections.

    Args:
      genotype: cells, or choices.
    """
    return sum(own.count(spaces.SKIP) for own in operations(genotype).values())


def found(
    genotype: AnyGenotype,
    score: float,
    *,
    shown: str = "",
    weights: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> metrics.Found:
    """Describes the cell that a search has come to: score, skips and operations.

    Args:
      genotype: the cell.
      score: its score, higher is better.
      shown: text of the score; without it the number.
      weights: mixing weights, from ``rows.named``.
      seed: index of the search it comes from, of several side by side.
    """
    return metrics.Found(
        f"skips {num_skips(genotype)} ({short(genotype)})",
        genotype_text.to_json(genotype),
        functools.partial(drawing.to_png, genotype),
        weights,
        seed,
        score,
        shown or f"{score:.4g}",
    )


def short(genotype: AnyGenotype) -> str:
    """Returns the operations of each cell or group, counted, most frequent first.

    Args:
      genotype: cells, or choices.
    """
    groups = []
    for name, own in operations(genotype).items():
        counts = collections.Counter(own)
        listed = ", ".join(f"{n} {op}" for op, n in counts.most_common())
        groups.append(f"{name}: {listed}")
    return "; ".join(groups)
