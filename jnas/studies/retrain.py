"""What ``retrain`` trains: a genotype's network, others beside it, or a baseline."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from jnas import data as data_lib
from jnas import models, networks, registry, spaces
from jnas import settings as settings_lib
from jnas.networks import baselines as baselines_lib
from jnas.networks import stems
from jnas.run import workdir
from jnas.settings import option
from jnas.spaces import genotype as genotypes
from jnas.studies import (
    baselines,
    cells,
    closing,
    inputs,
    recipe_rows,
    train_scratch,
    trained,
)

BESIDE = {"baselines": (), "num_random": 0, "largest_cell": False}  # without a flag
MODELS = "models"  # folder of the other networks of a comparison
_OF_CELLS = ("features", "layers", "auxiliary", "stem", "remat")


@dataclasses.dataclass(frozen=True)
class NetworkSettings(cells.GenotypeSettings):
    """Which network is trained. The fields carry their own help text."""

    genotype: str | None = option(
        None,
        cells.GenotypeSettings.__dataclass_fields__["genotype"].metadata["help"],
        group="space",
    )
    baseline: str | None = option(
        None,
        "Hand-made network that is trained in place of a genotype's: plain_cnn, "
        "resnet, mobilenet_v2, or your own; with --parameters.",
        group="network",
    )
    parameters: int | None = option(
        None,
        "Wanted number of parameters of --baseline, which decides its features.",
        group="network",
        least=1,
    )

    def __post_init__(self):
        """Raises KeyError for an unknown baseline, ValueError for half of a choice."""
        settings_lib.check(self)
        if bool(self.genotype) == bool(self.baseline):
            got = "both" if self.genotype else "neither"
            raise ValueError(
                f"one of --genotype and --baseline must be given, got {got}. Write "
                "--genotype=FILE, or --baseline=resnet --parameters=45000."
            )
        if self.baseline:
            _ = registry.BASELINES[self.baseline]  # raises
        if bool(self.baseline) != bool(self.parameters):
            other = "parameters" if self.baseline else "baseline"
            raise ValueError(
                f"{other} must be given with --baseline={self.baseline or 'NAME'}, "
                f"got none. Add --{other}, or leave both out."
            )


def cell_of(
    asked: NetworkSettings, *, space: str, seed: int
) -> genotypes.Genotype | None:
    """Returns the genotype that is trained; None of a baseline.

    Args:
      asked: the network.
      space: name of the space that random draws from.
      seed: of the draw.

    Raises:
      ValueError: as ``cells.find``.
    """
    if asked.genotype is None:
        return None
    return cells.find(asked.genotype, space=space, seed=seed)


def check_beside(
    asked: NetworkSettings,
    compared: baselines.BaselineSettings,
    given: Collection[str],
) -> None:
    """Refuses, of a hand-made network, what only a genotype's can have.

    Args:
      asked: the network.
      compared: what is trained beside it.
      given: names of the flags that were given.

    Raises:
      ValueError: others beside a baseline, or a size of cells.
    """
    if not asked.baseline:
        return
    for name in BESIDE:
        if getattr(compared, name):
            raise ValueError(
                f"{name} must come with --genotype, got --baseline={asked.baseline}. "
                f"Leave --{name} out; each baseline is a run of its own."
            )
    for name in _OF_CELLS:
        if name in given:
            raise ValueError(
                f"{name} must be left out with --baseline, whose size is that of "
                f"--parameters. Leave --{name} out."
            )


def space_of(
    cell: genotypes.Genotype,
    compared: baselines.BaselineSettings,
    chosen: spaces.Space | None,
) -> spaces.Space | None:
    """Returns the space of random cells and of the largest cell; None without any.

    Args:
      cell: the genotype.
      compared: what is trained beside it.
      chosen: the user's space; None means that of the genotype's name.

    Raises:
      ValueError: a space that is not registered or does not hold the genotype.
    """
    if not (compared.num_random or compared.largest_cell):
        return None
    if chosen is None and cell.space not in registry.SPACES:
        raise ValueError(
            "space must be registered to draw cells of it, got the genotype's, "
            f"{cell.space!r}. Add --space, or leave out --num_random and "
            "--largest_cell."
        )
    space = chosen or registry.SPACES[cell.space]()
    try:
        space.encode(cell)
        fits = getattr(space, "skeleton", "") == getattr(cell, "skeleton", "")
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"space must hold the genotype, which is of {cell.space!r}, got "
            f"{space.name!r}. Change --space, or leave it out."
        )
    return space


def hand_made(
    asked: NetworkSettings,
    dataset: data_lib.Dataset,
    settings: train_scratch.RetrainSettings,
) -> networks.Baseline:
    """Returns the baseline of the wanted size.

    Args:
      asked: names it and its parameters.
      dataset: the images.
      settings: give the type of the activations.

    Raises:
      ValueError: too few parameters for one feature.
    """
    inputs.check_images(dataset, f"--baseline={asked.baseline}")
    return baselines_lib.fit(
        asked.baseline,
        dataset.num_outputs,
        dataset.image_shape,
        parameters=asked.parameters,
        dtype=settings.dtype,
    )


def with_recipe(
    settings: train_scratch.RetrainSettings,
    given: Collection[str],
    image_shape: tuple[int, ...],
    recipe: str,
) -> tuple[train_scratch.RetrainSettings, str]:
    """Returns the settings of a hand-made network's training by its recipe, and a line.

    Args:
      settings: with the values of the flags.
      given: names of the flags that were given; they stay.
      image_shape: rows, columns and channels of one image.
      recipe: its name; "auto" is imagenet for large images, otherwise compact.
    """
    if recipe == recipe_rows.AUTO:
        large = stems.named(stems.AUTO, image_shape) == "imagenet"
        recipe = "imagenet" if large else "compact"
    kept = set(given) | set(_OF_CELLS)  # the size of cells is not read
    settings, _ = recipe_rows.apply(settings, kept, None, image_shape, recipe=recipe)
    used = [name for name in recipe_rows.RECIPES[recipe]() if name not in kept]
    values = ", ".join(f"{name} {getattr(settings, name)}" for name in used)
    said = f"recipe: {recipe} ({values or 'every number is given'})"
    return dataclasses.replace(settings, auxiliary=False), said


def train_hand_made(
    run: workdir.Run,
    one: networks.Baseline,
    dataset: data_lib.Dataset,
    settings: train_scratch.RetrainSettings,
    *,
    notes: Collection[str] = (),
) -> dict[str, Any]:
    """Trains a hand-made network, saves it in model/ and ends the run.

    Args:
      run: the open run.
      one: the baseline.
      dataset: the images.
      settings: of the training.
      notes: lines that are said once everything is checked.

    Returns:
      The content of result.json.
    """
    keep = run.workdir / trained.MODEL
    if run.finished is not None and keep.exists():
        return run.finished
    saver = trained.Saver(keep, run, lambda: models.of_baseline(one), dataset)
    described = one.to_json()
    result = train_scratch.train_network(
        run,
        "retrain",
        one.network(),
        dataset,
        settings,
        kept={"baseline": described},
        saver=saver,
        notes=(*notes, f"{one.name}: {one.features} features in its last stage"),
    )
    if run.finished is None:
        result = {"network": one.name, **result, "baseline": described}
        closing.finish(run, result)
    return result


def train_beside(
    run: workdir.Run,
    plan: baselines.Plan,
    dataset: data_lib.Dataset,
    settings: train_scratch.RetrainSettings,
) -> Mapping[str, Any]:
    """Trains a genotype's network and others beside it, and ends the run.

    The found network is saved in model/, the others in models/NAME.

    Args:
      run: the open run.
      plan: the networks.
      dataset: the images.
      settings: of every training.

    Returns:
      The content of result.json.
    """
    others = [
        name for name in (*plan.cells, *plan.hand_made) if name != baselines.FOUND
    ]
    keep = {name: run.workdir / MODELS / name for name in others}
    keep[baselines.FOUND] = run.workdir / trained.MODEL
    results = baselines.train(run, plan, dataset, settings, keep=keep)
    result = baselines.result(results, dataset.task.signal)
    closing.close(run, plan.cells[baselines.FOUND], result)
    return result
