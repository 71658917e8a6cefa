"""A network described by JSON values: what a saved model is rebuilt from.

``{"kind": "cells", "genotype": {...}, "size": {...}, "dtype": "float32"}``. A
kind is an entry of ``registry.ARCHITECTURES``, a function of the description's other
fields.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from jnas import networks, registry
from jnas.models import names as names_lib
from jnas.networks import baselines
from jnas.spaces import genotype_text

DTYPES = ("float32", "bfloat16")


class Architecture(NamedTuple):
    """A network and the description that it can be built from again.

    Attributes:
      description: JSON values, with ``kind``.
      network: of the description; without an auxiliary head.
      num_classes: K, its number of outputs.
      channels: C of its images.
      names: names of its arrays, as from ``models.names``.
    """

    description: dict[str, Any]
    network: networks.Network
    num_classes: int
    channels: int
    names: names_lib.Names


def of_genotype(
    genotype: genotype_text.AnyGenotype, size: networks.Size, *, dtype: str = "float32"
) -> Architecture:
    """Describes the network of one genotype, as ``networks.derived`` builds it.

    Args:
      genotype: its cells.
      size: its size.
      dtype: of the activations, one of DTYPES.

    Raises:
      ValueError: another type, or cells that ``networks.derived`` refuses.
    """
    if dtype not in DTYPES:
        raise ValueError(
            f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}. Choose one."
        )
    description = {
        "kind": "choices" if isinstance(genotype, genotype_text.Choices) else "cells",
        "genotype": json.loads(genotype_text.to_json(genotype)),
        "size": dataclasses.asdict(size),
        "dtype": dtype,
    }
    network = networks.derived(genotype, size, dtype=jnp.dtype(dtype))
    names = names_lib.of_network(genotype, size)
    return Architecture(description, network, size.num_classes, size.channels, names)


@registry.ARCHITECTURES.register
def cells(fields: Mapping[str, Any]) -> Architecture:
    """Builds the network of a genotype from a description.

    Args:
      fields: ``genotype``, ``size`` and ``dtype``.

    Raises:
      ValueError: a field is missing, unknown or breaks its rule.
      KeyError: an operation that is not registered.
    """
    check_keys("architecture", fields, ("genotype", "size", "dtype"))
    genotype = genotype_text.from_json(json.dumps(fields["genotype"]))
    return of_genotype(genotype, read_size(fields["size"]), dtype=fields["dtype"])


@registry.ARCHITECTURES.register
def choices(fields: Mapping[str, Any]) -> Architecture:
    """Builds the network of a chain, or of a space of one's own, from a description.

    Args:
      fields: ``genotype``, whose space is registered, ``size`` and ``dtype``.

    Raises:
      ValueError: a field is missing, unknown or breaks its rule.
      KeyError: an operation that is not registered.
    """
    return cells(fields)


def of_baseline(baseline: networks.Baseline) -> Architecture:
    """Describes a hand-made network.

    Args:
      baseline: one of ``registry.BASELINES``, of one size.
    """
    return Architecture(
        baseline.to_json(),
        baseline.network(),
        baseline.num_classes,
        baseline.image_shape[-1],
        names_lib.of_paths,
    )


@registry.ARCHITECTURES.register
def baseline(fields: Mapping[str, Any]) -> Architecture:
    """Builds a hand-made network from a description.

    Args:
      fields: those of ``networks.Baseline``.

    Raises:
      ValueError: a field is missing, unknown or breaks its rule.
      KeyError: a baseline that is not registered.
    """
    return of_baseline(baselines.from_json(fields))


def read(description: Any) -> Architecture:
    """Builds a network from its description, which may be foreign.

    Args:
      description: JSON values, with ``kind``.

    Raises:
      ValueError: a field is missing, unknown or breaks its rule.
      KeyError: a kind or an operation that is not registered.
    """
    if not isinstance(description, Mapping) or "kind" not in description:
        raise ValueError(
            f"architecture must be an object with a kind, got {description!r:.80}. "
            "Restore the file."
        )
    fields = {key: value for key, value in description.items() if key != "kind"}
    kind = description["kind"]
    build = registry.ARCHITECTURES[kind if isinstance(kind, str) else repr(kind)]
    return build(fields)


def read_size(fields: Any) -> networks.Size:
    """Reads the size of a network from JSON values.

    Args:
      fields: the fields of ``networks.Size``.

    Raises:
      ValueError: a field is missing, unknown, no integer or out of its range.
    """
    if isinstance(fields, Mapping):  # models of before have no image_size
        fields = {"image_size": None, **fields}
    check_keys("size", fields, [one.name for one in dataclasses.fields(networks.Size)])
    pair = fields.pop("image_size")
    for name, value in fields.items():
        wanted, kind = (str, "a text") if name == "stem" else (int, "an integer")
        if type(value) is not wanted:
            raise ValueError(
                f"size.{name} must be {kind}, got {value!r:.80}. Restore the file."
            )
    pair = tuple(pair) if isinstance(pair, list) else pair
    return networks.Size(**fields, image_size=pair)  # which checks the pair


def check_keys(name: str, fields: Any, keys: Any) -> None:
    """Checks that a JSON value is an object with exactly these keys.

    Args:
      name: of the value in the message.
      fields: any JSON value.
      keys: all of its keys.

    Raises:
      ValueError: it is none, or has other keys.
    """
    found = sorted(fields) if isinstance(fields, Mapping) else fields
    if not isinstance(fields, Mapping) or set(fields) != set(keys):
        raise ValueError(
            f"{name} must be an object with exactly the keys {', '.join(keys)}, got "
            f"{found!r:.200}. Restore the file."
        )
