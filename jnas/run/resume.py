"""Checks that a phase can resume from what was saved of it."""

from collections.abc import Mapping, MutableMapping
from typing import Any

from jnas.run import files


def drops_result(
    results: MutableMapping[str, Any],
    ended: MutableMapping[str, int],
    note: Mapping[str, Any],
    *,
    name: str,
    num_steps: int,
) -> bool:
    """Drops the result of a finished phase that is extended; says whether it did.

    Only the newest phase of a run can be extended, and only by further steps.

    Args:
      results: phase -> its result, for the finished phases.
      ended: phase -> number of its steps, for the finished phases.
      note: of the newest checkpoint.
      name: of the phase.
      num_steps: that it is to have.

    Raises:
      RunError: it finished with another number of steps, and cannot be extended.
    """
    before = ended.get(name)
    if name not in results or before in (None, num_steps):
        return False
    if note.get("phase") != name or before > num_steps:
        raise files.RunError(
            f"{name} must have {before} steps, with which it finished, got {num_steps}."
            " Undo the change, or use a new --workdir."
        )
    del results[name], ended[name]
    return True


def check_end(name: str, num_steps: int, saved: int) -> None:
    """Refuses to end a phase before the step that is saved.

    Args:
      name: of the phase.
      num_steps: that it is to have.
      saved: number of its steps that are saved.

    Raises:
      RunError: it would end before.
    """
    if saved > num_steps:
        raise files.RunError(
            f"{name} must have at least the {saved} steps that are saved, got "
            f"{num_steps}. Run it for longer, or use a new --workdir."
        )


def check_kept(phase: str, kept: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuses to resume where a fact changed that the saved state depends on.

    Args:
      phase: name of the phase.
      kept: name -> value, as saved.
      facts: name -> value of this process.

    Raises:
      RunError: one differs.
    """
    for name, value in facts.items():
        if kept.get(name, value) != value:
            raise files.RunError(
                f"{name} must be that of what {phase} has saved, {kept[name]}, got "
                f"{value}. Undo the change, or use a new --workdir."
            )
