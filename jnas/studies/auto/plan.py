"""The arithmetic of ``auto``: how many epochs, seeds and trials fit into minutes."""

from collections.abc import Sequence
from typing import NamedTuple

from jnas.studies.auto import rules
from jnas.training import rungs

SEARCH, COMPARE, TUNE, TUNED = STEPS = ("search", "retrain", "tune", "tuned")
SEARCH_RATE, VALID_RATE = 0.5, 0.2  # shares of the training images that only score
FINALIST_RATE, ETA = 0.25, 3  # of ``studies/finalists.py``
NO_TUNING = "no tuning"
_LEVELS = 200  # between the fewest and the most epochs


class Measured(NamedTuple):
    """What the probe measured, in seconds.

    Attributes:
      compiling: of compiling the training of the largest cell.
      step: of one step of it.
      start: of starting a process and reading the data.
    """

    compiling: float
    step: float
    start: float

    def times(self, factor: float, *, least: float) -> "Measured":
        """Returns the seconds on a machine that is slower by a factor.

        Args:
          factor: the seconds of a step over those that were planned.
          least: smallest factor that is believed.
        """
        return Measured(*(max(least, factor) * one for one in self))


class Amounts(NamedTuple):
    """How much is done.

    Attributes:
      search_epochs: of the search.
      epochs: of each training.
      finalists: cells that the search trains from scratch.
      seeds: trainings of each network.
      trials: of the tuning; 0 leaves it out.
      baselines: hand-made networks.
    """

    search_epochs: int
    epochs: int
    finalists: int
    seeds: int
    trials: int
    baselines: tuple[str, ...]


class Work(NamedTuple):
    """What seconds depend on.

    Attributes:
      rule: the row of the table.
      images: number of training images.
      batch_size: images in a batch.
      latency: whether a table of latencies is measured.
      factor: work of a step of the trainings, in those of the probe's.
    """

    rule: rules.Rule
    images: int
    batch_size: int
    latency: bool = False
    factor: float = 1.0


def latencies(work: Work) -> float:
    """Returns the seconds in which the trained networks' latencies are measured.

    Args:
      work: what is done.
    """
    networks = 2 + len(work.rule.baselines)  # found, and tuned
    one_by_one = rules.COSTS.start + networks * rules.COSTS.network_latency
    return work.latency * one_by_one


