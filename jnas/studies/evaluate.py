"""Evaluating a trained model on a data set: accuracy, confusions, the worst images.

Of other tasks than classification see ``studies/evaluate_others.py``.
"""

import base64
import dataclasses
import io
from collections.abc import Sequence
from typing import Any
from urllib import parse

import numpy as np

from jnas import data as data_lib
from jnas import models, report
from jnas import settings as settings_lib
from jnas.data import source
from jnas.models import model as model_lib
from jnas.run import files, workdir
from jnas.settings import option
from jnas.studies import closing, evaluate_others

_INPUTS = {3: data_lib.IMAGES, 2: data_lib.SERIES, 1: data_lib.VECTORS}
WORST = 10
_LARGEST = 128  # pixels of an image in the report
_MOST_ROWS = 12


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    """What is evaluated. The fields carry their own help text."""

    model: str = option(
        text="Run folder of retrain or quickstart, or folder of a model.", group="data"
    )
    data: str = option(
        text="Data set: a registered name, npz:FILE, npy:FOLDER of arrays, "
        "folder:FOLDER of pictures, or tfds:NAME. Pictures are resized as the model's "
        "own were.",
        group="data",
    )
    split: str = option(
        "test",
        "Split of the data set that is evaluated.",
        group="data",
        among=("test", "train"),
    )
    __post_init__ = settings_lib.check


def inputs_of(model: models.Model) -> str:
    """Returns which inputs a model reads, as ``Dataset.inputs`` names them.

    Args:
      model: the model.
    """
    return _INPUTS[len(model.preprocessing.image_shape)]


def load_data(spec: str, model: models.Model) -> data_lib.Dataset:
    """Loads a data set as the model's own was read.

    A folder's pictures get the model's size and background, unless the text names
    others, and grey ones become colours where the model's are.

    Args:
      spec: as for ``data.load``.
      model: the model that is evaluated.

    Raises:
      ValueError: the data cannot be read, or their images do not fit the model.
    """
    how = model.preprocessing
    if spec.startswith("folder:"):
        place, _, query = spec.partition("?")
        rows, columns, _ = how.full_shape
        options = {"size": f"{rows}x{columns}", "background": how.background}
        options |= dict(parse.parse_qsl(query, keep_blank_values=True))
        spec = f"{place}?{parse.urlencode(options)}"
    kind = inputs_of(model)
    found = data_lib.load(spec, task=model.learned.name, inputs=kind)
    if kind != data_lib.IMAGES:
        return _checked(found, how)
    grey = found.image_shape[-1] == 1 and how.image_shape[-1] == 3
    if grey and spec.startswith("folder:"):
        note = f"{found.name}: grey images are read as colours, as the model's are."
        found = dataclasses.replace(
            found,
            x_train=_coloured(found.x_train),
            x_test=_coloured(found.x_test),
            notes=(*found.notes, note),
        )
    return _checked(found, how)


def _checked(found: data_lib.Dataset, how: models.Preprocessing) -> data_lib.Dataset:
    for split in (found.x_train, found.x_test):
        for part in source.parts(split):
            how.check(part)
    return found


def _coloured(images: source.Source) -> source.Source:
    shape = (*images.shape[1:3], 3)
    return source.mapped(lambda some: np.repeat(some, 3, -1), images, shape)


def match_classes(
    dataset: data_lib.Dataset, model: models.Model
) -> tuple[np.ndarray, list[str]]:
    """Returns the model's class of each class of the data, matched by name.

    Args:
      dataset: the data set.
      model: the model.

    Returns:
      (i32[K], sentences about what was assumed or reordered).

    Raises:
      ValueError: the names, or the numbers of classes, differ.
    """
    if not model.classifies:
        evaluate_others.check(dataset, model)
        return np.arange(model.num_classes, dtype=np.int32), []
    theirs, own = dataset.class_names, model.class_names
    if not theirs or not own:
        if dataset.num_classes != model.num_classes:
            raise ValueError(
                f"data must have the model's {model.num_classes} classes, got "
                f"{dataset.num_classes} in {dataset.name!r}. Use other data."
            )
        whose = "data" if not theirs else "model"
        same = f"the {whose} names no classes: they are matched by number"
        return np.arange(model.num_classes, dtype=np.int32), [same]
    unknown, missing = sorted(set(theirs) - set(own)), sorted(set(own) - set(theirs))
    if unknown or missing or len(set(theirs)) < len(theirs):
        parts = [f"{_few(unknown)}, which the model does not know"] if unknown else []
        parts += [f"none of {_few(missing)}"] if missing else []
        raise ValueError(
            f"classes of {dataset.name!r} must be those of the model, got "
            f"{' and '.join(parts) or 'a name twice'}. Rename them, or use other data."
        )
    order = np.array([own.index(name) for name in theirs], np.int32)
    moved = bool((order != np.arange(len(order))).any())
    said = "the data's classes are in another order; they are matched by name"
    return order, [said] if moved else []


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more


