"""Whether a found network beats the best baseline, with a test over seeds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

SIGNIFICANT = 0.05
METRIC = "test_accuracy"  # of classes


class Comparison(NamedTuple):
    """A found network beside the best of its baselines.

    Attributes:
      name: of the best baseline, by its mean.
      difference: of the means, found minus baseline.
      p: of Welch's t-test of equal means, two-sided; None where it cannot be had.
      deviations: the difference in standard deviations of the random cells; None
        without two random cells that differ.
      counts: number of seeds of the found network and of the baseline.
      text: one sentence.
    """

    name: str
    difference: float
    p: float | None
    deviations: float | None
    counts: tuple[int, int]
    text: str

    def figures(self) -> dict[str, Any]:
        """Returns it as entries of result.json."""
        return {
            "verdict": self.text,
            "best_baseline": self.name,
            "baseline_difference": round(self.difference, 6),
            "baseline_p": None if self.p is None else float(f"{self.p:.3g}"),
            "baseline_seeds": list(self.counts),
        }


def accuracies(result: Mapping[str, Any], metric: str = METRIC) -> tuple[float, ...]:
    """Returns the test accuracy, or another signal, of each seed of a training.

    Args:
      result: of the phase; with ``seeds`` where there are several.
      metric: name of the signal on the test split.
    """
    seeds = result.get("seeds") or ()
    return tuple(one[metric] for one in seeds) or (result[metric],)


def welch(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Returns the p-value of Welch's t-test of equal means, two-sided.

    Args:
      first: values of one sample.
      second: values of the other.

    Returns:
      p; None with fewer than two values in one of them, or without any spread.

    Source: Welch 1947, Biometrika 34, 28-35.
    """
    if min(len(first), len(second)) < 2:
        return None
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        return None
    return float(scipy.stats.ttest_ind(first, second, equal_var=False).pvalue)


def compare(
    found: Sequence[float],
    baselines: Mapping[str, Sequence[float]],
    random: Sequence[float] = (),
    *,
    metric: str = METRIC,
) -> Comparison:
    """Compares a found network with the best of its baselines.

    The best is chosen by the test accuracies that are compared, which favours it: a p
    below 0.05 for the found network is a cautious one, for the baseline it is not.

    Args:
      found: test accuracy of each seed.
      baselines: name -> test accuracy of each seed; at least one.
      random: test accuracy of random cells, one seed each; their mean is a baseline
        too, and their spread the unit where no test over seeds is possible.
      metric: what is compared.

    Raises:
      ValueError: nothing to compare with.
    """
    known = {name: tuple(values) for name, values in baselines.items()}
    if len(random) > 1:
        known["the random cells"] = tuple(random)
    if not known:
        raise ValueError(
            "baselines must hold at least one trained network, got none. Train one "
            "more, or leave the comparison out."
        )
    name = max(known, key=lambda one: statistics.fmean(known[one]))
    best = known[name]
    difference = statistics.fmean(found) - statistics.fmean(best)
    spread = statistics.stdev(random) if len(random) > 1 else 0.0
    deviations = difference / spread if spread else None
    p = welch(found, best)
    text = (
        f"The found network {_word(difference, p)} the best of {len(known)} "
        f"{'baseline' if len(known) == 1 else 'baselines'}, {name}: "
        f"{metric.replace('_', ' ')} "
        f"{_shown(found)} against {_shown(best)}"
    )
    text += _judgement(difference, p, deviations, len(random), len(found), len(best))
    counts = len(found), len(best)
    return Comparison(name, difference, p, deviations, counts, f"{text}.")


def _word(difference: float, p: float | None) -> str:
    if p is not None and p >= SIGNIFICANT:
        return "does not differ significantly from"
    if math.isclose(difference, 0, abs_tol=1e-9):
        return "equals"
    if p is None:
        return "is above" if difference > 0 else "is below"
    return "beats" if difference > 0 else "loses to"


def _shown(values: Sequence[float]) -> str:
    """Returns the mean, its standard deviation, and the number of values."""
    mean = f"{statistics.fmean(values):.4f}"
    if len(values) == 1:
        return f"{mean} (n=1)"
    return f"{mean} ± {statistics.stdev(values):.4f} (n={len(values)})"


def _judgement(difference, p, deviations, num_random, *counts) -> str:
    """Returns how sure the difference is."""
    if p is not None:
        return f", difference {difference:+.4f}, p = {p:.2g} (Welch's t-test)"
    why = "no spread between seeds" if min(counts) > 1 else "one seed gives no p-value"
    said = f", difference {difference:+.4f}; {why}"
    if deviations is None:
        return said
    return (
        f"{said}; the difference is {deviations:+.1f} standard deviations of "
        f"{num_random} random cells"
    )
