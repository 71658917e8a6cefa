"""One segment of a search by gradient as a phase: driven, derived, warned of."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import data as data_lib
from jnas import gradient, spaces
from jnas.gradient import limits as limits_of_cells
from jnas.gradient import methods, search_pieces
from jnas.run import drive as drive_lib
from jnas.run import metrics as metrics_lib
from jnas.run import phase as phase_lib
from jnas.spaces import genotype_text, rows
from jnas.studies import cells, verdict
from jnas.training import scratch

SKIPS = gradient.COUNT + spaces.SKIP
FREE = (*drive_lib.FREE, "inner.hooks")  # NaN until the end of the first epoch


def left(
    phase: phase_lib.Phase, segment: gradient.Segment, key: jax.Array
) -> Callable[[], Any]:
    """Builds a reader of the last state of a finished phase: the next may need it.

    Args:
      phase: the finished phase.
      segment: that it ran.
      key: of the segment.

    Returns:
      () -> the state.
    """
    return lambda: phase.left(jax.eval_shape(segment.program.init, key))


def _derive(segment, space) -> Callable:
    """Builds state -> (encodings i32[S, G], weights and unmasked of S searches)."""
    pieces = segment.pieces

    @jax.jit
    def derive(state):
        def one(state):
            unmasked = pieces.weights_of(state.inner._replace(mask=None))
            return *gradient.derive(pieces, space, state), unmasked

        if segment.program.num_seeds is not None:
            return jax.vmap(one)(state)
        return jax.tree.map(lambda a: a[None], one(state))

    return lambda state: jax.tree.map(np.asarray, derive(state))


def drive(
    phase: phase_lib.Phase,
    segment: gradient.Segment,
    key: jax.Array,
    splits: Sequence,
    space: spaces.Space,
    method: methods.Method,
    dataset: data_lib.Dataset,
    *,
    before: Callable[[], Any] | None = None,
) -> Any:
    """Runs a segment as a phase, and ends the phase with the found cells.

    Args:
      phase: of the run.
      segment: of the search.
      key: of the segment.
      splits: images and labels that train the parameters, and the architecture.
      space: the method's space.
      method: that is run.
      dataset: gives the task.
      before: () -> the last state of the segment before; None begins afresh.

    Returns:
      The last state.
    """
    derive, signal = _derive(segment, space), scratch.valid_of(dataset.task)
    begin = (lambda fresh: segment.carry(before(), fresh)) if before else None
    state, metrics = drive_lib.drive(
        phase,
        segment.program,
        key,
        splits,
        describe=_found_so_far(segment, space, derive, signal),
        begin=begin,
        warn=_warnings(space, derive, segment, splits[1][1], dataset),
    )
    for one in state.inner.hooks:
        metrics |= {name: float(value.mean()) for name, value in one.values.items()}
    metrics["best"] = _best_seed(segment, state, signal)
    metrics |= _cells(segment, space, method, derive(state), metrics["best"])
    alone = not _moving(segment)[0]
    metrics["chosen"] = alone and chosen(segment, state)
    choosing = any(hook.found is not None for hook in segment.pieces.hooks)
    metrics["unchosen"] = alone and choosing and not metrics["chosen"]
    metrics["seeds"] = _seeds(segment.program, state, signal)
    phase.end(metrics | {"seconds": round(phase.seconds, 2)})
    return state


def chosen(segment: gradient.Segment, state: Any) -> bool:
    """Returns whether hooks chose every seed's cell, whatever the weights are.

    Args:
      segment: of the search.
      state: of it.
    """
    stands = [
        np.atleast_1d(hook.found(own.carry)[0])
        for hook, own in zip(segment.pieces.hooks, state.inner.hooks, strict=True)
        if hook.found is not None
    ]
    return bool(stands) and bool(np.any(stands, 0).all())


def _cells(segment, space, method, derived, best) -> dict[str, Any]:
    """Returns the found cells of a segment's last state, which keep the limits."""
    encodings, weights, unmasked = derived
    replaced = {}
    if segment.pieces.limits:
        kept = [
            limits_of_cells.fitted(
                segment.pieces.limits, space, *one, max_skips=method.max_skips
            )
            for one in zip(
                encodings, *map(rows.apart, (weights, unmasked)), strict=True
            )
        ]
        encodings = np.stack([encoding for encoding, _ in kept])
        replaced = {"replaced": [changed for _, changed in kept]}
    found = [genotype_text.to_json(space.genotype(one)) for one in encodings]
    return {
        "genotype": found[best],
        "genotypes": found,
        "encodings": encodings,
        "weights": weights,
    } | replaced


