"""Scoring cells by a trained supernet's shared weights."""

import jax

from jnas import networks, spaces, types


def one_shot_accuracy(
    space: spaces.CellSpace,
    supernet: networks.Supernet,
    params: types.Params,
    images: types.Array,
    labels: types.Array,
) -> types.Objective:
    """Builds the objective: accuracy of the supernet with a cell's one-hot weights.

    The supernet normalises by the batch, so that all images are one batch and a score
    depends on which images are scored together.

    Args:
      space: the space of the encodings.
      supernet: its network.
      params: trained parameters.
      images: f32[B, H, W, F], normalised.
      labels: i32[B].

    Returns:
      (key, encodings i32[P, G]) -> scores f32[P, 1], fractions.

    Source: Guo et al. 2020, arXiv:1904.00420, section 3.2.
    """

    def objective(key, encodings):
        def score(encoding):
            weights = space.weights(encoding)
            outputs = supernet.apply(params, images, weights, key=key)
            return (outputs.argmax(-1) == labels).mean()[None]

        return jax.lax.map(score, encodings)

    return objective
