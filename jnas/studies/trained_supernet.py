"""The supernet that a search trained, saved in the folder ``supernet`` of its run."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import data as data_lib
from jnas import gradient, models, spaces
from jnas.gradient import mixing
from jnas.models import folder as model_folder
from jnas.models import supernet_storage
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
    space: spaces.CellSpace,
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
    if not run.leads:
        return
    inner = state.inner
    params, arch = inner.params, inner.logits
    if segment.program.num_seeds is not None:
        params, arch = jax.tree.map(lambda leaf: leaf[seed], (params, arch))
    logits, edges = mixing.split(arch)
    supernet = models.TrainedSupernet(
        models.Description(
            space, segment.size, segment.variant, space.num_inputs == 2, dtype
        ),
        jax.device_get(params),
        np.asarray(logits, jnp.float32),
        None if edges is None else np.asarray(edges, jnp.float32),
        np.asarray(result["weights"][seed], np.float32),
        trained.preprocessing(run, dataset),
        dataset.class_names,
        files.plain(dict(result["seeds"][seed])),
        record.versions(),
    )
    with files.writing(folder):
        models.save_supernet(folder, supernet)
