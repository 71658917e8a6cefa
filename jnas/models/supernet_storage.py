"""A supernet in a folder: ``supernet.json`` and ``weights.safetensors``."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jnas import networks, registry, spaces
from jnas.models import architecture as architecture_lib
from jnas.models import folder as folder_lib
from jnas.models import learned as learned_lib
from jnas.models import names as names_lib
from jnas.models import reading, storage
from jnas.models import supernet as supernet_lib
from jnas.spaces import rows

NAME, FOLDER = "supernet.json", "supernet"
FORMAT, VERSION = "jnas.supernet", 2  # the first has classes alone
WEIGHTS, LOGITS, EDGES = "weights", "logits", "edge_logits"
_LATER = (
    "entangled",
    "lora_rank",
    "drop_path",
)  # fields of a variant that first files lack
_KEYS = (
    "format",
    "version",
    "space",
    "size",
    "variant",
    "normalise_pools",
    "dtype",
    "preprocessing",
    "class_names",
    "figures",
    "versions",
    "weights",
)


def save(folder: str | os.PathLike, supernet: supernet_lib.TrainedSupernet) -> None:
    """Saves a supernet in a folder, whole or not at all.

    Args:
      folder: the folder: new, empty, or that of an earlier save, which is replaced.
      supernet: the supernet.

    Raises:
      ValueError: weights that are not finite, or a folder that holds other files.
      OSError: it cannot be written.
    """
    about = supernet.description
    names = names_lib.of_supernet(about.build())
    arrays = names_lib.flatten(supernet.params, names)
    own = _by_leaf(WEIGHTS, supernet.weights) | _by_leaf(LOGITS, supernet.logits)
    if supernet.edge_logits is not None:
        own[EDGES] = supernet.edge_logits
    twice = sorted(arrays.keys() & own.keys())
    if twice:
        raise ValueError(
            f"parameters of a supernet must have other names than {', '.join(own)}, "
            f"got {twice[0]!r}. Rename it."
        )
    arrays |= own
    of_classes = supernet.learned.name == learned_lib.CLASSIFICATION
    content = {
        "format": FORMAT,
        "version": 1 if of_classes else VERSION,
        **({} if of_classes else supernet.learned.to_json()),
        "space": _described(about.space),
        "size": dataclasses.asdict(about.size),
        "variant": _variant(about.variant),
        "normalise_pools": about.normalise_pools,
        "dtype": about.dtype,
        "preprocessing": supernet.preprocessing.to_json(),
        "class_names": list(supernet.class_names),
        "figures": dict(supernet.figures),
        "versions": dict(supernet.versions) or folder_lib.versions(),
    }
    arrays = {k: np.asarray(v) for k, v in arrays.items()}
    folder_lib.write(folder, NAME, content, arrays)


def load(path: str | os.PathLike) -> supernet_lib.TrainedSupernet:
    """Loads a supernet; no code of its files runs.

    Operations of one's own must be registered before; the space is in the file.

    Args:
      path: folder of the supernet, one of its two files, or a run with a folder
        ``supernet``.

    Raises:
      ValueError: a file is missing, damaged, newer, or not of this supernet; the
        message names it, in one line.
    """
    folder = folder_lib.find(path, NAME, FOLDER)
    file = folder / NAME
    content = reading.read_json(file, FORMAT, VERSION)
    with reading.located(file):
        more = ("task", "targets") if content["version"] > 1 else ()
        architecture_lib.check_keys(NAME, content, (*_KEYS, *more))
        about = _read_description(content)
        described = storage.described(content)
        if more:
            described["learned"] = learned_lib.from_json(content)
        built = about.build()
    like = jax.eval_shape(built.init, jax.random.key(0))
    names = names_lib.of_supernet(built)
    path = folder / reading.WEIGHTS
    wanted = names_lib.shapes(like, names) | _logits(about.space)
    arrays = reading.read_arrays(path, content["weights"], wanted, optional=(EDGES,))
    return supernet_lib.TrainedSupernet(
        about,
        names_lib.unflatten(arrays, like, names),
        _from_leaves(LOGITS, arrays, about.space),
        arrays.get(EDGES),
        _from_leaves(WEIGHTS, arrays, about.space),
        **described,
    )


def _logits(space: spaces.Space) -> dict[str, jax.ShapeDtypeStruct]:
    like = rows.shapes(space)
    found = _by_leaf(WEIGHTS, like) | _by_leaf(LOGITS, like)
    if rows.has_edges(space):
        found[EDGES] = jax.ShapeDtypeStruct(like.shape[:2], np.float32)
    return found


def _by_leaf(name: str, tree: Any) -> dict[str, Any]:
    """Returns the leaves by name; a single array has the name itself."""
    if not isinstance(tree, Mapping):
        return {name: tree}
    return {f"{name}/{leaf}": value for leaf, value in tree.items()}


def _from_leaves(name: str, arrays: Mapping[str, Any], space: spaces.Space) -> Any:
    like = rows.shapes(space)
    if not isinstance(like, Mapping):
        return arrays[name]
    return {leaf: arrays[f"{name}/{leaf}"] for leaf in like}


def _described(space: spaces.Space) -> dict[str, Any]:
    """Describes cells by their fields, other spaces by registered name and rows."""
    if rows.has_edges(space):
        return dataclasses.asdict(space)
    named = [[one.group, one.name, *one.options] for one in rows.rows(space)]
    return {"registered": space.name, "rows": named}


def _read_space(fields: Mapping[str, Any]) -> spaces.Space:
    if isinstance(fields, Mapping) and "registered" in fields:
        architecture_lib.check_keys("space", fields, ["registered", "rows"])
        space = registry.SPACES[str(fields["registered"])]()
        if _described(space) != {**fields}:
            raise ValueError(
                f"space {space.name} must have the rows and options that it was "
                "searched with, got others. Load the plug-in that the run had."
            )
        return space
    keys = [field.name for field in dataclasses.fields(spaces.CellSpace)]
    architecture_lib.check_keys("space", fields, keys)
    return spaces.CellSpace(**{k: _tuples(v) for k, v in fields.items()})


def _read_description(content: Mapping[str, Any]) -> supernet_lib.Description:
    space = _read_space(content["space"])
    off = dataclasses.asdict(networks.EdgeVariant())
    later = {name: off[name] for name in _LATER}
    variant = content["variant"]
    if isinstance(variant, Mapping):
        variant = later | {**variant}
    architecture_lib.check_keys("variant", variant, list(off))
    for name, value in {
        **variant,
        "normalise_pools": content["normalise_pools"],
    }.items():
        kind = type(off.get(name, True))
        if type(value) is not kind:
            raise ValueError(
                f"{name} must be of type {kind.__name__}, got {value!r:.80}. Restore "
                "the file."
            )
    if content["dtype"] not in architecture_lib.DTYPES:
        raise ValueError(
            f"dtype must be one of {', '.join(architecture_lib.DTYPES)}, got "
            f"{content['dtype']!r:.80}. Restore the file."
        )
    return supernet_lib.Description(
        space,
        architecture_lib.read_size(content["size"]),
        networks.EdgeVariant(**variant),
        content["normalise_pools"],
        content["dtype"],
    )


def _variant(variant: networks.EdgeVariant) -> dict[str, Any]:
    """Describes an edge variant; later fields only where they say anything."""
    off = networks.EdgeVariant()
    return {
        name: value
        for name, value in dataclasses.asdict(variant).items()
        if name not in _LATER or value != getattr(off, name)
    }


def _tuples(value: Any) -> Any:
    """Turns JSON's lists into tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