def batch_size(wanted: int, images: int) -> int:
    """Returns a batch of which the training images have at least four.

    Args:
      wanted: of the rule.
      images: number of training images.
    """
    return max(2, min(wanted, images // 4))


def structures(rule: rules.Rule) -> list[Amounts]:
    """Lists what may be done at the fewest epochs, the richest first.

    Tuning is dropped first, then seeds, then baselines, the finalists last.

    Args:
      rule: the row of the table.
    """
    fewest = rule.search_epochs[0], rule.epochs[0]
    found = [Amounts(*fewest, rule.finalists, rule.seeds, rule.trials, rule.baselines)]

    def drop(**change):
        found.append(found[-1]._replace(**change))

    if rule.trials:
        drop(trials=0)
    for seeds in range(rule.seeds - 1, 0, -1):
        drop(seeds=seeds)
    for count in range(len(rule.baselines) - 1, -1, -1):
        drop(baselines=rule.baselines[:count])
    if rule.finalists:
        drop(finalists=0)
    return found


def seconds(step: str, amounts: Amounts, work: Work, measured: Measured) -> float:
    """Returns how long a step takes.

    Args:
      step: one of ``STEPS``.
      amounts: how much is done.
      work: what it is done with.
      measured: by the probe.
    """
    return measured.start + _COSTS[step](amounts, work, measured)


def _steps(work: Work, rate: float) -> int:
    """Returns the steps of an epoch without the share that only scores."""
    return max(1, int(work.images * (1 - rate)) // work.batch_size)


def _search(amounts, work, measured) -> float:
    costs = rules.COSTS
    steps = amounts.search_epochs * _steps(work, SEARCH_RATE)
    total = costs.search_compile * measured.compiling
    total += costs.search_step * steps * measured.step
    total += costs.latency * work.latency
    if amounts.finalists:
        epochs = amounts.finalists * work.rule.finalist_epochs
        steps = epochs * _steps(work, FINALIST_RATE)
        total += costs.finalists_compile * measured.compiling
        total += costs.finalist_step * steps * measured.step
    return total


def _train(amounts, work, measured, *, factor: float = 1.0) -> float:
    costs = rules.COSTS
    steps = factor * amounts.epochs * _steps(work, VALID_RATE) * amounts.seeds
    steps *= work.factor
    return costs.training_compile * measured.compiling + steps * measured.step


def _compare(amounts, work, measured) -> float:
    factor = rules.COSTS.baseline_step
    each = _train(amounts, work, measured, factor=factor)
    return _train(amounts, work, measured) + len(amounts.baselines) * each


def _tune(amounts, work, measured) -> float:
    if not amounts.trials:
        return -measured.start
    costs = rules.COSTS
    plan = rungs.halving(
        amounts.trials,
        min_epochs=tune_epochs(amounts),
        max_epochs=amounts.epochs,
        eta=ETA,
    )
    steps = sum(one.epochs for one in plan) * _steps(work, VALID_RATE) * work.factor
    return costs.tuning_compile * measured.compiling + steps * measured.step


def _tuned(amounts, work, measured) -> float:
    if not amounts.trials:
        return -measured.start
    return _train(amounts, work, measured)


_COSTS = {SEARCH: _search, COMPARE: _compare, TUNE: _tune, TUNED: _tuned}


def tune_epochs(amounts: Amounts) -> int:
    """Returns the epochs of the tuning's first rung: a ninth of a training's.

    Args:
      amounts: how much is done.
    """
    return max(1, amounts.epochs // ETA**2)


def total(
    steps: Sequence[str], amounts: Amounts, work: Work, measured: Measured
) -> float:
    """Returns the seconds of several steps.

    Args:
      steps: some of ``STEPS``.
      amounts: how much is done.
      work: what it is done with.
      measured: by the probe.
    """
    return sum(seconds(one, amounts, work, measured) for one in steps)


def fit(
    budget: float,
    work: Work,
    measured: Measured,
    *,
    steps: Sequence[str] = STEPS,
) -> Amounts | None:
    """Returns the most that fits into seconds; None where nothing does.

    The richest structure that fits with the fewest epochs is taken, then its epochs are
    raised.

    Args:
      budget: seconds.
      work: what is done.
      measured: by the probe.
      steps: those that are still to come.
    """
    for one in structures(work.rule):
        if total(steps, one, work, measured) <= budget:
            return _raised(one, budget, work, measured, steps)
    return None


def _raised(one, budget, work, measured, steps) -> Amounts:
    best = one
    for level in range(1, _LEVELS + 1):
        more = one._replace(
            search_epochs=_between(work.rule.search_epochs, level),
            epochs=_between(work.rule.epochs, level),
        )
        if total(steps, more, work, measured) > budget:
            break
        best = more
    return best


def _between(pair: tuple[int, int], level: int) -> int:
    return round(pair[0] + (pair[1] - pair[0]) * level / _LEVELS)


def needed(work: Work, measured: Measured) -> float:
    """Returns the fewest seconds in which anything can be done.

    Args:
      work: what is done.
      measured: by the probe.
    """
    return total(STEPS, structures(work.rule)[-1], work, measured)


def added(before: Amounts, after: Amounts) -> str:
    """Returns what a later plan has more of, in one line; empty for nothing.

    Args:
      before: the earlier plan.
      after: the later one.
    """
    said = []
    if after.trials and not before.trials:
        said.append("a tuning")
    if after.seeds > before.seeds:
        said.append(f"{after.seeds} instead of {before.seeds} seeds")
    said += [name for name in after.baselines if name not in before.baselines]
    if after.epochs > before.epochs:
        said.append(f"{after.epochs} instead of {before.epochs} epochs")
    return ", ".join(said)


def dropped(before: Amounts, after: Amounts) -> str:
    """Returns what a later plan has less of, in one line; empty for nothing.

    Args:
      before: the earlier plan.
      after: the later one.
    """
    said = []
    if before.trials and not after.trials:
        said.append(NO_TUNING)
    if after.seeds < before.seeds:
        said.append(f"{after.seeds} of {before.seeds} seeds")
    gone = [name for name in before.baselines if name not in after.baselines]
    if gone:
        said.append(f"no {', '.join(gone)}")
    if after.epochs < before.epochs:
        said.append(f"{after.epochs} of {before.epochs} epochs")
    return ", ".join(said)
