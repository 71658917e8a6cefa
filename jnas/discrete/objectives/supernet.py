"""Scoring cells by a trained supernet's shared weights."""

from collections.abc import Callable

from jnas import directions, networks, spaces, types
from jnas.training import placement

ONE_SHOT = directions.Metric("one_shot_accuracy")


def one_shot_accuracy(
    space: spaces.Space,
    supernet: networks.Supernet,
    params: types.Params,
    images: types.Array,
    labels: types.Array,
    *,
    over_members: Callable | None = None,
) -> types.Objective:
    """Builds the objective: accuracy of the supernet with a cell's one-hot weights.

    The batch-statistics rule: the supernet keeps no statistics, so each cell is
    normalised by the batch that it is scored on. All images are one batch, no cell sees
    another's statistics, and a score depends on which images are scored together, but
    not on which cells are.

    Args:
      space: the space of the encodings.
      supernet: its network, of ``networks.supernet`` or ``networks.one_shot``.
      params: trained parameters.
      images: f32[B, H, W, F], normalised.
      labels: i32[B].
      over_members: (function, members with a leading axis P) -> results likewise;
        ``placement.divided`` when None.

    Returns:
      (key, encodings i32[P, G]) -> scores f32[P, 1], fractions.

    Source: Guo et al. 2020, arXiv:1904.00420, section 3.2. Differs: statistics are
    those of the scored batch; there they are measured again on training images.
    """
    over_members = over_members or placement.divided

    def objective(key, encodings):
        def score(encoding):
            weights = space.weights(encoding)
            batch = placement.split(images)
            outputs = supernet.apply(params, batch, weights, key=key)
            return (outputs.argmax(-1) == labels).mean()[None]

        return over_members(score, encodings)

    objective.metrics = (ONE_SHOT,)
    return objective
