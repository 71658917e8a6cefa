"""Alternations: which steps move the logits, and not the parameters alone.

Each is ``(Clock) -> bool[]``, compiled. In a step that does not move the logits their
gradient is not computed. A method's ``frozen_rate`` is applied beside it.
"""

from jnas import registry, types
from jnas.training import program


@registry.ALTERNATIONS.register
def every_step(clock: program.Clock) -> types.Array:
    """Moves the logits in every step.

    Args:
      clock: position of the step.

    Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, algorithm 1.
    """
    return clock.step >= 0


@registry.ALTERNATIONS.register
def every(clock: program.Clock, *, steps: int = 2) -> types.Array:
    """Moves the logits in every k-th step, the first one that of number k - 1.

    Args:
      clock: position of the step.
      steps: k, at least 1.

    Raises:
      ValueError: steps below 1.
    """
    if steps < 1:
        raise ValueError(
            f"alternation.steps must be at least 1, got {steps}. 1 is every step."
        )
    return (clock.step + 1) % steps == 0


@registry.ALTERNATIONS.register
def after(clock: program.Clock, *, share: float = 0.3) -> types.Array:
    """Moves the logits once a share of the search has passed.

    Args:
      clock: position of the step.
      share: of all steps, from 0 to 1.

    Raises:
      ValueError: a share outside of that.
    """
    if not 0 <= share <= 1:
        raise ValueError(
            f"alternation.share must be from 0 to 1, got {share}. 1 never moves them."
        )
    return clock.progress >= share


@registry.ALTERNATIONS.register
def never(clock: program.Clock) -> types.Array:
    """Moves the logits in no step: something else decides, such as a hook.

    Args:
      clock: position of the step.
    """
    return clock.step < 0
