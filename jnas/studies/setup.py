"""What every kind of run is set up from: data, space, network size, two splits."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jnas import data as data_lib
from jnas import networks, pieces, registry, spaces, types
from jnas import settings as settings_lib
from jnas.data import source
from jnas.discrete import limits as limits_lib
from jnas.networks import stems
from jnas.settings import option
from jnas.spaces import genotype_choices
from jnas.spaces import rows as rows_lib
from jnas.studies import inputs as inputs_lib
from jnas.studies import keys
from jnas.training import feed

AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """The data set of a run. The fields carry their own help text."""

    data: str = option(
        "fashion",
        "Data set: a registered name, npz:FILE, npy:FOLDER of arrays, folder:FOLDER of "
        "pictures, or tfds:NAME.",
        group="data",
    )
    shrink: int = option(
        1, "Downscale images by this integer factor (average pooling).", group="data"
    )
    task: str = option(
        AUTO,
        "What is learned: classification, regression, multilabel, your own, or auto "
        "(what the data set says, else classification).",
        group="data",
    )
    inputs: str = option(
        AUTO,
        "How arrays are read: images [N, H, W, C], series [N, L, C], vectors [N, F], "
        "or auto (what the data set says, else images). Cells and chains read images.",
        group="data",
        among=(AUTO, *data_lib.INPUTS[:3]),
    )
    __post_init__ = settings_lib.check


@dataclasses.dataclass(frozen=True)
class SpaceSettings:
    """The search space of a run. The fields carry their own help text."""

    space: str = option("darts", "Search space, a registered name.", group="space")
    operations: tuple[str, ...] = option(
        (),
        "Candidates of every edge, comma-separated; the space's own without it.",
        group="space",
    )
    __post_init__ = settings_lib.check


def features_option(default: int) -> Any:
    """Makes the settings field of a network's features."""
    return option(default, "Features of the first cells.", group="network")


def layers_option(default: int) -> Any:
    """Makes the settings field of a network's number of cells."""
    return option(
        default,
        "Number of cells; for cells of one input, of a stage of the network.",
        group="network",
    )


def remat_option() -> Any:
    """Makes the settings field of rematerialisation."""
    return option(
        False,
        "Recompute each cell's activations for the gradient, to save memory.",
        group="network",
    )


def dtype_option() -> Any:
    """Makes the settings field of the activations' type."""
    return option(
        "float32",
        "Type of the activations.",
        group="network",
        among=("float32", "bfloat16"),
    )


def stem_option() -> Any:
    """Makes the settings field of a network's stem."""
    return option(
        stems.AUTO,
        "Layers before the first cell: small (one convolution), imagenet (three of "
        f"stride 2), or auto (imagenet for images of at least {stems.LARGE} pixels a "
        "side).",
        group="network",
    )


def table_option() -> Any:
    """Makes the settings field of the table that cells are looked up in."""
    return option(
        "table:digits201", "Table that scores cells: table:NAME or table:FILE."
    )


def signal_option() -> Any:
    """Makes the settings field of the metrics of a table that are searched on."""
    return option(
        ("valid_12",),
        "Metrics of the table that are searched on, comma-separated. The first chooses "
        "the best cell; controllers of several objectives see all. minimize:NAME and "
        "maximize:NAME override a metric's direction.",
    )


def report_option() -> Any:
    """Makes the settings field of the metrics of a table that are reported."""
    return option(
        ("valid_12", "test_12"),
        "Metrics of the table that are reported, comma-separated; a comparison judges "
        "by the last one.",
    )


class NetworkSettings(Protocol):
    """Settings that hold the size of a network."""

    features: int
    layers: int


def kinds(settings: DataSettings) -> dict[str, str | None]:
    """Returns task and inputs as ``data.load`` takes them.

    Args:
      settings: of the data.
    """
    given = {"task": settings.task, "inputs": settings.inputs}
    return {name: None if one == AUTO else one for name, one in given.items()}


def dataset(
    settings: DataSettings, *, space: spaces.Space | None = None
) -> data_lib.Dataset:
    """Loads the data set of a run.

    Args:
      settings: its name and scale.
      space: whose networks must read its inputs, of a launcher that shrinks images by
        default; None checks nothing.

    Raises:
      ValueError: no such data set, or damaged data; inputs that the space's networks
        do not read.
    """
    found = data_lib.load(settings.data, **kinds(settings))
    if space is not None:
        inputs_lib.check(space, found)
    return data_lib.shrink(found, settings.shrink)


