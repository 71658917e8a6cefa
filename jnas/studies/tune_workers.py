"""A tuning whose trials are trained by workers, a rung at a time."""

import contextlib
import hashlib
import json
import pathlib
import shutil
import uuid
import zipfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import settings as settings_lib
from jnas import types
from jnas.discrete.objectives import workers
from jnas.run import drive as drive_lib
from jnas.run import files, pools, record, threads, workdir
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text
from jnas.studies import members
from jnas.studies import tune_plan as plan_lib
from jnas.training import lineages, promotion, trials
from jnas.training import program as program_lib

FOLDER = "trials"  # of the run: weights between two rungs
FREE = (*drive_lib.FREE, "lineage")  # NaN where a trial did not train


def check(settings: plan_lib.TuneSettings, asked: pools.Asked | None) -> None:
    """Refuses workers of trials that are trained side by side.

    Args:
      settings: of the tuning.
      asked: the workers; None is allowed for all.

    Raises:
      ValueError: more than one at a time.
    """
    if asked is not None and (settings.side_by_side or 1) > 1:
        raise ValueError(
            "side_by_side must be 1 with workers, each of which trains one trial at a "
            f"time, got {settings.side_by_side}. Leave it out."
        )


def opened(
    run: workdir.Run,
    asked: pools.Asked | None,
    origin: members.Origin,
    settings: plan_lib.TuneSettings,
    genotype: genotypes.Genotype,
) -> contextlib.AbstractContextManager[members.Hands | None]:
    """Starts workers that train the trials of a tuning.

    Args:
      run: the open run.
      asked: the workers; None yields None.
      origin: of the data.
      settings: of the tuning.
      genotype: the cells.
    """
    folder = str((run.workdir / FOLDER).absolute())
    values, cells = settings_lib.to_json(settings), genotype_text.to_json(genotype)
    plugins = [one["sha256"] for one in run.record.get("plugins") or ()]
    of = origin, values, cells, folder, plugins
    return members.opened(run, asked, build_trial, *of)


def build_trial(
    origin: members.Origin,
    values: dict[str, Any],
    genotype: str,
    folder: str,
    plugins: list[str],
) -> Callable:
    """Builds what a worker computes: the accuracy of a trial after a rung.

    Args:
      origin: of the data.
      values: JSON of the settings.
      genotype: JSON text of the cells.
      folder: where weights are kept between two rungs; where they are missing they are
        trained again, with the same bits.
      plugins: digests of the plug-ins' texts.

    Returns:
      workers.Task, whose encoding is a lineage's -> f32[2], accuracy and whether it
      diverged.
    """
    dataset, _ = origin.open()
    settings = settings_lib.from_json(plan_lib.TuneSettings, values)
    cell = genotype_text.from_json(genotype)
    plan = plan_lib.prepare(cell, dataset, settings, seed=origin.seed)
    of = [files.plain(origin), values, genotype, plugins]
    kept = Weights(pathlib.Path(folder), of)
    last = max(one.stop for one in plan.tuning.rungs)

    def keep(encoding, state):
        if plan.tuning.rungs[int(encoding[0])].stop < last:
            kept.write(encoding, state)

    names = [one.name for one in plan.ranges]
    score = lineages.scorer(plan.tuning, names, plan.splits, load=kept.read, keep=keep)

    def scored(task):
        return score(jax.random.wrap_key_data(jnp.asarray(task.key)), task.encoding)

    return scored


class Weights:
    """The weights of lineages as files, which any worker may write or read."""

    def __init__(self, folder: pathlib.Path, of: Any):
        """Reads nothing yet.

        Args:
          folder: of the files; it is made when the first one is written.
          of: JSON value of all that weights depend on beside their lineage.
        """
        of = [record.versions(), threads.count(), of]
        text = json.dumps(of, sort_keys=True)
        self._folder, self._of = folder, hashlib.sha256(text.encode())

    def path(self, encoding: np.ndarray) -> pathlib.Path:
        """Returns the file of a lineage.

        Args:
          encoding: of the lineage.
        """
        sha = self._of.copy()
        sha.update(np.ascontiguousarray(encoding, np.int32).tobytes())
        return self._folder / f"{sha.hexdigest()[:32]}.npz"

    def write(self, encoding: np.ndarray, state: program_lib.State) -> None:
        """Keeps weights; where the disk refuses, they will be trained again.

        Args:
          encoding: of the lineage.
          state: of its program.
        """
        path = self.path(encoding)
        leaves = jax.tree.leaves(_raw(state))
        try:
            self._folder.mkdir(exist_ok=True)
            beside = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.npz")
            np.savez(beside, *jax.device_get(leaves))
            beside.replace(path)
        except OSError:
            return

    def read(self, encoding: np.ndarray, like: Any) -> program_lib.State | None:
        """Returns kept weights; None where there are none that fit.

        Args:
          encoding: of the lineage.
          like: the state's shapes and types.
        """
        shapes, tree = jax.tree.flatten(jax.eval_shape(_raw, like))
        keys = jax.tree.map(_is_key, like)
        try:
            with np.load(self.path(encoding), allow_pickle=False) as archive:
                leaves = [archive[f"arr_{i}"] for i in range(len(shapes))]
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
            return None
        found = [(one.shape, one.dtype) for one in leaves]
        if found != [(one.shape, one.dtype) for one in shapes]:
            return None
        return jax.tree.map(_leaf, jax.tree.unflatten(tree, leaves), keys)


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw(tree: Any) -> Any:
    """Returns a tree with the data of its PRNG keys."""
    return jax.tree.map(
        lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree
    )


def _leaf(value: np.ndarray, is_key: bool) -> types.Array:
    array = jnp.asarray(value)
    return jax.random.wrap_key_data(array) if is_key else array


def tuned(
    run: workdir.Run,
    phase: Any,
    plan: plan_lib.Plan,
    tuning: trials.Tuning,
    key: types.Key,
    hands: members.Hands,
) -> promotion.Trials:
    """Runs the rungs of a tuning as the steps of a phase, and returns its trials.

    Args:
      run: the open run.
      phase: of it, with as many steps as there are rungs.
      plan: what is tuned.
      tuning: of the plan, or of a batch of its trials.
      key: of the tuning.
      hands: workers that were started with ``build_trial``, and their journal.
    """
    rounds = lineages.rounds(tuning, [one.name for one in plan.ranges])
    restored = phase.restore(jax.eval_shape(rounds.init, key))
    done, state = restored or (0, rounds.init(key))
    data = np.asarray(jax.random.key_data(key))
    for number in range(done, len(tuning.rungs)):
        phase.begins("trials")
        state, encodings = rounds.asked(state, number)
        tasks = [workers.Task(data, one) for one in encodings]
        scores = workers.collect(*hands, tasks)
        state, metrics = rounds.noted(state, jnp.int32(number), jnp.asarray(scores))
        phase.observe(number + 1, state, metrics)
    shutil.rmtree(run.workdir / FOLDER, ignore_errors=True)
    return jax.device_get(state.trials)
