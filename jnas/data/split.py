"""Divides the training examples into two splits, as a function of the seed."""

import numpy as np

from jnas.data import dataset


def stratified(
    seed: int,
    labels: np.ndarray,
    second_rate: float,
    *,
    name: str = "valid_rate",
    names: tuple[str, ...] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Divides indices into two splits, each class in the same proportion.

    Args:
      seed: non-negative; the same seed gives the same splits on every machine.
      labels: integers [N].
      second_rate: fraction of each class, rounded, that goes to the second split.
      name: name of the fraction in error messages.
      names: names of the classes in error messages; empty uses their numbers.

    Returns:
      (first, second), i64 indices: disjoint, together all N, each in random order.

    Raises:
      ValueError: a split would get no example of a class.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    splits: tuple[list, list] = ([], [])
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        count = round(len(rows) * second_rate)
        if not 0 < count < len(rows):
            raise ValueError(
                f"{name} must leave each split at least one image of each class, got "
                f"{second_rate} of {len(rows)} images of class "
                f"{dataset.class_text(int(label), names)}. Change it or add images."
            )
        splits[0].append(rows[count:])
        splits[1].append(rows[:count])
    first, second = (rng.permutation(np.concatenate(rows)) for rows in splits)
    return first, second
