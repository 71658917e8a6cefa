"""A search by gradient as phases of a run."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import data as data_lib
from jnas import gradient, networks, spaces
from jnas.gradient import methods
from jnas.run import drive as drive_lib
from jnas.run import workdir
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text
from jnas.studies import cells, keys

SKIPS = gradient.COUNT + spaces.SKIP
FREE = (*drive_lib.FREE, "inner.watched")  # NaN until the end of the first epoch


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """How a method is put to work.

    Attributes:
      method: the row of pieces.
      valid_rate: fraction of the training images that trains the architecture.
      num_seeds: S searches as one program; None for one.
      remat: whether each cell is computed again for the gradient, to save memory.
      dtype: of the activations, ``float32`` or ``bfloat16``.
    """

    method: methods.Method
    valid_rate: float = 0.5
    num_seeds: int | None = None
    remat: bool = False
    dtype: str = "float32"


class Found(NamedTuple):
    """What a search came to.

    Attributes:
      genotype: the found cell; over seeds, of the best validation accuracy.
      encodings: i32[S, G], of each seed (of the one, S = 1).
      weights: f64[S, C, E, O], what the cells were derived from.
      result: figures of the last phase, with ``seconds`` of all.
    """

    genotype: genotypes.Genotype
    encodings: np.ndarray
    weights: np.ndarray
    result: dict[str, Any]


def search_cells(
    run: workdir.Run,
    dataset: data_lib.Dataset,
    space: spaces.CellSpace,
    settings: SearchSettings,
    *,
    seed: int,
    prefix: str = "",
) -> Found:
    """Searches a space by gradient, one phase for each of the method's legs.

    Args:
      run: the open run.
      dataset: its training part is split in two; the test part is not touched.
      space: the space of cells.
      settings: of the search.
      seed: of the split and of the search.
      prefix: of the phases' names.
    """
    method = settings.method
    space = gradient.space_of(method, space)
    rows = data_lib.stratified(seed, dataset.y_train, settings.valid_rate)
    segments = gradient.build_segments(method, space, _setting(dataset, settings, rows))
    key = jax.random.fold_in(jax.random.key(seed), keys.SEARCH)
    before: Callable[[], Any] | None = None
    seconds = 0.0
    for number, segment in enumerate(segments):
        phase = run.phase(prefix + segment.name, segment.program.num_steps, free=FREE)
        own_key = jax.random.fold_in(key, number) if number else key
        if phase.result is None:
            begin = None
            if before is not None:

                def begin(fresh, before=before, carry=segment.carry):
                    return carry(before(), fresh)

            state = _drive(phase, segment, own_key, dataset, space, method, rows, begin)
            before = _kept(state)
        else:
            before = _left(phase, segment, own_key)
        seconds += phase.result["seconds"]
    result = phase.result | {"seconds": round(seconds, 2)}
    return Found(
        genotype_text.from_json(result["genotype"]),
        np.array(result.pop("encodings"), np.int32),
        np.array(result.pop("weights")),
        result,
    )


def _kept(state) -> Callable:
    return lambda: state


def _left(phase, segment, key) -> Callable:
    """Reads the state of an ended phase, should the next one begin with it."""
    return lambda: phase.left(jax.eval_shape(segment.program.init, key))


def _setting(dataset, settings, rows) -> gradient.Setting:
    size = networks.Size(
        settings.method.features,
        settings.method.layers,
        dataset.num_classes,
        dataset.image_shape[-1],
    )
    return gradient.Setting(
        size,
        data_lib.for_search(dataset),
        tuple(map(len, rows)),
        settings.num_seeds,
        settings.remat,
        jnp.dtype(settings.dtype),
    )


def _drive(phase, segment, key, dataset, space, method, rows, begin):
    splits = tuple(
        (jnp.asarray(dataset.x_train[i]), jnp.asarray(dataset.y_train[i])) for i in rows
    )
    many = segment.program.num_seeds is not None

    @jax.jit
    def derive(state):
        def one(state):
            return gradient.derive(method, space, state)

        if many:
            return jax.vmap(one)(state)
        return jax.tree.map(lambda a: a[None], one(state))

    def look(state, metrics):
        encodings, weights = map(np.asarray, derive(state))
        winner = _best_seed(state)
        return cells.found(
            space.genotype(encodings[winner]),
            float(jnp.max(metrics["valid_accuracy"])),
            weights=cells.named_weights(space, weights[winner]),
            seed=winner if many else None,
        )

    def warn(values):
        edges = sum(len(c.edges) for _, c in space.genotype(_first(space)).cells)
        skips = values.get(SKIPS, 0)
        if skips > edges / 2:
            return (
                f"warning: {float(skips):.3g} of {edges} operations are skip_connect; "
                "the search may be collapsing (try another --method, or --max_skips)"
            )
        return None

    state, metrics = drive_lib.drive(
        phase, segment.program, key, splits, look=look, begin=begin, warn=warn
    )
    watched = state.inner.watched
    if watched is not None:
        values = watched.values.items()
        metrics |= {name: float(value.mean()) for name, value in values}
    encodings, weights = map(np.asarray, derive(state))
    found = [genotype_text.to_json(space.genotype(one)) for one in encodings]
    winner = _best_seed(state)
    phase.end(
        metrics
        | {
            "genotype": found[winner],
            "genotypes": found,
            "encodings": encodings,
            "weights": weights,
            "seconds": round(phase.seconds, 2),
        }
    )
    return state


def _first(space) -> np.ndarray:
    return np.zeros(len(space.sizes), np.int32)


def _best_seed(state) -> int:
    return int(jnp.atleast_1d(state.sums["valid_accuracy"]).argmax())
