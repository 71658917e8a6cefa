"""What a search learned, in words: a verdict, and warnings where it learned nothing."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jnas import data as data_lib
from jnas import directions, types
from jnas.data import batches
from jnas.discrete.controllers import fronts
from jnas.gradient import methods

STILL = 0.05  # weights this near to equal, relative to them, did not move
_PAPER_IMAGES = 25_000  # half of CIFAR-10's training images
_LARGEST_RATE = 0.03  # of the logits; the largest that was measured here to help


class Verdict(NamedTuple):
    """What a search learned.

    Attributes:
      text: one sentence.
      warnings: what speaks against the result, a sentence each; () is nothing.
    """

    text: str
    warnings: tuple[str, ...] = ()

    def figures(self) -> dict:
        """Returns it as entries of result.json."""
        return {"verdict": self.text, "warnings": list(self.warnings)}


def largest_move(weights: types.Weights) -> float:
    """Returns how far the weights are from equal ones.

    Every search begins with (nearly) equal weights in a row, so this is how far they
    have moved. Options of weight 0 are removed ones and do not count.

    Args:
      weights: leaves f[..., O], of one search.

    Returns:
      The largest |weight / mean of its row - 1|; NaN where no row has two options.
    """
    moved = [
        np.abs(row[row > 0] / row[row > 0].mean() - 1).max()
        for leaf in jax.tree.leaves(weights)
        for row in np.asarray(leaf, np.float64).reshape(-1, np.shape(leaf)[-1])
        if (row > 0).sum() > 1
    ]
    return max(moved, default=math.nan)


def still(weights: types.Weights) -> str | None:
    """Returns a warning where the weights of a search hardly moved.

    Args:
      weights: leaves f[..., O], of one search.
    """
    moved = largest_move(weights)
    if not moved < STILL:
        return None
    return (
        f"the weights hardly moved: all are within {100 * moved:.2g} % of equal, and "
        "the cell follows differences that another seed would not repeat; raise "
        "--logits_learning_rate or --epochs"
    )


def guessing(
    signal: float, labels: Any, task: data_lib.Task = data_lib.CLASSIFICATION
) -> str | None:
    """Returns a warning where a signal is that of guessing.

    Args:
      signal: of the task, such as the fraction of right answers.
      labels: i[N], on which it was measured, or other targets.
      task: says what guessing reaches; where it does not, there is no warning.
    """
    if task.guess is None:
        return None
    most, why = task.guess(labels)
    if signal > most:
        return None
    what = "labels" if task.signal == "accuracy" else "targets"
    return (
        f"validation {task.signal} {signal:.3f} is that of guessing ({why}): the "
        "supernet learned nothing that a cell could be judged by; raise --epochs or "
        f"--learning_rate, or check {what}"
    )


def of_gradient(
    weights: Sequence[types.Weights],
    accuracies: Sequence[float],
    labels: np.ndarray,
    *,
    one_hot: float | None = None,
    task: data_lib.Task = data_lib.CLASSIFICATION,
    chosen: bool = False,
) -> Verdict:
    """Returns the verdict on searches by gradient.

    Args:
      weights: of each search, from which its cell was derived.
      accuracies: validation accuracy, or another signal, of each search.
      labels: of the validation split, or other targets.
      one_hot: that of the best search's cell with the supernet's parameters; None
        where it was not measured.
      task: what was learned.
      chosen: whether hooks chose the cells, and no step moved the logits, so that the
        weights say nothing.
    """
    unmoved = [one for one in weights if still(one) and not chosen]
    warnings = [still(max(unmoved, key=largest_move))] if unmoved else []
    if warnings and len(weights) > 1:
        warnings = [f"{len(unmoved)} of {len(weights)} searches: {warnings[0]}"]
    warnings += filter(None, [guessing(max(accuracies), labels, task)])
    moves = [100 * largest_move(one) for one in weights]
    known = [move for move in moves if math.isfinite(move)]
    text = "The cell was derived by the method's own decisions."
    if chosen or known:
        how = "A hook chose the cell among paths of the supernet"
        if not chosen:
            how = f"The weights moved by up to {max(known):.3g} % from equal"
        text = f"{how}; validation {task.signal} of the supernet {max(accuracies):.4g}"
        alone = "" if one_hot is None else f", of its cell alone in it {one_hot:.4g}"
        text = f"{text}{alone}."
    if warnings:
        text = f"The search learned nothing that its cell can be trusted for. {text}"
    return Verdict(text, tuple(warnings))


def no_path() -> Verdict:
    """Returns the verdict where a hook was to choose a path and none was allowed."""
    return Verdict(
        "No path was chosen in one search at least: its cell is an arbitrary one.",
        (
            "no proposed path keeps the limits and has no removed option; raise "
            "--options=hook.score_paths.num_evaluations, or the limits",
        ),
    )


def of_scores(
    scores: np.ndarray, metrics: Sequence[directions.Metric], first: int
) -> Verdict:
    """Returns the verdict on a discrete search.

    Args:
      scores: f[T, M], those that the controller saw, in order; higher is better, -inf
        where there is none.
      metrics: of the M columns that the controller climbed.
      first: number of evaluations that its first proposals may take.
    """
    signal = scores[:, 0]
    known = np.isfinite(signal)
    count, name = len(signal), metrics[0].name
    values = signal[known] * metrics[0].sign
    if not known.any():
        text = f"none of {count} evaluations has a {name}"
        return Verdict(f"Nothing was learned: {text}.", (text,))
    if known.sum() > 1 and (scores[known] == scores[known][0]).all():
        text = f"all {known.sum()} scores are equal ({name} {values[0]:.6g})"
        todo = (
            "the cell is an arbitrary one; raise the epochs, or use another objective"
        )
        return Verdict(f"Nothing was learned: {text}.", (f"{text}: {todo}",))
    if len(metrics) > 1:
        return _of_front(scores, metrics, first)
    best = int(np.where(known, signal, -np.inf).argmax())
    middle = np.median(values)
    text = (
        f"The best {metrics[0].label} is {values[known[:best].sum()]:.6g}, evaluation "
        f"{best + 1} of {count}; the median is {middle:.6g}."
    )
    if best < first <= count // 4:
        return Verdict(
            text,
            (
                f"none of the {count - first} evaluations after the first {first} was "
                "better; raise --num_evaluations",
            ),
        )
    return Verdict(text)


def _of_front(scores, metrics, first) -> Verdict:
    rows = fronts.front(scores)
    names = " and ".join(metric.label for metric in metrics)
    text = f"{len(rows)} of {len(scores)} evaluations are on the front of {names}."
    if not rows:
        return Verdict(
            f"No evaluation has all of {names}.",
            (f"the front of {names} is empty: no evaluation has all of them",),
        )
    if max(rows) < first <= len(scores) // 4:
        return Verdict(
            text,
            (
                f"the front did not move: all of it lies in the first {first} "
                "evaluations; raise --num_evaluations",
            ),
        )
    return Verdict(text)


def small_budget(method: methods.Method, dataset: data_lib.Dataset, rate: float) -> str:
    """Returns what to raise where a paper's rate meets far fewer steps; "" elsewhere.

    Args:
      method: that runs.
      dataset: whose training images are split.
      rate: share of them in the validation split.
    """
    row = methods.row_of(method)
    if not method.moves_logits:
        return ""
    if method.logits_learning_rate != row.logits_learning_rate:
        return ""
    paper = row.epochs * (_PAPER_IMAGES // row.batch_size)
    steps = method.epochs * (
        int(batches.count(dataset.y_train) * (1 - rate)) // method.batch_size
    )
    own = method.logits_learning_rate
    if not 0 < 4 * steps < paper:
        return ""
    text = (
        f"--logits_learning_rate={own:g} is the paper's, for its {paper:,} steps; this "
        f"search has {steps:,}: raise --epochs"
    )
    more = min(_LARGEST_RATE, float(f"{own * paper / steps:.1g}"))
    return text + (f" or --logits_learning_rate={more:g}" if more > own else "")
