"""Checkpoints that are checked: Orbax data, a manifest, and a way back.

``checkpoints/<step>/`` holds ``state/`` (Orbax; the leaves of the pytree, in
its flattening order) and ``MANIFEST.json``. A folder of that name is complete: it is
written under another name, flushed, and renamed. Orbax alone would restore a flipped
bit without a word, and cannot store arrays of size zero; both are seen to here.
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
      note: what ``save`` was given to remember.
    """

    step: int
    note: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run; used by one process at a time."""

    def __init__(self, folder: pathlib.Path, *, keep: int = 2):
        """Removes what a killed process left half written.

        Args:
          folder: made when first needed.
          keep: how many of the newest stay.
        """
        if keep < 2:
            raise ValueError(f"keep must be at least 2, got {keep}. Raise it.")
        self._folder = folder
        self._keep = keep
        for rest in folder.glob(".tmp-*"):
            shutil.rmtree(rest)

    def steps(self) -> list[int]:
        """Returns the steps that have a folder, oldest first, sound or not."""
        if not self._folder.is_dir():
            return []
        names = (path.name for path in self._folder.iterdir())
        return sorted(int(n) for n in names if n.isascii() and n.isdigit())

    def latest(self) -> Sound | None:
        """Finds the newest sound checkpoint, with a warning for each damaged one.

        Returns:
          It, or None where nothing was ever saved.

        Raises:
          RunError: there are checkpoints, and none is sound.
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
            f"checkpoints must hold one sound step, got none in {str(self._folder)!r} "
            f"({last}). Restore the folder from a copy, or use a new --workdir."
        )

    def save(self, step: int, state: Any, note: dict[str, Any]) -> None:
        """Saves, verifies what was saved, then removes what is too old.

        Steps beyond this one are removed as well: they were found damaged.

        Args:
          step: the global step.
          state: a pytree of arrays; typed keys, bfloat16 and arrays of size zero are
            fine. Read back by ``load``.
          note: JSON values to find again in ``latest``.

        Raises:
          RunError: it could not be written, with the path and the bytes free there.
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
        """Replaces entries of a saved step's note; its state stays."""
        folder = self._folder / str(step)
        note = manifest.read(folder)["note"]
        manifest.amend(folder, note={**note, **changes})

    def load(self, step: int, abstract: Any) -> Any:
        """Reads a state back.

        Args:
          step: one that ``latest`` returned.
          abstract: a pytree of ``jax.ShapeDtypeStruct`` as from ``jax.eval_shape``.

        Returns:
          The same tree with the saved arrays, on the default device, or where a leaf's
          ``sharding`` says.

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
            raise manifest.Damaged(manifest.NAME, f"is of step {body.get('step')}")
        return body

    def _prune(self, step: int) -> None:
        steps = self.steps()
        kept = [s for s in steps if s <= step][-self._keep :]
        for old in set(steps) - set(kept):
            shutil.rmtree(self._folder / str(old))