def space(settings: SpaceSettings) -> spaces.Space:
    """Builds the search space of a run.

    Args:
      settings: its name and candidates.

    Raises:
      KeyError: a space that is not registered; the nearest is guessed.
      ValueError: candidates that make no space, or for a space that has none.
    """
    made = registry.SPACES[settings.space]()
    if not settings.operations:
        return made
    if not rows_lib.has_edges(made):
        raise ValueError(
            f"operations must be left out for space {made.name}, whose rows have "
            f"options of their own, got {','.join(settings.operations)}. Register a "
            "space with these options by --plugins."
        )
    return made.with_operations(list(settings.operations))


def network_size(
    settings: NetworkSettings, dataset: data_lib.Dataset, *, stem: str = stems.AUTO
) -> networks.Size:
    """Returns the size of a network for a data set.

    Args:
      settings: features and layers.
      dataset: outputs, channels and the size of the images. Of series and vectors the
        last axis is the channels; of several arrays a network knows its own.
      stem: name of the stem, or "auto".

    Raises:
      KeyError: a stem that is not registered; the nearest is guessed.
    """
    shape, whole = dataset.image_shape, (settings.features, settings.layers)
    if dataset.inputs != data_lib.IMAGES:
        channels = 1 if isinstance(shape, dict) else shape[-1]
        return networks.Size(*whole, dataset.num_outputs, channels)
    return networks.Size(
        *whole,
        dataset.num_outputs,
        shape[-1],
        stems.named(stem, shape),
        tuple(shape[:2]),
    )


def check_layers(space: spaces.Space, given: Collection[str]) -> None:
    """Refuses a number of layers for a chain, whose depth is its own.

    Args:
      space: that is searched, or of the genotype.
      given: names of the settings that the user set.

    Raises:
      ValueError: layers, for a chain.
    """
    if "layers" in given and isinstance(space, spaces.ChainSpace):
        raise ValueError(
            f"layers must be left out for space {space.name}, a chain of "
            f"{len(space.positions)} positions. Leave --layers out."
        )


