"""Classifying a user's images with a trained model, into a table."""

import csv
import io
import pathlib
from typing import Any, NamedTuple

import numpy as np

from jnas import models, report
from jnas.data import located
from jnas.models import pictures
from jnas.run import files

_MOST_ROWS = 12  # classes in the table that is printed


class Read(NamedTuple):
    """Images that are to be classified.

    Attributes:
      names: one an image: a path, or a number.
      pixels: [N, H, W, C] or as an npz file holds them.
      notes: sentences about what was left out or converted.
    """

    names: tuple[str, ...]
    pixels: np.ndarray
    notes: tuple[str, ...]


def read(text: str, model: models.Model) -> Read:
    """Reads the images that a user names, as the model's own were read.

    Args:
      text: a folder, files or an npz file; see ``located.locate``.
      model: the model that will classify them.

    Raises:
      ValueError: they cannot be found or read, or do not fit the model.
    """
    found = located.locate(text)
    if found.array is None:
        pixels, said = pictures.read(found.files, model.preprocessing)
        return Read(found.names, pixels, (*found.notes, *said))
    pixels = model.preprocessing.check(found.array)
    return Read(tuple(map(str, range(len(pixels)))), pixels, found.notes)


def write(
    path: pathlib.Path,
    names: tuple[str, ...],
    found: models.Prediction | dict[str, np.ndarray],
    model: models.Model,
) -> None:
    """Writes predictions as CSV: image, class, probability, one column a class.

    Of other tasks: image, and a column for each number of each answer.

    Args:
      path: the file; replaced atomically.
      names: one an image.
      found: their predictions.
      model: that made them.

    Raises:
      RunError: it could not be written.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    if isinstance(found, dict):
        columns = _columns(found, model)
        rows.writerow(["image", *columns])
        for i, name in enumerate(names):
            rows.writerow([name, *(f"{one[i]:.9g}" for one in columns.values())])
        files.write_text(path, _encoded(text.getvalue()))
        return
    classes = [model.name_of(label) for label in range(model.num_classes)]
    rows.writerow(["image", "class", "probability", *classes])
    for name, label, each in zip(names, found.names, found.probabilities, strict=True):
        rows.writerow([name, label, *(f"{p:.6g}" for p in (each.max(), *each))])
    files.write_text(path, _encoded(text.getvalue()))


def _encoded(text: str) -> str:
    """Escapes the undecodable bytes of a file's name."""
    return text.encode("utf-8", "backslashreplace").decode()


def _columns(found: dict[str, np.ndarray], model: models.Model) -> dict[str, Any]:
    """Returns the numbers of answers [N, ...] by column, by name where known."""
    columns = {}
    for name, values in found.items():
        flat = values.reshape(len(values), -1).astype(np.float64)
        known = model.class_names if flat.shape[1] == model.num_classes else ()
        for k in range(flat.shape[1]):
            own = known[k] if known else k
            columns[name if values.ndim == 1 else f"{name}/{own}"] = flat[:, k]
    return columns


def summary(
    found: models.Prediction | dict[str, np.ndarray], model: models.Model
) -> str:
    """Returns a table of the predicted classes, the most frequent first.

    Of other tasks: mean, least and largest number of each column.

    Args:
      found: predictions.
      model: that made them.
    """
    if isinstance(found, dict):
        rows = [
            [name, float(one.mean()), float(one.min()), float(one.max())]
            for name, one in _columns(found, model).items()
        ]
        header = ("answer", "mean", "least", "largest")
        text = report.markdown(report.Table(header, rows[:_MOST_ROWS]))
        more = len(rows) - _MOST_ROWS
        return f"{text}\n({more} more columns are in the table)" if more > 0 else text
    labels, counts = np.unique(found.classes, return_counts=True)
    names = dict(zip(found.classes.tolist(), found.names, strict=True))
    order = np.argsort(-counts, kind="stable")
    rows = [
        [names[int(labels[i])], int(counts[i]), _mean(found, labels[i])]
        for i in order[:_MOST_ROWS]
    ]
    text = report.markdown(report.Table(("class", "images", "mean probability"), rows))
    more = len(order) - len(rows)
    return f"{text}\n({more} more classes)" if more else text


def _mean(found: models.Prediction, label: int) -> float:
    own = found.probabilities[found.classes == label]
    return float(own.max(-1).mean())
