"""The bundled data sets, which need no download."""

import dataclasses
import importlib.resources

from jnas import registry
from jnas.data import arrays
from jnas.data import dataset as dataset_lib

CLOTHING = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DIGITS = tuple("0123456789")


def _embedded(
    name: str, *, flip: bool, class_names: tuple[str, ...]
) -> dataset_lib.Dataset:
    folder = importlib.resources.files("jnas.data") / "embedded_sets"
    with importlib.resources.as_file(folder / f"{name}.npz") as path:
        read = arrays.read_npz(path, name=name, flip=flip)
    return dataclasses.replace(read, class_names=class_names)


@registry.DATASETS.register
def fashion() -> dataset_lib.Dataset:
    """Returns 4,000 training and 1,000 test images of Fashion-MNIST, balanced.

    uint8 [N, 28, 28, 1], ten classes of clothing. MIT licence, shipped with the data.

    Source: Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747.
    """
    return _embedded("fashion", flip=True, class_names=CLOTHING)


@registry.DATASETS.register
def digits() -> dataset_lib.Dataset:
    """Returns 1,397 training and 400 test images of handwritten digits.

    uint8 [N, 8, 8, 1], ten classes; never flipped, since a flip changes the digit.
    CC BY 4.0, notice shipped with the data.

    Source: Alpaydin and Kaynak 1998, doi:10.24432/C50P49.
    """
    return _embedded("digits", flip=False, class_names=DIGITS)
