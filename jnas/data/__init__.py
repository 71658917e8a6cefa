"""Data sets: embedded, npz, folders, tensorflow-datasets, or a user's own."""

from collections.abc import Callable
from urllib import parse

from jnas import registry
from jnas.data import embedded as embedded
from jnas.data import generated as generated
from jnas.data import validate
from jnas.data.arrays import read_npy as read_npy
from jnas.data.arrays import read_npz as read_npz
from jnas.data.augment import Augment as Augment
from jnas.data.augment import normalise as normalise
from jnas.data.dataset import ARRAYS as ARRAYS
from jnas.data.dataset import IMAGES as IMAGES
from jnas.data.dataset import INPUTS as INPUTS
from jnas.data.dataset import SERIES as SERIES
from jnas.data.dataset import VECTORS as VECTORS
from jnas.data.dataset import Dataset as Dataset
from jnas.data.dataset import shrink as shrink
from jnas.data.folder import read_folder as read_folder
from jnas.data.policy import POLICIES as POLICIES
from jnas.data.policy import describe as describe
from jnas.data.policy import for_search as for_search
from jnas.data.policy import for_training as for_training
from jnas.data.source import Read as Read
from jnas.data.split import stratified as stratified
from jnas.data.split import two_parts as two_parts
from jnas.data.task import Metric as Metric
from jnas.data.task import Targets as Targets
from jnas.data.task import Task as Task
from jnas.data.tasks import CLASSIFICATION as CLASSIFICATION
from jnas.data.tfds import read_tfds as read_tfds


def _size(text: str) -> tuple[int, int]:
    """Parses "32" or "32x48", rows x columns."""
    sides = text.split("x")
    if len(sides) > 2 or not all(one.isascii() and one.isdigit() for one in sides):
        raise ValueError(text)
    return int(sides[0]), int(sides[-1])


_READERS: dict[str, tuple[Callable, dict[str, Callable]]] = {
    "npz": (read_npz, {}),
    "npy": (read_npy, {}),
    "folder": (read_folder, {"size": _size, "background": str}),
    "tfds": (read_tfds, {"data_dir": str}),
}


def load(spec: str, *, task: str | None = None, inputs: str | None = None) -> Dataset:
    """Loads a data set by name or location, and checks it.

    Args:
      spec: a name of ``registry.DATASETS`` ("fashion", "digits", a user's own), or
        "npz:PATH", "npy:PATH" of a folder of arrays, "folder:PATH" of pictures,
        "folder:PATH?size=32", "tfds:NAME", "tfds:NAME?data_dir=PATH". Of pictures,
        ``size=32x48`` gives rows x columns, and ``background=black`` the colour behind
        transparent pixels; & joins options.
      task: key in ``registry.TASKS``; None means that of the data set: what its
        function says, else classification.
      inputs: how arrays are read, see ``Dataset``; None likewise, else images.

    Raises:
      KeyError: no data set, or no task, of that name is registered.
      ValueError: the location cannot be read or its data are invalid; the message is
        one line with both.
    """
    kind, colon, place = spec.partition(":")
    if not colon:
        return _checked(_named(spec), task, inputs)
    if kind not in _READERS:
        raise ValueError(
            f"data must be a name, npz:PATH, npy:PATH, folder:PATH or tfds:NAME, got "
            f"{spec!r}. "
            f"{registry.nearest(kind, _READERS)}Names: {', '.join(registry.DATASETS)}."
        )
    reader, options = _READERS[kind]
    place, _, query = place.partition("?")
    what = "name" if kind == "tfds" else "path"
    if not place:
        raise ValueError(
            f"data must have a {what} after {kind}:, got {spec!r}. Add the {what}."
        )
    given = dict(parse.parse_qsl(query, keep_blank_values=True))
    values = {}
    for name, value in given.items():
        try:
            values[name] = options[name](value)
        except (KeyError, ValueError):
            form = " as 32 or 32x48" if name == "size" else ""
            raise ValueError(
                f"data must be {kind}:{what.upper()} with options "
                f"{', '.join(options) or 'none'}, got {spec!r}. Correct {name!r}{form}."
            ) from None
    if kind not in ("npz", "npy"):
        if inputs not in (None, IMAGES):
            raise ValueError(
                f"inputs must be images for {kind}:, got {inputs!r}. Use npz:FILE."
            )
        return reader(place, **values).as_task(task)
    how = {"task": task, "inputs": inputs}
    return reader(place, **values, **{k: v for k, v in how.items() if v is not None})


def _named(name: str) -> Dataset:
    try:
        return registry.DATASETS[name]()
    except registry.UnknownName as error:
        raise registry.UnknownName(
            f"{error} Or use npz:PATH, npy:PATH, folder:PATH or tfds:NAME."
        ) from None


def _checked(d: Dataset, task: str | None, inputs: str | None) -> Dataset:
    """Validates what a user's registered function returned, like any other data."""
    if not isinstance(d, Dataset):
        raise TypeError(
            f"data set must be a data.Dataset, got {type(d).__name__}. Return one from "
            "the registered function."
        )
    return validate.validate(
        d.x_train,
        d.y_train,
        d.x_test,
        d.y_test,
        name=d.name,
        flip=d.flip,
        class_names=d.class_names,
        notes=d.notes,
        identity=d.identity,
        task=task or d.task_name,
        inputs=inputs or d.inputs,
    )
