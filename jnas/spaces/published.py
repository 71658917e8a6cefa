"""Published genotypes, shipped as data, with their published parameter counts."""

import functools
import importlib.resources
import json
from typing import Any

from jnas import registry
from jnas.spaces import genotype_text


def names() -> tuple[str, ...]:
    """Returns the names of the published genotypes.

    Example:
      >>> "DARTS_V2" in names()
      True
    """
    return tuple(_genotypes())


def cells() -> tuple[str, ...]:
    """Returns the names of the published genotypes that are cells."""
    return tuple(n for n, one in _genotypes().items() if "cells" in one["genotype"])


def genotype(name: str) -> genotype_text.AnyGenotype:
    """Returns a published genotype, its edges in the order of its source.

    Args:
      name: one of ``names()``.

    Raises:
      KeyError: there is no published genotype of that name.
    """
    entry = json.dumps(_genotypes()[name]["genotype"])
    return genotype_text.from_json(entry, operations=_data()["operations"])


def published(name: str) -> dict[str, Any]:
    """Returns the source and the published counts of a genotype.

    Args:
      name: one of ``names()``.

    Returns:
      ``source``, repository@commit:path; and, where known, for the CIFAR-10 network of
      36 features and 20 layers: ``parameters`` without the auxiliary head,
      ``auxiliary``, the parameters of that head, and ``macs``, the multiply-adds of
      convolutions and linear layers. Of chains ``imagenet_parameters`` and
      ``imagenet_macs`` as published, rounded, for 1,000 classes and 224x224 pixels.

    Raises:
      KeyError: there is no published genotype of that name.
    """
    entry = _genotypes()[name]
    return {key: value for key, value in entry.items() if key != "genotype"}


def candidates(space: str) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """Returns the operations of each edge of each cell of a RobustDARTS space.

    Args:
      space: s1, s2, s3 or s4.

    Returns:
      [C][E] tuples of names, normal cell first.

    Raises:
      KeyError: there is no such space.

    Source: Zela et al., 2020, arXiv:1909.09656; its repository's ``spaces.py``.
    """
    cells = _table("candidate lists", "candidates")[space]
    return tuple(tuple(map(tuple, cells[name])) for name in ("normal", "reduce"))


def _genotypes() -> registry.Registry:
    return _table("published genotype", "genotypes")


@functools.cache
def _table(kind: str, key: str) -> registry.Registry:
    """Returns the data as a registry, whose errors suggest the closest name."""
    table = registry.Registry(kind)
    for name, entry in _data()[key].items():
        table.register(entry, name=name)
    return table


@functools.cache
def _data() -> dict[str, Any]:
    file = importlib.resources.files("jnas.spaces") / "genotypes.json"
    return json.loads(file.read_text("utf-8"))
