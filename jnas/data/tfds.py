"""Reads data sets of tensorflow-datasets without TensorFlow."""

import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from jnas.data import dataset as dataset_lib
from jnas.data import facts, residence, source, validate

# whether a mirrored image keeps its label: data sets whose papers say so or whose
# classes are digits and letters
FLIPS = {
    "cifar10": True,
    "cifar100": True,
    "fashion_mnist": True,
    "imagenet2012": True,
    "stl10": True,
    "emnist": False,
    "kmnist": False,
    "mnist": False,
    "svhn_cropped": False,
}
_NAME = re.compile(r"\w+(/\w[\w.+-]*)*", re.ASCII)  # cannot leave the folder by ".."


def read_tfds(name: str, *, data_dir: str | None = None) -> dataset_lib.Dataset:
    """Reads a prepared data set of tensorflow-datasets.

    The data set must be on disk in array_record format. Nothing is downloaded, since
    preparing a data set needs TensorFlow. A split "validation" joins the training
    images, or is the test split if there is no other; further splits are left out.
    Where the images do not fit in memory, each is decoded when it is needed.

    Args:
      name: the name in tfds, such as "cifar10", optionally with configuration and
        version, "name/config/1.0.0". Its features must include image and label, its
        splits train, and test or validation.
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
    splits, notes = _splits(set(builder.info.splits), name)
    absent = {"image", "label"} - set(builder.info.features)
    if absent:
        raise ValueError(
            f"data must have features image and label, got 'tfds:{name}' without "
            f"{', '.join(sorted(absent))}. Convert it to npz."
        )
    sizes = [builder.info.splits[part].num_examples for both in splits for part in both]
    if not all(sizes):
        raise ValueError(
            f"data must have an example in each split, got 'tfds:{name}' with an empty "
            "one. Prepare it again."
        )
    first = np.asarray(next(_examples(builder, splits[0][0], name))["image"])
    identity = None
    if not residence.fits(sum(sizes) * first.nbytes):
        files = sorted(str(one) for one in pathlib.Path(builder.data_dir).iterdir())
        identity = facts.identity_of(files, tfds.__version__)
        how = name, first.shape, first.dtype, identity
        train, test = (_lazy(builder, parts, *how) for parts in splits)
    else:
        train, test = (_joined(builder, parts, name) for parts in splits)
    label = builder.info.features["label"]
    return validate.validate(
        *train,
        *test,
        name=f"tfds:{name}",
        flip=FLIPS.get(name.split("/")[0]),
        class_names=getattr(label, "names", None) or (),
        notes=notes,
        identity=identity,
    )


def _lazy(
    builder: Any,
    parts: list[str],
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    identity: str,
) -> tuple[source.Source, np.ndarray]:
    """Returns images that are decoded when they are needed, and their labels."""
    import tensorflow_datasets as tfds

    def labels():
        only = {"image": tfds.decode.SkipDecoding()}
        return [
            int(example["label"])
            for part in parts
            for example in _examples(builder, part, name, decoders=only)
        ]

    y = np.array(facts.kept(f"labels {' '.join(parts)} {identity}", labels), np.int64)
    sources = [builder.as_data_source(part) for part in parts]
    begins = np.cumsum([0, *map(len, sources)])

    def read(row):
        part = int(np.searchsorted(begins, row, side="right")) - 1
        try:
            return np.asarray(sources[part][row - int(begins[part])]["image"])
        except Exception as error:  # nor for a damaged record
            raise _damaged(name, error) from error

    return source.decoded(read, (len(y), *shape), dtype), y


def _splits(found: set[str], name: str) -> tuple[tuple, list[str]]:
    """Returns the splits that train and those that test, and what is to be said."""
    known, notes = {"train", "validation", "test"}, []
    if "train" not in found or len(found & known) < 2:
        raise ValueError(
            "data must have splits train, and test or validation, got 'tfds:"
            f"{name}' with {', '.join(sorted(found)) or 'none'}. Convert it to npz."
        )
    train, test = ["train"], ["test"]
    if "test" not in found:
        test = ["validation"]
        notes.append(f"tfds:{name}: no test split, so validation is the test split.")
    elif "validation" in found:
        train.append("validation")
        notes.append(
            f"tfds:{name}: the validation split's images join the training images, of "
            "which a search holds out a part of its own."
        )
    if found - known:
        left = ", ".join(sorted(found - known))
        notes.append(f"tfds:{name}: left out the splits {left}.")
    return (train, test), notes


def _joined(builder: Any, parts: list[str], name: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*(_arrays(builder, p, name) for p in parts), strict=True)
    for part, one in zip(parts, images, strict=True):
        if one.shape[1:] != images[0].shape[1:]:
            raise ValueError(
                f"images must have one size, got {images[0].shape[1:]} in {parts[0]} "
                f"and {one.shape[1:]} in {part} of 'tfds:{name}'. Convert it to npz."
            )
    if len(parts) == 1:
        return images[0], labels[0]
    return np.concatenate(images), np.concatenate(labels)


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


def _examples(
    builder: Any, part: str, name: str, *, decoders: Any = None
) -> Iterator[Any]:
    try:
        yield from builder.as_data_source(part, decoders=decoders)
    except Exception as error:  # nor for a damaged record
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ValueError(
        f"data must be readable, got 'tfds:{name}' ({reason}). Prepare it again."
    )
