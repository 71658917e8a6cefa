"""Plans of tuning: which trials train from which epoch to which, rung after rung.

A trial is one setting of the numbers of a training. Bracket after bracket, a rung
trains the best of a bracket's trials further:

    halving of 9 trials, eta 3, 1 to 9 epochs
    rung 0   trials 0 to 8   epoch 0 to 1
    rung 1   the best 3      epoch 1 to 3
    rung 2   the best        epoch 3 to 9

Source: successive halving: Jamieson and Talwalkar 2016, arXiv:1502.07943, algorithm 1;
Hyperband: Li et al. 2018, arXiv:1603.06560, algorithm 1.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple


class Rung(NamedTuple):
    """A part of a plan.

    Attributes:
      first: number of the first trial of its bracket.
      num_trials: number of trials that are trained, the best of the bracket.
      start: epochs that they have behind them.
      stop: epochs that they have behind them afterwards.
    """

    first: int
    num_trials: int
    start: int
    stop: int

    @property
    def epochs(self) -> int:
        """Epochs that all its trials are trained for, added up."""
        return self.num_trials * (self.stop - self.start)


def single(num_trials: int, *, max_epochs: int) -> tuple[Rung, ...]:
    """Plans one rung: every trial is trained to the end, as in random search.

    Args:
      num_trials: number of trials.
      max_epochs: epochs of each.
    """
    return (Rung(0, num_trials, 0, max_epochs),)


def intervals(num_trials: int, *, every: int, max_epochs: int) -> tuple[Rung, ...]:
    """Plans rungs of all trials, as population-based training has them.

    Args:
      num_trials: number of trials.
      every: epochs of a rung; the last one may be shorter.
      max_epochs: epochs of each trial.
    """
    stops = [*range(every, max_epochs, every), max_epochs]
    return tuple(Rung(0, num_trials, *pair) for pair in itertools.pairwise([0, *stops]))


def halving(
    num_trials: int, *, min_epochs: int, max_epochs: int, eta: int, first: int = 0
) -> tuple[Rung, ...]:
    """Plans successive halving: rung k trains n // eta^k trials to min_epochs eta^k.

    At least one trial is left on each rung. The last rung ends at max_epochs; the
    last of three or more that would be shorter than half of the rung before it is
    joined with that one.

    Args:
      num_trials: n.
      min_epochs: epochs of the first rung.
      max_epochs: epochs of the last rung.
      eta: factor between two rungs, at least 2.
      first: number of the bracket's first trial.

    Example:
      >>> [(one.num_trials, one.stop) for one in
      ...  halving(9, min_epochs=4, max_epochs=37, eta=3)]
      [(9, 4), (3, 12), (1, 37)]
    """
    stops = [min_epochs]
    while stops[-1] < max_epochs:
        stops.append(min(stops[-1] * eta, max_epochs))
    if len(stops) > 2:
        before, last = (b - a for a, b in itertools.pairwise(stops[-3:]))
        if 2 * last < before:
            del stops[-2]
    counts = [max(1, num_trials // eta**k) for k in range(len(stops))]
    pairs = itertools.pairwise([0, *stops])
    return tuple(Rung(first, n, *pair) for n, pair in zip(counts, pairs, strict=True))


def hyperband(
    num_trials: int, *, min_epochs: int, max_epochs: int, eta: int
) -> tuple[Rung, ...]:
    """Plans Hyperband: brackets of halving, from the most trials to the fewest.

    Bracket s of s_max + 1 starts ceil((s_max + 1) eta^s / (s + 1)) trials at
    max_epochs eta^-s epochs, so that each costs about as much. Differs: these numbers
    are scaled to num_trials trials in all, and rungs count up from min_epochs.

    Args:
      num_trials: number of trials of all brackets; at least one a bracket.
      min_epochs: epochs of the first rung of the first bracket.
      max_epochs: epochs of the last rung of each bracket.
      eta: factor between two rungs, at least 2.

    Raises:
      ValueError: fewer trials than brackets.
    """
    starts = [one.stop for one in halving(1, min_epochs=min_epochs,
              max_epochs=max_epochs, eta=eta)]  # fmt: skip
    most = len(starts) - 1
    if num_trials <= most:
        raise ValueError(
            f"trials must be at least {most + 1}, one for each bracket from "
            f"{min_epochs} to {max_epochs} epochs, got {num_trials}. Raise it or "
            "min_epochs."
        )
    shares = [math.ceil((most + 1) * eta**s / (s + 1)) for s in range(most, -1, -1)]
    found, first = [], 0
    for begin, count in zip(starts, _divided(num_trials, shares), strict=True):
        found += halving(
            count, min_epochs=begin, max_epochs=max_epochs, eta=eta, first=first
        )
        first += count
    return tuple(found)


def _divided(total: int, shares: Sequence[int]) -> list[int]:
    """Divides a number in proportion; the largest remainders win, each gets one."""
    exact = [total * share / sum(shares) for share in shares]
    found = [int(one) for one in exact]
    order = sorted(range(len(exact)), key=lambda i: found[i] - exact[i])
    for i in order[: total - sum(found)]:
        found[i] += 1
    for i, one in enumerate(found):
        if not one:
            found[found.index(max(found))] -= 1
            found[i] = 1
    return found


def describe(rungs: Sequence[Rung], *, images_per_epoch: int) -> str:
    """Returns what a plan costs, in one line.

    Args:
      rungs: the plan.
      images_per_epoch: training images of one epoch.

    Example:
      >>> describe(halving(9, min_epochs=1, max_epochs=9, eta=3), images_per_epoch=50)
      'trials 9: rungs 9x1, 3x3, 1x9 = 21 epochs of 50 images, 1,050 images in all'
    """
    brackets = [
        ", ".join(f"{one.num_trials}x{one.stop}" for one in part)
        for _, part in itertools.groupby(rungs, key=lambda one: one.first)
    ]
    epochs = sum(one.epochs for one in rungs)
    return (
        f"trials {num_trials(rungs)}: rungs {'; '.join(brackets)} = {epochs} epochs "
        f"of {images_per_epoch:,} images, {epochs * images_per_epoch:,} images in all"
    )


def num_trials(rungs: Sequence[Rung]) -> int:
    """Returns the number of trials of a plan.

    Args:
      rungs: the plan.
    """
    return max(one.first + one.num_trials for one in rungs)
