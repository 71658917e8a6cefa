"""Classifying a user's images with a trained model, into a table."""

import csv
import io
import pathlib
from typing import NamedTuple

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
    found: models.Prediction,
    model: models.Model,
) -> None:
    """Writes predictions as CSV: image, class, probability, one column a class.

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
    classes = [model.name_of(label) for label in range(model.num_classes)]
    rows.writerow(["image", "class", "probability", *classes])
    for name, label, each in zip(names, found.names, found.probabilities, strict=True):
        rows.writerow([name, label, *(f"{p:.6g}" for p in (each.max(), *each))])
    # undecodable bytes of a file's name are escaped
    whole = text.getvalue().encode("utf-8", "backslashreplace").decode()
    files.write_text(path, whole)


def summary(found: models.Prediction) -> str:
    """Returns a table of the predicted classes, the most frequent first.

    Args:
      found: predictions.
    """
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