def evaluate(
    run: workdir.Run,
    model: models.Model,
    dataset: data_lib.Dataset,
    settings: EvaluateSettings,
) -> dict[str, Any]:
    """Evaluates a model, and ends the run with result.json and report.html.

    Args:
      run: the open run.
      model: the model.
      dataset: as from ``load_data``.
      settings: say which split.

    Returns:
      The content of result.json: the accuracy, ``images``, ``classes`` (each with
      accuracy and number of images), ``confusion`` i[K][K] (true, predicted), and
      ``worst``, the images whose class was given the lowest probability.

    Raises:
      ValueError: the classes differ.
    """
    if not model.classifies:
        return _of_task(run, model, dataset, settings)
    order, said = match_classes(dataset, model)
    for line in (*dataset.notes, *said):
        run.say_once(line)
    test = settings.split == "test"
    images = dataset.x_test if test else dataset.x_train
    labels = order[dataset.y_test if test else dataset.y_train]
    logits = np.concatenate([model.logits(part) for part in source.parts(images)])
    found = model_lib.classified(logits, model.class_names)
    right = found.classes == labels
    worst = _worst(found, labels, model)
    result = {
        f"{settings.split}_accuracy": round(float(right.mean()), 6),
        "images": len(labels),
        "classes": _classes(right, labels, model),
        "confusion": confusion(labels, found.classes, model.num_classes),
        "worst": worst,
        "notes": said,
    }
    shown = [{**one, "png": _png(images[one["image"]])} for one in worst]
    run.write_text("worst.json", files.json_text({"worst": shown}))
    closing.finish(run, result)
    return files.plain(result)


def _of_task(run, model, dataset, settings) -> dict[str, Any]:
    """Evaluates a model of another task."""
    evaluate_others.check(dataset, model)
    for line in dataset.notes:
        run.say_once(line)
    test = settings.split == "test"
    images = dataset.x_test if test else dataset.x_train
    targets = dataset.y_test if test else dataset.y_train
    result, order = evaluate_others.figures(
        model, images, targets, settings.split, WORST
    )
    shown = result["worst"]
    if dataset.inputs == data_lib.IMAGES:
        shown = [
            {**one, "png": _png(np.asarray(images[int(i)]))}
            for one, i in zip(shown, order, strict=True)
        ]
    run.write_text("worst.json", files.json_text({"worst": shown}))
    closing.finish(run, result)
    return files.plain(result)


def confusion(labels: np.ndarray, found: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts images by their true and their predicted class.

    Args:
      labels: i32[N], true classes.
      found: i32[N], predicted classes.
      num_classes: K.

    Returns:
      i64[K, K], rows by true class.
    """
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, found), 1)
    return counts


def _classes(right, labels, model) -> list[dict[str, Any]]:
    """Returns the accuracy of each class; None for one without images."""
    rows = []
    for label in range(model.num_classes):
        own = right[labels == label]
        accuracy = round(float(own.mean()), 6) if len(own) else None
        name = model.name_of(label)
        rows.append({"class": name, "accuracy": accuracy, "images": len(own)})
    return rows


def _worst(found, labels, model) -> list[dict[str, Any]]:
    """Returns the images whose own class has the lowest probability."""
    own = found.probabilities[np.arange(len(labels)), labels]
    return [
        {
            "image": int(i),
            "true": model.name_of(int(labels[i])),
            "predicted": found.names[i],
            "probability": float(own[i]),
        }
        for i in np.argsort(own, kind="stable")[:WORST]
    ]


def _png(image: np.ndarray) -> str:
    """Returns an image as the base64 text of a PNG; other values are scaled to grey."""
    from PIL import Image

    if image.shape[-1] not in (1, 3):
        image = image.mean(-1, keepdims=True)
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = np.round(255 * (image - low) / (high - low or 1)).astype(np.uint8)
    flat = image[..., 0] if image.shape[-1] == 1 else image
    picture = Image.fromarray(np.ascontiguousarray(flat))
    picture.thumbnail((_LARGEST, _LARGEST))
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def text(run: workdir.Run, result: dict[str, Any]) -> str:
    """Returns what a user reads at the end, from the result alone.

    Args:
      run: the run.
      result: content of result.json.
    """
    if "classes" not in result:
        split = str(run.settings.get("split", "test"))
        lines = [*evaluate_others.text(result, split), *result["notes"]]
        return "\n".join([*lines, f"report: {run.workdir / 'report.html'}"])
    name = next(key for key in result if key.endswith("_accuracy"))
    rows = [list(one.values()) for one in result["classes"]]
    rows.sort(key=lambda row: 2 if row[1] is None else row[1])
    shown = rows[:_MOST_ROWS]
    lines = [
        f"{name.replace('_', ' ')} {result[name]:.4f} of {result['images']} images",
        report.markdown(report.Table(("class", "accuracy", "images"), shown)),
    ]
    more = len(rows) - len(shown)
    lines += [f"({more} more classes are in the report)"] if more else []
    lines += result["notes"]
    return "\n".join([*lines, f"report: {run.workdir / 'report.html'}"])
