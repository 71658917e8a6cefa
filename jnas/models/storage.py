"""A model in a folder: ``model.json`` and ``weights.safetensors``."""

import os
from collections.abc import Mapping
from typing import Any

import jax

from jnas.models import architecture as architecture_lib
from jnas.models import folder as folder_lib
from jnas.models import learned as learned_lib
from jnas.models import model as model_lib
from jnas.models import names as names_lib
from jnas.models import preprocessing as preprocessing_lib
from jnas.models import reading

NAME, FOLDER = "model.json", "model"
FORMAT, VERSION = "jnas.model", 2  # the first has classes alone
_KEYS = (
    "format",
    "version",
    "task",
    "architecture",
    "preprocessing",
    "class_names",
    "figures",
    "versions",
    "weights",
)


def save(folder: str | os.PathLike, model: model_lib.Model) -> None:
    """Saves a model in a folder, whole or not at all.

    Args:
      folder: the folder: new, empty, or that of an earlier save, which is replaced.
      model: the model.

    Raises:
      ValueError: weights that are not finite, or a folder that holds other files.
      OSError: it cannot be written.
    """
    names = model.architecture.names
    arrays = names_lib.flatten(model.params, names)
    arrays |= names_lib.flatten(model.stats, names)
    content = {
        "format": FORMAT,
        "version": 1 if model.classifies else VERSION,
        **model.learned.to_json(),
        "architecture": model.architecture.description,
        "preprocessing": model.preprocessing.to_json(),
        "class_names": list(model.class_names),
        "figures": dict(model.figures),
        "versions": dict(model.versions) or folder_lib.versions(),
    }
    folder_lib.write(folder, NAME, content, arrays)


def load(path: str | os.PathLike) -> model_lib.Model:
    """Loads a model; no code of its files runs.

    Operations and spaces of one's own must be registered before, as with
    ``jnas.load_plugins(["mine.py"])``.

    Args:
      path: folder of the model, one of its two files, or a run with a folder ``model``.

    Raises:
      ValueError: a file is missing, damaged, newer, or not of this model; the message
        names it, in one line.
    """
    folder = folder_lib.find(path, NAME, FOLDER)
    file = folder / NAME
    content = reading.read_json(file, FORMAT, VERSION)
    with reading.located(file):
        more = ("targets",) if content["version"] > 1 else ()
        architecture_lib.check_keys(NAME, content, (*_KEYS, *more))
        if content["task"] != learned_lib.CLASSIFICATION and not more:
            raise ValueError(
                f"task must be 'classification' in version 1, got "
                f"{content['task']!r:.80}. Restore the file."
            )
        fields = described(content) | {"learned": learned_lib.from_json(content)}
        architecture = architecture_lib.read(content["architecture"])
    like = jax.eval_shape(architecture.network.init, jax.random.key(0))
    names = architecture.names
    wanted = names_lib.shapes(like[0], names) | names_lib.shapes(like[1], names)
    kept = content["weights"]
    arrays = reading.read_arrays(folder / reading.WEIGHTS, kept, wanted)
    params, stats = (names_lib.unflatten(arrays, tree, names) for tree in like)
    with reading.located(file):
        return model_lib.Model(architecture, params, stats, **fields)


def described(content: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the fields that models and supernets share.

    Args:
      content: of the JSON file.

    Returns:
      ``preprocessing``, ``class_names``, ``figures`` and ``versions``.

    Raises:
      ValueError: one of them breaks its rule.
    """
    names = content["class_names"]
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise ValueError(
            f"class_names must be a list of texts, got {names!r:.80}. Restore the file."
        )
    for key in ("figures", "versions"):
        if not isinstance(content[key], dict):
            raise ValueError(
                f"{key} must be an object, got {content[key]!r:.80}. Restore the file."
            )
    return {
        "preprocessing": preprocessing_lib.from_json(content["preprocessing"]),
        "class_names": tuple(names),
        "figures": content["figures"],
        "versions": content["versions"],
    }
