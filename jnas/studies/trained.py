"""What a run leaves of the networks that it trained: folders model and supernet."""

import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib import parse

import jax

from jnas import data as data_lib
from jnas import models
from jnas.models import folder as model_folder
from jnas.models import learned, storage
from jnas.run import checkpoint, files, phase, record, workdir
from jnas.run import folder as run_folder
from jnas.training import scratch

MODEL = storage.FOLDER
_NOT_ITS_OWN = ("seconds", "seeds", "verdict")


class Saver(NamedTuple):
    """Saves the network that a run trains from scratch as a model.

    Attributes:
      folder: the folder of the model; None saves none.
      run: the run.
      describe: () -> the architecture of the network.
      dataset: that it is trained on.
    """

    folder: pathlib.Path | None
    run: workdir.Run
    describe: Callable[[], models.Architecture]
    dataset: data_lib.Dataset

    def check(self) -> None:
        """Refuses, before anything runs, a folder that holds other files."""
        if self.folder is not None:
            self.run.led(lambda: model_folder.check_target(self.folder, storage.NAME))

    def save(self, state: scratch.TrainState, figures: Mapping[str, Any]) -> None:
        """Saves the model, whole or not at all.

        Of several seeds it is the one with the best signal on the validation split, or
        the first where there is no validation split.

        Args:
          state: of the training, at its end. The parameters of an auxiliary head are
            left out.
          figures: results of the training.

        Raises:
          RunError: it could not be written.
        """
        if self.folder is None or not self.run.leads:
            return
        if self.dataset.inputs == data_lib.ARRAYS:
            self.run.say_once(said_of_arrays(self.folder))
            return
        kept = jax.device_get(scratch.trained(state))
        seeds = figures.get("seeds") or ()
        if seeds:
            valid = scratch.valid_of(self.dataset.task)
            best = max(seeds, key=lambda one: _score(one.get(valid)))["seed"]
            kept = jax.tree.map(lambda x: x[best], kept)
            figures = {**figures, **seeds[best]}
            how = "the first, as none was validated"
            if valid in figures:
                how = "the best on the validation split"
            self.run.say_once(f"{self.folder.name}/ is of seed {best}, {how}")
        trees = map(_without_head, kept)
        model = models.Model(
            self.describe(),
            *trees,
            preprocessing(self.run, self.dataset),
            self.dataset.class_names,
            files.plain(_own(figures)),
            record.versions(),
            learned.of_dataset(self.dataset),
        )
        with files.writing(self.folder):
            models.save(self.folder, model)

    def of_ended(self, ended: phase.Phase, abstract: Any) -> None:
        """Saves the network of a phase that an earlier process ended, where missing.

        Args:
          ended: the phase; its state's ``inner`` is a TrainState.
          abstract: its last state as from ``jax.eval_shape``.
        """
        if self.folder is None or self.run.led(self.folder.exists):
            return
        try:
            inner = ended.left(abstract).inner
        except files.RunError as error:
            ended.say(f"warning: {self.folder.name} is not saved ({error})")
            return
        self.save(inner, ended.result)

    def of_finished(self, name: str, abstract: Any) -> dict[str, Any]:
        """Saves the network of a finished run from its last checkpoint.

        Args:
          name: of the run's last phase; its state's ``inner`` is a TrainState.
          abstract: its last state as from ``jax.eval_shape``.

        Where no undamaged checkpoint of this phase is left, it is said that no model
        can be saved.

        Returns:
          The run's result.
        """
        folder = self.run.workdir
        found = checkpoint.Checkpoints(folder / run_folder.CHECKPOINTS)
        try:
            latest = found.latest()
            if latest is None or latest.note.get("phase") != name:
                raise files.RunError(f"no checkpoint of {name!r} is left")
            inner = found.load(latest.step, abstract).inner
        except files.RunError as error:
            self.run.say_once(
                f"warning: {self.folder.name} is not saved ({error}); train again in a "
                "new --workdir"
            )
            return self.run.finished
        self.save(inner, self.run.finished)
        return self.run.finished


def _without_head(tree: Any) -> Any:
    """Leaves out an auxiliary head; a network of one's own may have any tree."""
    if not isinstance(tree, dict):
        return tree
    return {name: one for name, one in tree.items() if name != "auxiliary"}


def said_of_arrays(folder: pathlib.Path) -> str:
    """Returns why no network of several inputs is saved.

    Args:
      folder: in which one would be.
    """
    return (
        f"{folder.name}/ is not written: networks of several inputs are not saved; the "
        "parameters are in the last checkpoint"
    )


def _score(value: float | None) -> float:
    return -math.inf if value is None or math.isnan(value) else value


def _own(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the figures of one training, without those of several."""
    return {
        name: value
        for name, value in figures.items()
        if name not in _NOT_ITS_OWN and not name.endswith("_sd")
    }


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