def without_depth(genotype: Any, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Returns flags without the number of layers, where a chain has its own.

    Args:
      genotype: of the network.
      numbers: flag -> value.
    """
    own = dict(numbers)
    if isinstance(genotype, genotype_choices.Choices):
        space = genotype_choices.space_of(genotype)
        if isinstance(space, spaces.ChainSpace):
            own.pop("layers", None)
    return own


def changed_stem(settings: Any) -> dict[str, str]:
    """Returns the flag of the stem where a user set it, for another command.

    Args:
      settings: with a field ``stem``.
    """
    return {} if settings.stem == stems.AUTO else {"stem": settings.stem}


def announce_stem(
    say: Callable[[str], Any], size: networks.Size, image_shape: tuple[int, ...]
) -> None:
    """Says which stem a network has where it is not the small one.

    Args:
      say: takes one line of text.
      size: of the network.
      image_shape: rows, columns and channels of one image.
    """
    if size.stem == "small":
        return
    stride = registry.STEMS[size.stem](2, size.features, size.channels).strides[1]
    rows, columns = (-(-n // stride) for n in image_shape[:2])
    say(
        f"stem: {size.stem}; the cells read {rows}x{columns} pixels of images of "
        f"{image_shape[0]}x{image_shape[1]}"
    )


def two_splits(
    dataset: data_lib.Dataset, valid_rate: float, *, seed: int, streams: bool = False
) -> tuple[types.Batch, types.Batch]:
    """Splits the training images in two: class by class, other targets at random.

    Args:
      dataset: its test split is not touched.
      valid_rate: share of the training images in the second split.
      seed: of the split.
      streams: whether images may be read when they are needed.

    Returns:
      (training split, validation split), each (images, labels): arrays on the device,
      or images to be read where they do not fit.

    Raises:
      ValueError: a rate that leaves one of them without images; images that do not fit
        and may not be read when needed.
    """
    rows = data_lib.two_parts(seed, dataset, valid_rate)
    how = is_resident(dataset, streams=streams)
    train, valid = (
        feed.split(dataset.x_train, dataset.y_train, i, resident=how) for i in rows
    )
    return train, valid


def check_classes(dataset: data_lib.Dataset) -> None:
    """Refuses data of which no random classes can be drawn.

    Args:
      dataset: of the run.

    Raises:
      ValueError: its targets are no classes.
    """
    if not dataset.num_classes:
        raise ValueError(
            "random_labels must be off where targets are no classes, got True for the "
            f"task {dataset.task_name}. Use another --method."
        )


def random_classes(
    split: types.Batch, dataset: data_lib.Dataset, *, seed: int
) -> types.Batch:
    """Returns a split with classes drawn uniformly, one for each example.

    Args:
      split: (images, labels); images may be read when they are needed.
      dataset: has the number of classes.
      seed: of the draw; the same seed, the same classes.

    Raises:
      ValueError: targets that are no classes.
    """
    check_classes(dataset)
    images, labels = split
    key = jax.random.fold_in(jax.random.key(seed), keys.LABELS)
    drawn = jax.random.randint(key, labels.shape, 0, dataset.num_classes, labels.dtype)
    return images, drawn if isinstance(labels, jax.Array) else np.asarray(drawn)


def is_resident(
    dataset: data_lib.Dataset,
    *,
    streams: bool,
    who: str = "this command",
    todo: str = "Use smaller ones (--shrink).",
) -> bool:
    """Returns whether the images of a data set are on the devices.

    Args:
      dataset: of the run.
      streams: whether they may be read when they are needed.
      who: name in the error of what needs them.
      todo: advice in the error.

    Raises:
      ValueError: they do not fit, and may not be.
    """
    if streams and dataset.inputs != data_lib.ARRAYS:
        return feed.fits(dataset.x_train, dataset.x_test)
    needed = source.num_bytes(dataset.x_train) + source.num_bytes(dataset.x_test)
    if needed > feed.device_bytes():
        raise ValueError(
            f"images must fit in the {feed.device_bytes() >> 20:,} MiB of a device for "
            f"{who}, got {needed >> 20:,} MiB. {todo}"
        )
    return True


def controller(
    piece: pieces.Piece,
    sizes: tuple[int, ...],
    *,
    num_objectives: int = 1,
    num_proposals: int | None = None,
    margins: limits_lib.Margins | None = None,
) -> types.Controller:
    """Builds a controller from its name or function.

    Args:
      piece: registered name, or a function of sizes.
      sizes: number of values of each gene.
      num_objectives: given to a controller that has this option and whose user did
        not set it.
      num_proposals: P of one round; the controller's own when None.
      margins: of the limits that cells must keep; None without limits. A controller
        with the option num_constraints gets them after its objectives' columns.

    Raises:
      KeyError: a controller that is not registered; the nearest is guessed.
      ValueError: num_proposals for a controller without this option.
    """
    build = pieces.resolve(registry.CONTROLLERS, piece)
    known, given = pieces.options(build), dict[str, Any]()
    chosen = build.keywords if isinstance(build, functools.partial) else {}
    if "num_objectives" in known and "num_objectives" not in chosen:
        given["num_objectives"] = num_objectives
    if num_proposals is not None:
        if "num_proposals" not in known:
            name = pieces.name_of(registry.CONTROLLERS, piece)
            raise ValueError(
                f"num_proposals must be left out for controller {name}, which has no "
                f"such option, got {num_proposals}. Its options, set by "
                f"--options=controller.<option>=<value>: {', '.join(known) or 'none'}."
            )
        given["num_proposals"] = num_proposals
    if margins is None:
        return build(sizes, **given)
    after = None
    if "num_constraints" in known:
        row = jax.ShapeDtypeStruct((1, len(sizes)), jnp.int32)
        given["num_constraints"] = jax.eval_shape(margins, row).shape[1]
        after = (known | given).get("num_objectives", 1)
    return limits_lib.constrained(build(sizes, **given), margins, after=after)


def settings_of(record: Mapping[str, Any], cls: type) -> Any:
    """Returns a settings instance from the content of a ``run.json``.

    Plug-ins that it names must be registered first; ``run.json`` holds their text.

    Args:
      record: content of ``run.json``.
      cls: settings dataclass.

    Raises:
      KeyError: a piece that is not registered.
      ValueError: a run without these settings, as those of 0.1 are.
    """
    given, fields = record.get("settings") or {}, dataclasses.fields(cls)
    own = {field.name: given[field.name] for field in fields if field.name in given}
    if len(own) < len(fields):
        missing = next(field.name for field in fields if field.name not in given)
        raise ValueError(
            f"run.json must hold the settings of {cls.__name__}, got none of "
            f"{missing!r}. Repeat the run with its command instead."
        )
    return settings_lib.from_json(cls, own)
