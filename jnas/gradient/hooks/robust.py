"""Hooks of RobustDARTS: they end a search whose eigenvalue rises, or roll it back.

Source: Zela et al. 2020, arXiv:1909.09656, section 5.
"""

from collections.abc import Callable

from jnas import registry
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.hooks import rise as rise_lib
from jnas.gradient.hooks import signal as signal_lib
from jnas.gradient.hooks import watch


@registry.HOOKS.register
def stop_early(
    search: hook_lib.Search,
    *,
    every: int | None = None,
    factor: float = 1.3,
    shift: float = 1e-3,
) -> hook_lib.Hook:
    """Builds the hook of early stopping: end, with the cell from before the rise.

    It is called at the end of the first epoch, of every ``every``-th after it, and of
    the last, at which no search stops. The eigenvalue is that of a random, augmented
    validation batch.

    Args:
      search: that is watched.
      every: epochs between two evaluations; None takes the search's interval.
      factor: ratio above which the eigenvalue has risen.
      shift: is added to the eigenvalue: the weight decay of the logits, which the
        released code adds to their gradient before it is differentiated.

    Raises:
      ValueError: evaluations are disabled.

    Source: Zela et al. 2020, arXiv:1909.09656, section 5.1 (DARTS-ES) and its released
    code.
    """
    interval = _needed("stop_early", search, every)
    rise = rise_lib.Rise(
        factor=factor, every=interval, last_epoch=search.num_epochs - 1
    )
    return watch.build(
        search,
        interval,
        rise=rise,
        decide=rise_lib.stop_early(rise),
        batch_of=signal_lib.random_batch,
        shift=shift,
        due=_due(interval, search.num_epochs),
    )


@registry.HOOKS.register
def adaptive_decay(
    search: hook_lib.Search,
    *,
    every: int | None = None,
    factor: float = 1.3,
    stronger: float = 10.0,
    most: float = 0.03,
    rolls: int = 2,
    shift: float = 1e-3,
) -> hook_lib.Hook:
    """Builds the hook of adaptive L2: roll back, with a stronger weight decay.

    It is called as ``stop_early`` is. The epochs that are rolled back are repeated:
    with an evaluation every 2 epochs they are 12 each time, so that a search of 50
    epochs has up to 74. The optimizer's weight decay must be an
    ``optimizers.carried_decay``; a method that names this hook has one.

    Args:
      search: that is watched.
      every: epochs between two evaluations; None takes the search's interval.
      factor: ratio above which the eigenvalue has risen.
      stronger: multiplies the weight decay.
      most: largest weight decay.
      rolls: how often a search may be rolled back; from the paper's weight decay of
        3e-4 it is twice until the largest is reached.
      shift: as for ``stop_early``.

    Raises:
      ValueError: evaluations are disabled.

    Source: Zela et al. 2020, arXiv:1909.09656, section 5.2 (DARTS-ADA) and its released
    code.
    """
    interval, epochs = _needed("adaptive_decay", search, every), search.num_epochs
    rise = rise_lib.Rise(factor=factor, every=interval, last_epoch=epochs - 1)
    far = rise.back * interval
    # the roll back that follows another one goes to an epoch before that one's
    rise = rise._replace(length=2 * rise.back + 1)
    possible = rise.first_epoch + far < epochs - 1
    repeats = rolls * far if possible else 0

    def clock(carry, clock):
        progress = (clock.progress * (epochs + repeats) - carry.repeated) / epochs
        return clock._replace(epoch=clock.epoch - carry.repeated, progress=progress)

    return watch.build(
        search,
        interval,
        rise=rise,
        decide=rise_lib.strengthen(rise, factor=stronger, most=most, rolls=rolls),
        metrics=("weight_decay",),
        snapshots=True,
        batch_of=signal_lib.random_batch,
        shift=shift,
        due=_due(interval, epochs),
        repeats=repeats,
        clock=clock,
    )


def _due(every: int, num_epochs: int) -> Callable:
    """Builds the rule of the first epoch, of every k-th after it, and of the last."""
    return lambda epoch: (epoch % every == 0) | (epoch == num_epochs - 1)


def _needed(name: str, search: hook_lib.Search, every: int | None) -> int:
    interval = search.interval if every is None else every
    if not interval:
        raise ValueError(
            f"watch_interval must be at least 1 with the hook {name}, got 0. Set the "
            "number of epochs between two evaluations."
        )
    return interval
