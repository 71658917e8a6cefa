"""Exporting a model: the formats, and the check that each file is put to.

A file is written beside its place, read back by the format's own runtime and compared
with jnas on random raw images; only then it takes its place. Logits may differ by 1e-5,
or by 1e-5 of the largest logit where that exceeds 1; of other tasks than classification
each number is compared with its own largest. An int8 program is another
function: its difference is measured and reported.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jnas import models, types
from jnas.export import packages, stablehlo, tflite, torch
from jnas.export.onnx import file as onnx_file
from jnas.models import architecture
from jnas.spaces import genotype_text

TOLERANCE = 1e-5  # of the logits, or of the largest where it exceeds 1
_IMAGES = 4
_TIMED = 30  # calls; their median is reported


class Format(NamedTuple):
    """One file format.

    Attributes:
      suffix: of its files' names.
      write: (path, model, batch_size, calibration) -> None.
      read: (path, model) -> (f32[B, H, W, C] -> f32[B, K]), by the format's runtime.
      runtime: name of the runtime, as a user knows it.
    """

    suffix: str
    write: Callable
    read: Callable
    runtime: str


class Exported(NamedTuple):
    """What is known of an exported file.

    Attributes:
      bytes: its size.
      difference: largest difference of a logit from jnas'; None if not checked.
      largest_logit: absolute value of the largest logit compared; likewise.
      same_class: share of the images that get the same class; likewise, and None of
        another task than classification.
      ms: median milliseconds of one image in the format's runtime; likewise.
      jnas_ms: median milliseconds of one image in jnas; likewise.
      unchecked: why it was not checked, "" if it was.
      rounding: largest difference of a logit from the model as it predicts, whose
        activations are bfloat16; None for a float32 model.
    """

    bytes: int
    difference: float | None = None
    largest_logit: float | None = None
    same_class: float | None = None
    ms: float | None = None
    jnas_ms: float | None = None
    unchecked: str = ""
    rounding: float | None = None


def _shape(model: models.Model) -> tuple[int, int, int]:
    return model.preprocessing.image_shape


def _write_stablehlo(path, model, batch_size, calibration):
    stablehlo.write(path, model.function(), _shape(model))


def _write_onnx(path, model, batch_size, calibration):
    onnx_file.write(path, model.function(), _shape(model))


def _write_tflite(path, model, batch_size, calibration):
    how = dict(batch_size=batch_size, calibration=calibration)
    tflite.write(path, model.function(), _shape(model), **how)


def _write_torch(path, model, batch_size, calibration):
    genotype, size = cells(model)
    torch.write(path, torch.to_torch(genotype, size, model.params, model.stats))


def _read_torch(path, model):
    """Reads the file back as a model; torch itself is not needed."""
    weights = torch.from_torch(torch.read(path), cells(model)[0])
    again = dataclasses.replace(model, params=weights.params, stats=weights.stats)
    return jax.jit(again.function())


FORMATS = {
    "stablehlo": Format(
        ".stablehlo",
        _write_stablehlo,
        lambda path, model: stablehlo.read(path),
        "jax.export",
    ),
    "tflite": Format(
        ".tflite", _write_tflite, lambda path, model: tflite.read(path), "LiteRT"
    ),
    "onnx": Format(
        ".onnx", _write_onnx, lambda path, model: onnx_file.read(path), "onnxruntime"
    ),
    "safetensors": Format(".safetensors", _write_torch, _read_torch, "jnas"),
}


def cells(model: models.Model) -> tuple[Any, Any]:
    """Returns the genotype and the size of a model's network.

    Args:
      model: the model.

    Raises:
      ValueError: its network is not one of cells.
    """
    fields = model.architecture.description
    if fields["kind"] != "cells":
        raise ValueError(
            f"format must be stablehlo, tflite or onnx for a {fields['kind']!r} "
            "network, got safetensors, whose names are those of DARTS' cells. Choose "
            "one of them."
        )
    genotype = genotype_text.from_json(json.dumps(fields["genotype"]))
    return genotype, architecture.read_size(fields["size"])


def in_float32(model: models.Model) -> models.Model:
    """Returns the model with activations in float32.

    Args:
      model: of any type of activations; its parameters are float32 anyway.
    """
    fields = model.architecture.description
    if fields.get("dtype", "float32") == "float32":
        return model
    made = architecture.read({**fields, "dtype": "float32"})
    return dataclasses.replace(model, architecture=made)


def export(
    model: models.Model,
    name: str,
    path: str | os.PathLike,
    *,
    batch_size: int = 1,
    calibration: np.ndarray | None = None,
) -> Exported:
    """Exports a model and checks the file.

    Args:
      model: the model; activations of the exported program are float32.
      name: of the format, a key of ``FORMATS``.
      path: of the file; an older one is replaced once the new one is checked.
      batch_size: images of a call of a tflite program; the others take any number.
      calibration: raw images f32[N, H, W, C] of the data set, for a tflite program in
        int8; None keeps float32.

    Returns:
      What was measured.

    Raises:
      ValueError: a network that the format cannot hold, a package that is needed for
        writing is missing, or logits that differ from jnas': then there is no file.
    """
    how, given, model = FORMATS[name], model, in_float32(model)
    with _beside(pathlib.Path(path)) as file:
        how.write(file, model, batch_size, calibration)
        size = file.stat().st_size
        try:
            call = how.read(file, model)
        except packages.MissingPackage as error:
            return Exported(size, unchecked=str(error))
        found, share = _compare(model, call, batch_size, calibration)
        # a NaN is no agreement either
        if calibration is None and not share <= TOLERANCE:
            what, limit = "logits", TOLERANCE * max(1.0, found["largest_logit"])
            within, got = f"{limit:.1e}", f"{found['difference']:.1e}"
            if not model.classifies:
                what, within, got = (
                    "outputs",
                    f"{TOLERANCE} (of their size)",
                    f"{share:.1e}",
                )
            raise ValueError(
                f"{what} of {str(path)!r} must be within {within} of jnas' in "
                f"{how.runtime}, got a difference of {got}. The file was deleted; "
                "export another format, and report this model."
            )
        return Exported(size, **found, rounding=_rounding(given, model))


def _rounding(given: models.Model, model: models.Model) -> float | None:
    """Returns the largest difference between a model and its rebuild in float32."""
    if given is model:
        return None
    images = raw_images(model, _IMAGES)
    pair = [np.asarray(jax.jit(one.function())(images)) for one in (given, model)]
    return float(np.abs(pair[0] - pair[1]).max())


@contextlib.contextmanager
def _beside(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a path beside the file's, which replaces it unless there is an error."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _compare(
    model, call, batch_size, calibration
) -> tuple[dict[str, float | None], float]:
    """Compares a program with jnas on random images, and times both.

    Returns:
      (what was measured, the largest difference as a share of the largest logit, or of
      each number's own size; of at least 1).
    """
    images = raw_images(model, -(-_IMAGES // batch_size) * batch_size)
    if calibration is not None:
        images = calibration[: len(calibration) // batch_size * batch_size]
    function = jax.jit(model.function())
    got, want = np.asarray(call(images)), np.asarray(function(images))
    one, same, axis = images[:batch_size], None, 0
    if model.classifies:
        same, axis = float((got.argmax(-1) == want.argmax(-1)).mean()), None
    apart = np.abs(got - want)
    size = np.maximum(np.abs(want).max(axis), _unit(model, want))
    found = {
        "difference": float(apart.max()),
        "largest_logit": float(np.abs(want).max()),
        "same_class": same,
        "ms": _median_ms(call, one) / batch_size,
        "jnas_ms": _median_ms(function, images[:1]),
    }
    return found, float((apart.max(axis) / size).max())


def _unit(model, want) -> Any:
    """Returns what a number's difference is compared with if its size is less."""
    about = model.learned.targets
    if model.learned.name != "regression" or about is None:
        return 1.0
    return np.reshape(about.std, want.shape[1:])


def raw_images(model: models.Model, number: int) -> np.ndarray:
    """Draws images of independent pixels in the range of the training images.

    Args:
      model: whose range and unit they have; whole numbers where that is uint8.
      number: of images.

    Returns:
      f32[number, H, W, C], always the same.
    """
    how = model.preprocessing
    low, high = (0, 255) if how.unit == "uint8" else (how.low, how.high)
    shape = (number, *how.image_shape)
    drawn = low + (high - low) * np.random.default_rng(0).random(shape, np.float32)
    return np.round(drawn) if how.unit == "uint8" else drawn


def _median_ms(call: Callable[[types.Array], Any], images: np.ndarray) -> float:
    call(images)  # compiles, or allocates
    seconds = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        np.asarray(call(images))  # waits for the result
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) * 1e3
