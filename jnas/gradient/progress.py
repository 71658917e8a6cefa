"""Progress: how far the schedules of a search's pieces are, from 0 to 1.

Each is ``(Clock, number E of epochs) -> f32[]``. Temperatures, strengths and radii of
relaxations, perturbations and regularizers follow it.
"""

import jax.numpy as jnp

from jnas import registry, types
from jnas.training import program


@registry.PROGRESS.register
def by_step(clock: program.Clock, num_epochs: int) -> types.Array:
    """Returns the share of steps that are done, which changes in every step.

    Args:
      clock: position of the step.
      num_epochs: not used.
    """
    del num_epochs
    return clock.progress


@registry.PROGRESS.register
def by_epoch(clock: program.Clock, num_epochs: int) -> types.Array:
    """Returns e / (E - 1) in epoch e, from 0: exactly 1 in the last epoch.

    Args:
      clock: position of the step.
      num_epochs: E; of one epoch it is 0.

    Source: the released code of Dong and Yang 2019, arXiv:1910.04465.
    """
    return clock.epoch.astype(jnp.float32) / max(1, num_epochs - 1)


@registry.PROGRESS.register
def by_epochs_begun(clock: program.Clock, num_epochs: int) -> types.Array:
    """Returns (e + 1) / E in epoch e, from 0: exactly 1 in the last epoch.

    Args:
      clock: position of the step.
      num_epochs: E.

    Source: the released code of Xie et al. 2019, arXiv:1812.09926.
    """
    return (clock.epoch + 1).astype(jnp.float32) / num_epochs


@registry.PROGRESS.register
def by_epochs_done(clock: program.Clock, num_epochs: int) -> types.Array:
    """Returns e / E in epoch e, from 0: the share of epochs that are done.

    Args:
      clock: position of the step.
      num_epochs: E.

    Source: the released code of Chen and Hsieh 2020, arXiv:2002.05283.
    """
    return clock.epoch.astype(jnp.float32) / num_epochs
