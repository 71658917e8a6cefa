"""The supernet that a search trained, saved in the folder ``supernet`` of its run."""

import pathlib
from typing import Any

import jax
import numpy as np

from jnas import data as data_lib
from jnas import gradient, models, spaces
from jnas.gradient import mixing
from jnas.models import folder as model_folder
from jnas.models import learned, supernet_storage
from jnas.run import files, record, workdir
from jnas.studies import trained

FOLDER = supernet_storage.FOLDER


def check(folder: pathlib.Path | None) -> None:
    """Refuses, before anything runs, a folder that holds other files.

    Args:
      folder: the folder; None is none.

    Raises:
      ValueError: it holds other files than those of a supernet.
    """
    if folder is not None:
        model_folder.check_target(folder, supernet_storage.NAME)


def save(
    folder: pathlib.Path,
    run: workdir.Run,
    dataset: data_lib.Dataset,
    space: spaces.Space,
    segment: gradient.Segment,
    state: Any,
    result: dict[str, Any],
    *,
    dtype: str,
    seed: int,
) -> None:
    """Saves the supernet of one seed, whole or not at all.

    Args:
      folder: the folder of the supernet.
      run: the run that trained it.
      dataset: that was searched on.
      space: the space that was searched.
      segment: the last segment of the search.
      state: its last state; over several seeds with a leading axis.
      result: the last phase's result.
      dtype: of the activations.
      seed: number of the seed whose cell is the run's.

    Raises:
      RunError: it could not be written.
    """
    if dataset.inputs == data_lib.ARRAYS:
        run.say_once(trained.said_of_arrays(folder))
    if segment.supernet.split is not None:
        run.say_once(
            f"{folder.name}/ is not written: a split supernet is not saved; its "
            "parameters are in the last checkpoint"
        )
        return
    if dataset.inputs == data_lib.ARRAYS or not run.leads:
        return
    inner = state.inner
    params, arch = inner.params, inner.logits
    if segment.program.num_seeds is not None:
        params, arch = jax.tree.map(lambda leaf: leaf[seed], (params, arch))
    logits, edges = mixing.split(arch)
    supernet = models.TrainedSupernet(
        models.Description(
            space,
            segment.size,
            segment.variant,
            getattr(space, "num_inputs", 1) == 2,
            dtype,
        ),
        jax.device_get(params),
        _float32(logits),
        None if edges is None else np.asarray(edges, np.float32),
        _float32(_of_seed(result["weights"], seed)),
        trained.preprocessing(run, dataset),
        dataset.class_names,
        files.plain(dict(result["seeds"][seed])),
        record.versions(),
        learned.of_dataset(dataset),
    )
    with files.writing(folder):
        models.save_supernet(folder, supernet)


def _float32(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tree)


def _of_seed(weights: Any, seed: int) -> Any:
    """Returns the weights of one seed of a phase's result, as arrays."""
    if isinstance(weights, dict):
        return {name: _of_seed(one, seed) for name, one in weights.items()}
    return np.asarray(weights[seed], np.float32)
