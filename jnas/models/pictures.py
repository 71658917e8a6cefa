"""Picture files become the raw pixels that a model was trained on."""

import pathlib
from collections.abc import Sequence

import numpy as np

from jnas.data import picture
from jnas.models import preprocessing as preprocessing_lib


def read(
    files: Sequence[pathlib.Path], how: preprocessing_lib.Preprocessing
) -> tuple[np.ndarray, list[str]]:
    """Reads pictures as the model's own were read, resized to their size.

    Args:
      files: regular files.
      how: the model's preprocessing.

    Returns:
      (uint8 [N, H, W, C] of the model's ``full_shape``, sentences about what was
      resized or converted).

    Raises:
      ValueError: a picture that cannot be read, or colours for a grey model, by name; a
        model whose images are no pictures.
    """
    shape = how.full_shape
    if how.unit != "uint8" or len(shape) != 3 or shape[-1] not in (1, 3):
        size = ", ".join(map(str, shape))
        raise ValueError(
            f"images must be an npz file for this model, whose inputs are {how.unit} "
            f"[N, {size}], got picture files. Write them as the training data were, by "
            "np.savez(file, x=inputs)."
        )
    rows, columns, channels = shape
    found, resized, turned, transparent = [], 0, 0, 0
    for file in files:
        one = picture.read(file, background=how.background)
        pixels = one.pixels
        turned += pixels.shape[-1] != channels
        transparent += one.transparent
        pixels = _with_channels(pixels, channels, file)
        if pixels.shape[:2] != (rows, columns):
            resized += 1
            pixels = picture.resized(pixels, (rows, columns))
        found.append(pixels)
    kind = "grey" if channels == 1 else "colours"
    notes = {
        f"resized to {rows}x{columns} pixels": resized,
        f"converted to {kind}, as the model's images are": turned,
        f"with transparent pixels drawn on {how.background}": transparent,
    }
    said = [f"{count} of {len(files)} {what}" for what, count in notes.items() if count]
    return np.stack(found), said


def _with_channels(pixels: np.ndarray, channels: int, file: pathlib.Path) -> np.ndarray:
    """Returns grey pixels as colours, and colours that are grey as grey."""
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    if (pixels != pixels[..., :1]).any():
        raise ValueError(
            f"images must be grey, as the model's are, got colours in {str(file)!r}. "
            'Convert it to grey, such as by Image.open(file).convert("L").'
        )
    return pixels[..., :1]
