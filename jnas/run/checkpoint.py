"""Checkpoints that are verified: Orbax data, a manifest, and a fall-back to older ones.

``checkpoints/<step>/`` holds ``state/`` (Orbax; the leaves of the pytree, in
its flattening order) and ``MANIFEST.json``. A folder of that name is complete: it is
written under another name, flushed, and renamed. Orbax alone would restore a flipped
bit without an error, and cannot store arrays of size zero; both are handled here.
"""

import pathlib
import shutil
from typing import Any, NamedTuple

from absl import logging

from jnas.run import arrays, files, manifest


class Sound(NamedTuple):
    """A checkpoint that was verified.

    Attributes:
      step: the global step.
      note: the JSON values that were given to ``save``.
    """

    step: int
    note: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run; used by one process at a time."""

    def __init__(self, folder: pathlib.Path, *, keep: int = 2):
        """Removes incomplete checkpoints that a killed process left.

        Args:
          folder: the folder of checkpoints; created by the first ``save``.
          keep: number of newest checkpoints to keep, at least 2.
        """
        if keep < 2:
            raise ValueError(f"keep must be at least 2, got {keep}. Raise it.")
        self._folder = folder
        self._keep = keep
        for rest in folder.glob(".tmp-*"):
            shutil.rmtree(rest)

    def steps(self) -> list[int]:
        """Returns the steps that have a folder, oldest first, damaged ones included."""
        if not self._folder.is_dir():
            return []
        names = (path.name for path in self._folder.iterdir())
        return sorted(int(n) for n in names if n.isascii() and n.isdigit())

    def latest(self) -> Sound | None:
        """Finds the newest undamaged checkpoint, and warns about each damaged one.

        Returns:
          The checkpoint, or None where there is none.

        Raises:
          RunError: all checkpoints are damaged.
        """
        last = ""
        for step in reversed(self.steps()):
            try:
                return Sound(step, self._verify(step)["note"])
            except manifest.Damaged as damage:
                last = f"{damage.file} of step {step} {damage.reason}"
                logging.warning(
                    "checkpoint %d is damaged (%s); trying an older one", step, damage
                )
        if not last:
            return None
        raise files.RunError(
            "checkpoints must include an undamaged one, got none in "
            f"{str(self._folder)!r} ({last}). Restore the folder from a copy, or use a "
            "new --workdir."
        )

    def save(self, step: int, state: Any, note: dict[str, Any]) -> None:
        """Saves a checkpoint, verifies it, then removes the oldest.

        Checkpoints of later steps are removed as well: ``latest`` found them damaged.

        Args:
          step: the global step.
          state: a pytree of arrays, restored by ``load``; typed keys, bfloat16 and
            arrays of size zero are allowed.
          note: JSON values to keep with the state; ``latest`` returns them.

        Raises:
          RunError: the checkpoint could not be written; the message has the path and
            the free bytes of its disk.
        """
        arrays.check(state)
        target = self._folder / str(step)
        beside = self._folder / f".tmp-{step}"
        try:
            beside.mkdir(parents=True)
            saved = arrays.write(beside / "state", state)
            body = {"step": step, "note": note, "leaves": saved}
            body["state_sha256"] = arrays.digest(saved)
            manifest.write(beside, body)
            if target.exists():
                shutil.rmtree(target)
            beside.rename(target)
            files.fsync_folder(self._folder)
            self._verify(step)
        except (OSError, ValueError, RuntimeError, manifest.Damaged) as error:
            shutil.rmtree(beside, ignore_errors=True)
            if isinstance(error, files.RunError):
                raise
            raise files.not_written(target, error) from error
        self._prune(step)

    def amend(self, step: int, **changes: Any) -> None:
        """Replaces entries of a saved step's note; its state is unchanged."""
        folder = self._folder / str(step)
        note = manifest.read(folder)["note"]
        manifest.amend(folder, note={**note, **changes})

    def load(self, step: int, abstract: Any) -> Any:
        """Restores the state of a step.

        Args:
          step: a step that ``latest`` returned.
          abstract: a pytree of ``jax.ShapeDtypeStruct`` as from ``jax.eval_shape``.

        Returns:
          The same tree with the saved arrays, on the default device, or placed by the
          leaf's ``sharding`` where it has one.

        Raises:
          RunError: the tree differs from the saved one; the first leaf is named.
        """
        folder = self._folder / str(step)
        saved = manifest.read(folder)["leaves"]
        arrays.compare(abstract, saved)
        return arrays.read(folder / "state", abstract, saved)

    def _verify(self, step: int) -> dict[str, Any]:
        body = manifest.verify(self._folder / str(step))
        if body.get("step") != step:
            reason = f"belongs to step {body.get('step')}"
            raise manifest.Damaged(manifest.NAME, reason)
        return body

    def _prune(self, step: int) -> None:
        steps = self.steps()
        kept = [s for s in steps if s <= step][-self._keep :]
        for old in set(steps) - set(kept):
            shutil.rmtree(self._folder / str(old))
