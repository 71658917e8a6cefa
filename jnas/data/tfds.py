"""Reads data sets of tensorflow-datasets without TensorFlow."""

import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from jnas.data import dataset as dataset_lib
from jnas.data import validate

_NAME = re.compile(r"\w+(/\w[\w.+-]*)*", re.ASCII)  # cannot leave the folder by ".."


def read_tfds(name: str, *, data_dir: str | None = None) -> dataset_lib.Dataset:
    """Reads a prepared data set of tensorflow-datasets.

    The data set must be on disk in array_record format. Nothing is downloaded, since
    preparing a data set needs TensorFlow.

    Args:
      name: the name in tfds, such as "cifar10", optionally with configuration and
        version, "name/config/1.0.0". Its features must include image and label, its
        splits train and test.
      data_dir: the folder of tfds' data sets; None means tfds' default.

    Raises:
      ValueError: the data set is not prepared, or lacks these features or splits.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            "data must be tfds: and a name of letters, digits, _ and /, got "
            f"{f'tfds:{name}'!r}. Write it like tfds:cifar10."
        )
    import tensorflow_datasets as tfds

    preparing = (
        'Where TensorFlow is installed, run: python -c "import tensorflow_datasets as '
        f"t; t.builder('{name}', file_format='array_record').download_and_prepare()\""
    )
    root = pathlib.Path(os.path.expanduser(data_dir or tfds.core.constants.DATA_DIR))
    found = sorted((root / name).glob("**/dataset_info.json"))
    if not found:
        raise ValueError(
            f"data must be prepared under {str(root)!r}, got 'tfds:{name}', which is "
            f"not there. {preparing}"
        )
    try:
        builder = tfds.builder_from_directory(found[-1].parent)
    except Exception as error:  # tfds documents no errors for a damaged description
        raise _damaged(name, error) from error
    form = builder.info.file_format
    if form != tfds.core.FileFormat.ARRAY_RECORD:
        raise ValueError(
            f"data must be prepared as array_record, got 'tfds:{name}' as "
            f"{getattr(form, 'value', form)}. {preparing}"
        )
    missing = {"train", "test"} - set(builder.info.splits)
    absent = {"image", "label"} - set(builder.info.features)
    if missing or absent:
        raise ValueError(
            f"data must have splits train and test and features image and label, got "
            f"'tfds:{name}' without {', '.join(sorted(missing | absent))}. "
            "Convert it to npz."
        )
    train, test = (_arrays(builder, part, name) for part in ("train", "test"))
    return validate.validate(*train, *test, name=f"tfds:{name}")


def _arrays(builder: Any, part: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = [], []
    for example in _examples(builder, part, name):
        image = np.asarray(example["image"])
        if images and image.shape != images[0].shape:
            raise ValueError(
                f"images must have one size, got {images[0].shape} and {image.shape} "
                f"(index {len(images)} of {part}) in 'tfds:{name}'. Convert it to npz."
            )
        images.append(image)
        labels.append(int(example["label"]))
    return np.stack(images), np.array(labels, np.int64)


def _examples(builder: Any, part: str, name: str) -> Iterator[Any]:
    try:
        yield from builder.as_data_source(part)
    except Exception as error:  # nor for a damaged record
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ValueError(
        f"data must be readable, got 'tfds:{name}' ({reason}). Prepare it again."
    )
