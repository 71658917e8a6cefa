"""The evaluations of a discrete search, as its files hold them."""

import functools
from typing import Any, NamedTuple

import numpy as np

from jnas import directions, spaces, types
from jnas.discrete.controllers import fronts
from jnas.run import files
from jnas.spaces import genotype_text
from jnas.studies import cells

FRONT_FORMAT, FRONT_VERSION = "jnas.front", 1


class Evaluations(NamedTuple):
    """All evaluations of a search, in order, repeats included.

    Attributes:
      encodings: i32[T, G].
      scores: f32[T, M], higher is better; -inf where there is none.
      metrics: name and direction of each of the M metrics.
      space: the space of cells.
    """

    encodings: np.ndarray
    scores: np.ndarray
    metrics: tuple[directions.Metric, ...]
    space: spaces.Space

    @property
    def known(self) -> np.ndarray:
        """bool[T]: whether the first metric is known."""
        return np.isfinite(self.scores[:, 0])

    def line(self, number: int) -> dict[str, Any]:
        """Returns an evaluation as JSON values; metrics have their own sign."""
        values = [m.sign * float(v) for m, v in zip(self.metrics, self.scores[number],
                                                    strict=True)]  # fmt: skip
        names = [metric.name for metric in self.metrics]
        return {
            "evaluation": number,
            "encoding": self.encodings[number].tolist(),
            **_named(self.space, self.encodings[number].tobytes()),
            "scores": files.plain(dict(zip(names, values, strict=True))),
        }


@functools.lru_cache(maxsize=100_000)
def _named(space: spaces.Space, encoding: bytes) -> dict[str, str]:
    """Returns a cell's genotype, as --genotype takes it, and its operations."""
    genotype = space.genotype(np.frombuffer(encoding, np.int32))
    return {
        "genotype": genotype_text.short_form(genotype),
        "cell": cells.short(genotype),
    }


def collect(
    encodings: types.Array,
    scores: types.Array,
    metrics: tuple[directions.Metric, ...],
    space: spaces.Space,
) -> Evaluations:
    """Returns all evaluations of a search.

    Args:
      encodings: i32[R, P, G], by round.
      scores: f32[R, P, M], higher is better.
      metrics: name and direction of the M metrics.
      space: the space of cells.
    """
    rows = np.asarray(scores).reshape(-1, scores.shape[-1])
    cells_of_rows = np.asarray(encodings, np.int32).reshape(len(rows), -1)
    return Evaluations(cells_of_rows, rows, metrics, space)


def front(found: Evaluations, num_objectives: int) -> dict[str, Any]:
    """Returns the content of front.json: the Pareto front of the first metrics.

    Args:
      found: all evaluations.
      num_objectives: number of metrics, the first ones, that make the front.
    """
    rows = fronts.front(found.scores[:, :num_objectives])
    wanted = {m.name: m.direction for m in found.metrics[:num_objectives]}
    return {
        "format": FRONT_FORMAT,
        "version": FRONT_VERSION,
        "directions": wanted,
        "front": [found.line(row) for row in rows],
    }


def result(found: Evaluations, num_objectives: int = 1) -> dict[str, Any]:
    """Returns the best cell's metrics, ``evaluations``, ``directions``, ``genotype``.

    The best is that of the first metric, among the cells of which all objectives are
    known, if there are some.

    Args:
      found: all evaluations.
      num_objectives: number of metrics, the first ones, that are searched on.
    """
    whole = np.isfinite(found.scores[:, :num_objectives]).all(1)
    scores = np.where(whole | ~whole.any(), found.scores[:, 0], -np.inf)
    best = int(scores.argmax())
    genotype = found.space.genotype(found.encodings[best])
    return found.line(best)["scores"] | {
        "evaluations": len(found.scores),
        "directions": {m.name: m.direction for m in found.metrics},
        "genotype": genotype_text.to_json(genotype),
    }
