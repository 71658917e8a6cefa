"""Cutting the training part in two, as a function of the seed."""

import numpy as np


def stratified(
    seed: int, labels: np.ndarray, second_rate: float, *, name: str = "valid_rate"
) -> tuple[np.ndarray, np.ndarray]:
    """Splits indices in two so that each class is split alike.

    Args:
      seed: non-negative; the same seed gives the same split on every machine.
      labels: integers [N].
      second_rate: fraction of each class, rounded, that goes to the second part.
      name: of the rate, in the message of its error.

    Returns:
      (first, second), i64, disjoint, together all of N, each in a shuffled order.

    Raises:
      ValueError: a part would get none of a class.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    parts: tuple[list, list] = ([], [])
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        count = round(len(rows) * second_rate)
        if not 0 < count < len(rows):
            raise ValueError(
                f"{name} must leave each part at least one image of each class, got "
                f"{second_rate} of {len(rows)} images of class {label}. Change it or "
                "add images."
            )
        parts[0].append(rows[count:])
        parts[1].append(rows[:count])
    first, second = (rng.permutation(np.concatenate(part)) for part in parts)
    return first, second
