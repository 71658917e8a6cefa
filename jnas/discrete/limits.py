"""Limits in a discrete search: cells that exceed one are not scored, and rank last.

A limit is a margin of encodings: at least 0 where it holds. Controllers that compare
scores get a score below that of every feasible cell, lower for a larger violation;
controllers with the option ``num_constraints`` get the margins themselves.

Source: Deb 2000, doi:10.1016/S0045-7825(99)00389-8, section 3.
"""

from collections.abc import Callable, Sequence
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np

from jnas import networks, spaces, types
from jnas.discrete.objectives import combine
from jnas.training import devices as devices_lib
from jnas.training import placement

Margins = Callable[[types.Array], types.Array]  # i32[P, G] -> f32[P, L]
UNFIT = -1e30  # score of a cell that exceeds a limit by nothing
_MOST = 1e6  # violations above it rank alike


def margins(space: spaces.Space, limits: Sequence[networks.Limit]) -> Margins:
    """Builds the margins of limits whose costs are sums over edges.

    Args:
      space: of the encodings.
      limits: L of them.

    Returns:
      encodings i32[P, G] -> f32[P, L], in units of each limit's span.
    """

    def of(encodings):
        weights = jax.vmap(space.weights)(encodings)
        each = [-jax.vmap(one.violation)(weights) for one in limits]
        return jnp.stack(each, 1)

    return of


def violation(margins: types.Array) -> types.Array:
    """Returns f32[P]: the sum of what is missing in each limit, 0 for feasible cells.

    Args:
      margins: f32[P, L]; NaN, an unknown cost, counts as a violation of 1.
    """
    return jnp.maximum(jnp.where(jnp.isnan(margins), 1, -margins), 0).sum(-1)


def limited(objective: types.Objective, margins: Margins) -> types.Objective:
    """Builds the objective that scores feasible cells only; -inf for the others.

    On CPU and by workers each cell is scored by itself, and an infeasible one costs
    nothing. Elsewhere the cells of a round are scored together, unless none of them is
    feasible.

    Args:
      objective: any objective.
      margins: encodings -> f32[P, L].
    """
    columns = len(combine.columns(objective))

    def nothing(count):
        return jnp.full((count, columns), -jnp.inf, jnp.float32)

    def member(given):
        key, encoding, feasible = given

        def score(key):
            return objective(key, encoding[None]).astype(jnp.float32)

        return jax.lax.cond(feasible, score, lambda key: nothing(1), key)[0]

    def traced(key, encodings):
        feasible = violation(margins(encodings)) == 0
        keys = jax.random.split(key, len(encodings))
        if devices_lib.default_over_runs() is devices_lib.in_turn:
            members = keys, encodings, feasible
            return placement.divided(member, members, form=devices_lib.in_turn)

        def alone(key, encoding):
            return objective(key, encoding[None])[0].astype(jnp.float32)

        scores = jax.lax.cond(
            feasible.any(),
            lambda keys: jax.vmap(alone)(keys, encodings),
            lambda keys: nothing(len(encodings)),
            keys,
        )
        return jnp.where(feasible[:, None], scores, -jnp.inf)

    def by_workers(key, encodings):
        """Scores each feasible cell by itself, with the keys of ``traced``."""
        keys = jax.random.split(key, len(encodings))
        rows = np.flatnonzero(violation(margins(encodings)) == 0)
        count = combine.num_workers(objective)
        with futures.ThreadPoolExecutor(count) as threads:
            found = threads.map(lambda i: objective(keys[i], encodings[i][None]), rows)
            scores = nothing(len(encodings))
            return scores.at[rows].set(jnp.concatenate([nothing(0), *found]))

    def on_host(key, encodings):
        if combine.num_workers(objective):
            return by_workers(key, jnp.asarray(encodings))
        rows = jnp.flatnonzero(violation(margins(encodings)) == 0)
        scores = nothing(len(encodings))
        if not len(rows):
            return scores
        return scores.at[rows].set(objective(key, jnp.asarray(encodings)[rows]))

    whole = traced if combine.jittable(objective) else on_host
    # not by ``declared``, which would make another layer
    whole.metrics = combine.columns(objective)
    whole.jittable = combine.jittable(objective)
    whole.num_workers = combine.num_workers(objective)
    return whole


def first_masked(objective: types.Objective, margins: Margins) -> types.Objective:
    """Builds the objective whose first column is -inf where a limit is exceeded.

    Args:
      objective: its other columns stay.
      margins: encodings -> f32[P, L].
    """

    def masked(key, encodings):
        scores = objective(key, encodings)
        feasible = violation(margins(encodings)) == 0
        return scores.at[:, 0].set(jnp.where(feasible, scores[:, 0], -jnp.inf))

    masked.metrics = combine.columns(objective)
    masked.jittable = combine.jittable(objective)
    return masked


def constrained(
    controller: types.Controller, margins: Margins, *, after: int | None
) -> types.Controller:
    """Builds the same controller, to which violations are reported too.

    Args:
      controller: any controller.
      margins: encodings -> f32[P, L].
      after: number of score columns before the margins, for a controller that reads
        them; None for one that compares scores: for it the first column of an
        infeasible cell becomes UNFIT * (1 + violation), that of a feasible one at least
        UNFIT.
    """

    def tell(state, encodings, scores):
        room = margins(encodings)
        if after is not None:
            reported = [scores[:, :after], room, scores[:, after:]]
            return controller.tell(state, encodings, jnp.concatenate(reported, 1))
        unfit = violation(room)
        first = jnp.where(
            unfit == 0,
            jnp.fmax(scores[:, 0], UNFIT),  # also where it is NaN
            UNFIT * (1 + jnp.minimum(unfit, _MOST)),
        )
        return controller.tell(state, encodings, scores.at[:, 0].set(first))

    return types.Controller(controller.init, controller.ask, tell)
