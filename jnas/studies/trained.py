"""What a run leaves of the networks that it trained: folders model and supernet."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib import parse

import jax

from jnas import data as data_lib
from jnas import models, types
from jnas.models import folder as model_folder
from jnas.models import storage
from jnas.run import checkpoint, files, phase, record, workdir
from jnas.run import folder as run_folder
from jnas.spaces import genotype as genotypes
from jnas.studies import setup

MODEL = storage.FOLDER


class Saver(NamedTuple):
    """Saves the network that a run trains from scratch as a model.

    Attributes:
      folder: the folder of the model; None saves none.
      run: the run.
      genotype: the network's cells.
      dataset: that it is trained on.
      settings: features, layers and dtype of the training.
    """

    folder: pathlib.Path | None
    run: workdir.Run
    genotype: genotypes.Genotype
    dataset: data_lib.Dataset
    settings: Any

    def check(self) -> None:
        """Refuses, before anything runs, a folder that holds other files."""
        if self.folder is not None:
            model_folder.check_target(self.folder, storage.NAME)

    def save(
        self, params: types.Params, stats: types.Params, figures: Mapping[str, Any]
    ) -> None:
        """Saves the model, whole or not at all.

        Args:
          params: of the network; those of an auxiliary head are left out.
          stats: its running statistics.
          figures: results of the training.

        Raises:
          RunError: it could not be written.
        """
        if self.folder is None:
            return
        size = setup.network_size(self.settings, self.dataset)
        trees = (
            jax.device_get({k: v for k, v in tree.items() if k != "auxiliary"})
            for tree in (params, stats)
        )
        model = models.Model(
            models.of_genotype(self.genotype, size, dtype=self.settings.dtype),
            *trees,
            preprocessing(self.run, self.dataset),
            self.dataset.class_names,
            files.plain({k: v for k, v in figures.items() if k != "seconds"}),
            record.versions(),
        )
        with files.writing(self.folder):
            models.save(self.folder, model)

    def of_ended(self, ended: phase.Phase, abstract: Any) -> None:
        """Saves the network of a phase that an earlier process ended, where missing.

        Args:
          ended: the phase; its state's ``inner`` is a TrainState.
          abstract: its last state as from ``jax.eval_shape``.
        """
        if self.folder is None or self.folder.exists():
            return
        try:
            inner = ended.left(abstract).inner
        except files.RunError as error:
            ended.say(f"warning: {self.folder.name} is not saved ({error})")
            return
        self.save(inner.params, inner.stats, ended.result)

    def of_finished(self, name: str, abstract: Any) -> dict[str, Any]:
        """Saves the network of a finished run from its last checkpoint.

        Args:
          name: of the run's last phase; its state's ``inner`` is a TrainState.
          abstract: its last state as from ``jax.eval_shape``.

        Returns:
          The run's result.

        Raises:
          RunError: no undamaged checkpoint of this phase is left, or its state differs.
        """
        folder = self.run.workdir
        found = checkpoint.Checkpoints(folder / run_folder.CHECKPOINTS)
        latest = found.latest()
        if latest is None or latest.note.get("phase") != name:
            raise files.RunError(
                f"checkpoints must hold the last state of {name!r}, got none in "
                f"{str(folder)!r}. Train again in a new --workdir."
            )
        inner = found.load(latest.step, abstract).inner
        self.save(inner.params, inner.stats, self.run.finished)
        return self.run.finished


def preprocessing(run: workdir.Run, dataset: data_lib.Dataset) -> models.Preprocessing:
    """Returns what turns images into the input of a run's networks.

    Args:
      run: its settings ``data`` and ``shrink`` say how the images were read.
      dataset: its data set, downscaled already.
    """
    spec = str(run.settings.get("data", dataset.name))
    options = dict(parse.parse_qsl(spec.partition("?")[2]))
    return models.of_dataset(
        dataset,
        shrink=int(run.settings.get("shrink", 1)),
        background=options.get("background", "white"),
    )
