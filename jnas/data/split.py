"""Divides the training examples into two splits, as a function of the seed."""

import numpy as np

from jnas.data import batches, dataset


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


def two_parts(
    seed: int, dataset: dataset.Dataset, second_rate: float, *, name: str = "valid_rate"
) -> tuple[np.ndarray, np.ndarray]:
    """Divides the training examples of a data set into two splits.

    Classes are divided as by ``stratified``; other targets at random.

    Args:
      seed: as for ``stratified``.
      dataset: its test split is not read.
      second_rate: fraction of the examples, rounded, that goes to the second split.
      name: name of the fraction in error messages.

    Returns:
      (first, second), i64 indices, as by ``stratified``.

    Raises:
      ValueError: a split would get no example, or none of a class.
    """
    if dataset.num_classes:
        names = dataset.class_names
        return stratified(seed, dataset.y_train, second_rate, name=name, names=names)
    total = batches.count(dataset.y_train)
    count = round(total * second_rate)
    if not 0 < count < total:
        raise ValueError(
            f"{name} must leave each split at least one example, got {second_rate} of "
            f"{total}. Change it or add examples."
        )
    rows = np.random.Generator(np.random.Philox(seed)).permutation(total)
    return rows[count:], rows[:count]
