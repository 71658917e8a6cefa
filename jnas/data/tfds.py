"""Data sets of tensorflow-datasets, read without TensorFlow."""

import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from jnas.data import dataset as dataset_lib
from jnas.data import validate

_NAME = re.compile(r"\w+(/\w[\w.+-]*)*", re.ASCII)  # no way out of the folder


def read_tfds(name: str, *, data_dir: str | None = None) -> dataset_lib.Dataset:
    """Reads a prepared data set of tensorflow-datasets.

    Only what lies on disk is read, as array_record: nothing is downloaded, since the
    preparation of a stock set needs TensorFlow.

    Args:
      name: as tfds knows it, such as "cifar10"; features image and label, splits train
        and test; perhaps with a configuration and a version, "name/config/1.0.0".
      data_dir: where tfds keeps its data sets; its own default when None.

    Raises:
      ValueError: it is not prepared, or has no such features or splits.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            "data must be tfds: and letters, digits, _ and /, got "
            f"{f'tfds:{name}'!r}. Use tfds:cifar10."
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
            f"not. {preparing}"
        )
    try:
        builder = tfds.builder_from_directory(found[-1].parent)
    except Exception as error:  # what a damaged description brings out is not said
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
    except Exception as error:  # neither is what a damaged record brings out
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ValueError(
        f"data must be sound, got 'tfds:{name}' ({reason}). Prepare it again."
    )
