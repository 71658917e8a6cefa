"""Small data sets that are computed when they are asked for, one for each kind of task.

Nothing is downloaded and nothing is stored: the numbers are a function of a fixed key.
"""

import numpy as np

from jnas import registry
from jnas.data import dataset as dataset_lib

SIDE = 16  # rows and columns of the pictures
LENGTH = 64  # steps of the series
SHAPES = ("disc", "square", "cross", "stripe")
WAVES = ("sine", "square", "triangle", "sawtooth")


def _random(stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=stream))


def _grid() -> tuple[np.ndarray, np.ndarray]:
    return np.mgrid[:SIDE, :SIDE].astype(np.float32)


def _pictures(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns uint8 [N, H, W, 1] of light 0 to 1, with noise."""
    noisy = 200 * light + 25 + 12 * rng.standard_normal(light.shape)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)[..., None]


@registry.DATASETS.register
def ellipses() -> dataset_lib.Dataset:
    """Returns 1,600 training and 400 test pictures of an ellipse: regression.

    uint8 [N, 16, 16, 1], with noise; targets f32[N, 3]: row and column of the centre,
    and the area, in pixels.
    """
    rng, (rows, columns), count = _random(1), _grid(), 2000
    centre = rng.uniform(5, SIDE - 6, (2, count, 1, 1))
    wide, high = rng.uniform(1.5, 4.5, (2, count, 1, 1))
    angle = rng.uniform(0, np.pi, (count, 1, 1))
    y, x = rows - centre[0], columns - centre[1]
    along = (np.cos(angle) * x + np.sin(angle) * y) / wide
    across = (np.cos(angle) * y - np.sin(angle) * x) / high
    inside = np.clip(4 * (1 - np.sqrt(along**2 + across**2)) + 0.5, 0, 1)
    area = np.pi * wide * high
    targets = np.stack([*centre, area], -1).reshape(count, 3)
    return _dataset(
        "ellipses",
        _pictures(inside, rng),
        targets.astype(np.float32),
        task="regression",
        names=("row", "column", "area"),
    )


@registry.DATASETS.register
def shapes() -> dataset_lib.Dataset:
    """Returns 1,600 training and 400 test pictures of several shapes: multilabel.

    uint8 [N, 16, 16, 1], with noise; targets f32[N, 4], 1 for each shape that is in the
    picture: a disc, a square, a cross, a stripe; each is there in two of five pictures,
    and may hide another.
    """
    rng, (rows, columns), count = _random(2), _grid(), 2000
    there = rng.random((count, len(SHAPES))) < 0.4
    centre = rng.uniform(3, SIDE - 4, (2, count, len(SHAPES), 1, 1))
    y, x = rows - centre[0], columns - centre[1]
    far = np.maximum(np.abs(x), np.abs(y))
    drawn = np.stack(
        [
            np.hypot(x[:, 0], y[:, 0]) < 2.8,
            far[:, 1] < 2.5,
            (np.minimum(np.abs(x[:, 2]), np.abs(y[:, 2])) < 0.8) & (far[:, 2] < 3.5),
            np.abs(y[:, 3]) < 0.9,
        ],
        1,
    )
    light = (drawn & there[..., None, None]).any(1).astype(np.float32)
    targets = there.astype(np.float32)
    return _dataset(
        "shapes", _pictures(light, rng), targets, task="multilabel", names=SHAPES
    )


@registry.DATASETS.register
def waves() -> dataset_lib.Dataset:
    """Returns 1,600 training and 400 test series of a wave, in four classes.

    f32[N, 64, 1], with noise of half the wave's deviation: a sine, a square, a triangle
    or a sawtooth of any period from 8 to 32 steps and any phase.
    """
    rng, count = _random(3), 2000
    labels = np.arange(count) % len(WAVES)
    phase = np.arange(LENGTH) / rng.uniform(8, 32, (count, 1)) + rng.random((count, 1))
    part = phase % 1
    each = np.stack(
        [
            np.sqrt(2) * np.sin(2 * np.pi * phase),
            np.where(part < 0.5, 1.0, -1.0),
            np.sqrt(3) * (4 * np.abs(part - 0.5) - 1),
            np.sqrt(3) * (2 * part - 1),
        ]
    )
    series = each[labels, np.arange(count)]
    series += 0.5 * rng.standard_normal((count, LENGTH))
    return _dataset(
        "waves",
        series[..., None].astype(np.float32),
        labels.astype(np.int32),
        task="classification",
        names=WAVES,
        inputs=dataset_lib.SERIES,
    )


@registry.DATASETS.register
def friedman() -> dataset_lib.Dataset:
    """Returns 1,600 training and 400 test vectors of ten numbers: regression.

    f32[N, 10], uniform in 0 to 1, of which the first five count: the target is
    10 sin(pi x1 x2) + 20 (x3 - 1/2)^2 + 10 x4 + 5 x5 + N(0, 1), so that no network's R2
    is above .96 for many examples.

    Source: Friedman 1991, Annals of Statistics 19(1), section 4.3, equation 61.
    """
    rng = _random(4)
    x = rng.random((2000, 10))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    y += 10 * x[:, 3] + 5 * x[:, 4] + rng.standard_normal(len(x))
    return _dataset(
        "friedman",
        x.astype(np.float32),
        y.astype(np.float32),
        task="regression",
        inputs=dataset_lib.VECTORS,
    )


def _dataset(name, x, y, *, task, names=(), inputs=dataset_lib.IMAGES):
    """Makes the last fifth the test split."""
    train = len(x) * 4 // 5
    return dataset_lib.Dataset(
        name,
        x[:train],
        y[:train],
        x[train:],
        y[train:],
        len(names) if task == "classification" else 0,
        flip=False,
        class_names=tuple(names),
        task_name=task,
        inputs=inputs,
    )