def _seeds(program, state, signal) -> list[dict[str, float]]:
    """Returns the metrics of the last epoch, and of the hooks, of each seed."""
    sums = {n: state.sums[n] / program.steps_per_epoch for n in program.metrics}
    figures = dict(sums)
    for one in state.inner.hooks:
        figures |= one.values
    values = {n: np.atleast_1d(v).tolist() for n, v in jax.device_get(figures).items()}
    count = len(values[signal])
    return [{"seed": i} | {n: v[i] for n, v in values.items()} for i in range(count)]


def _found_so_far(segment, space, derive, signal) -> Callable:
    """Builds (state, metrics) -> the best seed's cell, for people.

    Nothing, where no step moves the logits, before hooks have chosen cells.
    """
    moves, num_seeds = _moving(segment)[0] > 0, segment.program.num_seeds

    def describe(state, metrics):
        if not moves and not chosen(segment, state):
            return metrics_lib.NOTHING
        encodings, weights, _ = derive(state)
        winner = _best_seed(segment, state, signal)
        return cells.found(
            space.genotype(encodings[winner]),
            float(jnp.max(metrics[signal])),
            weights=rows.named(space, rows.apart(weights)[winner]),
            seed=None if num_seeds is None else winner,
        )

    return describe


def _warnings(space, derive, segment, labels, dataset) -> Callable:
    """Builds (finished steps, state, an epoch's metrics) -> a warning, or None.

    Warns once of a cell that fills with skips, and once of a search that learned
    nothing, when half of the steps that move the logits are done; never of one whose
    logits stay, as its cell says nothing before a hook chooses it.
    """
    half, signal = _half(segment), scratch.valid_of(dataset.task)
    first = np.zeros(len(space.sizes), np.int32)
    edges = sum(map(len, cells.operations(space.genotype(first)).values()))
    left = {"skips", "still"} if _moving(segment)[0] else set()

    def warn(step, state, values):
        skips = values.get(SKIPS, 0)
        if skips > edges / 2 and "skips" in left:
            left.remove("skips")
            more = ", or --max_skips" if rows.has_edges(space) else ""
            return (
                f"warning: {float(skips):.3g} of {edges} operations are skip_connect; "
                f"the search may be collapsing (try another --method{more})"
            )
        if step >= half and "still" in left:
            left.remove("still")
            found = [verdict.still(one) for one in rows.apart(derive(state)[1])]
            found.append(verdict.guessing(values[signal], labels, dataset.task))
            said = list(filter(None, found))
            return f"warning: {said[0]}" if said else None
        return None

    return warn


def _half(segment) -> int:
    """Returns the step by which half of the steps that move the logits are done."""
    moving, half = _moving(segment)
    return half if moving else segment.program.num_steps + 1


def _moving(segment) -> tuple[int, int]:
    """Returns what ``search_pieces.moving_steps`` counts of a segment."""
    program = segment.program
    epochs = program.num_steps // program.steps_per_epoch
    return search_pieces.moving_steps(segment.pieces, epochs, program.steps_per_epoch)


def _best_seed(segment, state, signal) -> int:
    """Returns the seed of the best cell: by the hook that chose, else by the signal."""
    values = state.sums[signal]
    if chosen(segment, state):
        pairs = zip(segment.pieces.hooks, state.inner.hooks, strict=True)
        scores = [hook.score(own.carry) for hook, own in pairs if hook.score]
        values = scores[-1] if scores else values
    return int(jnp.atleast_1d(values).argmax())
